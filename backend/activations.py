"""What stands around the convolutions: activations and norms. Images are (n, c, h, w), float32."""

import numpy as np

from backend import device
from backend.native import call
from backend.ops import blurred_ones

jt = device.load()


def relu(x):
    return jt.maximum(x, 0)


class _Slope(jt.Function):
    """dy times the slope of the leaky ReLU, 1 where its output y is positive, else 0.2."""

    def __init__(self, y):
        self.y = y

    def execute(self, dy):
        if str(dy.dtype) != "float32":
            return jt.ternary(self.y > 0, dy, 0.2 * dy)
        # fused with what is around it, it would be compiled in a dozen variants
        return call("leaky_slope", [self.y, dy], [dy.shape], dy.numel())[0]

    def grad(self, v):
        return _Slope(self.y)(v)


class _LeakyReLU(jt.Function):
    """Keeps its output alone: that tells the slope too."""

    def execute(self, x):
        self.y = jt.maximum(x, 0.2 * x)
        return self.y

    def grad(self, dy):
        return _Slope(self.y)(dy)


def leaky_relu(x):
    """Slope 0.2 below zero."""
    return _LeakyReLU()(x)


class _BiasedLeakyReLU(jt.Function):
    """(x, bias) -> y; keeps y alone."""

    def execute(self, x, bias):
        n, c, h, w = x.shape
        self.y = call("leaky_forward", [x, bias], [x.shape], n, c, h * w)[0]
        return self.y

    def grad(self, dy):
        return _BiasedSlope(self.y)(dy)


class _BiasedSlope(jt.Function):
    """dy -> dx, dbias"""

    def __init__(self, y):
        self.y = y

    def execute(self, dy):
        n, c, h, w = dy.shape
        return tuple(call("leaky_gradient", [self.y, dy], [dy.shape, [c]], n, c, h * w))

    def grad(self, v, v_bias):
        if v_bias is not None:
            v_bias = v_bias.reshape(1, -1, 1, 1).broadcast(self.y.shape)
            v = v_bias if v is None else v + v_bias
        return _Slope(self.y)(v)


def biased_leaky_relu(x, bias):
    """leaky_relu(x + bias), x (n, c, h, w), bias (c)."""
    if str(x.dtype) != "float32":
        return leaky_relu(x + bias.reshape(1, -1, 1, 1))
    return _BiasedLeakyReLU()(x, bias)


def pixel_norm(x):
    """x / sqrt(mean over channels of x^2 + 1e-8) (ProGAN, section 4.2)."""
    return x / jt.sqrt((x * x).mean(dim=1, keepdims=True) + 1e-8)


def instance_norm(x, eps: float = 1e-5):
    """Zero mean and unit (biased) variance of each image's each channel."""
    x = x - x.mean(dims=(2, 3), keepdims=True)
    return x / jt.sqrt((x * x).mean(dims=(2, 3), keepdims=True) + eps)


class _StyledActivation(jt.Function):
    """`styled_activation` by one kernel."""

    def __init__(self, eps: float, bias: str):
        self.how = (eps, bias)

    def __call__(self, *inputs):
        self.saved = inputs
        return super().__call__(*inputs)

    def numbers(self, x):
        eps, bias = self.how
        return (*x.shape, eps, BIASES.index(bias))

    def execute(self, x, bias, strength, noise, style):
        inputs = [x, bias, strength, noise, style]
        return call("styled_forward", inputs, [x.shape], *self.numbers(x))[0]

    def grad(self, dy):
        dx, dstyle, dbias, dstrength = _StyledActivationGradient(*self.how)(*self.saved, dy)
        dnoise = (dx * self.saved[2].reshape(1, -1, 1, 1)).sum(dim=1, keepdims=True)
        dbias = None if self.how[1] == "none" else dbias.sum(dim=0)
        return dx, dbias, dstrength.sum(dim=0), dnoise, dstyle


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
        y = styled_activation_plain(x, *each, noise, style, *self.how)
        first = jt.grad((y * dy).sum(), [x, style, *each])
        first = [*first[:2], *(g.reshape(n, c) for g in first[2:])]
        product = sum((g * u).sum() for g, u in zip(first, v) if u is not None)
        return jt.grad(product, clones)


BIASES = ("none", "plain", "blurred")


def styled_activation_plain(x, bias, strength, noise, style, eps=1e-5, kind="plain"):
    """`styled_activation` step by step; bias and strength (1 or n, c, 1, 1)."""
    n, c, h, w = x.shape
    if kind != "none":
        x = x + (bias * blurred_ones(h, w) if kind == "blurred" else bias)
    style = style.reshape(n, 2, c, 1, 1)
    x = instance_norm(leaky_relu(x + strength * noise), eps)
    return style[:, 0] * x + style[:, 1]


def styled_activation(x, bias, strength, noise, style, eps: float = 1e-5, kind: str = "plain"):
    """gamma * instance_norm(leaky_relu(x + bias + strength * noise)) + beta: noise, activation and
    equation 1 (figure 1b).

    x (n, c, h, w), bias and strength (c,), noise (n or 1, 1, h, w), style (n, 2c): all gamma, then
    all beta -> (n, c, h, w). eps: of the norm. kind: "blurred" for a bias that was added before the
    image was blurred, "none" for None.
    """
    n, c, h, w = x.shape
    if noise.shape[0] != n:
        noise = noise.broadcast([n, 1, h, w])
    bias = strength.detach() if kind == "none" else bias  # an operator has all its inputs
    if str(x.dtype) != "float32":
        bias, strength = (p.reshape(1, -1, 1, 1) for p in (bias, strength))
        return styled_activation_plain(x, bias, strength, noise, style, eps, kind)
    return _StyledActivation(eps, kind)(x, bias, strength, noise, style)


def minibatch_stddev(x, group: int = 0):
    """Appends a channel with one number: the mean over everything of the batch's standard deviation
    (ProGAN, 3). With `group`, that of groups of so many: of 8 images 0 2 4 6 and 1 3 5 7.
    """
    n, c, h, w = x.shape
    group = min(group or n, n)
    if n % group:
        raise ValueError(f"{n} images are no groups of {group}")
    d = x.reshape(group, n // group, c, h, w)
    d = d - d.mean(dim=0, keepdims=True)
    deviation = jt.sqrt((d * d).mean(dim=0) + 1e-8).mean(dims=(2, 3)).mean(dim=1)  # (n / group,)
    deviation = deviation.broadcast([group, n // group], [0]).reshape(n, 1, 1, 1)
    padded = x.reindex([n, c + 1, h, w], ["i0", "i1", "i2", "i3"])  # a channel of zeros
    last = np.arange(c + 1).reshape(1, -1, 1, 1) == c
    return padded + deviation * jt.array(last.astype(str(x.dtype))).stop_grad()
