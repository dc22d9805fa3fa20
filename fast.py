"""The networks of model.py by fewer operators: the same numbers up to rounding, in less time and
memory.

    from fast import accelerate
    from model import StyledGenerator
    G = accelerate(StyledGenerator())

A table says which layers of model.py, in which order, one operator computes. What stands in a
network is looked at whenever it runs: layers that are exactly those of the table, as written there,
go the fast way, all else runs as it is written. So a layer of one's own in the place of `Blur`, a
subclass of it, one layer more, a hook on one, need no flag, before `accelerate` or after it. The
operators compute in float32: in another precision everything runs as written.
"""

from typing import Callable, NamedTuple, Optional

from backend import device
from model import (
    AdaptiveInstanceNorm,
    AvgPool2d,
    Blur,
    ConstantInput,
    EqualConv2d,
    EqualLinear,
    EqualLR,
    FusedDownsample,
    FusedUpsample,
    InstanceNorm2d,
    LeakyReLU,
    MinibatchStddev,
    NoiseInjection,
    PixelNorm,
    StyledConvBlock,
    Upsample,
)
from operators import activations, convolution, norms, products, resampling
from operators.checks import expect_module
from operators.native import is_float32
from operators.sums import repeated

jt = device.load()
nn = jt.nn

# What makes a layer do something else than its class says: Jittor keeps hooks under these names
OWN = frozenset(("execute", "__fhook__", "__fhook2__", "__bihook__", "__bohook__"))


def accelerate(network):
    """Makes every layer and block of a network that the tables know look for the fast way when it
    runs. Returns the network; parameters, their names and their shapes stay.
    """
    expect_module(network, "network")
    for module in network.modules():
        if type(module) in ACCELERATED:
            module.__class__ = ACCELERATED[type(module)]
    return network


class Accelerated:
    """Stands before a class of layers; `written` is that class."""

    written = None


def exact(layer):
    """The class of a layer that does what this class of model.py says and no more, in float32; else
    None.
    """
    for name, x in vars(layer).items():
        if name in OWN or (isinstance(x, jt.Var) and not is_float32(x)):
            return None
    return getattr(type(layer), "written", None) or type(layer)


# Convolutions, without what is added after them


class Convolved(NamedTuple):
    """Images that still lack a factor and a bias: `activations.styled_activation` adds both."""

    images: "jt.Var"  # (n, c, h, w)
    bias: Optional["jt.Var"] = None  # (c,)
    bias_is: str = "plain"  # "blurred": it comes before a blur; "none": there is none
    factor: float = 1.0


def constant(x, layer) -> Convolved:
    return Convolved(repeated(layer.input, x), bias_is="none")


def convolved(x, layer) -> Convolved:
    """By an EqualConv2d that has no blur."""
    conv = layer.conv
    now, later = convolution.factors(conv.scale)
    images = convolution.conv2d(x, conv.weight_orig, layer.padding, now)
    return Convolved(images, conv.bias, factor=later)


def upsampled(x, _, layer, *blur) -> Convolved:
    """By Upsample, EqualConv2d and Blur."""
    conv = layer.conv
    images = convolution.upsample_conv2d_blur(x, conv.weight_orig, conv.scale)
    return Convolved(images, conv.bias, "blurred" if blur else "plain")


def fused_upsampled(x, layer, *blur) -> Convolved:
    """By FusedUpsample and Blur."""
    images = convolution.conv_transpose2d_blur(x, layer.weight, layer.scale)
    return Convolved(images, layer.bias, "blurred" if blur else "plain")


# The tables


class Pattern(NamedTuple):
    """Layers in order, and the function of (x, *layers) that does what they would."""

    layers: tuple
    function: Callable
    fits: Callable = lambda *layers: True  # whether their settings are those it can do


def stored_as_is(layer) -> bool:
    """Whether a layer's weight is one of EqualLR and nothing blurs before its bias."""
    return exact(layer.conv) is EqualLR and layer.blur is None


def is_3x3(layer) -> bool:
    return layer.conv.weight_orig.shape[2:] == [3, 3] and layer.padding == 1


def blurs_before_bias(layer) -> bool:
    return layer.blur is not None and exact(layer.blur) is Blur


# What may come first in the half of a block: to Convolved
CONVOLUTIONS = (
    Pattern((ConstantInput,), constant),
    Pattern((EqualConv2d,), convolved, stored_as_is),
    Pattern(
        (Upsample, EqualConv2d, Blur), upsampled, lambda _, c, b: stored_as_is(c) and is_3x3(c)
    ),
    Pattern(
        (Upsample, EqualConv2d),
        upsampled,
        lambda _, c: exact(c.conv) is EqualLR and blurs_before_bias(c) and is_3x3(c),
    ),
    Pattern((FusedUpsample, Blur), fused_upsampled, lambda c, b: c.blur is None),
    Pattern((FusedUpsample,), fused_upsampled, blurs_before_bias),
)


def with_bias(pattern: Pattern) -> Pattern:
    """The pattern with images as its result."""

    def function(x, *layers):
        y = pattern.function(x, *layers)
        if y.bias_is == "blurred":
            return y.images + y.bias.reshape(1, -1, 1, 1) * resampling.blurred_ones(
                *y.images.shape[2:]
            )
        return activations.biased(y.images, y.bias, y.factor)

    return pattern._replace(function=function)


def activated_conv(x, layer, lrelu):
    y = convolved(x, layer)
    return activations.biased(y.images, y.bias, y.factor, lrelu.slope)


