"""Float64 stand-ins, in NumPy, for the bilinear operators of `ops`: slow and exact.

With them our whole code can run in float64. Float32 decides by chance on which side of its kink a
leaky ReLU falls that is nearly 0, and an iteration later the losses differ in the third digit;
float64 takes chance out of a comparison with numbers recorded in float64.
"""

import itertools

import numpy as np
import pytest

import ops
from ops import jt


def windows(x, kernel, stride, padding, size):
    """For each tap (i, j): where it meets the padded x (n, c, h, w), and the padded x."""
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        rows = slice(i, i + stride * size[0], stride)
        columns = slice(j, j + stride * size[1], stride)
        yield i, j, (slice(None), slice(None), rows, columns), x


def conv(x, w, stride, padding, groups):
    n, c, h, _ = x.shape
    size = [(s + 2 * padding - k) // stride + 1 for s, k in zip(x.shape[2:], w.shape[2:])]
    y = np.zeros((n, w.shape[0], *size))
    for i, j, place, padded in windows(x, w.shape[2:], stride, padding, size):
        if groups == 1:
            y += np.moveaxis(np.tensordot(w[:, :, i, j], padded[place], (1, 1)), 0, 1)
        else:
            y += w[:, 0, i, j].reshape(1, -1, 1, 1) * padded[place]
    return y


def conv_data(w, dy, stride, padding, groups, size):
    c = w.shape[1] * groups
    dx = np.zeros((dy.shape[0], c, size[0] + 2 * padding, size[1] + 2 * padding))
    for i, j, place, _ in windows(dx[:, :, :1, :1], w.shape[2:], stride, 0, dy.shape[2:]):
        if groups == 1:
            dx[place] += np.moveaxis(np.tensordot(w[:, :, i, j], dy, (0, 1)), 0, 1)
        else:
            dx[place] += w[:, 0, i, j].reshape(1, -1, 1, 1) * dy
    return dx[:, :, padding : padding + size[0], padding : padding + size[1]]


def conv_weight(x, dy, stride, padding, groups, kernel):
    o, c = dy.shape[1], x.shape[1]
    dw = np.zeros((o, c // groups, *kernel))
    for i, j, place, padded in windows(x, kernel, stride, padding, dy.shape[2:]):
        if groups == 1:
            dw[:, :, i, j] = np.tensordot(dy, padded[place], ((0, 2, 3), (0, 2, 3)))
        else:
            dw[:, 0, i, j] = (dy * padded[place]).sum((0, 2, 3))
    return dw


def exact(x):
    return x.numpy().astype("float64")


@pytest.fixture
def float64(monkeypatch):
    """While it is active, convolutions, matrix products and new arrays are float64."""

    monkeypatch.setattr(jt.flags, "auto_convert_64_to_32", 0)  # what jt.array does to NumPy's

    def patch(function, execute):
        monkeypatch.setattr(function, "execute", execute)

    def matmul(self, a, b):
        a, b = (exact(m).T if t else exact(m) for m, t in zip((a, b), self.transpose))
        return jt.array(np.ascontiguousarray(a @ b))

    patch(ops._Conv, lambda f, x, w: jt.array(conv(exact(x), exact(w), *f.geometry)))
    patch(
        ops._ConvData,
        lambda f, w, dy: jt.array(conv_data(exact(w), exact(dy), *f.geometry, f.size).copy()),
    )
    patch(
        ops._ConvWeight,
        lambda f, x, dy: jt.array(conv_weight(exact(x), exact(dy), *f.geometry, f.kernel)),
    )
    patch(ops._Matmul, matmul)
