"""Activations and norms against closed forms, to the second derivative."""

import numpy as np
import pytest
from oracle import assert_close, draw

from backend import activations
from backend.ops import jt


def test_normalisations():
    x = draw(3, 4, 5, 5) * 3 + 2
    exact = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    assert_close(activations.instance_norm(jt.array(x)), exact)
    z = draw(3, 16)
    assert_close(
        activations.pixel_norm(jt.array(z)), z / np.sqrt((z**2).mean(1, keepdims=True) + 1e-8)
    )


def test_leaky_relu():
    x = jt.array(np.array([-2.0, -0.5, 0.5, 3.0], "float32"))
    y = activations.leaky_relu(x)
    np.testing.assert_allclose(y.numpy(), [-0.4, -0.1, 0.5, 3.0], rtol=1e-6)
    np.testing.assert_allclose(jt.grad(y.sum(), x).numpy(), [0.2, 0.2, 1, 1], rtol=1e-6)


def test_leaky_relu_differentiates_twice():
    """Of sum(c y^2) the gradient is g = 2 c s y with the slope s, of sum(g^2) it is 8 c^2 s^3 y."""
    x, c = draw(3, 7), draw(3, 7)
    vx = jt.array(x)
    g = jt.grad((jt.array(c) * activations.leaky_relu(vx) ** 2).sum(), vx)
    s = np.where(x > 0, 1, 0.2)
    assert_close(g, 2 * c * s * s * x)
    assert_close(jt.grad((g * g).sum(), vx), 8 * c**2 * s**4 * x)


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
def test_styled_activation_and_its_derivatives(eps):
    """The kernel against the plain expression, whose operators are tested above; to the second
    order. One channel is so small that the epsilons differ.
    """
    inputs = [draw(2, 3, 6, 6), draw(2, 6)]
    inputs[0][:, 1] *= 0.01
    a, b = jt.array(draw(2, 3, 6, 6)), [jt.array(draw(*x.shape)) for x in inputs]
    results = []
    for function in (activations.styled_activation, activations.styled_activation_plain):
        v = [jt.array(x) for x in inputs]
        y = function(*v, eps)
        first = jt.grad((a * y**2).sum(), v)
        second = jt.grad(sum((g * u).sum() for g, u in zip(first, b)), v)
        results.append([x.numpy() for x in (y, *first, *second)])
    for ours, plain in zip(*results):
        assert_close(ours, plain, 2e-5)
    x, style = (x.astype("float64") for x in inputs)
    gamma, beta = style.reshape(2, 2, 3, 1, 1).swapaxes(0, 1)

    def exact(x, eps):
        x = np.where(x > 0, x, 0.2 * x)
        x = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + eps)
        return gamma * x + beta

    assert_close(results[0][0], exact(x, eps))
    other = 1e-8 if eps == 1e-5 else 1e-5
    assert np.abs(exact(x, eps) - exact(x, other)).max() > 1e-2


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
def test_styled_activation_differentiates_twice(eps):
    """Of |u|^2 / 2, u the gradient in x of sum(a y^2) / 2, by finite differences in float64."""
    x, style, a, direction = draw(1, 2, 4, 4), draw(1, 4), draw(1, 2, 4, 4), draw(1, 2, 4, 4)
    gamma, beta = style.astype("float64").reshape(2, 2, 1, 1)

    def penalty(x):
        s = np.where(x > 0, 1, 0.2)
        z = s * x
        d = z - z.mean((2, 3), keepdims=True)
        scale = 1 / np.sqrt((d * d).mean((2, 3), keepdims=True) + eps)
        n = d * scale
        dn = a * (gamma * n + beta) * gamma
        dz = scale * (
            dn - dn.mean((2, 3), keepdims=True) - n * (dn * n).mean((2, 3), keepdims=True)
        )
        return ((s * dz) ** 2).sum() / 2

    vx, vs = jt.array(x), jt.array(style)
    u = jt.grad((jt.array(a) * activations.styled_activation(vx, vs, eps) ** 2).sum() / 2, vx)
    dx = jt.grad((u * u).sum() / 2, vx).numpy()
    x, h = x.astype("float64"), 1e-6
    exact = (penalty(x + h * direction) - penalty(x - h * direction)) / (2 * h)
    assert abs((dx * direction).sum() - exact) <= 1e-4 * abs(exact)


@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 40, 1, 1), (2, 3, 130, 128)])
def test_biased_leaky_relu_and_its_derivatives(shape):
    """Of sum(a y^2) / 2 the gradients are g = a s y and its sums, of sum(b g) + sum(v sums) they
    are a s^2 (b + v) and its sums; s is the slope.
    """
    x, a, b = draw(*shape), draw(*shape), draw(*shape)
    bias, v = draw(shape[1]), draw(shape[1])
    variables = [jt.array(x), jt.array(bias)]
    y = activations.biased_leaky_relu(*variables)
    first = jt.grad((jt.array(a) * y**2).sum() / 2, variables)
    second = jt.grad((jt.array(b) * first[0]).sum() + (jt.array(v) * first[1]).sum(), variables)
    s = x.astype("float64") + bias[:, None, None]
    s = np.where(s > 0, 1, 0.2)
    exact = s * (x + bias[:, None, None])
    gradient, again = a * s * exact, a * s**2 * (b + v[:, None, None])
    assert_close(y, exact)
    assert_close(first[0], gradient)
    assert_close(first[1], gradient.sum((0, 2, 3)), 1e-5)
    assert_close(second[0], again)
    assert_close(second[1], again.sum((0, 2, 3)), 1e-5)
