"""The layers: what each does, and that those computed by one operator are the ones listed."""

import numpy as np
import pytest

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
    minibatch_stddev,
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
