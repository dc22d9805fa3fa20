"""What stands around the convolutions, each by one kernel: bias and activation; bias, noise,
activation, norm and style. Images are (n, c, h, w), float32.
"""

from backend import device
from operators.checks import FLOAT32, FLOATS, IMAGES, expect
from operators.native import call
from operators.resampling import blurred_ones
from operators.sums import over_images

jt = device.load()

SLOPE = 0.2  # of the networks' leaky ReLU, below zero


def relu(x):
    expect(x, "x", (...,))
    return jt.maximum(x, 0)


def leaky_relu(x, slope: float = SLOPE):
    """x, times slope below zero. A choice, for `jt.maximum` (JITTOR.md) has wrong derivatives."""
    expect(x, "x", (...,))
    return jt.ternary(x > 0, x, slope * x)


class _Slope(jt.Function):
    """dy times a factor and the slope of the leaky ReLU, 1 where its output y is positive."""

    def __init__(self, y, factor: float, slope: float):
        self.y, self.factor, self.slope = y, factor, slope

    def execute(self, dy):
        # fused with what is around it, it would be compiled in a dozen variants
        numbers = (dy.numel(), self.factor, self.slope)
        return call("biased_slope", [self.y, dy], [dy.shape], *numbers)[0]

    def grad(self, v):
        return _Slope(self.y, self.factor, self.slope)(v)


