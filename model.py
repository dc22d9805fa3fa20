"""StyleGAN's two networks (Karras et al. 2019, arXiv 1812.04948), grown as ProGAN's (arXiv
1710.10196), layer by layer as rosinality/style-based-gan-pytorch, "the original", has them.

    from model import StyledGenerator
    G = StyledGenerator()
    images = G.synthesis(G.mapping(z), step=3)         # (n, 3, 32, 32), values about [-1, 1]

A step is log2(size) - 2: 0 is 4x4, 8 is 1024x1024. While a size fades in, `alpha` runs from 0 to 1;
None (or anything outside [0, 1)) means fully grown. Parameters have the names and shapes of the
original. Every layer works in float32 and float64, on CPU and CUDA, and differentiates twice. The
scripts run what is written here with --plain; else fast.py does the same with fewer operators.
"""

import math

import numpy as np

from backend import device
from operators import checks
from operators.checks import expect, expect_each, expect_growth
from operators.convolution import conv2d, conv_transpose2d
from operators.products import linear

jt = device.load()
nn = jt.nn

MAX_STEP = 8
CHANNELS = (512, 512, 512, 512, 256, 128, 64, 32, 16)  # by step
FUSED_FROM = 5  # 128 px: from here on one layer resamples and convolves, as in ProGAN's code


def widths(channel_max: int):
    """Channels of each step, none above `channel_max`."""
    return [min(c, channel_max) for c in CHANNELS]


def is_fading(step: int, alpha) -> bool:
    """Whether an image of this step is a blend with the step below."""
    return step > 0 and alpha is not None and 0 <= alpha < 1


# Layers with weights


class EqualLR(nn.Module):
    """A weight (c_out, fan_in...) with an equalised learning rate, and a bias (c_out,) of zeros.

    The stored weight is N(0, 1) and is multiplied by He's constant, scale = sqrt(2 / fan_in), each
    time it is used (ProGAN, section 4.1). Initialised by that constant instead, a layer would start
    the same; but Adam's steps do not depend on a gradient's size: relative to their weights, layers
    with small ones would change faster. Stored this way all learn at the same speed.
    """

    def __init__(self, *shape):
        self.bias = jt.zeros(shape[0])  # first: optimiser states of the original go by order
        self.weight_orig = jt.randn(shape)
        self.scale = math.sqrt(2 / np.prod(shape[1:]))

    @property
    def weight(self):
        """The weight as it is used."""
        return self.weight_orig * self.scale


class EqualLinear(nn.Module):
    """x W' + b with an equalised W: (n, c_in) -> (n, c_out)"""

    def __init__(self, c_in: int, c_out: int):
        self.linear = EqualLR(c_out, c_in)

    def execute(self, x):
        return linear(x, self.linear.weight) + self.linear.bias


class EqualConv2d(nn.Module):
    """k x k convolution, equalised, "same" padding unless given: (n, c_in, h, w) -> (n, c_out, h',
    w'). blur: a `Blur` between convolution and bias, where NVIDIA's own networks have it; the
    original blurs after the bias, and at the border, with zeros beyond, less of the bias is left.
    """

    def __init__(self, c_in: int, c_out: int, kernel: int, padding=None, blur=None):
        self.conv = EqualLR(c_out, c_in, kernel, kernel)
        self.padding = kernel // 2 if padding is None else padding
        self.blur = blur

    def execute(self, x):
        x = conv2d(x, self.conv.weight, padding=self.padding)
        x = x if self.blur is None else self.blur(x)
        return x + self.conv.bias.reshape(1, -1, 1, 1)


def widened(w):
    """Kernels (a, b, 3, 3) -> (a, b, 4, 4): the kernel at the four places where it meets 2x2
    pixels, averaged. Applied with stride 2 it resamples and convolves at once.
    """
    a, b, k, _ = w.shape
    w = w.reindex([a, b, k + 2, k + 2], ["i0", "i1", "i2-1", "i3-1"])  # zeros around it
    return (w[:, :, 1:, 1:] + w[:, :, :-1, 1:] + w[:, :, 1:, :-1] + w[:, :, :-1, :-1]) / 4


class FusedUpsample(nn.Module):
    """Upsample and EqualConv2d by one transposed convolution of stride 2, from 128 px on: (n, c_in,
    h, w) -> (n, c_out, 2h, 2w). A mean is what downsampling needs; here, where a sum of the four
    would equal the two layers, the original divides by 4 too. blur: as EqualConv2d's.
    """

    def __init__(self, c_in: int, c_out: int, blur=None):
        self.weight = jt.randn((c_in, c_out, 3, 3))  # inputs first, as transposed ones have it
        self.bias = jt.zeros(c_out)
        self.scale = math.sqrt(2 / (c_in * 9))
        self.blur = blur

    def execute(self, x):
        x = conv_transpose2d(x, widened(self.weight * self.scale), stride=2, padding=1)
        x = x if self.blur is None else self.blur(x)
        return x + self.bias.reshape(1, -1, 1, 1)


