"""What Jittor lacks or does slowly: convolutions that differentiate to any order, and the
resampling around them.

Jittor's own `nn.conv2d` is an expression that a tuner may or may not recognise as a convolution; in
second derivatives it does not. Here oneDNN's (CPU) and cuDNN's (CUDA) operators are called by name.
All images are (n, c, h, w), float32.
"""

import itertools

import numpy as np

import device

jt = device.load()

LONGEST_SUM = 2304

# Each row is the sum of three rows, weighted [1 2 1], and then of each three neighbours in it.
BLUR_ON_CPU = """
const int64 h = in0_shape2, w = in0_shape3;
#pragma omp parallel for
for (int64 plane = 0; plane < in0_shape0 * in0_shape1; plane++) {
    const in0_type* x = in0_p + plane * h * w;
    out0_type* y = out0_p + plane * h * w;
    std::vector<in0_type> padded(w + 2, 0), none(w, 0);
    in0_type* row = padded.data() + 1;
    for (int64 i = 0; i < h; i++) {
        const in0_type* here = x + i * w;
        const in0_type* above = i ? here - w : none.data();
        const in0_type* below = i + 1 < h ? here + w : none.data();
        for (int64 j = 0; j < w; j++) row[j] = above[j] + 2 * here[j] + below[j];
        for (int64 j = 0; j < w; j++)
            y[i * w + j] = (row[j - 1] + 2 * row[j] + row[j + 1]) * in0_type(0.0625);
    }
}
"""


def _backend():
    """The operators of the current device: mkl_* of oneDNN or cudnn_* of cuDNN."""
    if jt.flags.use_cuda:
        return jt.compile_extern.cudnn_ops, "cudnn_conv"
    return jt.compile_extern.mkl_ops, "mkl_conv"


