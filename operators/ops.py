"""What Jittor lacks or does slowly: convolutions that differentiate to any order, and the
resampling around them.

Jittor's own `nn.conv2d` is an expression that a tuner may or may not recognise as a convolution; in
second derivatives it does not. Here oneDNN's (CPU) and cuDNN's (CUDA) operators are called by name.
All images are (n, c, h, w), float32.
"""

import numpy as np

from backend import device
from operators.native import call

jt = device.load()


def _backend():
    """The operators of the current device: mkl_* of oneDNN or cudnn_* of cuDNN."""
    if jt.flags.use_cuda:
        return jt.compile_extern.cudnn_ops, "cudnn_conv"
    return jt.compile_extern.mkl_ops, "mkl_conv"


def _smooth(x, adjoint: bool, scale: float):
    """Scaled blur, then averages of 2x2 neighbours, (n, c, h, w) -> (n, c, h + 1, w + 1); or the
    adjoint.

    On CUDA, where it is a part of `_Bilinear`; without a gradient of its own.
    """
    n, c, h, w = x.shape
    larger = -1 if adjoint else 1
    shape = [n, c, h + larger, w + larger]
    return call("smooth", [x], [shape], n * c, h, w, scale, adjoint)[0]


class _Bilinear(jt.Function):
    """One of the three bilinear maps of a convolution; the derivatives of each are the other two.

    With `down` the convolution is that of `blur_conv2d_avg_pool`. All three are multiplied by
    `scale`: the products do that for nothing, where scaled kernels would be copies to keep.

    Jittor hands `execute` copies of the arguments that are cut off from the graph. A `grad` that
    used those would lose the second derivative without a word, so `__call__` keeps the originals.
    """

    def __init__(self, stride: int, padding, down: bool = False, scale: float = 1.0):
        self.geometry = (stride, padding, down, scale)

    def __call__(self, a, b):
        self.saved = (a, b)
        return super().__call__(a, b)

    def options(self):
        stride, padding, _, _ = self.geometry
        rows, columns = padding if isinstance(padding, tuple) else (padding, padding)
        return (stride, stride, rows, columns, 1, 1, 1)

    def scaled(self, y):
        """What an operator that takes no factor has made; with `down` the smoothing does it."""
        down, scale = self.geometry[2:]
        return y if down or scale == 1 else y * scale

    def own_kernel(self, kernel, size) -> str:
        """The part of operators/kernels that computes it on the CPU, "" if none does.

        kernel (k, k), size (h, w) of x.
        """
        if jt.flags.use_cuda:
            return ""
        if self.geometry[2]:
            return "down"
        stride, padding, *_ = self.geometry
        if tuple(kernel) == (1, 1) and stride == 1 and padding in (0, (0, 0)):
            return "pointwise"
        fits = tuple(kernel) == (3, 3) and all(s % 2 == 0 for s in size)
        return "winograd" if fits and (stride, padding) == (1, 1) else ""


