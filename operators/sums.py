"""Sums in a fixed order. On CUDA Jittor's own are atomic additions, in another order each time; its
gradient of whatever was broadcast is such a sum, too.
"""

import numpy as np

from backend import device
from operators.checks import expect, expect_integer
from operators.native import call

jt = device.load()


class _Totals(jt.Function):
    """(n, m, k) -> (n, k), the sum over m, of one or two arrays"""

    def execute(self, *arrays):
        n, self.m, k = arrays[0].shape
        found = call("totals", arrays, [[n, k]] * len(arrays), n, self.m, k, len(arrays))
        return tuple(found) if len(found) > 1 else found[0]

    def grad(self, *gradients):
        found = [None if dy is None else _Repeat(self.m)(dy) for dy in gradients]
        return tuple(found) if len(found) > 1 else found[0]


class _Repeat(jt.Function):
    """(n, k) -> (n, m, k), the adjoint"""

    def __init__(self, m: int):
        self.m = m

    def execute(self, x):
        n, k = x.shape
        return x.reshape(n, 1, k).broadcast([n, self.m, k])

    def grad(self, dy):
        return _Totals()(dy)


def ordered(x) -> bool:
    """Whether Jittor's own sums of it are in a fixed order, or cannot be replaced."""
    return not jt.flags.use_cuda or str(x.dtype) != "float32"


def total(x, first: int = 0, last: int = -1):
    """Sum over the axes from `first` to `last`, which are left out; one number is (1,)."""
    shape = list(expect(x, "x", (...,)))
    expect_integer(last, "last", -len(shape), len(shape) - 1)
    last %= len(shape)
    expect_integer(first, "first", 0, last)
    left = shape[:first] + shape[last + 1 :] or [1]
    if ordered(x):
        return x.sum(dims=tuple(range(first, last + 1))).reshape(left)
    n, m, k = (int(np.prod(p)) for p in (shape[:first], shape[first : last + 1], shape[last + 1 :]))
    return _Totals()(x.reshape(n, m, k)).reshape(left)


def over_images(x, y):
    """Sums over the first axis of two arrays (n, c): (c,) each."""
    expect(y, "y", tuple(expect(x, "x", ("n", "c"))), (str(x.dtype),))
    if ordered(x):
        return x.sum(dim=0), y.sum(dim=0)
    found = _Totals()(*(a.reshape(1, *a.shape) for a in (x, y)))
    return tuple(a.reshape(-1) for a in found)


def mean(x):
    """Of all numbers: (1,)"""
    expect(x, "x", (...,))
    return x.mean() if ordered(x) else total(x) / x.numel()


def repeated(x, n: int):
    """(1, ...) -> (n, ...)"""
    expect(x, "x", (1, ...))
    expect_integer(n, "n", 1)
    if ordered(x):
        return x.broadcast([n, *x.shape[1:]])
    return _Repeat(n)(x.reshape(1, -1)).reshape(n, *x.shape[1:])