class _Bilinear(jt.Function):
    """One of the three bilinear maps of a convolution; the derivatives of each are the other two.

    Jittor hands `execute` copies of the arguments that are cut off from the graph. A `grad` that
    used those would lose the second derivative without a word, so `__call__` keeps the originals.
    """

    def __init__(self, stride: int, padding: int, groups: int):
        self.geometry = (stride, padding, groups)

    def __call__(self, a, b):
        self.saved = (a, b)
        return super().__call__(a, b)

    def options(self):
        stride, padding, groups = self.geometry
        return (stride, stride, padding, padding, 1, 1, groups)

    def parts(self, channels: int, taps: int):
        """Slices of the channels to sum over, so long that each holds at most LONGEST_SUM products.
        taps: how many products an output has of each channel.

        oneDNN adds up all channels and taps of an output in one float32 chain. With 512 channels
        that costs a digit against PyTorch; shorter chains win it back.
        """
        if jt.flags.use_cuda or self.geometry[2] > 1:
            return [slice(None)]
        n = -(-channels * taps // LONGEST_SUM)
        return [slice(channels * i // n, channels * (i + 1) // n) for i in range(n)]


class _Conv(_Bilinear):
    """(x, w) -> y"""

    def execute(self, x, w):
        ops, name = _backend()
        conv, options = getattr(ops, name), self.options()
        parts = self.parts(x.shape[1], w.shape[2] * w.shape[3])
        if len(parts) == 1:
            return conv(x, w, *options)
        return sum(conv(x[:, p], w[:, p], *options) for p in parts)

    def grad(self, dy):
        x, w = self.saved
        return (
            _ConvData(*self.geometry, x.shape[2:])(w, dy),
            _ConvWeight(*self.geometry, w.shape[2:])(x, dy),
        )


class _ConvData(_Bilinear):
    """(w, dy) -> dx, the adjoint of a convolution in x: also known as transposed convolution."""

    def __init__(self, stride, padding, groups, size):
        super().__init__(stride, padding, groups)
        self.size = tuple(size)

    def execute(self, w, dy):
        ops, name = _backend()
        conv, options = getattr(ops, name + "_backward_x"), (*self.size, *self.options())
        stride = self.geometry[0]
        parts = self.parts(w.shape[0], w.shape[2] * w.shape[3] // stride**2)
        if len(parts) == 1:
            return conv(w, dy, *options)
        return sum(conv(w[p], dy[:, p], *options) for p in parts)

    def grad(self, dx):
        w, dy = self.saved
        return _ConvWeight(*self.geometry, w.shape[2:])(dx, dy), _Conv(*self.geometry)(dx, w)


class _ConvWeight(_Bilinear):
    """(x, dy) -> dw, the adjoint of a convolution in w."""

    def __init__(self, stride, padding, groups, kernel):
        super().__init__(stride, padding, groups)
        self.kernel = tuple(kernel)

    def execute(self, x, dy):
        ops, name = _backend()
        return getattr(ops, name + "_backward_w")(x, dy, *self.kernel, *self.options())

    def grad(self, dw):
        x, dy = self.saved
        return _ConvData(*self.geometry, x.shape[2:])(dw, dy), _Conv(*self.geometry)(x, dw)


def conv2d(x, w, stride: int = 1, padding: int = 0, groups: int = 1):
    """Cross-correlation. x (n, c, h, w), w (o, c / groups, k, k) -> (n, o, h', w')."""
    return _Conv(stride, padding, groups)(x, w)


def conv_transpose2d(x, w, stride: int = 1, padding: int = 0):
    """Transposed convolution. x (n, c, h, w), w (c, o, k, k) -> (n, o, (h - 1) stride - 2 padding +
    k, ...).
    """
    size = [(s - 1) * stride - 2 * padding + k for s, k in zip(x.shape[2:], w.shape[2:])]
    return _ConvData(stride, padding, 1, size)(w, x)


class _Matmul(jt.Function):
    """(a, b) -> op(a) @ op(b), where op transposes or not; derivatives are such products too."""

    def __init__(self, transpose_a: bool, transpose_b: bool):
        self.transpose = (transpose_a, transpose_b)

    def __call__(self, a, b):
        self.saved = (a, b)
        return super().__call__(a, b)

    def execute(self, a, b):
        if jt.flags.use_cuda:
            return jt.compile_extern.cublas_ops.cublas_matmul(a, b, *self.transpose)
        return jt.compile_extern.mkl_ops.mkl_matmul(a, b, *self.transpose)

    def grad(self, dc):
        (a, b), (ta, tb) = self.saved, self.transpose
        da = _Matmul(tb, True)(b, dc) if ta else _Matmul(False, not tb)(dc, b)
        db = _Matmul(True, ta)(dc, a) if tb else _Matmul(not ta, False)(a, dc)
        return da, db


def linear(x, w):
    """x (n, c), w (o, c) -> x @ w transposed (n, o)."""
    return _Matmul(False, True)(x, w)


class _Blur(jt.Function):
    """The blur is its own adjoint: derivatives of every order are blurs."""

    def execute(self, x):
        if jt.flags.use_cuda:
            taps = jt.array([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
            c = x.shape[1]
            return conv2d(x, taps.broadcast([c, 1, 3, 3]), padding=1, groups=c)
        return jt.code(x.shape, x.dtype, [x], cpu_src=BLUR_ON_CPU, cpu_header="#include <vector>")

    def grad(self, dy):
        return _Blur()(dy)


def blur(x):
    """Binomial filter [1 2 1] x [1 2 1] / 16 on every channel, zero padding (ProGAN's successor
    uses it, section B).
    """
    return _Blur()(x)


def upsample2(x):
    """Nearest neighbour: (n, c, h, w) -> (n, c, 2h, 2w)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h, 1, w, 1).broadcast([n, c, h, 2, w, 2]).reshape(n, c, 2 * h, 2 * w)


def avg_pool2(x):
    """Mean of 2x2 cells: (n, c, 2h, 2w) -> (n, c, h, w)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(dims=(3, 5))


def resampling_taps(flip: bool):
    """Matrix (9, 16) that takes the 3x3 taps of a kernel to the 4x4 taps of its four one-pixel
    shifts' sum.
    """
    taps = np.zeros((3, 3, 4, 4), dtype="float32")
    for i, j, di, dj in itertools.product(range(3), range(3), range(2), range(2)):
        taps[i, j, i + di, j + dj] = 1.0
    taps = taps.reshape(9, 16)
    return jt.array(taps[::-1] if flip else taps).stop_grad()


def widen(w, flip: bool = False):
    """Sum of the four one-pixel shifts of (flipped) 3x3 kernels: (a, b, 3, 3) -> (a, b, 4, 4)."""
    a, b, _, _ = w.shape
    return _Matmul(False, False)(w.reshape(a * b, 9), resampling_taps(flip)).reshape(a, b, 4, 4)


def upsample_conv2d(x, w):
    """conv2d(upsample2(x), w, padding=1) in one pass over the small grid, 2.25 times fewer
    multiplications.

    x (n, c, h, w), w (o, c, 3, 3) -> (n, o, 2h, 2w). Nearest neighbours are copies, so the taps
    that meet one add up.
    """
    return conv_transpose2d(x, widen(w, flip=True).transpose(1, 0, 2, 3), stride=2, padding=1)


def conv2d_avg_pool(x, w):
    """avg_pool2(conv2d(x, w, padding=1)) in one pass. x (n, c, 2h, 2w), w (o, c, 3, 3) -> (n, o, h,
    w).
    """
    return conv2d(x, widen(w * 0.25), stride=2, padding=1)


def fused_upsample(x, w):
    """Paper's fused upsampling: kernel (c, o, 3, 3) widened to 4x4, transposed convolution of
    stride 2.
    """
    return conv_transpose2d(x, widen(w * 0.25), stride=2, padding=1)


def leaky_relu(x):
    """Slope 0.2 below zero; as a product, since the derivative of a choice costs two choices."""
    slope = (x > 0).float32() * 0.8 + 0.2
    return x * slope.stop_grad()


def pixel_norm(x):
    """x / sqrt(mean over channels of x^2 + 1e-8) (ProGAN, section 4.2)."""
    return x / jt.sqrt((x * x).mean(dim=1, keepdims=True) + 1e-8)


def instance_norm(x):
    """Zero mean and unit (biased) variance of each image's each channel, eps 1e-5."""
    x = x - x.mean(dims=(2, 3), keepdims=True)
    return x / jt.sqrt((x * x).mean(dims=(2, 3), keepdims=True) + 1e-5)


def minibatch_stddev(x):
    """Appends a channel with one number: the mean over everything of the batch's standard deviation
    (ProGAN, 3).
    """
    d = x - x.mean(dim=0, keepdims=True)
    deviation = jt.sqrt((d * d).mean(dim=0) + 1e-8).mean(dims=(1, 2)).mean()
    n, _, h, w = x.shape
    return jt.concat([x, deviation.reshape(1, 1, 1, 1).broadcast([n, 1, h, w])], dim=1)
