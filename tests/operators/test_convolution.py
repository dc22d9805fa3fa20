"""Convolutions, alone and with the resampling around them, against closed forms: values, first and
second derivatives.
"""

import numpy as np
import oracle
import pytest
from oracle import assert_close, blurred, draw, pooled

from operators import convolution
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


def test_convolution_with_stride_and_uneven_padding():
    x, w = draw(2, 3, 23, 20), draw(4, 3, 3, 5)
    y = convolution.conv2d(jt.array(x), jt.array(w), (1, 2), 0.5, stride=2)
    assert_close(y, oracle.conv(x, w, 2, (1, 2), False, 0.5))


def test_another_precision_to_the_second_derivative(float64):
    """By NumPy, on CUDA too, where images and kernels come from the GPU and go back."""
    x, w = (a.astype("float64") for a in (draw(2, 3, 5, 5), draw(4, 3, 3, 3)))
    y = oracle.conv(x, w, 2, 1)
    a, (vx, vw) = draw(*y.shape).astype("float64"), (jt.array(v) for v in (x, w))
    vy = convolution.conv2d(vx, vw, 1, stride=2)
    u = jt.grad((jt.array(a) * vy * vy).sum() / 2, vx)
    dx, dw = jt.grad((u * u).sum() / 2, [vx, vw])

    ue = oracle.conv_data(w, a * y, 2, 1, False, 1.0, (5, 5))
    au = a * oracle.conv(ue, w, 2, 1)
    exact_dw = oracle.conv_weight(ue, a * y, 2, 1, False, 1.0, (3, 3))
    exact_dw += oracle.conv_weight(x, au, 2, 1, False, 1.0, (3, 3))
    exact_dx = oracle.conv_data(w, au, 2, 1, False, 1.0, (5, 5))
    for ours, exact in ((vy, y), (u, ue), (dx, exact_dx), (dw, exact_dw)):
        assert ours.dtype == "float64"
        assert_close(ours, exact, 1e-14)
