"""Norms, and the batch's standard deviation. Images are (n, c, h, w), float32."""

import numpy as np

from backend import device
from operators.native import call

jt = device.load()


class _PixelNorm(jt.Function):
    """x (n, c) -> y"""

    def __call__(self, x):
        self.saved = x
        return super().__call__(x)

    def execute(self, x):
        return call("pixel_norm_forward", [x], [x.shape], *x.shape)[0]

    def grad(self, dy):
        return _PixelNormGradient()(self.saved, dy)


class _PixelNormGradient(jt.Function):
    """(x, dy) -> dx"""

    def __call__(self, x, dy):
        self.saved = x, dy
        return super().__call__(x, dy)

    def execute(self, x, dy):
        return call("pixel_norm_gradient", [x, dy], [x.shape], *x.shape)[0]

    def grad(self, v):
        """Rarely asked for: by way of the plain expression. Of clones, for dy may depend on x."""
        x, dy = clones = [a.clone() for a in self.saved]
        return jt.grad((jt.grad((pixel_norm_plain(x) * dy).sum(), x) * v).sum(), clones)


def pixel_norm_plain(x):
    """`pixel_norm` step by step."""
    return x / jt.sqrt((x * x).mean(dim=1, keepdims=True) + 1e-8)


def pixel_norm(x):
    """x / sqrt(mean over c of x^2 + 1e-8) (ProGAN, section 4.2), x (n, c)."""
    return _PixelNorm()(x) if str(x.dtype) == "float32" else pixel_norm_plain(x)


def instance_norm(x, eps: float = 1e-5):
    """Zero mean and unit (biased) variance of each image's each channel."""
    x = x - x.mean(dims=(2, 3), keepdims=True)
    return x / jt.sqrt((x * x).mean(dims=(2, 3), keepdims=True) + eps)


class _Stddev(jt.Function):
    """x (n, c, h, w) -> y (n, c + 1, h, w)"""

    def __init__(self, group: int):
        self.group = group

    def __call__(self, *inputs):
        self.saved = inputs
        return super().__call__(*inputs)

    def numbers(self, x):
        n, c, h, w = x.shape
        return self.group, n // self.group, c, h * w

    def execute(self, x):
        n, c, *size = x.shape
        return call("stddev_forward", [x], [[n, c + 1, *size]], *self.numbers(x))[0]

    def grad(self, dy):
        return _StddevGradient(self.group)(*self.saved, dy)


class _StddevGradient(_Stddev):
    """(x, dy) -> dx"""

    def execute(self, x, dy):
        return call("stddev_gradient", [x, dy], [x.shape], *self.numbers(x))[0]

    def grad(self, v):
        x, dy = self.saved
        shapes = [dy.shape, x.shape]
        ddy, dx = call("stddev_second", [x, dy, v], shapes, *self.numbers(x))
        return dx, ddy


def minibatch_stddev_plain(x, group: int):
    """`minibatch_stddev` step by step."""
    n, c, h, w = x.shape
    d = x.reshape(group, n // group, c, h, w)
    d = d - d.mean(dim=0, keepdims=True)
    deviation = jt.sqrt((d * d).mean(dim=0) + 1e-8).mean(dims=(2, 3)).mean(dim=1)  # (n / group,)
    deviation = deviation.broadcast([group, n // group], [0]).reshape(n, 1, 1, 1)
    padded = x.reindex([n, c + 1, h, w], ["i0", "i1", "i2", "i3"])  # a channel of zeros
    last = np.arange(c + 1).reshape(1, -1, 1, 1) == c
    return padded + deviation * jt.array(last.astype(str(x.dtype))).stop_grad()


def minibatch_stddev(x, group: int = 0):
    """Appends a channel with one number: the mean over everything of the batch's standard deviation
    (ProGAN, 3). With `group`, that of groups of so many: of 8 images 0 2 4 6 and 1 3 5 7.
    Differentiates twice.
    """
    n = x.shape[0]
    group = min(group or n, n)
    if n % group:
        raise ValueError(f"{n} images are no groups of {group}")
    if str(x.dtype) != "float32":
        return minibatch_stddev_plain(x, group)
    return _Stddev(group)(x)
