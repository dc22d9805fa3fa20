"""Every operator against closed forms, its first and its second derivative."""

import numpy as np
import oracle
import pytest
from oracle import assert_close, draw

from operators import convolution, products, resampling
from operators.convolution import jt

GEOMETRIES = [  # stride, padding, down, scale; kernel or (rows, columns), channels in, out, size
    (1, 1, False, 1.0, 3, 5, 7, 6),
    (1, 1, False, 0.5, 3, 6, 5, 5),  # odd: not Winograd's
    (2, 1, False, 1.0, 4, 8, 8, 8),
    (1, 0, False, 0.5, 1, 3, 8, 5),
    (1, 1, False, 0.5, 3, 300, 290, 4),  # long sums
    (1, 1, False, 1.0, 3, 3, 2, 36),  # more tiles than are taken at once
    (2, 0, True, 1.0, 3, 5, 7, 2),
    (2, 0, True, 0.5, 3, 5, 7, 6),
    (2, 0, True, 1.0, 3, 2, 3, 36),  # more taps than are taken at once
    (2, 0, True, 0.5, 3, 140, 130, 6),  # wide: all threads take one step after the other
    (1, 1, False, 1.0, 3, 64, 128, 4),  # channels that need some room between pixels
    (4, 2, False, 1.0, 11, 3, 6, 25),  # leaves the last row and column out
    (2, 0, False, 1.0, 3, 4, 5, 9),
    (1, (0, 3), False, 1.0, (1, 7), 4, 5, 9),
    (1, (1, 0), False, 0.5, (3, 1), 4, 5, 6),
]


@pytest.fixture(params=GEOMETRIES, ids=str)
def case(request):
    *geometry, k, c, o, size = request.param
    return geometry, draw(2, c, size, size), draw(o, c, *oracle.pair(k))


def test_conv2d(case):
    geometry, x, w = case
    assert_close(
        convolution._Conv(*geometry)(jt.array(x), jt.array(w)), oracle.conv(x, w, *geometry)
    )


def test_conv2d_first_derivatives(case):
    geometry, x, w = case
    y = oracle.conv(x, w, *geometry)
    weight = draw(*y.shape)
    vx, vw = jt.array(x), jt.array(w)
    dx, dw = jt.grad((convolution._Conv(*geometry)(vx, vw) * jt.array(weight)).sum(), [vx, vw])
    assert_close(dx, oracle.conv_data(w, weight, *geometry, x.shape[2:]))
    assert_close(dw, oracle.conv_weight(x, weight, *geometry, w.shape[2:]))


def test_conv2d_second_derivatives(case):
    """P = |u|^2 / 2 with u the gradient in x of sum(a y^2) / 2, by the product rule."""
    geometry, x, w = case
    y = oracle.conv(x, w, *geometry)
    a = draw(*y.shape)
    vx, vw = jt.array(x), jt.array(w)
    vy = convolution._Conv(*geometry)(vx, vw)
    u = jt.grad((jt.array(a) * vy * vy).sum() / 2, vx)
    dx, dw = jt.grad((u * u).sum() / 2, [vx, vw])

    ue = oracle.conv_data(w, a * y, *geometry, x.shape[2:])
    au = a * oracle.conv(ue, w, *geometry)
    assert_close(u, ue)
    assert_close(dx, oracle.conv_data(w, au, *geometry, x.shape[2:]), 1e-5)
    through_gradient = oracle.conv_weight(ue, a * y, *geometry, w.shape[2:])
    through_output = oracle.conv_weight(x, au, *geometry, w.shape[2:])
    assert_close(dw, through_gradient + through_output, 1e-5)


def test_convolution_with_a_kernel_as_large_as_the_image():
    x, w, weight = draw(3, 6, 4, 4), draw(5, 6, 4, 4), draw(3, 5, 1, 1)
    vx, vw = jt.array(x), jt.array(w)
    y = convolution.conv2d(vx, vw, scale=0.5)
    assert_close(y, oracle.conv(x, w, 1, 0, False, 0.5))
    dx, dw = jt.grad((y * jt.array(weight)).sum(), [vx, vw])
    assert_close(dx, oracle.conv_data(w, weight, 1, 0, False, 0.5, (4, 4)))
    assert_close(dw, oracle.conv_weight(x, weight, 1, 0, False, 0.5, (4, 4)))


