"""What Jittor lacks or does slowly: convolutions that differentiate to any order, and the
resampling around them.

Jittor's own `nn.conv2d` is an expression that a tuner may or may not recognise as a convolution; in
second derivatives it does not. Here oneDNN's (CPU) and cuDNN's (CUDA) operators are called by name.
All images are (n, c, h, w), float32.
"""

import functools
from pathlib import Path

import numpy as np

import device

jt = device.load()

# Four neighbours along each axis, [1 3 3 1] but at the borders: see kernels.h.
SMOOTH_ON_CUDA = """
__device__ float tap(int k, int first, int n, bool adjoint) {
    if (k == 1) return 2 + (adjoint ? first >= 0 : first + 2 < n);
    if (k == 2) return 2 + (adjoint ? first + 3 < n : first + 1 >= 0);
    return 1;
}
__global__ void smooth(const float* x, float* y, int64 n, int h, int w, int oh, int ow,
        bool adjoint) {
    const int64 i = blockIdx.x * (int64) blockDim.x + threadIdx.x;
    if (i >= n) return;
    const int top = i / ow % oh - 2 + adjoint, left = i % ow - 2 + adjoint;
    x += i / ow / oh * h * w;
    float sum = 0;
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++)
            if (top + a >= 0 && top + a < h && left + b >= 0 && left + b < w)
                sum += tap(a, top, h, adjoint) * tap(b, left, w, adjoint)
                    * x[(top + a) * w + left + b];
    y[i] = sum / 64;
}
const int64 n = out0->num;
smooth<<<(n + 255) / 256, 256>>>(in0_p, out0_p, n, in0_shape2, in0_shape3, out0_shape2, out0_shape3,
    %s);
"""


@functools.lru_cache(maxsize=None)
def kernels() -> str:
    """C++ source of our kernels for the CPU."""
    return Path(__file__).with_name("kernels.h").read_text(encoding="utf-8")


def _call(function: str, shape, inputs, *numbers):
    """What a function of kernels.h makes of the inputs and then the numbers: a Var of that shape.

    The numbers are no part of the source, so each function is compiled once for all sizes.
    """
    data = {f"number{i}": number for i, number in enumerate(numbers)}
    arguments = [f"in{i}_p" for i in range(len(inputs))] + ["out0_p"]
    arguments += [f'data["{name}"]' for name in data]
    source = f"kernels::{function}({', '.join(arguments)});"
    dtype = inputs[0].dtype
    return jt.code(shape, dtype, inputs, cpu_src=source, cpu_header=kernels(), data=data)


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

    def own_kernel(self, kernel, size) -> str:
        """The part of kernels.h that computes it on the CPU, "" if none does.

        kernel (k, k), size (h, w) of x.
        """
        if jt.flags.use_cuda or tuple(kernel) != (3, 3):
            return ""
        if self.geometry == (1, 1, 1) and all(s % 2 == 0 for s in size):
            return "winograd"
        return "strided" if self.geometry == (2, 0, 1) and all(s % 2 for s in size) else ""


