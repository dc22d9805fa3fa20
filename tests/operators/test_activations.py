"""Activations against closed forms, to the second derivative."""

import numpy as np
import pytest
from oracle import assert_close, draw

from operators import activations
from operators.convolution import jt


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


def edges(size):
    """Blur of a line of ones."""
    line = np.ones(size)
    line[0] -= 0.25
    line[-1] -= 0.25
    return line


def layer(x, bias, strength, noise, style, eps, kind, factor=1.0, weight=1.0):
    """Bias, noise, activation, norm, style in float64; also the slopes, and what the norm made."""
    n, c, h, w = x.shape
    x, bias, strength, noise, style = (
        v.astype("float64") for v in (x, bias, strength, noise, style)
    )
    x, strength = factor * x, weight * strength
    if kind != "none":
        edge = np.outer(edges(h), edges(w)) if kind == "blurred" else 1
        x = x + bias.reshape(-1, 1, 1) * edge
    x = x + strength.reshape(-1, 1, 1) * noise
    slope = np.where(x > 0, 1, 0.2)
    x = slope * x
    scale = 1 / np.sqrt(x.var((2, 3), keepdims=True) + eps)
    x = scale * (x - x.mean((2, 3), keepdims=True))
    gamma, beta = style.reshape(n, 2, c, 1, 1).swapaxes(0, 1)
    return gamma * x + beta, slope, scale, x


def operands(n, c, h, w):
    return [draw(n, c, h, w), draw(c), draw(c), draw(n, 1, h, w), draw(n, 2 * c)]


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (1, 1, 8, 4), (2, 5, 12, 40), (3, 2, 72, 64)])
@pytest.mark.parametrize("kind", ["none", "plain", "blurred"])
def test_styled_activation(kind, shape):
    inputs = operands(*shape)
    y = activations.styled_activation(*(jt.array(v) for v in inputs), 1e-5, kind)
    assert_close(y, layer(*inputs, 1e-5, kind)[0])


@pytest.mark.parametrize("shape", [(2, 3, 6, 6), (2, 5, 12, 40)])
@pytest.mark.parametrize("kind", ["none", "plain", "blurred"])
def test_gradients_of_styled_activation(kind, shape):
    """Of sum(a y): the chain rule, step by step."""
    inputs, a = operands(*shape), draw(*shape)
    variables = [jt.array(v) for v in inputs]
    y = activations.styled_activation(*variables, 1e-5, kind)
    found = jt.grad((jt.array(a) * y).sum(), variables)
    _, slope, scale, normed = layer(*inputs, 1e-5, kind)
    n, c, h, w = shape
    gamma = inputs[4].reshape(n, 2, c, 1, 1)[:, 0].astype("float64")
    d = gamma * a
    along = (d * normed).mean((2, 3), keepdims=True)
    dx = slope * scale * (d - d.mean((2, 3), keepdims=True) - along * normed)
    edge = np.outer(edges(h), edges(w)) if kind == "blurred" else float(kind == "plain")
    exact = [
        dx,
        (dx * edge).sum((0, 2, 3)),
        (dx * inputs[3]).sum((0, 2, 3)),
        (dx * inputs[2].reshape(-1, 1, 1)).sum(1, keepdims=True),
        np.stack([(a * normed).sum((2, 3)), a.astype("float64").sum((2, 3))], 1).reshape(n, -1),
    ]
    for ours, right in zip(found, exact):
        assert_close(ours, right, 1e-5)


