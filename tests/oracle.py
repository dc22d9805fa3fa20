"""What operators are compared with, in NumPy and float64; and fixtures for float64 in Jittor."""

import numpy as np
import pytest

from operators import reference
from operators.convolution import jt
from operators.reference import pair  # noqa: F401

RNG = np.random.RandomState(0)


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def assert_close(ours, exact, bar=3e-6):
    """Of the same shape, and within `bar` of the largest value."""
    ours = ours.numpy() if isinstance(ours, jt.Var) else ours
    assert ours.shape == exact.shape
    assert np.abs(ours - exact).max() <= bar * np.abs(exact).max()


def smoothing(size):
    """Matrix (size + 1, size) of blur and sum of neighbours along one axis, times 1 / 8."""
    blur = 2 * np.eye(size) + np.eye(size, k=1) + np.eye(size, k=-1)
    return (np.eye(size + 1, size) + np.eye(size + 1, size, k=-1)) @ blur / 8


def smooth(x):
    return smoothing(x.shape[2]) @ x @ smoothing(x.shape[3]).T


def smooth_adjoint(y):
    h, w = (s - 1 for s in y.shape[2:])
    return smoothing(h).T @ y @ smoothing(w)


def in_float64(*arrays):
    return [a.astype("float64") for a in arrays]


def conv(x, w, stride, padding, down=False, scale=1.0):
    x, w = in_float64(x, w)
    return scale * reference.conv(smooth(x) if down else x, w, stride, padding)


def conv_data(w, dy, stride, padding, down, scale, size):
    size = [s + down for s in size]
    dx = scale * reference.conv_data(*in_float64(w, dy), stride, padding, size)
    return smooth_adjoint(dx) if down else dx


def conv_weight(x, dy, stride, padding, down, scale, kernel):
    x, dy = in_float64(x, dy)
    return scale * reference.conv_weight(smooth(x) if down else x, dy, stride, padding, kernel)


def blurred(x):
    """[1 2 1] x [1 2 1] / 16 with zeros beyond the border."""
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def pooled(x):
    """Means of 2x2 pixels."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


@pytest.fixture
def float64(monkeypatch):
    """While it is active Jittor makes float64 of NumPy's float64, which it makes float32 of else,
    and takes Python's numbers as float64 beside such Vars, which it takes as float32 else.
    """
    monkeypatch.setattr(jt.flags, "auto_convert_64_to_32", 0)

    def patch(operator):
        original = getattr(jt.Var, operator)

        def operate(x, y):
            if isinstance(y, float) and x.dtype == "float64":
                y = jt.array(np.array([y]))
                y.sync()
            return original(x, y)

        monkeypatch.setattr(jt.Var, operator, operate)

    for operation in ("add", "sub", "mul", "truediv"):
        patch(f"__{operation}__")
        patch(f"__r{operation}__")
