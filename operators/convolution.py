"""Convolutions that differentiate to any order, alone or together with the resampling around them.

Jittor's own `nn.conv2d` is an expression that a tuner may or may not recognise as a convolution; in
second derivatives it does not. Here oneDNN's (CPU) and cuDNN's (CUDA) operators and our kernels are
called by name, for float32; other precisions are computed by NumPy (reference.py). Images are
(n, c, h, w).
"""

import numpy as np

from backend import device
from operators import reference
from operators.checks import FLOAT32, IMAGES, expect, expect_integer, expect_room
from operators.native import call, is_float32
from operators.products import linear

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

    def by_reference(self, function, a, b, *size):
        """The map in NumPy, for arguments that are not both float32."""
        stride, padding, down, scale = self.geometry
        if down:
            raise TypeError(f"smoothed convolutions take float32, not {a.dtype} and {b.dtype}")
        precision = np.result_type(str(a.dtype), str(b.dtype))
        a, b = (x.numpy().astype(precision) for x in (a, b))
        return reference.to_var(scale * function(a, b, stride, padding, *size))

    def own_kernel(self, kernel, size) -> str:
        """The part of kernels/ that computes it on the CPU, "" if none does.

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
        if not is_float32(x, w):
            return self.by_reference(reference.conv, x, w)
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
        if not is_float32(w, dy):
            return self.by_reference(reference.conv_data, w, dy, self.size)
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
        if not is_float32(x, dy):
            return self.by_reference(reference.conv_weight, x, dy, self.kernel)
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
    c = expect(x, "x", IMAGES)[1]
    expect(w, "w", ("o", c, "k", "k'"))
    expect_integer(stride, "stride", 1)
    expect_room(x, "x", w.shape[2:], padding)
    if padding == 0 and x.shape[1:] == w.shape[1:]:  # one place for the kernel: a matrix product
        y = linear(x.reshape(x.shape[0], -1), w.reshape(w.shape[0], -1), scale)
        return y.reshape(*y.shape, 1, 1)
    if jt.flags.use_cuda and scale != 1:  # cuDNN takes no factor; of w it serves all derivatives
        w, scale = w * scale, 1.0
    return _Conv(stride, padding, False, scale)(x, w)


def conv_transpose2d(x, w, stride: int, padding: int):
    """The adjoint of a convolution: x (n, c, h, w), w (c, o, k, k) -> (n, o, h', w'), h' = (h - 1)
    stride - 2 padding + k.
    """
    c = expect(x, "x", IMAGES)[1]
    expect(w, "w", (c, "o", "k", "k'"))
    expect_integer(stride, "stride", 1)
    expect_integer(padding, "padding", 0)
    size = [(s - 1) * stride - 2 * padding + k for s, k in zip(x.shape[2:], w.shape[2:])]
    if min(size) < 1:
        raise ValueError(f"padding: {padding} leaves nothing of x {x.shape} with w {w.shape}")
    return _ConvData(stride, padding, False, 1.0, size)(w, x)


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
    c = expect(x, "x", ("n", "c", "2h", "2w"), FLOAT32)[1]
    expect(w, "w", ("o", c, 3, 3), FLOAT32)
    return _Conv(2, 0, True, scale)(x, w)


def conv_transpose2d_blur(x, w, scale: float = 1.0):
    """The adjoint of `blur_conv2d_avg_pool`: x (n, c, h, w), w (c, o, 3, 3) -> (n, o, 2h, 2w).

    ProGAN's fused upsampling, kernel widened to 4x4 and stride 2, with the blur after it.
    """
    c = expect(x, "x", IMAGES, FLOAT32)[1]
    expect(w, "w", (c, "o", 3, 3), FLOAT32)
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
    expect(w, "w", ("o", "c", "k", "k'"))
    return _Turn()(w)


def upsample_conv2d_blur(x, w, scale: float = 1.0):
    """blur(conv2d(upsample2(x), scale * w, padding=1)) with 4 times fewer multiplications.

    x (n, c, h, w), w (o, c, 3, 3) -> (n, o, 2h, 2w). Nearest neighbours are sums of 2x2 neighbours
    where every second pixel is zero; the sums come after the convolution.
    """
    c = expect(x, "x", IMAGES, FLOAT32)[1]
    expect(w, "w", ("o", c, 3, 3), FLOAT32)
    return conv_transpose2d_blur(x, turn(w), 4 * scale)
