"""Sums in a fixed order. On CUDA Jittor's own are atomic additions, in another order each time; its
gradient of whatever was broadcast is such a sum, too. And the gradients of a sum of losses.
"""

import numpy as np

from backend import device
from operators import native
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


def gradient_of_sum(losses, parameters) -> list:
    """Gradients of the sum of lists of losses, computed for one list after the other, so that there
    is memory for the activations of one. The losses lose their graphs, which would keep them.
    """
    summed = []
    for group in losses:
        loss = sum(group)
        with jt.no_grad():  # nobody differentiates these once more
            gradients = jt.grad(loss, parameters)
            at_once = not summed or (jt.flags.use_cuda and native.is_float32(*gradients))
            if not at_once:
                gradients = [sum_of(summed.pop(0), g) for g in gradients]
        for finished in [loss, *group]:
            finished.stop_grad()
        if at_once:
            jt.sync(gradients)
        for g in gradients:  # one by one: each sum takes the place of its terms
            g.sync(False, False)
        if summed:
            native.add_on_cuda(summed, gradients)
        summed = summed or gradients
    return summed


def sum_of(a, b):
    """a + b by the one kernel that serves all shapes."""
    return (a.reshape(-1) + b.reshape(-1)).reshape(a.shape)
