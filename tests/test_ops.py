"""Every operator against closed forms, its first and its second derivative."""

import numpy as np
import oracle
import pytest

import ops
from ops import jt

RNG = np.random.RandomState(0)
GEOMETRIES = [  # stride, padding, groups, kernel, channels in, out, size
    (1, 1, 1, 3, 5, 7, 6),
    (2, 1, 1, 4, 8, 8, 8),
    (1, 0, 1, 4, 6, 3, 4),
    (1, 0, 1, 1, 3, 8, 5),
    (1, 1, 8, 3, 8, 8, 6),
    (1, 1, 1, 3, 300, 290, 4),  # longer sums than LONGEST_SUM: taken in parts
]


def draw(*shape):
    return RNG.standard_normal(shape).astype("float32")


def assert_close(ours, exact, bar=3e-6):
    ours = ours.numpy() if isinstance(ours, jt.Var) else ours
    assert ours.shape == exact.shape
    assert np.abs(ours - exact).max() <= bar * np.abs(exact).max()


@pytest.fixture(params=GEOMETRIES, ids=str)
def case(request):
    stride, padding, groups, k, c, o, size = request.param
    return (stride, padding, groups), draw(2, c, size, size), draw(o, c // groups, k, k)


def test_conv2d(case):
    geometry, x, w = case
    assert_close(ops.conv2d(jt.array(x), jt.array(w), *geometry), oracle.conv(x, w, *geometry))


def test_conv2d_first_derivatives(case):
    geometry, x, w = case
    y = oracle.conv(x, w, *geometry)
    weight = draw(*y.shape)
    vx, vw = jt.array(x), jt.array(w)
    dx, dw = jt.grad((ops.conv2d(vx, vw, *geometry) * jt.array(weight)).sum(), [vx, vw])
    assert_close(dx, oracle.conv_data(w, weight, *geometry, x.shape[2:]))
    assert_close(dw, oracle.conv_weight(x, weight, *geometry, w.shape[2:]))


def test_conv2d_second_derivatives(case):
    """P = |u|^2 / 2 with u the gradient in x of sum(a y^2) / 2, by the product rule."""
    geometry, x, w = case
    y = oracle.conv(x, w, *geometry)
    a = draw(*y.shape)
    vx, vw = jt.array(x), jt.array(w)
    vy = ops.conv2d(vx, vw, *geometry)
    u = jt.grad((jt.array(a) * vy * vy).sum() / 2, vx)
    dx, dw = jt.grad((u * u).sum() / 2, [vx, vw])

    ue = oracle.conv_data(w, a * y, *geometry, x.shape[2:])
    au = a * oracle.conv(ue, w, *geometry)
    assert_close(u, ue)
    assert_close(dx, oracle.conv_data(w, au, *geometry, x.shape[2:]), 1e-5)
    through_gradient = oracle.conv_weight(ue, a * y, *geometry, w.shape[2:])
    through_output = oracle.conv_weight(x, au, *geometry, w.shape[2:])
    assert_close(dw, through_gradient + through_output, 1e-5)


def test_conv_transpose2d_derivatives():
    x, w = draw(2, 6, 4, 4), draw(6, 5, 4, 4)
    vx, vw = jt.array(x), jt.array(w)
    y = ops.conv_transpose2d(vx, vw, stride=2, padding=1)
    assert_close(y, oracle.conv_data(w, x, 2, 1, 1, (8, 8)))
    weight = draw(*y.shape)
    dx, dw = jt.grad((y * jt.array(weight)).sum(), [vx, vw])
    assert_close(dx, oracle.conv(weight, w, 2, 1, 1))
    assert_close(dw, oracle.conv_weight(weight, x, 2, 1, 1, (4, 4)))


@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_matmul_derivatives(transpose):
    ta, tb = map(bool, transpose)
    a, b = draw(*((4, 3) if ta else (3, 4))), draw(*((5, 4) if tb else (4, 5)))
    va, vb = jt.array(a), jt.array(b)
    c = ops._Matmul(ta, tb)(va, vb)
    ea, eb = a.T if ta else a, b.T if tb else b
    assert_close(c, ea @ eb)
    g = jt.grad((c * c).sum() / 2, va)
    dc = ea @ eb
    expected = dc @ eb.T
    assert_close(g, expected.T if ta else expected)
    # second order: h = |g|^2 / 2 with g = a b b', so dh/db = (a'g + g'a) b
    h = jt.grad((g * g).sum() / 2, vb)
    ge = ea @ eb @ eb.T
    expected = (ea.T @ ge + ge.T @ ea) @ eb
    assert_close(h, expected.T if tb else expected, 1e-5)


def test_blur_is_the_binomial_filter_with_zero_borders():
    x = np.zeros((1, 2, 5, 5), "float32")
    x[0, 0, 2, 2] = x[0, 1, 0, 0] = 16
    y = ops.blur(jt.array(x)).numpy()
    assert (y[0, 0, 1:4, 1:4] == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]).all()
    assert (y[0, 1, :2, :2] == [[4, 2], [2, 1]]).all()
    assert y.sum() == 16 + 9