class FusedDownsample(nn.Module):
    """EqualConv2d and AvgPool2d by one convolution of stride 2, from 128 px on: (n, c_in, 2h, 2w)
    -> (n, c_out, h, w)
    """

    def __init__(self, c_in: int, c_out: int):
        self.weight = jt.randn((c_out, c_in, 3, 3))
        self.bias = jt.zeros(c_out)
        self.scale = math.sqrt(2 / (c_in * 9))

    def execute(self, x):
        x = conv2d(x, widened(self.weight * self.scale), stride=2, padding=1)
        return x + self.bias.reshape(1, -1, 1, 1)


# Layers without weights


class Upsample(nn.Module):
    """Nearest neighbour: each pixel four times, (n, c, h, w) -> (n, c, 2h, 2w)"""

    def execute(self, x):
        n, c, h, w = x.shape
        x = x.reshape(n, c, h, 1, w, 1).broadcast([n, c, h, 2, w, 2])
        return x.reshape(n, c, 2 * h, 2 * w)


class AvgPool2d(nn.Module):
    """Mean of each 2x2 pixels: (n, c, 2h, 2w) -> (n, c, h, w)"""

    def execute(self, x):
        n, c, h, w = x.shape
        return x.reshape(n, c, h // 2, 2, w // 2, 2).mean(dims=(3, 5))


class Blur(nn.Module):
    """Low-pass filter [1 2 1] x [1 2 1] / 16 with zeros beyond the border: (n, c, h, w), as x.

    In each block that doubles or halves the size (section 2, "bilinear"): repeated pixels are
    steps, whose high frequencies the next layers would have to learn to remove, and what is thinned
    out without a filter aliases. The blend while a size fades in does without.
    """

    def execute(self, x):
        n, c, h, w = x.shape
        x = x.reindex([n, c, h + 2, w + 2], ["i0", "i1", "i2-1", "i3-1"])
        x = x[:, :, :-2] + 2 * x[:, :, 1:-1] + x[:, :, 2:]
        return (x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]) / 16


class LeakyReLU(nn.Module):
    """x, times `slope` where x is negative."""

    def __init__(self, slope: float = 0.2):
        self.slope = slope

    def execute(self, x):
        return jt.ternary(x > 0, x, self.slope * x)


class PixelNorm(nn.Module):
    """Each latent to unit mean square over its numbers (ProGAN, section 4.2): (n, c) -> (n, c). So
    only the direction of z counts; its length says nothing.
    """

    def execute(self, x):
        return x / jt.sqrt((x * x).mean(dim=1, keepdims=True) + 1e-8)


class InstanceNorm2d(nn.Module):
    """Each image's each channel to zero mean and unit (biased) variance over its pixels: (n, c, h,
    w), as x.
    """

    def __init__(self, eps: float = 1e-5):
        self.eps = eps

    def execute(self, x):
        x = x - x.mean(dims=(2, 3), keepdims=True)
        return x / jt.sqrt((x * x).mean(dims=(2, 3), keepdims=True) + self.eps)


