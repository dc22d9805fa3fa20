"""Norms, and the batch's standard deviation, each by one kernel. Images are (n, c, h, w) and
float32.
"""

from backend import device
from operators.checks import FLOAT32, IMAGES, expect, expect_integer
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
    expect(x, "x", ("n", "c"))
    return x / jt.sqrt((x * x).mean(dim=1, keepdims=True) + 1e-8)


def pixel_norm(x):
    """x / sqrt(mean over c of x^2 + 1e-8) (ProGAN, section 4.2), x (n, c)."""
    expect(x, "x", ("n", "c"), FLOAT32)
    return _PixelNorm()(x)


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


def minibatch_stddev(x, group: int = 0):
    """Appends a channel with one number: the mean over everything of the batch's standard deviation
    (ProGAN, 3). With `group`, that of groups of so many: of 8 images 0 2 4 6 and 1 3 5 7.
    Differentiates twice.
    """
    n = expect(x, "x", IMAGES, FLOAT32)[0]
    expect_integer(group, "group", 0)
    group = min(group or n, n)
    if n % group:
        raise ValueError(f"{n} images are no groups of {group}")
    return _Stddev(group)(x)
