"""Float64 stand-ins, in NumPy, for the bilinear operators of `ops`: slow and exact.

With them our whole code can run in float64. Float32 decides by chance on which side of its kink a
leaky ReLU falls that is nearly 0, and an iteration later the losses differ in the third digit;
float64 takes chance out of a comparison with numbers recorded in float64.
"""

import itertools

import numpy as np
import pytest

from operators import ops
from operators.ops import jt

RNG = np.random.RandomState(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def assert_close(ours, exact, bar=3e-6):
    """Of the same shape, and within `bar` of the largest value."""
    ours = ours.numpy() if isinstance(ours, jt.Var) else ours
    assert ours.shape == exact.shape
    assert np.abs(ours - exact).max() <= bar * np.abs(exact).max()


def pair(padding):
    return padding if isinstance(padding, tuple) else (padding, padding)


def windows(x, kernel, stride, padding, size):
    """For each tap (i, j): where it meets the padded x (n, c, h, w), and the padded x."""
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pair(padding))))
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        rows = slice(i, i + stride * size[0], stride)
        columns = slice(j, j + stride * size[1], stride)
        yield i, j, (slice(None), slice(None), rows, columns), x


def smoothing(size):
    """Matrix (size + 1, size) of blur and sum of neighbours along one axis, times 1 / 8."""
    blur = 2 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    return (np.eye(size + 1, size) + np.eye(size + 1, size, k=-1)) @ blur / 8


def smooth(x):
    return smoothing(x.shape[2]) @ x @ smoothing(x.shape[3]).T


def smooth_adjoint(y):
    h, w = (s - 1 for s in y.shape[2:])
    return smoothing(h).T @ y @ smoothing(w)


def conv(x, w, stride, padding, down=False, scale=1.0):
    x = smooth(x) if down else x
    lengths = zip(x.shape[2:], pair(padding), w.shape[2:])
    size = [(s + 2 * p - k) // stride + 1 for s, p, k in lengths]
    y = np.zeros((len(x), len(w), *size))
    for i, j, place, padded in windows(x, w.shape[2:], stride, padding, size):
        y += np.moveaxis(np.tensordot(w[:, :, i, j], padded[place], (1, 1)), 0, 1)
    return scale * y


def conv_data(w, dy, stride, padding, down, scale, size):
    above, left = pair(padding)
    h, v = size[0] + down + 2 * above, size[1] + down + 2 * left
    dx = np.zeros((len(dy), w.shape[1], h, v))
    for i, j, place, _ in windows(dx[:, :, :1, :1], w.shape[2:], stride, 0, dy.shape[2:]):
        dx[place] += np.moveaxis(np.tensordot(w[:, :, i, j], dy, (0, 1)), 0, 1)
    dx = scale * dx[:, :, above : h - above, left : v - left]
    return smooth_adjoint(dx) if down else dx


def conv_weight(x, dy, stride, padding, down, scale, kernel):
    x = smooth(x) if down else x
    dw = np.zeros((dy.shape[1], x.shape[1], *kernel))
    for i, j, place, padded in windows(x, kernel, stride, padding, dy.shape[2:]):
        dw[:, :, i, j] = np.tensordot(dy, padded[place], ((0, 2, 3), (0, 2, 3)))
    return scale * dw


def exact(x):
    return x.numpy().astype("float64")


@pytest.fixture
def float64(monkeypatch):
    """While it is active, convolutions, matrix products, new arrays are float64."""

    monkeypatch.setattr(jt.flags, "auto_convert_64_to_32", 0)  # what jt.array does to NumPy's

    def patch(function, execute):
        monkeypatch.setattr(function, "execute", execute)

    def matmul(self, a, b):
        a, b = (exact(m).T if t else exact(m) for m, t in zip((a, b), self.transpose))
        return jt.array(np.ascontiguousarray(self.scale * (a @ b)))

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


@pytest.fixture
def exact_factors(float64, monkeypatch):
    """Python's numbers in float64 too, which Jittor takes as float32: no error is left but that of
    float64.
    """

    def patch(operator):
        original = getattr(jt.Var, operator)

        def operate(x, y):
            if isinstance(y, float):
                y = jt.array(np.array([y]))
                y.sync()
            return original(x, y)

        monkeypatch.setattr(jt.Var, operator, operate)

    for operation in ("add", "sub", "mul", "truediv"):
        patch(f"__{operation}__")
        patch(f"__r{operation}__")
