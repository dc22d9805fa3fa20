"""The layers as written, against closed forms in NumPy: what each does, and in which order a block
calls them.
"""

import numpy as np
import pytest

import model
from model import (
    AdaptiveInstanceNorm,
    AvgPool2d,
    Blur,
    ConvBlock,
    EqualConv2d,
    EqualLinear,
    FusedDownsample,
    FusedUpsample,
    LeakyReLU,
    MinibatchStddev,
    NoiseInjection,
    PixelNorm,
    StyledConvBlock,
    Upsample,
    jt,
    nn,
)


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def close(ours, exact, bar=3e-6):
    ours = ours.numpy()
    assert ours.shape == exact.shape
    np.testing.assert_allclose(ours, exact, atol=bar * np.abs(exact).max(), rtol=0)


def with_bias(layer):
    for name, p in layer.named_parameters():
        if name.endswith("bias"):
            p.update(jt.array(draw(*p.shape)))
    return layer


def test_blur():
    x = np.zeros((1, 1, 4, 4), "float32")
    x[0, 0, 0, 2] = 16
    expected = [[0, 2, 4, 2], [0, 1, 2, 1], [0] * 4, [0] * 4]
    assert (Blur()(jt.array(x)).numpy()[0, 0] == expected).all()


def test_resampling():
    x = draw(2, 3, 4, 6)
    up = Upsample()(jt.array(x))
    assert (up.numpy() == x.repeat(2, 2).repeat(2, 3)).all()
    close(AvgPool2d()(up), x)


def test_equalised_layers():
    layer, x = with_bias(EqualLinear(6, 5)), draw(3, 6)
    w, b = (p.numpy() for p in (layer.linear.weight_orig, layer.linear.bias))
    close(layer(jt.array(x)), x @ w.T * np.sqrt(2 / 6) + b)
    layer, x = with_bias(EqualConv2d(3, 5, 1)), draw(2, 3, 4, 4)
    w, b = (p.numpy() for p in (layer.conv.weight_orig, layer.conv.bias))
    exact = np.einsum("nchw,oc->nohw", x, w[:, :, 0, 0]) * np.sqrt(2 / 3)
    close(layer(jt.array(x)), exact + b.reshape(1, 5, 1, 1))


def as_two_layers(fused, c_in, c_out, weight):
    """(EqualConv2d with the weight of a fused layer, whose scale is the same)."""
    conv = EqualConv2d(c_in, c_out, 3)
    conv.conv.weight_orig.update(jt.array(np.ascontiguousarray(weight)))
    conv.conv.bias.update(fused.bias)
    return conv


def test_fused_downsample_is_convolution_and_mean():
    fused, x = with_bias(FusedDownsample(3, 5)), jt.array(draw(2, 3, 8, 12))
    conv = as_two_layers(fused, 3, 5, fused.weight.numpy())
    close(fused(x), AvgPool2d()(conv(x)).numpy())


def test_fused_upsample_is_a_quarter_of_upsample_and_convolution():
    """But for the bias; a transposed convolution has its kernels turned, inputs first."""
    fused, x = FusedUpsample(3, 5), jt.array(draw(2, 3, 4, 6))
    turned = fused.weight.numpy().transpose(1, 0, 2, 3)[:, :, ::-1, ::-1]
    conv = as_two_layers(fused, 3, 5, turned)
    close(fused(x), conv(Upsample()(x)).numpy() / 4)
    fused.bias.update(jt.array(draw(5)))
    close(fused(x), conv(Upsample()(x)).numpy() / 4 + draw(5).reshape(1, 5, 1, 1))


def test_a_bias_before_and_after_the_blur():
    """Blurred with zeros beyond the border it grows weaker there; else it is whole everywhere."""
    zeros = jt.zeros((1, 3, 4, 4))
    before = with_bias(nn.Sequential(EqualConv2d(3, 2, 3), Blur()))
    after = with_bias(EqualConv2d(3, 2, 3, blur=Blur()))
    bias, edge = draw(2).reshape(1, 2, 1, 1), np.array([0.75, 1, 1, 0.75], "float32")
    close(before(zeros), bias * np.outer(edge, edge))
    close(after(zeros), bias * np.ones((4, 4), "float32"))