class _Biased(jt.Function):
    """(x, bias) -> y; keeps y alone, which tells the slope too."""

    def __init__(self, factor: float, slope: float):
        self.factor, self.slope = factor, slope

    def execute(self, x, bias):
        n, c = x.shape[:2]
        numbers = (n, c, x.numel() // (n * c), self.factor, self.slope)
        y = call("biased_forward", [x, bias], [x.shape], *numbers)[0]
        self.y = None if self.slope == 1 else y
        return y

    def grad(self, dy):
        return _BiasedGradient(self.y, self.factor, self.slope)(dy)


class _BiasedGradient(jt.Function):
    """dy -> dx, dbias; y: None where the slope is 1 everywhere"""

    def __init__(self, y, factor: float, slope: float):
        self.y, self.factor, self.slope = y, factor, slope

    def execute(self, dy):
        self.shape = dy.shape
        n, c = dy.shape[:2]
        inputs = [dy if self.y is None else self.y, dy]
        numbers = (n, c, dy.numel() // (n * c), self.factor, self.slope)
        return tuple(call("biased_gradient", inputs, [dy.shape, [c]], *numbers))

    def grad(self, v, v_bias):
        factor = self.factor
        if v_bias is not None:
            v_bias = v_bias.reshape(1, -1, *[1] * (len(self.shape) - 2))
            v = v_bias.broadcast(self.shape) if v is None else factor * v + v_bias
            factor = 1.0
        return factor * v if self.y is None else _Slope(self.y, factor, self.slope)(v)


def biased(x, bias, factor: float = 1.0, slope: float = 1.0):
    """factor * x + bias, times slope where that is negative. x (n, c, ...), bias (c,)"""
    _, c, *_ = expect(x, "x", ("n", "c", ...), FLOAT32)
    expect(bias, "bias", (c,), FLOAT32)
    return _Biased(factor, slope)(x, bias)


BIASES = ("none", "plain", "blurred")  # what styled_activation's bias may be


class _StyledActivation(jt.Function):
    """(x, bias, strength, noise, style) -> y"""

    def __init__(self, eps: float, bias_is: str, factor: float, weight: float):
        self.settings = (eps, bias_is, factor, weight)

    def __call__(self, *inputs):
        self.saved = inputs
        return super().__call__(*inputs)

    def numbers(self, x):
        eps, bias_is, *factors = self.settings
        return (*x.shape, eps, BIASES.index(bias_is), *factors)

    def execute(self, x, bias, strength, noise, style):
        inputs = [x, bias, strength, noise, style]
        return call("styled_forward", inputs, [x.shape], *self.numbers(x))[0]

    def grad(self, dy):
        dx, dstyle, dbias, dstrength = _StyledActivationGradient(*self.settings)(*self.saved, dy)
        _, bias_is, factor, weight = self.settings
        strength = self.saved[2].reshape(1, -1, 1, 1) * (weight / factor)
        dnoise = (dx * strength).sum(dim=1, keepdims=True)
        dbias, dstrength = over_images(dbias, dstrength)
        return dx, None if bias_is == "none" else dbias, dstrength, dnoise, dstyle


class _StyledActivationGradient(_StyledActivation):
    """(x, bias, strength, noise, style, dy) -> dx, dstyle, and what the bias and the strength get
    from each image (n, c)
    """

    def execute(self, x, bias, strength, noise, style, dy):
        inputs, (n, c) = [x, bias, strength, noise, style, dy], x.shape[:2]
        shapes = [x.shape, style.shape, [n, c], [n, c]]
        return tuple(call("styled_gradient", inputs, shapes, *self.numbers(x)))

    def grad(self, *v):
        """Rarely asked for: by way of the plain expression. Of clones, for dy may depend on x."""
        *inputs, dy = clones = [x.clone() for x in self.saved]
        n, c = dy.shape[:2]
        x, bias, strength, noise, style = inputs
        each = [p.reshape(1, c, 1, 1).broadcast([n, c, 1, 1]) for p in (bias, strength)]
        y = styled_activation_plain(x, *each, noise, style, *self.settings)
        first = jt.grad((y * dy).sum(), [x, style, *each])
        first = [*first[:2], *(g.reshape(n, c) for g in first[2:])]
        product = sum((g * u).sum() for g, u in zip(first, v) if u is not None)
        return jt.grad(product, clones)


def expect_operands(shape, bias, strength, noise, style, bias_is, each, dtypes):
    """Raises where they do not go with x of a shape; each: the shape of bias and strength."""
    n, c, h, w = shape
    if bias_is not in BIASES:
        raise ValueError(f"bias_is: {bias_is!r} was given, one of {BIASES} is due")
    if bias_is != "none":
        expect(bias, "bias", each, dtypes)
    expect(strength, "strength", each, dtypes)
    expect(noise, "noise", ((1, n), 1, h, w), dtypes)
    expect(style, "style", (n, 2 * c), dtypes)


def styled_activation_plain(
    x, bias, strength, noise, style, eps=1e-5, bias_is="plain", factor=1.0, weight=1.0
):
    """`styled_activation` step by step; bias and strength (1 or n, c, 1, 1)."""
    n, c, h, w = expect(x, "x", IMAGES)
    each = ((1, n), c, 1, 1)
    expect_operands(x.shape, bias, strength, noise, style, bias_is, each, FLOATS)
    x, strength = factor * x, weight * strength
    if bias_is != "none":
        x = x + (bias * blurred_ones(h, w) if bias_is == "blurred" else bias)
    x = leaky_relu(x + strength * noise)
    x = x - x.mean(dims=(2, 3), keepdims=True)
    x = x / jt.sqrt((x * x).mean(dims=(2, 3), keepdims=True) + eps)
    style = style.reshape(n, 2, c, 1, 1)
    return style[:, 0] * x + style[:, 1]


def styled_activation(
    x,
    bias,
    strength,
    noise,
    style,
    eps: float = 1e-5,
    bias_is: str = "plain",
    factor: float = 1.0,
    weight: float = 1.0,
):
    """gamma * instance_norm(leaky_relu(factor * x + bias + weight * strength * noise)) + beta:
    noise, activation and equation 1 (figure 1b).

    x (n, c, h, w), bias and strength (c,), noise (n or 1, 1, h, w), style (n, 2c): all gamma, then
    all beta -> (n, c, h, w). eps: of the norm. bias_is: "blurred" for a bias that was added before
    the image was blurred, "none" where there is none (bias None).
    """
    n, c, h, w = expect(x, "x", IMAGES, FLOAT32)
    expect_operands(x.shape, bias, strength, noise, style, bias_is, (c,), FLOAT32)
    if noise.shape[0] != n:
        noise = noise.broadcast([n, 1, h, w])
    bias = strength.detach() if bias_is == "none" else bias  # an operator has all its inputs
    return _StyledActivation(eps, bias_is, factor, weight)(x, bias, strength, noise, style)
