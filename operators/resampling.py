"""Pooling, nearest neighbours, means of neighbours. Images are (n, c, h, w), float32."""

import numpy as np

from backend import device
from operators.checks import IMAGES, expect, expect_integer, expect_room
from operators.native import call

jt = device.load()


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
    n, c, h, w = expect(x, "x", IMAGES)
    if jt.flags.use_cuda and str(x.dtype) == "float32":
        return _Unpool(1.0)(x)
    return x.reshape(n, c, h, 1, w, 1).broadcast([n, c, h, 2, w, 2]).reshape(n, c, 2 * h, 2 * w)


def avg_pool2(x):
    """Mean of 2x2 cells: (n, c, 2h, 2w) -> (n, c, h, w)."""
    n, c, h, w = expect(x, "x", ("n", "c", "2h", "2w"))
    if jt.flags.use_cuda and str(x.dtype) == "float32":
        return _Pool(0.25)(x)
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(dims=(3, 5))


def blurred_ones(h: int, w: int):
    """Blur of an image of ones: less than 1 only at the borders. (1, 1, h, w)"""
    expect_integer(h, "h", 1)
    expect_integer(w, "w", 1)
    rows, columns = np.ones(h, "float32"), np.ones(w, "float32")
    for x in (rows, columns):
        x[0] -= 0.25
        x[-1] -= 0.25
    return jt.array(np.outer(rows, columns)[None, None]).stop_grad()


def mean_of_neighbours(x):
    """Mean of 3x3 neighbours, of those inside the image: (n, c, h, w), as x."""
    n, c, h, w = expect(x, "x", IMAGES)
    x = x.reindex([n, c, h + 2, w], ["i0", "i1", "i2-1", "i3"])
    x = x[:, :, :-2] + x[:, :, 1:-1] + x[:, :, 2:]
    x = x.reindex([n, c, h, w + 2], ["i0", "i1", "i2", "i3-1"])
    rows, columns = np.full(h, 3, "float32"), np.full(w, 3, "float32")
    for count in (rows, columns):
        count[0] -= 1
        count[-1] -= 1
    inside = jt.array(np.outer(rows, columns)[None, None]).stop_grad()
    return (x[..., :-2] + x[..., 1:-1] + x[..., 2:]) / inside


def max_pool2d(x, kernel: int, stride: int, padding: int = 0):
    """The largest of kernel x kernel neighbours, those inside the image: (n, c, h, w) -> (n, c, h',
    w'). What does not fill a window on the right or below is left out, as PyTorch does.

    padding: at most half of a window.

    A choice of elements of x, and its derivatives choose the same.
    """
    expect_integer(kernel, "kernel", 1)
    expect_integer(stride, "stride", 1)
    expect_integer(padding, "padding", 0, kernel // 2)
    n, c, *size = expect_room(x, "x", (kernel, kernel), padding)
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