@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_matmul_derivatives(transpose):
    ta, tb = map(bool, transpose)
    a, b = draw(*((4, 3) if ta else (3, 4))), draw(*((5, 4) if tb else (4, 5)))
    va, vb = jt.array(a), jt.array(b)
    c = products._Matmul(ta, tb, 0.5)(va, vb)
    ea, eb = a.T if ta else a, b.T / 2 if tb else b / 2
    assert_close(c, ea @ eb)
    g = jt.grad((c * c).sum() / 2, va)
    dc = ea @ eb
    expected = dc @ eb.T
    assert_close(g, expected.T if ta else expected)
    # second order: h = |g|^2 / 2 with g = a b b', so dh/db = (a'g + g'a) b
    h = jt.grad((g * g).sum() / 2, vb)
    ge = ea @ eb @ eb.T
    expected = (ea.T @ ge + ge.T @ ea) @ eb / 2  # b is twice eb
    assert_close(h, expected.T if tb else expected, 1e-5)


def blurred(x):
    padded = np.pad(x.astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
    return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16


def pooled(x):
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2, w // 2, 2).mean((3, 5))


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


@pytest.mark.parametrize("size", [1, 2, 5, 20])
def test_upsample_conv2d_blur_equals_its_three_steps(size):
    x, w = draw(2, 6, size, size), draw(4, 6, 3, 3)
    exact = blurred(oracle.conv(x.repeat(2, 2).repeat(2, 3), w, 1, 1))
    assert_close(convolution.upsample_conv2d_blur(jt.array(x), jt.array(w)), exact)
    assert_close(convolution.upsample_conv2d_blur(jt.array(x), jt.array(w), 0.3), 0.3 * exact)


def test_upsample_conv2d_blur_differentiates_twice():
    """y is linear in w: of |u|^2 / 2, u the gradient in x of |y|^2 / 2, by finite differences."""
    x, w, direction = draw(1, 3, 4, 4), draw(2, 3, 3, 3), draw(2, 3, 3, 3)

    def matrix(w):  # (x's elements, y's elements), from the definition
        one = np.eye(x.size).reshape(-1, *x.shape[1:]).repeat(2, 2).repeat(2, 3)
        return blurred(oracle.conv(one, w, 1, 1)).reshape(x.size, -1)

    def penalty(w):
        m = matrix(w)
        u = m @ (m.T @ x.reshape(-1).astype("float64"))
        return u @ u / 2

    vx, vw = jt.array(x), jt.array(w)
    u = jt.grad((convolution.upsample_conv2d_blur(vx, vw) ** 2).sum() / 2, vx)
    dw = jt.grad((u * u).sum() / 2, vw).numpy()
    w, h = w.astype("float64"), 1e-4
    exact = (penalty(w + h * direction) - penalty(w - h * direction)) / (2 * h)
    assert abs((dw * direction).sum() - exact) <= 1e-5 * abs(exact)


@pytest.mark.parametrize("size", [2, 4, 10, 40])
def test_blur_conv2d_avg_pool_equals_its_three_steps(size):
    x, w = draw(2, 6, size, size), draw(4, 6, 3, 3)
    exact = pooled(oracle.conv(blurred(x), w, 1, 1))
    assert_close(convolution.blur_conv2d_avg_pool(jt.array(x), jt.array(w)), exact)
    assert_close(convolution.blur_conv2d_avg_pool(jt.array(x), jt.array(w), 0.3), 0.3 * exact)


def test_fused_upsampling_equals_its_steps():
    """Kernel padded and shifted four times, averaged; transposed convolution; blur."""
    x, w = draw(2, 6, 5, 5), draw(6, 4, 3, 3)
    shifted = [np.pad(w, ((0, 0), (0, 0), (i, 1 - i), (j, 1 - j))) for i in (0, 1) for j in (0, 1)]
    exact = blurred(oracle.conv_data(sum(shifted) / 4, x, 2, 1, False, 1.0, (10, 10)))
    assert_close(convolution.conv_transpose2d_blur(jt.array(x), jt.array(w)), exact)


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


def test_convolution_with_stride_and_uneven_padding():
    x, w = draw(2, 3, 23, 20), draw(4, 3, 3, 5)
    y = convolution.conv2d(jt.array(x), jt.array(w), (1, 2), 0.5, stride=2)
    assert_close(y, oracle.conv(x, w, 2, (1, 2), False, 0.5))


def test_blurred_ones():
    assert (resampling.blurred_ones(4, 6).numpy() == blurred(np.ones((1, 1, 4, 6)))).all()
