"""Norms and minibatch stddev against closed forms, to the second derivative; ordered sums."""

import numpy as np
import pytest
from oracle import assert_close, draw

from operators import norms, sums
from operators.convolution import jt
from operators.norms import minibatch_stddev


def assert_along(gradient, direction, exact):
    """The slope along a direction, to 1e-4 of what it could be: it may all but vanish."""
    longest = np.linalg.norm(gradient) * np.linalg.norm(direction)
    assert abs((gradient * direction).sum() - exact) <= 1e-4 * longest


def unit(x, a):
    """Pixel norm of x, and the gradient of sum(a y), in float64."""
    x, a = x.astype("float64"), a.astype("float64")
    scale = 1 / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)
    return scale * x, scale * (a - scale**2 * x * (a * x).mean(1, keepdims=True))


@pytest.mark.parametrize("shape", [(3, 16), (1, 512), (2, 3), (4, 130)])
def test_pixel_norm(shape):
    x, a = draw(*shape), draw(*shape)
    vx = jt.array(x)
    y = norms.pixel_norm(vx)
    exact, gradient = unit(x, a)
    assert_close(y, exact)
    assert_close(jt.grad((jt.array(a) * y).sum(), vx), gradient, 1e-5)


def test_pixel_norm_differentiates_twice():
    """Of sum(b g), g the gradient of sum(a y^2) / 2, by finite differences."""
    x, a, (b, direction) = draw(3, 16), draw(3, 16), draw(2, 3, 16)
    vx = jt.array(x)
    g = jt.grad((jt.array(a) * norms.pixel_norm(vx) ** 2).sum() / 2, vx)
    dx = jt.grad((jt.array(b) * g).sum(), vx).numpy()

    def value(x):
        return (b * unit(x, a * unit(x, a)[0])[1]).sum()

    x, h = x.astype("float64"), 1e-6
    exact = (value(x + h * direction) - value(x - h * direction)) / (2 * h)
    assert_along(dx, direction, exact)


def test_minibatch_stddev():
    x = draw(4, 6, 4, 4)
    y = minibatch_stddev(jt.array(x)).numpy()
    assert y.shape == (4, 7, 4, 4)
    assert (y[:, :6] == x).all()
    np.testing.assert_allclose(y[:, 6], np.sqrt(x.var(0) + 1e-8).mean(), rtol=1e-6)


def test_minibatch_stddev_of_groups():
    x = draw(8, 3, 4, 4)
    y = minibatch_stddev(jt.array(x), 4).numpy()
    assert (y[:, :3] == x).all() and y.shape == (8, 4, 4, 4)
    for first in (0, 1):
        part = x[first::2]
        expected = np.sqrt(part.var(0) + 1e-8).mean()
        np.testing.assert_allclose(y[first::2, 3], expected, rtol=1e-6)
    whole = minibatch_stddev(jt.array(x[:3]), 4).numpy()
    np.testing.assert_allclose(whole[:, 3], np.sqrt(x[:3].var(0) + 1e-8).mean(), rtol=1e-6)


@pytest.mark.parametrize("group", [0, 4])
def test_minibatch_stddev_differentiates_twice(group):
    """Of sum(b u^2), u the gradient in x of the weighted deviations, by finite differences. (With b
    = 1 it would not change with x.)
    """
    x, a, (_, b, direction) = draw(8, 2, 3, 3), draw(8), draw(3, 8, 2, 3, 3)
    groups = [slice(None)] if group == 0 else [slice(0, 8, 2), slice(1, 8, 2)]

    def penalty(x):
        u = np.zeros_like(x)
        for part in groups:
            d = x[part] - x[part].mean(0)
            deviation = np.sqrt((d * d).mean(0) + 1e-8)
            u[part] = a[part].sum() * d / deviation / len(d) / deviation.size
        return (b * u * u).sum()

    vx = jt.array(x)
    score = minibatch_stddev(vx, group)[:, 2, 0, 0]
    u = jt.grad((jt.array(a) * score).sum(), vx)
    dx = jt.grad((jt.array(b) * u * u).sum(), vx).numpy()
    x, h = x.astype("float64"), 1e-6
    exact = (penalty(x + h * direction) - penalty(x - h * direction)) / (2 * h)
    assert_along(dx, direction, exact)


@pytest.mark.parametrize("axes", [(0, 0), (1, 1), (1, 2), (0, 3), (1, 3), (3, 3)])
def test_total(axes):
    """Sums and their gradients: of sum(a t^2) / 2 a t everywhere, of half of that squared again."""
    x, axes = draw(3, 4, 5, 7) + 1, tuple(range(axes[0], axes[1] + 1))
    exact = x.astype("float64").sum(axes)
    a, vx = draw(*np.atleast_1d(exact).shape), jt.array(x)
    t = sums.total(vx, axes[0], axes[-1])
    assert list(t.shape) == list(a.shape)
    assert_close(t, np.atleast_1d(exact), 2e-6)
    g = jt.grad((jt.array(a) * t**2).sum() / 2, vx)
    along = np.expand_dims((a * exact).reshape(exact.shape), axes)
    assert_close(g, np.broadcast_to(along, x.shape), 1e-5)
    again = np.expand_dims((a * a * exact).reshape(exact.shape), axes) * (x.size / exact.size)
    assert_close(jt.grad((g * g).sum() / 2, vx), np.broadcast_to(again, x.shape), 1e-5)


def test_over_images():
    x, y, a, b = (draw(4, 5) for _ in range(4))
    vx, vy = jt.array(x), jt.array(y)
    sums_x, sums_y = sums.over_images(vx, vy)
    assert_close(sums_x, x.astype("float64").sum(0))
    assert_close(sums_y, y.astype("float64").sum(0))
    found = jt.grad((jt.array(a[0]) * sums_x + jt.array(b[0]) * sums_y).sum(), [vx, vy])
    assert_close(found[0], np.broadcast_to(a[0], (4, 5)))
    assert_close(found[1], np.broadcast_to(b[0], (4, 5)))
    assert_close(
        jt.grad((jt.array(b[0]) * sums.over_images(vx, vy)[1]).sum(), vy), found[1].numpy()
    )


def test_mean():
    x = draw(3, 4) + 1
    vx = jt.array(x)
    y = sums.mean(vx)
    assert_close(y, np.array([x.astype("float64").mean()]))
    assert_close(jt.grad(y, vx), np.full((3, 4), 1 / 12))


def test_repeated():
    x, a = draw(1, 4, 3, 3), draw(5, 4, 3, 3)
    vx = jt.array(x)
    y = sums.repeated(vx, 5)
    assert (y.numpy() == np.broadcast_to(x, a.shape)).all()
    assert_close(jt.grad((jt.array(a) * y).sum(), vx), a.sum(0, keepdims=True), 1e-5)