class _Conv(_Bilinear):
    """(x, w) -> y"""

    def execute(self, x, w):
        (n, c, *size), o = x.shape, w.shape[0]
        own, (*_, down, scale) = self.own_kernel(w.shape[2:], size), self.geometry
        if own:
            size = [s // 2 for s in size] if down else size
            return call(f"{own}_conv", [x, w], [[n, o, *size]], n, c, o, *size, scale)[0]
        ops, name = _backend()
        x = _smooth(x, False, scale) if down else x
        return self.scaled(getattr(ops, name)(x, w, *self.options()))

    def grad(self, dy):
        x, w = self.saved
        return (
            _ConvData(*self.geometry, x.shape[2:])(w, dy),
            _ConvWeight(*self.geometry, w.shape[2:])(x, dy),
        )


class _ConvData(_Bilinear):
    """(w, dy) -> dx, the adjoint of a convolution in x: also known as transposed convolution."""

    def __init__(self, stride, padding, down, scale, size):
        super().__init__(stride, padding, down, scale)
        self.size = tuple(size)

    def execute(self, w, dy):
        (n, o, *size), c = dy.shape, w.shape[1]
        own, (*_, down, scale) = self.own_kernel(w.shape[2:], self.size), self.geometry
        if own:
            return call(f"{own}_data", [w, dy], [[n, c, *self.size]], n, c, o, *size, scale)[0]
        ops, name = _backend()
        size = [s + 1 for s in self.size] if down else self.size
        dx = getattr(ops, name + "_backward_x")(w, dy, *size, *self.options())
        return _smooth(dx, True, scale) if down else self.scaled(dx)

    def grad(self, dx):
        w, dy = self.saved
        return _ConvWeight(*self.geometry, w.shape[2:])(dx, dy), _Conv(*self.geometry)(dx, w)


class _ConvWeight(_Bilinear):
    """(x, dy) -> dw, the adjoint of a convolution in w."""

    def __init__(self, stride, padding, down, scale, kernel):
        super().__init__(stride, padding, down, scale)
        self.kernel = tuple(kernel)

    def execute(self, x, dy):
        (n, c, *size), o = x.shape, dy.shape[1]
        own, (*_, down, scale) = self.own_kernel(self.kernel, size), self.geometry
        if own:
            shape, size = [o, c, *self.kernel], dy.shape[2:]
            return call(f"{own}_weight", [x, dy], [shape], n, c, o, *size, scale)[0]
        ops, name = _backend()
        x = _smooth(x, False, scale) if down else x
        dw = getattr(ops, name + "_backward_w")(x, dy, *self.kernel, *self.options())
        return self.scaled(dw)

    def grad(self, dw):
        x, dy = self.saved
        return _ConvData(*self.geometry, x.shape[2:])(dw, dy), _Conv(*self.geometry)(x, dw)


def conv2d(x, w, padding=0, scale: float = 1.0, stride: int = 1):
    """Cross-correlation times scale. x (n, c, h, w), w (o, c, k, k') -> (n, o, h', w').

    padding: zeros around it, one number or (above and below, left and right).
    """
    if padding == 0 and x.shape[1:] == w.shape[1:]:  # one place for the kernel: a matrix product
        y = linear(x.reshape(x.shape[0], -1), w.reshape(w.shape[0], -1), scale)
        return y.reshape(*y.shape, 1, 1)
    if jt.flags.use_cuda and scale != 1:  # cuDNN takes no factor; of w it serves all derivatives
        w, scale = w * scale, 1.0
    return _Conv(stride, padding, False, scale)(x, w)


def factors(scale: float):
    """(the part of a factor that a convolution or product takes, what the operator after it has
    to): CUDA's libraries take none.
    """
    return (1.0, scale) if jt.flags.use_cuda else (scale, 1.0)


def blur_conv2d_avg_pool(x, w, scale: float = 1.0):
    """avg_pool2(conv2d(blur(x), scale * w, padding=1)) with 4 times fewer multiplications.

    x (n, c, 2h, 2w), w (o, c, 3, 3) -> (n, o, h, w). blur: binomial filter [1 2 1] x [1 2 1] / 16,
    zeros beyond the border (StyleGAN's section 2, "bilinear"). An average of neighbouring outputs
    is the output for averaged inputs: averages first, the convolution only where they are kept.
    """
    return _Conv(2, 0, True, scale)(x, w)


def conv_transpose2d_blur(x, w, scale: float = 1.0):
    """The adjoint of `blur_conv2d_avg_pool`: x (n, c, h, w), w (c, o, 3, 3) -> (n, o, 2h, 2w).

    ProGAN's fused upsampling, kernel widened to 4x4 and stride 2, with the blur after it.
    """
    return _ConvData(2, 0, True, scale, [2 * s for s in x.shape[2:]])(w, x)


class _Turn(jt.Function):
    """Kernels rotated by 180 degrees, inputs and outputs exchanged: (o, c, k, k) -> (c, o, k, k).

    A permutation that is its own inverse, and so its own adjoint.
    """

    def execute(self, w):
        o, c, h, k = w.shape
        return w.reindex([c, o, h, k], ["i1", "i0", f"{h - 1}-i2", f"{k - 1}-i3"])

    def grad(self, dw):
        return _Turn()(dw)


def turn(w):
    """Kernels as `conv_transpose2d_blur` has them from kernels as convolutions have them, or back:
    (o, c, k, k) -> (c, o, k, k).
    """
    return _Turn()(w)


def upsample_conv2d_blur(x, w, scale: float = 1.0):
    """blur(conv2d(upsample2(x), scale * w, padding=1)) with 4 times fewer multiplications.

    x (n, c, h, w), w (o, c, 3, 3) -> (n, o, 2h, 2w). Nearest neighbours are sums of 2x2 neighbours
    where every second pixel is zero; the sums come after the convolution.
    """
    return conv_transpose2d_blur(x, turn(w), 4 * scale)


class _Matmul(jt.Function):
    """(a, b) -> scale op(a) @ op(b), where op transposes or not; its derivatives are such too."""

    def __init__(self, transpose_a: bool, transpose_b: bool, scale: float = 1.0):
        self.transpose, self.scale = (transpose_a, transpose_b), scale

    def __call__(self, a, b):
        self.saved = (a, b)
        return super().__call__(a, b)

    def execute(self, a, b):
        if jt.flags.use_cuda:
            y = jt.compile_extern.cublas_ops.cublas_matmul(a, b, *self.transpose)
            return y if self.scale == 1 else y * self.scale
        ta, tb = map(int, self.transpose)
        m, k, n = a.shape[ta], a.shape[1 - ta], b.shape[1 - tb]
        return call("matmul_", [a, b], [[m, n]], m, n, k, ta, tb, self.scale)[0]

    def grad(self, dc):
        (a, b), (ta, tb), scale = self.saved, self.transpose, self.scale
        da = _Matmul(tb, True, scale)(b, dc) if ta else _Matmul(False, not tb, scale)(dc, b)
        db = _Matmul(True, ta, scale)(dc, a) if tb else _Matmul(not ta, False, scale)(a, dc)
        return da, db


def linear(x, w, scale: float = 1.0):
    """x (n, c), w (o, c) -> scale * x @ w transposed (n, o)."""
    if jt.flags.use_cuda and scale != 1:  # outside, where Jittor fuses it with what follows
        return _Matmul(False, True)(x, w) * scale
    return _Matmul(False, True, scale)(x, w)


def blur(x):
    """Binomial filter [1 2 1] x [1 2 1] / 16, zeros beyond the border: (n, c, h, w), as x.

    Alone, that is: the networks have it in one operator with the convolution beside it.
    """
    n, c, h, w = x.shape
    x = x.reindex([n, c, h + 2, w], ["i0", "i1", "i2-1", "i3"])
    x = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
    x = x.reindex([n, c, h, w + 2], ["i0", "i1", "i2", "i3-1"])
    return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 16


def mean_of_neighbours(x):
    """Mean of 3x3 neighbours, of those inside the image: (n, c, h, w), as x."""
    n, c, h, w = x.shape
    x = x.reindex([n, c, h + 2, w], ["i0", "i1", "i2-1", "i3"])
    x = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    x = x.reindex([n, c, h, w + 2], ["i0", "i1", "i2", "i3-1"])
    rows, columns = np.full(h, 3, "float32"), np.full(w, 3, "float32")
    for count in (rows, columns):
        count[0] -= 1
        count[-1] -= 1
    inside = jt.array(np.outer(rows, columns)[None, None]).stop_grad()
    return (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / inside


def blurred_ones(h: int, w: int):
    """Blur of an image of ones: less than 1 only at the borders. (1, 1, h, w)"""
    rows, columns = np.ones(h, "float32"), np.ones(w, "float32")
    for x in (rows, columns):
        x[0] -= 0.25
        x[-1] -= 0.25
    return jt.array(np.outer(rows, columns)[None, None]).stop_grad()


class _Pool(jt.Function):
    """Sums of 2x2 cells times scale, (n, c, 2h, 2w) -> (n, c, h, w), on CUDA in a fixed order."""

    def __init__(self, scale: float):
        self.scale = scale

    def execute(self, x):
        n, c, h, w = x.shape
        shape = [n, c, h // 2, w // 2]
        return call("pool", [x], [shape], n * c, h // 2, w // 2, self.scale)[0]

    def grad(self, dy):
        return _Unpool(self.scale)(dy)


class _Unpool(_Pool):
    """The adjoint."""

    def execute(self, x):
        n, c, h, w = x.shape
        return call("unpool", [x], [[n, c, 2 * h, 2 * w]], n * c, h, w, self.scale)[0]

    def grad(self, dy):
        return _Pool(self.scale)(dy)


def upsample2(x):
    """Nearest neighbour: (n, c, h, w) -> (n, c, 2h, 2w)."""
    n, c, h, w = x.shape
    if jt.flags.use_cuda and str(x.dtype) == "float32":
        return _Unpool(1.0)(x)
    return x.reshape(n, c, h, 1, w, 1).broadcast([n, c, h, 2, w, 2]).reshape(n, c, 2 * h, 2 * w)


def avg_pool2(x):
    """Mean of 2x2 cells: (n, c, 2h, 2w) -> (n, c, h, w)."""
    n, c, h, w = x.shape
    if jt.flags.use_cuda and str(x.dtype) == "float32":
        return _Pool(0.25)(x)
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(dims=(3, 5))


def max_pool2d(x, kernel: int, stride: int, padding: int = 0):
    """The largest of kernel x kernel neighbours, those inside the image: (n, c, h, w) -> (n, c, h',
    w'). What does not fill a window on the right or below is left out, as PyTorch does.

    A choice of elements of x, and its derivatives choose the same.
    """
    n, c, *size = x.shape
    shape = [n, c, *((s + 2 * padding - kernel) // stride + 1 for s in size)]

    def chosen(tap, extras=()):
        places = [f"i2*{stride}+{tap}/{kernel}-{padding}", f"i3*{stride}+{tap}%{kernel}-{padding}"]
        return x.reindex(shape, ["i0", "i1", *places], -3e38, extras=list(extras))

    with jt.no_grad():
        largest, place = chosen(0), jt.zeros(shape, "int32")
        for tap in range(1, kernel**2):
            other = chosen(tap)
            place = jt.ternary(other > largest, jt.full_like(place, tap), place)
            largest = jt.maximum(largest, other)
    return chosen("@e0(i0,i1,i2,i3)", [place])
