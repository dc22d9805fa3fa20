"""The layers: what each does, and that those computed by one operator are the ones listed."""

import numpy as np
import pytest

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
from operators.convolution import jt


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