@pytest.mark.parametrize("factors", [(0.3, 1.0), (1.0, 0.7), (0.3, 0.7)])
def test_factors_of_styled_activation(factors):
    """Those of the image and of the noise, and what they do to the gradients."""
    inputs, a = operands(2, 3, 6, 6), jt.array(draw(2, 3, 6, 6))
    factor, weight = factors
    variables = [jt.array(v) for v in inputs]
    y = activations.styled_activation(*variables, 1e-5, "blurred", factor, weight)
    assert_close(y, layer(*inputs, 1e-5, "blurred", factor, weight)[0])
    found = jt.grad((a * y).sum(), variables)
    scaled = [jt.array(v * f) for v, f in zip(inputs, (factor, 1, weight, 1, 1))]
    y = activations.styled_activation(*scaled, 1e-5, "blurred")
    for ours, plain, f in zip(found, jt.grad((a * y).sum(), scaled), (factor, 1, weight, 1, 1)):
        assert_close(ours, f * plain.numpy(), 1e-5)


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
@pytest.mark.parametrize("kind", ["none", "plain", "blurred"])
def test_second_derivatives_of_styled_activation(kind, eps):
    """Kernels against the plain expression. One channel is so small that the epsilons differ; what
    bias and strength get are sums that all but cancel, hence their bar goes by the terms.
    """
    inputs = operands(2, 3, 6, 6)
    for small in inputs[:3]:
        small[(..., 1) if small.ndim == 1 else (slice(None), 1)] *= 0.01
    a, b = jt.array(draw(2, 3, 6, 6)), [jt.array(draw(*x.shape)) for x in inputs]
    results = []
    for function in (activations.styled_activation, activations.styled_activation_plain):
        v = [jt.array(x) for x in inputs]
        columns = [p.reshape(1, -1, 1, 1) for p in v[1:3]]
        given = v if function is activations.styled_activation else [v[0], *columns, *v[3:]]
        y = function(*given, eps, kind)
        first = jt.grad((a * y**2).sum(), v)
        second = jt.grad(sum((g * u).sum() for g, u in zip(first, b)), v)
        results.append([x.numpy() for x in (y, *first, *second)])
    terms = [None] + 2 * [None, 1, 1, None, None]  # sums of what x gets, the first or the sixth
    for i, (ours, plain) in enumerate(zip(*results)):
        size = np.abs(plain).max()
        if terms[i]:
            size = np.abs(results[1][1 if i < 6 else 6]).sum((0, 2, 3)).max()
        assert np.abs(ours - plain).max() <= 5e-6 * size
    other = 1e-8 if eps == 1e-5 else 1e-5
    assert np.abs(layer(*inputs, eps, kind)[0] - layer(*inputs, other, kind)[0]).max() > 1e-2


@pytest.mark.parametrize("eps", [1e-5, 1e-8])
def test_styled_activation_differentiates_twice(eps):
    """Of |u|^2 / 2, u the gradient in x of sum(a y^2) / 2, by finite differences in float64."""
    inputs = operands(1, 2, 4, 4)
    (x, *others), a, direction = inputs, draw(1, 2, 4, 4), draw(1, 2, 4, 4)
    gamma = others[3].astype("float64").reshape(2, 2, 1, 1)[0]

    def penalty(x):
        y, slope, scale, normed = layer(x, *others, eps, "plain")
        d = a * y * gamma
        along = (d * normed).mean((2, 3), keepdims=True)
        dx = slope * scale * (d - d.mean((2, 3), keepdims=True) - along * normed)
        return (dx**2).sum() / 2

    vx, *rest = (jt.array(v) for v in inputs)
    y = activations.styled_activation(vx, *rest, eps)
    u = jt.grad((jt.array(a) * y**2).sum() / 2, vx)
    dx = jt.grad((u * u).sum() / 2, vx).numpy()
    x, h = x.astype("float64"), 1e-6
    exact = (penalty(x + h * direction) - penalty(x - h * direction)) / (2 * h)
    assert abs((dx * direction).sum() - exact) <= 1e-4 * abs(exact)


@pytest.mark.parametrize("factor, slope", [(1.0, 0.2), (0.3, 0.2), (1.0, 1.0), (0.3, 1.0)])
@pytest.mark.parametrize("shape", [(3, 5, 4, 6), (2, 40), (2, 3, 130, 128)])
def test_biased_and_its_derivatives(shape, factor, slope):
    """Of y = s (f x + bias) and sum(a y^2) / 2 the gradients are f g and the sums of g = a s y, of
    sum(b f g) + sum(v sums) they are f a s^2 (f b + v) and the sums of that / f; s is the slope.
    """
    x, a, b = draw(*shape), draw(*shape), draw(*shape)
    bias, v = draw(shape[1]), draw(shape[1])
    variables = [jt.array(x), jt.array(bias)]
    y = activations.biased(*variables, factor, slope)
    first = jt.grad((jt.array(a) * y**2).sum() / 2, variables)
    second = jt.grad((jt.array(b) * first[0]).sum() + (jt.array(v) * first[1]).sum(), variables)
    bias, v = (p.reshape(-1, *[1] * (len(shape) - 2)) for p in (bias, v))
    exact = factor * x.astype("float64") + bias
    s = np.where(exact > 0, 1, slope)
    exact *= s
    gradient, again = a * s * exact, a * s**2 * (factor * b + v)
    rest = (0, *range(2, len(shape)))
    assert_close(y, exact)
    assert_close(first[0], factor * gradient)
    assert_close(first[1], gradient.sum(rest), 1e-5)
    assert_close(second[0], factor * again)
    assert_close(second[1], again.sum(rest), 1e-5)
    alone = jt.grad((jt.array(v.reshape(-1)) * first[1]).sum(), variables[1])
    assert_close(alone, (a * s**2 * v).sum(rest), 1e-5)