def test_blur_differentiates_twice():
    """It is symmetric, B: of sum((B x)^3) the gradient is g = 3 B (B x)^2, and of sum(c g) the
    gradient is 6 B (B x * B c).
    """

    def blurred(a):
        padded = np.pad(a.astype("float64"), ((0, 0), (0, 0), (1, 1), (1, 1)))
        rows = padded[:, :, :-2] + 2 * padded[:, :, 1:-1] + padded[:, :, 2:]
        return (rows[..., :-2] + 2 * rows[..., 1:-1] + rows[..., 2:]) / 16

    x, c = draw(2, 3, 5, 7), draw(2, 3, 5, 7)
    vx = jt.array(x)
    g = jt.grad((ops.blur(vx) ** 3).sum(), vx)
    assert_close(g, 3 * blurred(blurred(x) ** 2))
    assert_close(jt.grad((jt.array(c) * g).sum(), vx), 6 * blurred(blurred(x) * blurred(c)))


def test_resampling():
    x = np.arange(8, dtype="float32").reshape(1, 2, 2, 2)
    up = ops.upsample2(jt.array(x)).numpy()
    assert (up == x.repeat(2, 2).repeat(2, 3)).all()
    assert (ops.avg_pool2(jt.array(up)).numpy() == x).all()


def test_upsample_conv2d_equals_its_two_steps():
    x, w = draw(2, 6, 5, 5), draw(4, 6, 3, 3)
    exact = oracle.conv(x.repeat(2, 2).repeat(2, 3), w, 1, 1, 1)
    assert_close(ops.upsample_conv2d(jt.array(x), jt.array(w)), exact)


def test_conv2d_avg_pool_equals_its_two_steps():
    x, w = draw(2, 6, 8, 8), draw(4, 6, 3, 3)
    exact = oracle.conv(x, w, 1, 1, 1).reshape(2, 4, 4, 2, 4, 2).mean((3, 5))
    assert_close(ops.conv2d_avg_pool(jt.array(x), jt.array(w)), exact)


def test_widened_kernel_differentiates_back_to_the_stored_one():
    w, weight = draw(3, 2, 3, 3), draw(3, 2, 4, 4)
    vw = jt.array(w)
    gradient = jt.grad((ops.widen(vw) * jt.array(weight)).sum(), vw)
    exact = sum(weight[:, :, i : i + 3, j : j + 3] for i in (0, 1) for j in (0, 1))
    assert_close(gradient, exact)


def test_normalisations():
    x = draw(3, 4, 5, 5) * 3 + 2
    exact = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    assert_close(ops.instance_norm(jt.array(x)), exact)
    z = draw(3, 16)
    assert_close(ops.pixel_norm(jt.array(z)), z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8))


def test_leaky_relu():
    x = jt.array(np.array([-2.0, -0.5, 0.5, 3.0], "float32"))
    y = ops.leaky_relu(x)
    np.testing.assert_allclose(y.numpy(), [-0.4, -0.1, 0.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(jt.grad(y.sum(), x).numpy(), [0.2, 0.2, 1, 1], rtol=1e-6)


def test_minibatch_stddev():
    x = draw(4, 6, 4, 4)
    y = ops.minibatch_stddev(jt.array(x)).numpy()
    assert y.shape == (4, 7, 4, 4)
    assert (y[:, :6] == x).all()
    np.testing.assert_allclose(y[:, 6], np.sqrt(x.var(0) + 1e-8).mean(), rtol=1e-6)