def linear(x, layer, slope: float = 1.0):
    now, later = convolution.factors(layer.linear.scale)
    x = products.linear(x, layer.linear.weight_orig, now)
    return activations.biased(x, layer.linear.bias, later, slope)


def downsampled(x, _, layer, *others):
    """By Blur, EqualConv2d, AvgPool2d and LeakyReLU."""
    conv, lrelu = layer.conv, others[-1]
    x = convolution.blur_conv2d_avg_pool(x, conv.weight_orig, conv.scale)
    return activations.biased(x, conv.bias, slope=lrelu.slope)


def fused_downsampled(x, _, layer, lrelu):
    """By Blur, FusedDownsample and LeakyReLU."""
    x = convolution.blur_conv2d_avg_pool(x, layer.weight, layer.scale)
    return activations.biased(x, layer.bias, slope=lrelu.slope)


# What may stand in a list of layers: images to images; longer patterns come first
SEQUENCES = (
    Pattern(
        (Blur, EqualConv2d, AvgPool2d, LeakyReLU),
        downsampled,
        lambda _, c, *others: stored_as_is(c) and is_3x3(c),
    ),
    Pattern((Blur, FusedDownsample, LeakyReLU), fused_downsampled),
    *(with_bias(pattern) for pattern in CONVOLUTIONS[2:]),
    Pattern((EqualConv2d, LeakyReLU), activated_conv, lambda c, _: stored_as_is(c)),
    Pattern(
        (EqualLinear, LeakyReLU),
        lambda x, layer, lrelu: linear(x, layer, lrelu.slope),
        lambda layer, _: exact(layer.linear) is EqualLR,
    ),
)

# One layer alone
LAYERS = (
    Pattern((EqualConv2d,), with_bias(CONVOLUTIONS[1]).function, stored_as_is),
    Pattern((EqualLinear,), linear, lambda layer: exact(layer.linear) is EqualLR),
    Pattern((PixelNorm,), lambda x, _: norms.pixel_norm(x)),
    Pattern((MinibatchStddev,), lambda x, layer: norms.minibatch_stddev(x, layer.group)),
    Pattern((Upsample,), lambda x, _: resampling.upsample2(x)),
    Pattern((AvgPool2d,), lambda x, _: resampling.avg_pool2(x)),
)


def matching(patterns, layers, kinds) -> Optional[Pattern]:
    """The first pattern that a list of layers begins with; kinds: their `exact` classes."""
    for pattern in patterns:
        count = len(pattern.layers)
        if kinds[:count] == pattern.layers and pattern.fits(*layers[:count]):
            return pattern
    return None


# What runs


class FastSequential(Accelerated, nn.Sequential):
    """Layers one after the other, those of SEQUENCES at once."""

    written = nn.Sequential

    def execute(self, x):
        layers = list(self.values())
        kinds = tuple(map(exact, layers))
        while layers:
            pattern = matching(SEQUENCES, layers, kinds) if is_float32(x) else None
            count = len(pattern.layers) if pattern else 1
            x = pattern.function(x, *layers[:count]) if pattern else layers[0](x)
            layers, kinds = layers[count:], kinds[count:]
        return x


class FastStyledConvBlock(Accelerated, StyledConvBlock):
    """A level of the synthesis network in two halves, each a convolution, or what stands for it,
    and one operator for its bias, noise, leaky ReLU and AdaIN.
    """

    written = StyledConvBlock

    def execute(self, x, w, noise):
        first, second = (noise, noise) if noise.shape[1] == 1 else (noise[:, :1], noise[:, 1:])
        x = half(self.conv1, self.noise1, self.lrelu1, self.adain1, x, w, first)
        return half(self.conv2, self.noise2, self.lrelu2, self.adain2, x, w, second)


def half(conv, inject, lrelu, adain, x, w, noise):
    """Half of a StyledConvBlock: at once if all its layers are of the tables, else in turn."""
    pattern, layers = None, ()
    if is_styled(inject, lrelu, adain) and is_float32(w, noise):
        layers = list(conv.values()) if exact(conv) is nn.Sequential else [conv]
        kinds = tuple(map(exact, layers))
        pattern = matching(CONVOLUTIONS, layers, kinds)
    if pattern is None or len(pattern.layers) != len(layers):
        return adain(lrelu(inject(conv(x), noise)), w)
    y = pattern.function(x, *layers)
    strength = inject.weight_orig.reshape(-1)
    inputs = (y.images, y.bias, strength, noise, adain.style(w))
    settings = (adain.norm.eps, y.bias_is, y.factor, inject.scale)
    return activations.styled_activation(*inputs, *settings)


def is_styled(inject, lrelu, adain) -> bool:
    """Whether `styled_activation` does what these three would."""
    return (
        (exact(inject), exact(lrelu), exact(adain))
        == (NoiseInjection, LeakyReLU, AdaptiveInstanceNorm)
        and exact(adain.norm) is InstanceNorm2d
        and lrelu.slope == activations.SLOPE
    )


def fast_layer(pattern: Pattern):
    """The class of a layer that is fast by itself."""
    (written,) = pattern.layers

    def execute(self, x):
        if is_float32(x) and pattern.fits(self):
            return pattern.function(x, self)
        return written.execute(self, x)

    name = f"Fast{written.__name__}"
    return type(name, (Accelerated, written), {"written": written, "execute": execute})


ACCELERATED = {
    nn.Sequential: FastSequential,
    StyledConvBlock: FastStyledConvBlock,
    **{pattern.layers[0]: fast_layer(pattern) for pattern in LAYERS},
}
