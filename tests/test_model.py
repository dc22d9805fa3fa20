"""The layers: what each does, and that those computed by one operator are the ones listed."""

import numpy as np
import pytest

from backend.activations import minibatch_stddev
from backend.ops import jt
from model import (
    AvgPool2d,
    Blur,
    DownsamplingLayers,
    EqualConv2d,
    FusedDownsample,
    FusedUpsample,
    LeakyReLU,
    Upsample,
    UpsamplingLayers,
)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def test_blur():
    x = np.zeros((1, 1, 4, 4), "float32")
    x[0, 0, 0, 2] = 16
    expected = [[0, 2, 4, 2], [0, 1, 2, 1], [0] * 4, [0] * 4]
    assert (Blur()(jt.array(x)).numpy()[0, 0] == expected).all()


@pytest.mark.parametrize(
    "layers, shape",
    [
        (lambda: UpsamplingLayers(Upsample(), EqualConv2d(3, 5, 3), Blur()), (2, 3, 8, 4)),
        (lambda: UpsamplingLayers(FusedUpsample(3, 5), Blur()), (2, 3, 4, 8)),
        (
            lambda: DownsamplingLayers(Blur(), EqualConv2d(3, 5, 3), AvgPool2d(), LeakyReLU()),
            (2, 3, 8, 12),
        ),
        (lambda: DownsamplingLayers(Blur(), FusedDownsample(3, 5), LeakyReLU()), (2, 3, 8, 4)),
    ],
    ids=["up", "fused up", "down", "fused down"],
)
def test_one_operator_does_what_the_layers_do_in_turn(layers, shape):
    layers = layers()
    for name, p in layers.named_parameters():
        if name.endswith("bias"):
            p.update(jt.array(draw(*p.shape)))
    in_turn = jt.array(draw(*shape))
    at_once = in_turn.clone()
    y = in_turn
    for layer in layers:
        y = layer(y)
    y_at_once = layers(at_once)
    weights = jt.array(draw(*y.shape))
    for ours, expected in (
        (y_at_once, y),
        (jt.grad((y_at_once * weights).sum(), at_once), jt.grad((y * weights).sum(), in_turn)),
    ):
        expected = expected.numpy()
        np.testing.assert_allclose(ours.numpy(), expected, atol=3e-6 * abs(expected).max())


def test_minibatch_stddev():
    x = draw(4, 6, 4, 4)
    y = minibatch_stddev(jt.array(x)).numpy()
    assert y.shape == (4, 7, 4, 4)
    assert (y[:, :6] == x).all()
    np.testing.assert_allclose(y[:, 6], np.sqrt(x.var(0) + 1e-8).mean(), rtol=1e-6)


def bias_after_blur(*layers):
    layers = UpsamplingLayers(*layers, bias_after_blur=True)
    layers[-2].parts()[2].sync()
    for name, p in layers.named_parameters():
        if name.endswith("bias"):
            p.update(jt.array(draw(*p.shape)))
    return layers


@pytest.mark.parametrize(
    "layers",
    [
        lambda: bias_after_blur(Upsample(), EqualConv2d(3, 5, 3), Blur()),
        lambda: bias_after_blur(FusedUpsample(3, 5), Blur()),
    ],
    ids=["up", "fused up"],
)
def test_a_bias_after_the_blur(layers):
    """The whole bias everywhere, the borders too; derivatives, the second by the product rule."""
    layers = layers()
    bias = next(p for name, p in layers.named_parameters() if name.endswith("bias"))
    x = jt.array(draw(2, 3, 4, 6))
    y = layers(x)
    kept = bias.clone()
    bias.update(jt.zeros(5))
    np.testing.assert_allclose(
        y.numpy(), layers(x).numpy() + kept.numpy().reshape(1, 5, 1, 1), atol=1e-5
    )
    a = draw(*y.shape)
    u = jt.grad((jt.array(a) * layers(x) ** 2).sum() / 2, bias)  # sum of a y, linear in the bias
    np.testing.assert_allclose(u.numpy(), (a * layers(x).numpy()).sum((0, 2, 3)), rtol=1e-4)
    second = jt.grad((u * u).sum() / 2, bias).numpy()
    np.testing.assert_allclose(second, u.numpy() * a.sum((0, 2, 3)), rtol=1e-4)


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


@pytest.mark.parametrize("group", [0, 2])
def test_minibatch_stddev_differentiates_twice(group):
    """Of sum(b u^2), u the gradient in x of the weighted deviations, by finite differences. (With b
    = 1 it would not change with x.)
    """
    x, a, (_, b, direction) = draw(4, 2, 3, 3), draw(4), draw(3, 4, 2, 3, 3)
    groups = [slice(None)] if group == 0 else [slice(0, 4, 2), slice(1, 4, 2)]

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
    np.testing.assert_allclose((dx * direction).sum(), exact, rtol=1e-3)