class _Conv(_Bilinear):
    """(x, w) -> y"""

    def execute(self, x, w):
        (n, c, *size), o = x.shape, w.shape[0]
        own = self.own_kernel(w.shape[2:], size)
        if own == "winograd":
            return _call("winograd::conv", [n, o, *size], [x, w], n, c, o, *size)
        if own == "strided":
            half = [s // 2 for s in size]
            return _call("strided::conv", [n, o, *half], [x, w], n, c, o, *half)
        ops, name = _backend()
        return getattr(ops, name)(x, w, *self.options())

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
        (n, o, *size), c = dy.shape, w.shape[1]
        own = self.own_kernel(w.shape[2:], self.size)
        if own == "winograd":
            return _call("winograd::data", [n, c, *size], [w, dy], n, c, o, *size)
        if own == "strided":
            return _call("strided::data", [n, c, *self.size], [w, dy], n, c, o, *size)
        ops, name = _backend()
        return getattr(ops, name + "_backward_x")(w, dy, *self.size, *self.options())

    def grad(self, dx):
        w, dy = self.saved
        return _ConvWeight(*self.geometry, w.shape[2:])(dx, dy), _Conv(*self.geometry)(dx, w)


class _ConvWeight(_Bilinear):
    """(x, dy) -> dw, the adjoint of a convolution in w."""

    def __init__(self, stride, padding, groups, kernel):
        super().__init__(stride, padding, groups)
        self.kernel = tuple(kernel)

    def execute(self, x, dy):
        (n, c, *size), o = x.shape, dy.shape[1]
        own = self.own_kernel(self.kernel, size)
        if own:
            size = dy.shape[2:]
            return _call(f"{own}::weight", [o, c, *self.kernel], [x, dy], n, c, o, *size)
        ops, name = _backend()
        return getattr(ops, name + "_backward_w")(x, dy, *self.kernel, *self.options())

    def grad(self, dw):
        x, dy = self.saved
        return _ConvData(*self.geometry, x.shape[2:])(dw, dy), _Conv(*self.geometry)(x, dw)


def conv2d(x, w, stride: int = 1, padding: int = 0, groups: int = 1):
    """Cross-correlation. x (n, c, h, w), w (o, c / groups, k, k) -> (n, o, h', w')."""
    if padding == 0 and x.shape[1:] == w.shape[1:]:  # one product per output: a matrix product
        return linear(x.reshape(x.shape[0], -1), w.reshape(w.shape[0], -1)).reshape(-1, len(w), 1, 1)
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


class _Smooth(jt.Function):
    """Blur, then averages of 2x2 neighbours, (n, c, h, w) -> (n, c, h + 1, w + 1); or the adjoint.

    Each is the other's derivative, in every order.
    """

    def __init__(self, adjoint: bool):
        self.adjoint = adjoint

    def execute(self, x):
        n, c, h, w = x.shape
        larger = -1 if self.adjoint else 1
        shape = [n, c, h + larger, w + larger]
        if jt.flags.use_cuda:
            source = SMOOTH_ON_CUDA % ("true" if self.adjoint else "false")
            return jt.code(shape, x.dtype, [x], cuda_src=source)
        function, small = ("adjoint", shape[2:]) if self.adjoint else ("forward", (h, w))
        return _call(f"smooth::{function}", shape, [x], n * c, *small)

    def grad(self, dy):
        return _Smooth(not self.adjoint)(dy)


class _Turn(jt.Function):
    """Kernels rotated by 180 degrees, inputs and outputs exchanged: (o, c, k, k) -> (c, o, k, k).

    A permutation that is its own inverse, and so its own adjoint.
    """

    def execute(self, w):
        o, c, h, k = w.shape
        return w.reindex([c, o, h, k], ["i1", "i0", f"{h - 1}-i2", f"{k - 1}-i3"])

    def grad(self, dw):
        return _Turn()(dw)


def blur_conv2d_avg_pool(x, w):
    """avg_pool2(conv2d(blur(x), w, padding=1)) with 4 times fewer multiplications.

    x (n, c, 2h, 2w), w (o, c, 3, 3) -> (n, o, h, w). blur: binomial filter [1 2 1] x [1 2 1] / 16,
    zeros beyond the border (StyleGAN's section 2, "bilinear"). An average of neighbouring outputs
    is the output for averaged inputs: averages first, the convolution only where they are kept.
    """
    return conv2d(_Smooth(False)(x), w, stride=2)


def conv_transpose2d_blur(x, w):
    """The adjoint of `blur_conv2d_avg_pool`: x (n, c, h, w), w (c, o, 3, 3) -> (n, o, 2h, 2w).

    ProGAN's fused upsampling, kernel widened to 4x4 and stride 2, with the blur after it.
    """
    return _Smooth(True)(conv_transpose2d(x, w, stride=2))


def upsample_conv2d_blur(x, w):
    """blur(conv2d(upsample2(x), w, padding=1)) with 4 times fewer multiplications.

    x (n, c, h, w), w (o, c, 3, 3) -> (n, o, 2h, 2w). Nearest neighbours are sums of 2x2 neighbours
    where every second pixel is zero; the sums come after the convolution.
    """
    return conv_transpose2d_blur(x, 4 * _Turn()(w))


def blurred_ones(h: int, w: int):
    """Blur of an image of ones: less than 1 only at the borders. (1, 1, h, w)"""
    rows, columns = np.ones(h, "float32"), np.ones(w, "float32")
    for x in (rows, columns):
        x[0] -= 0.25
        x[-1] -= 0.25
    return jt.array(np.outer(rows, columns)[None, None]).stop_grad()


def upsample2(x):
    """Nearest neighbour: (n, c, h, w) -> (n, c, 2h, 2w)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h, 1, w, 1).broadcast([n, c, h, 2, w, 2]).reshape(n, c, 2 * h, 2 * w)


def avg_pool2(x):
    """Mean of 2x2 cells: (n, c, 2h, 2w) -> (n, c, h, w)."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(dims=(3, 5))


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
