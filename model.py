"""StyleGAN's two networks (Karras et al. 2019, arXiv 1812.04948), grown as ProGAN's (arXiv
1710.10196).

    from model import StyledGenerator
    G = StyledGenerator()
    images = G.synthesis(G.mapping(z), step=3)         # (n, 3, 32, 32), values about [-1, 1]

A step is log2(size) - 2: 0 is 4x4, 8 is 1024x1024. While a size fades in, `alpha` runs from 0 to 1;
None (or anything outside [0, 1)) means fully grown. Parameters have the names and shapes of the
PyTorch original.
"""

import math
from typing import Dict

import numpy as np

from backend import device
from operators import activations, norms, ops
from operators.sums import repeated

jt = device.load()
nn = jt.nn

MAX_STEP = 8
CHANNELS = (512, 512, 512, 512, 256, 128, 64, 32, 16)  # by step
FUSED_FROM = 5  # 128 px: from here on the original resamples and convolves with one stored kernel


def widths(channel_max: int):
    """Channels of each step, none above `channel_max`."""
    return [min(c, channel_max) for c in CHANNELS]


def is_fading(step: int, alpha) -> bool:
    """Whether an image of this step is a blend with the step below."""
    return step > 0 and alpha is not None and 0 <= alpha < 1


def parameters_below(module, prefixes) -> Dict[str, "jt.Var"]:
    """The module's parameters whose names start with one of the prefixes, by name."""
    return {k: p for k, p in module.named_parameters() if k.startswith(tuple(prefixes))}


class EqualLR(nn.Module):
    """Equalised learning rate (ProGAN, section 4.1): a weight stored as N(0, 1), to be used times
    `scale` = sqrt(2 / fan_in), and a bias of zeros.
    """

    def __init__(self, *shape):
        self.bias = jt.zeros(shape[0])  # first, as the original numbers its parameters
        self.weight_orig = jt.randn(shape)
        self.scale = math.sqrt(2 / np.prod(shape[1:]))