def test_norms_and_activation():
    x = draw(4, 6)
    close(PixelNorm()(jt.array(x)), x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8))
    close(LeakyReLU()(jt.array(x)), np.where(x > 0, x, np.float32(0.2) * x))
    x = draw(2, 3, 5, 5)
    exact = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    close(model.InstanceNorm2d()(jt.array(x)), exact)


@pytest.mark.parametrize("group", [0, 2])
def test_minibatch_stddev(group):
    x = draw(4, 3, 2, 2)
    y = MinibatchStddev(group)(jt.array(x)).numpy()
    assert y.shape == (4, 4, 2, 2) and (y[:, :3] == x).all()
    if group:
        deviations = [np.sqrt(x[i::2].var(0) + 1e-8).mean() for i in (0, 1, 0, 1)]
    else:
        deviations = [np.sqrt(x.var(0) + 1e-8).mean()] * 4
    np.testing.assert_allclose(
        y[:, 3], np.tile(np.reshape(deviations, (4, 1, 1)), (2, 2)), rtol=1e-5
    )


def test_minibatch_stddev_of_groups_that_do_not_fit():
    with pytest.raises(ValueError, match="5 images are no groups of 4"):
        MinibatchStddev(4)(jt.zeros((5, 3, 2, 2)))


def test_noise_and_style():
    x, noise, w = draw(2, 8, 3, 3), draw(2, 1, 3, 3), draw(2, 4)
    layer = NoiseInjection(8)
    close(layer(jt.array(x), jt.array(noise)), x)  # a strength begins at 0
    layer.weight_orig.update(jt.array(draw(1, 8, 1, 1)))
    close(layer(jt.array(x), jt.array(noise)), x + draw(1, 8, 1, 1) * np.sqrt(2 / 8) * noise)
    layer = AdaptiveInstanceNorm(8, 4)
    weight = layer.style.linear.weight_orig.numpy()
    style = w @ weight.T * np.sqrt(2 / 4) + np.repeat([1, 0], 8)
    gamma, beta = style[:, :8, None, None], style[:, 8:, None, None]
    normed = (x - x.mean((2, 3), keepdims=True)) / np.sqrt(x.var((2, 3), keepdims=True) + 1e-5)
    close(layer(jt.array(x), jt.array(w)), gamma * normed + beta)


def watched(block, calls):
    """The block, whose layers note their names when they are called."""
    for name, layer in vars(block).items():
        if isinstance(layer, nn.Module):
            written = layer.execute

            def execute(*inputs, name=name, written=written):
                calls.append(name)
                return written(*inputs)

            layer.execute = execute
    return block


HALVES = "conv1 noise1 lrelu1 adain1 conv2 noise2 lrelu2 adain2".split()


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_block_calls_its_layers_in_the_originals_order(step):
    calls, size = [], 4 if step == 0 else 8
    block = watched(StyledConvBlock(3, 3, 4, step), calls)
    x = 2 if step == 0 else jt.array(draw(2, 3, 4, 4))
    y = block(x, jt.array(draw(2, 4)), jt.array(draw(2, 1, size, size)))
    assert y.shape == [2, 3, size, size] and calls == HALVES
    up = [type(layer) for layer in block.conv1] if step else [type(block.conv1)]
    expected = {0: [model.ConstantInput], 1: [Upsample, EqualConv2d, Blur]}
    assert up == expected.get(step, [FusedUpsample, Blur])


@pytest.mark.parametrize("step", [0, 1, 5])
def test_a_block_of_the_discriminator(step):
    down = [type(layer) for layer in ConvBlock(3, 3, step).conv2]
    expected = {0: [EqualConv2d], 1: [Blur, EqualConv2d, AvgPool2d]}
    assert down == [*expected.get(step, [Blur, FusedDownsample]), LeakyReLU]


def test_each_layer_may_have_its_own_noise_map():
    block = StyledConvBlock(3, 3, 4, 1)
    for inject in (block.noise1, block.noise2):
        inject.weight_orig.update(jt.array(draw(1, 3, 1, 1)))
    x, w, maps = jt.array(draw(2, 3, 4, 4)), jt.array(draw(2, 4)), draw(2, 2, 8, 8)
    twice = np.repeat(maps[:, :1], 2, axis=1)
    one, same, two = (block(x, w, jt.array(m)).numpy() for m in (maps[:, :1], twice, maps))
    assert (one == same).all() and np.abs(one - two).max() > 1e-3