class MinibatchStddev(nn.Module):
    """One channel more, filled with one number: how much the images of a batch differ (ProGAN,
    section 3), so that the discriminator sees when all are alike: the standard deviation over the
    batch of each channel at each pixel, averaged. With `group` that of groups of so many images: of
    8 in groups of 4, 0 2 4 6 and 1 3 5 7 (NVIDIA's). (n, c, h, w) -> (n, c + 1, h, w)
    """

    def __init__(self, group: int = 0):
        self.group = group

    def execute(self, x):
        n, c, h, w = x.shape
        group = min(self.group or n, n)
        if n % group:
            raise ValueError(f"{n} images are no groups of {group}")
        d = x.reshape(group, n // group, c, h, w)
        d = d - d.mean(dim=0, keepdims=True)
        deviation = jt.sqrt((d * d).mean(dim=0) + 1e-8).mean(dims=(1, 2, 3))  # (n / group,)
        deviation = deviation.broadcast([group, n // group], [0]).reshape(n, 1, 1, 1)
        return jt.concat([x, deviation.broadcast([n, 1, h, w])], dim=1)


# The generator


class ConstantInput(nn.Module):
    """The learned constant that every image starts from (section 2): n -> (n, channels, 4, 4)"""

    def __init__(self, channels: int, size: int = 4):
        self.input = jt.randn((1, channels, size, size))

    def execute(self, n: int):
        return self.input.broadcast([n, *self.input.shape[1:]])


class LabelConcat(nn.Module):
    """z beside what is learned of its label, N(0, 1) at first and used as it is (NVIDIA's
    G_mapping): z (n, code_dim), label (n, labels) of 0 and one 1 -> (n, 2 code_dim)
    """

    def __init__(self, labels: int, code_dim: int):
        self.weight = jt.randn((labels, code_dim))

    def execute(self, z, label):
        return jt.concat([z, linear(label, self.weight.transpose())], dim=1)


class NoiseInjection(nn.Module):
    """x + strength * noise: one map of N(0, 1) numbers, the same for all channels, and for each
    channel a strength that is learned and begins at 0 (section 2; "B" in figure 1b), equalised with
    fan_in = channels. It makes what may be otherwise in the same picture: where each hair lies, not
    how much hair there is. x (n, c, h, w), noise (n, 1, h, w).
    """

    def __init__(self, channels: int):
        self.weight_orig = jt.zeros((1, channels, 1, 1))
        self.scale = math.sqrt(2 / channels)

    def execute(self, x, noise):
        return x + self.weight_orig * self.scale * noise


class AdaptiveInstanceNorm(nn.Module):
    """AdaIN (equation 1): normalises each channel, which takes away what the layers before have
    made of its mean and variance; then the style decides both for this layer alone, as gamma and
    beta, the halves of a linear function of w ("A" in figure 1b) whose bias begins at 1 and 0.
    x (n, c, h, w), w (n, style_dim) -> (n, c, h, w)
    """

    def __init__(self, channels: int, style_dim: int, eps: float = 1e-5):
        self.norm = InstanceNorm2d(eps)
        self.style = EqualLinear(style_dim, channels * 2)
        self.style.linear.bias = jt.array(np.repeat([1.0, 0.0], channels).astype("float32"))

    def execute(self, x, w):
        n, c = x.shape[:2]
        style = self.style(w).reshape(n, 2, c, 1, 1)
        gamma, beta = style[:, 0], style[:, 1]  # (n, c, 1, 1)
        return gamma * self.norm(x) + beta


class StyledConvBlock(nn.Module):
    """One level of the synthesis network (figure 1b): two times convolution with its bias, noise,
    leaky ReLU and AdaIN. `conv1` doubles the size: upsample, convolution with its bias, blur; from
    128 px on one fused layer, and blur. At 4 px, with nothing to convolve, the learned constant.
    """

    def __init__(self, c_in, c_out, style_dim, step, norm_eps=1e-5, bias_after_blur=False):
        if step == 0:
            self.conv1 = ConstantInput(c_in)
        else:
            inner, outer = (Blur(), []) if bias_after_blur else (None, [Blur()])
            if step < FUSED_FROM:
                layers = [Upsample(), EqualConv2d(c_in, c_out, 3, blur=inner)]
            else:
                layers = [FusedUpsample(c_in, c_out, blur=inner)]
            self.conv1 = nn.Sequential(*layers, *outer)
        self.noise1 = NoiseInjection(c_out)
        self.lrelu1 = LeakyReLU()
        self.adain1 = AdaptiveInstanceNorm(c_out, style_dim, norm_eps)
        self.conv2 = EqualConv2d(c_out, c_out, 3)
        self.noise2 = NoiseInjection(c_out)
        self.lrelu2 = LeakyReLU()
        self.adain2 = AdaptiveInstanceNorm(c_out, style_dim, norm_eps)

    def execute(self, x, w, noise):
        """x (n, c_in, h, h), at 4 px the number n, where 2h is 4; w (n, style_dim); noise (n, 1,
        2h, 2h), which both layers take, or (n, 2, 2h, 2h), one map for each -> (n, c_out, 2h, 2h)
        """
        first, second = (noise, noise) if noise.shape[1] == 1 else (noise[:, :1], noise[:, 1:])
        x = self.conv1(x)
        x = self.noise1(x, first)
        x = self.lrelu1(x)
        x = self.adain1(x, w)
        x = self.conv2(x)
        x = self.noise2(x, second)
        x = self.lrelu2(x)
        return self.adain2(x, w)


class Generator(nn.Module):
    """The synthesis network: one style per level -> an image."""

    def __init__(self, code_dim=512, channel_max=512, norm_eps=1e-5, bias_after_blur=False):
        settings = {"norm_eps": norm_eps, "bias_after_blur": bias_after_blur}
        checks.expect_settings(code_dim=code_dim, channel_max=channel_max, **settings)
        self.code_dim, c = code_dim, widths(channel_max)
        levels, options = range(MAX_STEP + 1), (norm_eps, bias_after_blur)
        blocks = [StyledConvBlock(c[max(i - 1, 0)], c[i], code_dim, i, *options) for i in levels]
        self.progression = nn.ModuleList(blocks)
        self.to_rgb = nn.ModuleList([EqualConv2d(c[i], 3, 1) for i in levels])
        self.upsample = Upsample()

    def execute(self, styles, noise, step: int, alpha=None):
        """styles: step + 1 times (n, code_dim); noise: step + 1 times (n, 1 or 2, 4 * 2^i, 4 * 2^i)
        -> (n, 3, size, size)

        While a size fades in, its image is blended with that of the level below, enlarged: alpha of
        the new one, 1 - alpha of the other (ProGAN, figure 2).
        """
        levels = expect_growth(step, alpha, MAX_STEP)
        x = n = expect_each(styles, "w", [("n", self.code_dim) for _ in levels])[0][0]
        expect_each(noise, "noise", [((1, n), (1, 2), 4 * 2**i, 4 * 2**i) for i in levels])
        for i in levels:
            below = x
            x = self.progression[i](x, styles[i], noise[i])
        image = self.to_rgb[step](x)
        if is_fading(step, alpha):
            skip = self.upsample(self.to_rgb[step - 1](below))
            image = (1 - alpha) * skip + alpha * image
        return image


class StyledGenerator(nn.Module):
    """Mapping network `style` and synthesis network `generator`.

    code_dim: size of z and w. n_mlp: layers of the mapping. channel_max: widest level (512 is the
    original). labels: how many there are, 0 for none. NVIDIA's own networks have two noise maps a
    level and other `details`, norm_eps and bias_after_blur of StyledConvBlock.
    """

    def __init__(self, code_dim=512, n_mlp=8, channel_max=512, noise_maps=1, labels=0, **details):
        checks.expect_settings(n_mlp=n_mlp, noise_maps=noise_maps, labels=labels)
        self.code_dim, self.noise_maps, self.labels = code_dim, noise_maps, labels
        self.generator = Generator(code_dim, channel_max, **details)
        layers, first = [PixelNorm()], 2 * code_dim if labels else code_dim
        for c_in in [first, *[code_dim] * n_mlp][:n_mlp]:
            layers += [EqualLinear(c_in, code_dim), LeakyReLU()]
        self.style = nn.Sequential(*layers)
        self.label = LabelConcat(labels, code_dim) if labels else None

    def mapping(self, z, label=None):
        """z (n, code_dim), N(0, 1), label (n, labels), if there are any -> w (n, code_dim)"""
        n = expect(z, "z", ("n", self.code_dim))[0]
        checks.expect_label(label, self.labels, n)
        return self.style(self.label(z, label) if self.labels else z)

    def mean_style(self, z, label=None):
        """Mean of the mapped latents, the centre of truncation: (n, code_dim) -> (1, code_dim)"""
        return self.mapping(z, label).mean(dim=0, keepdims=True)

    def draw_noise(self, n: int, step: int):
        """Noise by Jittor's generator: step + 1 times (n, noise_maps, 4 * 2^i, 4 * 2^i)"""
        levels = expect_growth(step, None, MAX_STEP, n)
        return [jt.randn((n, self.noise_maps, 4 * 2**i, 4 * 2**i)) for i in levels]

    def synthesis(self, w, noise=None, step: int = 0, alpha=None):
        """w (n, code_dim), (n, step + 1, code_dim) or a list of step + 1 -> (n, 3, size, size)"""
        levels, one = expect_growth(step, alpha, MAX_STEP), ("n", self.code_dim)
        if not isinstance(w, (list, tuple)):
            expect(w, "w", [one, ("n", len(levels), self.code_dim)])
            w = [w[:, i] if w.ndim == 3 else w for i in levels]
        n = expect_each(w, "w", [one for _ in levels])[0][0]
        noise = self.draw_noise(n, step) if noise is None else noise
        return self.generator(w, noise, step, alpha)

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
        label=None,
    ):
        """The original's call. input: z (n, code_dim) or a list of two to mix, both of one `label`
        (n, labels) -> (n, 3, size, size)

        Two latents: levels a..b of `mixing_range` take the second, the rest the first; without a
        range, levels 0..crossover take the first and the rest the second (section 3.1). `crossover`
        is drawn from 0..step-1 with NumPy's global generator when not given. Truncation (appendix
        B), where mean_style is given: w' = mean_style + style_weight (w - mean_style).
        """
        expect_growth(step, alpha, MAX_STEP)
        latents = checks.expect_mixing(input, step, MAX_STEP, mixing_range, crossover, style_weight)
        n = expect_each(latents, "z", [("n", self.code_dim)] * (2 if latents[1:] else 1))[0][0]
        checks.expect_label(label, self.labels, n)
        label = jt.concat([label] * len(latents)) if self.labels else None
        w = self.mapping(jt.concat(latents) if latents[1:] else latents[0], label)
        styles = [w[i : i + n] for i in range(0, w.shape[0], n)] if latents[1:] else [w]
        if mean_style is not None:
            expect(mean_style, "mean_style", ((1, n), self.code_dim))
            styles = [mean_style + style_weight * (w - mean_style) for w in styles]
        if len(styles) == 1:
            return self.synthesis(styles[0], noise, step, alpha)
        (first, second), (low, high) = styles, mixing_range
        if (low, high) == (-1, -1):
            crossover = np.random.randint(step) if crossover is None else crossover
            low, high = crossover + 1, step
        levels = [second if low <= i <= high else first for i in range(step + 1)]
        return self.synthesis(levels, noise, step, alpha)


# The discriminator


class ConvBlock(nn.Module):
    """One level of the discriminator: (n, c_in, 2h, 2w) -> (n, c_out, h, w).

    `conv2` halves the size: blur, convolution, mean of 2x2 pixels; from 128 px on blur and one
    fused layer. At 4 px, step 0, a 4x4 convolution without padding ends at 1x1.
    """

    def __init__(self, c_in: int, c_out: int, step: int):
        self.conv1 = nn.Sequential(EqualConv2d(c_in, c_out, 3), LeakyReLU())
        if step == 0:
            layers = [EqualConv2d(c_out, c_out, 4, padding=0)]
        elif step < FUSED_FROM:
            layers = [Blur(), EqualConv2d(c_out, c_out, 3), AvgPool2d()]
        else:
            layers = [Blur(), FusedDownsample(c_out, c_out)]
        self.conv2 = nn.Sequential(*layers, LeakyReLU())

    def execute(self, x):
        return self.conv2(self.conv1(x))


class Discriminator(nn.Module):
    """Images -> scores, higher for real. Lists start with the largest size, as the original's.

    from_rgb_activate: a leaky ReLU after from_rgb, which the original's first version lacked.
    stddev_group: of MinibatchStddev. labels: how many there are; then the last layer has a score
    for each, of which that of the image's own counts (NVIDIA's D_basic).
    """

    def __init__(self, from_rgb_activate=True, channel_max=512, stddev_group=0, labels=0):
        checks.expect_settings(channel_max=channel_max, stddev_group=stddev_group, labels=labels)
        self.labels, c, steps = labels, widths(channel_max), range(MAX_STEP, -1, -1)
        blocks = [ConvBlock(c[i], c[i - 1], i) for i in steps[:-1]]
        blocks.append(ConvBlock(c[0] + 1, c[0], 0))  # with the channel of MinibatchStddev
        self.progression = nn.ModuleList(blocks)
        rgb = [EqualConv2d(3, c[i], 1) for i in steps]
        if from_rgb_activate:
            rgb = [nn.Sequential(conv, LeakyReLU()) for conv in rgb]
        self.from_rgb = nn.ModuleList(rgb)
        self.avg_pool = AvgPool2d()
        self.stddev = MinibatchStddev(stddev_group)
        self.linear = EqualLinear(c[0], max(labels, 1))

    def execute(self, image, step: int = 0, alpha=-1, label=None):
        """image (n, 3, 4 * 2^step, 4 * 2^step), label (n, labels), if there are any -> (n, 1)

        While a size fades in, alpha of what its block makes of the image is blended with 1 - alpha
        of what from_rgb of the size below makes of the image halved.
        """
        expect_growth(step, alpha, MAX_STEP)
        n = expect(image, "image", ("n", 3, 4 * 2**step, 4 * 2**step))[0]
        checks.expect_label(label, self.labels, n)
        x = self.from_rgb[MAX_STEP - step](image)
        for i in range(step, 0, -1):
            x = self.progression[MAX_STEP - i](x)
            if i == step and is_fading(step, alpha):
                skip = self.from_rgb[MAX_STEP - step + 1](self.avg_pool(image))
                x = (1 - alpha) * skip + alpha * x
        x = self.progression[MAX_STEP](self.stddev(x))
        scores = self.linear(x.reshape(x.shape[:2]))
        return (scores * label).sum(dim=1, keepdims=True) if self.labels else scores