class EqualConv2d(nn.Module):
    """k x k convolution, "same" padding unless given. (n, c_in, h, w) -> (n, c_out, h', w'); slope:
    below zero, of an activation.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, padding=None):
        self.conv = EqualLR(c_out, c_in, kernel, kernel)
        self.padding = kernel // 2 if padding is None else padding

    def parts(self):
        """(weight, scale, bias (c_out,))"""
        return self.conv.weight_orig, self.conv.scale, self.conv.bias

    def without_bias(self, x):
        """(images, bias, what became of it, factor: see `activations.styled_activation`)"""
        w, scale, bias = self.parts()
        taken, left = ops.factors(scale)
        return ops.conv2d(x, w, self.padding, taken), bias, "plain", left

    def execute(self, x, slope: float = 1.0):
        y, bias, _, factor = self.without_bias(x)
        return activations.biased(y, bias, factor, slope)


class FusedConv2d(nn.Module):
    """A 3x3 convolution that resamples, with one kernel: from 128 px on (ProGAN)."""

    def __init__(self, c_in: int, c_out: int):
        self.weight = jt.randn((*((c_in, c_out) if self.in_first else (c_out, c_in)), 3, 3))
        self.bias = jt.zeros(c_out)
        self.scale = math.sqrt(2 / (c_in * 9))

    def parts(self):
        """(weight, scale, bias (c_out,))"""
        return self.weight, self.scale, self.bias


class FusedUpsample(FusedConv2d):
    """Upsample and EqualConv2d, a fourth as large: (n, c_in, h, w) -> (n, c_out, 2h, 2w)"""

    in_first = True

    def execute(self, x):
        y = ops.conv2d(ops.upsample2(x), ops.turn(self.weight), 1, self.scale / 4)
        return activations.biased(y, self.bias)


class FusedDownsample(FusedConv2d):
    """EqualConv2d and AvgPool2d: (n, c_in, 2h, 2w) -> (n, c_out, h, w)"""

    in_first = False

    def execute(self, x):
        y = ops.avg_pool2(ops.conv2d(x, self.weight, 1, self.scale))
        return activations.biased(y, self.bias)


class Upsample(nn.Module):
    """Nearest neighbour: (n, c, h, w) -> (n, c, 2h, 2w)"""

    execute = staticmethod(ops.upsample2)


class AvgPool2d(nn.Module):
    """Mean of 2x2 cells: (n, c, 2h, 2w) -> (n, c, h, w)"""

    execute = staticmethod(ops.avg_pool2)


class Blur(nn.Module):
    """Binomial filter [1 2 1] x [1 2 1] / 16 around each up- and downsampling (section 2)."""

    execute = staticmethod(ops.blur)


class UpsamplingLayers(nn.Sequential):
    """(Upsample, EqualConv2d, Blur) or (FusedUpsample, Blur): one operator computes in one pass
    what they would in turn, with a quarter of the multiplications. With `bias_after_blur` the bias
    comes last, as NVIDIA's networks have it.
    """

    def __init__(self, *layers, bias_after_blur: bool = False):
        super().__init__(*layers)
        self.bias_after_blur = bias_after_blur

    def without_bias(self, x):
        """(images, bias, what became of it, factor: see `activations.styled_activation`)"""
        w, scale, bias = self[-2].parts()
        fused = isinstance(self[-2], FusedUpsample)
        y = (ops.conv_transpose2d_blur if fused else ops.upsample_conv2d_blur)(x, w, scale)
        return y, bias, "plain" if self.bias_after_blur else "blurred", 1.0

    def execute(self, x):
        y, bias, kind, _ = self.without_bias(x)
        bias = bias.reshape(1, -1, 1, 1)
        return y + (bias * ops.blurred_ones(*y.shape[2:]) if kind == "blurred" else bias)


class DownsamplingLayers(nn.Sequential):
    """(Blur, EqualConv2d, AvgPool2d, LeakyReLU) or (Blur, FusedDownsample, LeakyReLU), all but bias
    and LeakyReLU by one operator, these by a second.
    """

    def execute(self, x):
        w, scale, bias = self[1].parts()
        y = ops.blur_conv2d_avg_pool(x, w, scale)
        return activations.biased(y, bias, slope=activations.SLOPE)


class ActivatedConv2d(nn.Sequential):
    """(EqualConv2d, LeakyReLU), bias and LeakyReLU by one operator."""

    def execute(self, x):
        return self[0](x, activations.SLOPE)


class EqualLinear(nn.Module):
    """(n, c_in) -> (n, c_out); slope: below zero, of an activation."""

    def __init__(self, c_in: int, c_out: int):
        self.linear = EqualLR(c_out, c_in)

    def execute(self, x, slope: float = 1.0):
        taken, left = ops.factors(self.linear.scale)
        y = ops.linear(x, self.linear.weight_orig, taken)
        return activations.biased(y, self.linear.bias, left, slope)


class LeakyReLU(nn.Module):
    """Slope 0.2 below zero."""

    execute = staticmethod(activations.leaky_relu)


class PixelNorm(nn.Module):
    """Each latent to unit mean square (ProGAN, section 4.2): (n, c) -> (n, c)"""

    execute = staticmethod(norms.pixel_norm)


class MappingLayers(nn.Sequential):
    """(PixelNorm, EqualLinear, LeakyReLU, ...), bias and LeakyReLU by one operator."""

    def execute(self, x):
        x = self[0](x)
        for layer in range(1, len(self), 2):
            x = self[layer](x, activations.SLOPE)
        return x


class NoiseInjection(nn.Module):
    """x + strength * noise, one learned strength per channel (section 2), equalised too: fan_in =
    channels.
    """

    def __init__(self, channels: int):
        self.weight_orig = jt.zeros((1, channels, 1, 1))
        self.scale = math.sqrt(2 / channels)


class AdaptiveInstanceNorm(nn.Module):
    """Equation 1: each channel normalised, then scaled and shifted by the style. With what is
    before it in a StyledConvBlock, bias, noise and LeakyReLU, it is one operator.
    """

    def __init__(self, channels: int, style_dim: int, eps: float = 1e-5):
        self.eps = eps
        self.style = EqualLinear(style_dim, channels * 2)
        self.style.linear.bias = jt.array(np.repeat([1.0, 0.0], channels).astype("float32"))

    def execute(self, conv, inject, x, noise, w):
        """What it makes of `inject(conv(x), noise)`."""
        x, bias, kind, factor = conv.without_bias(x)
        parts = (x, bias, inject.weight_orig.reshape(-1), noise, self.style(w))
        return activations.styled_activation(*parts, self.eps, kind, factor, inject.scale)


class ConstantInput(nn.Module):
    """The learned constant that every image starts from."""

    def __init__(self, channels: int, size: int = 4):
        self.input = jt.randn((1, channels, size, size))

    def without_bias(self, n: int):
        """(images, None, "none", 1), as convolutions have it"""
        return repeated(self.input, n), None, "none", 1.0


class StyledConvBlock(nn.Module):
    """One level of the synthesis network (figure 1b)."""

    def __init__(self, c_in, c_out, style_dim, step, norm_eps=1e-5, bias_after_blur=False):
        if step == 0:
            self.conv1 = ConstantInput(c_in)
        else:
            if step < FUSED_FROM:
                layers = [Upsample(), EqualConv2d(c_in, c_out, 3), Blur()]
            else:
                layers = [FusedUpsample(c_in, c_out), Blur()]
            self.conv1 = UpsamplingLayers(*layers, bias_after_blur=bias_after_blur)
        self.noise1 = NoiseInjection(c_out)
        self.adain1 = AdaptiveInstanceNorm(c_out, style_dim, norm_eps)
        self.conv2 = EqualConv2d(c_out, c_out, 3)
        self.noise2 = NoiseInjection(c_out)
        self.adain2 = AdaptiveInstanceNorm(c_out, style_dim, norm_eps)

    def execute(self, x, w, noise):
        """x (n, c_in, h, h) or n at the first level, w (n, style_dim), noise (n, 1, 2h, 2h) or one
        for each layer (n, 2, 2h, 2h) -> (n, c_out, 2h, 2h)
        """
        one = noise.shape[1] == 1
        first, second = (noise, noise) if one else (noise[:, :1], noise[:, 1:])
        x = self.adain1(self.conv1, self.noise1, x, first, w)
        return self.adain2(self.conv2, self.noise2, x, second, w)


class Generator(nn.Module):
    """The synthesis network: one style per level -> an image."""

    def __init__(self, code_dim: int = 512, channel_max: int = 512, **ways):
        c = widths(channel_max)
        levels = range(MAX_STEP + 1)
        self.progression = nn.ModuleList(
            [StyledConvBlock(c[max(i - 1, 0)], c[i], code_dim, i, **ways) for i in levels]
        )
        self.to_rgb = nn.ModuleList([EqualConv2d(c[i], 3, 1) for i in levels])

    def execute(self, styles, noise, step: int, alpha=None):
        """styles: step + 1 times (n, code_dim); noise: step + 1 times (n, 1 or 2, 4 * 2^i, 4 * 2^i)
        -> (n, 3, size, size)
        """
        x, below = styles[0].shape[0], None
        for i in range(step + 1):
            below = x
            x = self.progression[i](x, styles[i], noise[i])
        image = self.to_rgb[step](x)
        if is_fading(step, alpha):
            skip = ops.upsample2(self.to_rgb[step - 1](below))
            image = (1 - alpha) * skip + alpha * image
        return image


class StyledGenerator(nn.Module):
    """Mapping network `style` and synthesis network `generator`.

    code_dim: size of z and w. n_mlp: layers of the mapping. channel_max: widest level (512 is the
    original). NVIDIA's own networks have two noise maps a level and other `ways` (norm_eps and
    bias_after_blur of StyledConvBlock).
    """

    def __init__(self, code_dim=512, n_mlp=8, channel_max=512, noise_maps=1, **ways):
        self.code_dim, self.noise_maps = code_dim, noise_maps
        self.generator = Generator(code_dim, channel_max, **ways)
        layers = [PixelNorm()]
        for _ in range(n_mlp):
            layers += [EqualLinear(code_dim, code_dim), LeakyReLU()]
        self.style = MappingLayers(*layers)

    def mapping(self, z):
        """z (n, code_dim), N(0, 1) -> w (n, code_dim)"""
        return self.style(z)

    def mean_style(self, z):
        """Mean of the mapped latents, the centre of truncation: (n, code_dim) -> (1, code_dim)"""
        return self.mapping(z).mean(dim=0, keepdims=True)

    def draw_noise(self, n: int, step: int):
        """Fresh noise of images: step + 1 times (n, noise_maps, 4 * 2^i, 4 * 2^i), by Jittor."""
        return [jt.randn((n, self.noise_maps, 4 * 2**i, 4 * 2**i)) for i in range(step + 1)]

    def synthesis(self, w, noise=None, step: int = 0, alpha=None):
        """w: one (n, code_dim) for all levels, or a list of one per level -> (n, 3, size, size)"""
        styles = list(w) if isinstance(w, (list, tuple)) else [w] * (step + 1)
        if noise is None:
            noise = self.draw_noise(styles[0].shape[0], step)
        return self.generator(styles, noise, step, alpha)

    def execute(
        self,
        input,
        noise=None,
        step: int = 0,
        alpha=-1,
        mean_style=None,
        style_weight=0,
        mixing_range=(-1, -1),
        crossover=None,
    ):
        """The original's call. input: z (n, code_dim), or a list of two of them to mix -> (n, 3,
        size, size)

        Two latents: levels a..b of `mixing_range` take the second, the rest the first; without a
        range, levels 0..crossover take the first and the rest the second (section 3.1). `crossover`
        is drawn from 0..step-1 with NumPy's global generator when not given. Truncation (section
        B): w' = mean_style + style_weight (w - mean_style).
        """
        latents = list(input) if isinstance(input, (list, tuple)) else [input]
        w, n = self.mapping(jt.concat(latents) if latents[1:] else latents[0]), latents[0].shape[0]
        styles = [w[i : i + n] for i in range(0, w.shape[0], n)] if latents[1:] else [w]
        if mean_style is not None:
            styles = [mean_style + style_weight * (w - mean_style) for w in styles]
        if len(styles) == 1:
            return self.synthesis(styles[0], noise, step, alpha)
        first, second = styles
        low, high = mixing_range
        if (low, high) == (-1, -1):
            if crossover is None and step == 0:
                raise ValueError("4x4 has one level: two latents need a mixing_range")
            crossover = np.random.randint(step) if crossover is None else crossover
            low, high = crossover + 1, step
        levels = [second if low <= i <= high else first for i in range(step + 1)]
        return self.synthesis(levels, noise, step, alpha)

    def used_parameters(self, step: int, alpha=None) -> Dict[str, "jt.Var"]:
        """Those that an image of this step and alpha depends on, by name."""
        rgb = [step - 1, step] if is_fading(step, alpha) else [step]
        levels = [f"generator.progression.{i}." for i in range(step + 1)]
        return parameters_below(self, ["style.", *levels, *(f"generator.to_rgb.{i}." for i in rgb)])


class ConvBlock(nn.Module):
    """One level of the discriminator: (n, c_in, 2h, 2w) -> (n, c_out, h, w); the last one, step 0,
    ends at 1x1.
    """

    def __init__(self, c_in: int, c_out: int, step: int):
        self.conv1 = ActivatedConv2d(EqualConv2d(c_in, c_out, 3), LeakyReLU())
        if step == 0:
            self.conv2 = ActivatedConv2d(EqualConv2d(c_out, c_out, 4, padding=0), LeakyReLU())
        elif step < FUSED_FROM:
            conv = EqualConv2d(c_out, c_out, 3)
            self.conv2 = DownsamplingLayers(Blur(), conv, AvgPool2d(), LeakyReLU())
        else:
            conv = FusedDownsample(c_out, c_out)
            self.conv2 = DownsamplingLayers(Blur(), conv, LeakyReLU())

    def execute(self, x):
        return self.conv2(self.conv1(x))


class Discriminator(nn.Module):
    """Images -> scores, higher for real. Lists start with the largest size, as the original's.
    stddev_group: see `activations.minibatch_stddev`.
    """

    def __init__(self, from_rgb_activate=True, channel_max: int = 512, stddev_group: int = 0):
        self.stddev_group = stddev_group
        c = widths(channel_max)
        steps = range(MAX_STEP, -1, -1)
        self.progression = nn.ModuleList(
            [ConvBlock(c[i], c[i - 1], i) if i else ConvBlock(c[0] + 1, c[0], 0) for i in steps]
        )
        rgb = [EqualConv2d(3, c[i], 1) for i in steps]
        if from_rgb_activate:
            rgb = [ActivatedConv2d(conv, LeakyReLU()) for conv in rgb]
        self.from_rgb = nn.ModuleList(rgb)
        self.linear = EqualLinear(c[0], 1)

    def execute(self, image, step: int = 0, alpha=-1):
        """image (n, 3, 4 * 2^step, 4 * 2^step) -> (n, 1)"""
        x = self.from_rgb[MAX_STEP - step](image)
        for i in range(step, 0, -1):
            x = self.progression[MAX_STEP - i](x)
            if i == step and is_fading(step, alpha):
                skip = self.from_rgb[MAX_STEP - step + 1](ops.avg_pool2(image))
                x = (1 - alpha) * skip + alpha * x
        group = [self.stddev_group] if self.stddev_group else []
        x = self.progression[MAX_STEP](norms.minibatch_stddev(x, *group))
        return self.linear(x.reshape(x.shape[:2]))

    def used_parameters(self, step: int, alpha=None) -> Dict[str, "jt.Var"]:
        """Those that the score of an image of this step and alpha depends on, by name."""
        rgb = [MAX_STEP - step] + ([MAX_STEP - step + 1] if is_fading(step, alpha) else [])
        levels = [f"progression.{MAX_STEP - i}." for i in range(step + 1)]
        return parameters_below(self, ["linear.", *levels, *(f"from_rgb.{i}." for i in rgb)])
