"""Pooling, nearest neighbours, means of neighbours against closed forms, and their derivatives."""

import numpy as np
import pytest
from oracle import assert_close, blurred, draw, pooled

from operators import resampling
from operators.convolution import jt


def test_resampling():
    x = np.arange(8, dtype="float32").reshape(1, 2, 2, 2)
    up = resampling.upsample2(jt.array(x)).numpy()
    assert (up == x.repeat(2, 2).repeat(2, 3)).all()
    assert (resampling.avg_pool2(jt.array(up)).numpy() == x).all()


def test_resampling_differentiates_twice():
    """Of sum(a y^2) / 2 the gradient is g, the adjoint of a y, of sum(g^2) / 2 that of a y(g)."""
    x, a, b = draw(2, 3, 6, 4), draw(2, 3, 12, 8), draw(2, 3, 3, 2)

    def up(x):
        return x.astype("float64").repeat(2, 2).repeat(2, 3)

    for ours, exact, adjoint, weight in (
        (resampling.upsample2, up, lambda x: 4 * pooled(x), a),
        (resampling.avg_pool2, pooled, lambda x: up(x) / 4, b),
    ):
        vx = jt.array(x)
        g = jt.grad((jt.array(weight) * ours(vx) ** 2).sum() / 2, vx)
        gradient = adjoint(weight * exact(x.astype("float64")))
        assert_close(g, gradient)
        second = adjoint(weight * exact(gradient))
        assert_close(jt.grad((g * g).sum() / 2, vx), second)


def best_places(x, kernel, stride, padding):
    """Matrix of zeros and ones (outputs, elements of x): which element max pooling takes."""
    inside = np.full((x.shape[0], x.shape[1], *(s + 2 * padding for s in x.shape[2:])), -np.inf)
    h, w = x.shape[2:]
    inside[:, :, padding : padding + h, padding : padding + w] = x
    number = np.full(inside.shape, -1)
    number[:, :, padding : padding + h, padding : padding + w] = np.arange(x.size).reshape(x.shape)
    rows = []
    for n, c in np.ndindex(*x.shape[:2]):
        for i in range(0, inside.shape[2] - kernel + 1, stride):
            for j in range(0, inside.shape[3] - kernel + 1, stride):
                place = (n, c, slice(i, i + kernel), slice(j, j + kernel))
                rows.append(number[place].flat[inside[place].argmax()])
    return np.eye(x.size)[rows]


@pytest.mark.parametrize("kernel, stride, padding", [(2, 2, 0), (3, 2, 0), (3, 1, 1)])
@pytest.mark.parametrize("size", [(6, 6), (7, 8)])
def test_max_pooling_and_its_derivatives(kernel, stride, padding, size):
    """y = M x with a matrix M of ones where an element is the largest of its window. Of |y|^2 / 2
    the gradient is u = M'M x, of sum(a u) it is M'M a.
    """
    x, a = draw(2, 3, *size) - 2, draw(2, 3, *size)  # below 0: padding must not win
    m = best_places(x, kernel, stride, padding)
    vx = jt.array(x)
    y = resampling.max_pool2d(vx, kernel, stride, padding)
    assert (y.numpy().reshape(-1) == (m @ x.reshape(-1)).astype("float32")).all()
    u = jt.grad((y * y).sum() / 2, vx)
    assert_close(u, (m.T @ m @ x.reshape(-1)).reshape(x.shape))
    second = jt.grad((u * jt.array(a)).sum(), vx)
    assert_close(second, (m.T @ m @ a.reshape(-1)).reshape(x.shape))


@pytest.mark.parametrize("size", [(5, 8), (1, 2)])
def test_mean_of_neighbours(size):
    """Of those inside; linear, so that the gradient is the transposed matrix."""
    h, w = size
    near = [np.eye(n) + np.eye(n, k=1) + np.eye(n, k=-1) for n in size]
    rows, columns = (m / m.sum(axis=1, keepdims=True) for m in near)
    x, a = draw(2, 3, h, w), draw(2, 3, h, w)
    vx = jt.array(x)
    y = resampling.mean_of_neighbours(vx)
    assert_close(y, rows @ x @ columns.T)
    gradient = jt.grad((y * y * jt.array(a)).sum() / 2, vx)
    assert_close(gradient, rows.T @ (a * (rows @ x @ columns.T)) @ columns)
    again = jt.grad((gradient * gradient).sum() / 2, vx)
    u = rows.T @ (a * (rows @ x @ columns.T)) @ columns
    assert_close(again, rows.T @ (a * (rows @ u @ columns.T)) @ columns, 1e-5)


def test_blurred_ones():
    assert (resampling.blurred_ones(4, 6).numpy() == blurred(np.ones((1, 1, 4, 6)))).all()
