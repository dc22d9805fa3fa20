"""From a picture back to the latent and the noise that a generator makes it from.

    projection = project(generator, targets, Settings(mse=1.0), step=3)

After Karras et al. 2020 (StyleGAN2, arXiv 1912.04958), appendix D, as the original's projector.py.
The network and its gradients are Jittor's; what is optimised are a few NumPy arrays.
"""

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from backend import device
from backend.terminal import UserError
from data.choice import error_text, open_picture
from data.decode import to_rgb
from data.encode import resize
from data.sizes import SIZES
from figures.artist import many_styles
from figures.rendering import render
from labels.asked import nearest

NOISE_STREAM, EXPLORE_STREAM = 4, 5  # second words of the seeds, beside those of artist.py
SMALLEST = 8  # pixels: the end of the noise maps' pyramids
LARGEST_SEEN = 256  # pixels, by LPIPS
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Settings(NamedTuple):
    """How to search; the defaults are the original's. Ramps are parts of the whole, 0 to 1."""

    steps: int = 1000  # iterations
    lr: float = 0.1  # Adam's learning rate
    lr_rampup: float = 0.05
    lr_rampdown: float = 0.25
    noise: float = 0.05  # what is added to w while searching, in units of w's spread
    noise_ramp: float = 0.75  # the part in which that fades
    noise_regularize: float = 1e5  # weight of what a noise map tells of itself
    mse: float = 0.0  # weight of the mean squared error of the pixels, beside LPIPS's 1
    w_plus: bool = False  # a w of its own for each level
    seed: int = 0


class Progress(NamedTuple):
    """What an iteration has just seen."""

    iteration: int  # from 0
    steps: int
    images: np.ndarray  # (n, 3, size, size), with what is added to w
    loss: np.ndarray  # (n,) distance to the targets, without the noise maps' part


class Projection(NamedTuple):
    """What was found, free of any truncation."""

    w: np.ndarray  # (n, code_dim), or with w_plus (n, step + 1, code_dim)
    noise: list  # step + 1 maps (n, 1 or 2, size, size)
    start: np.ndarray  # images (n, 3, size, size) of the mean w
    images: np.ndarray  # of what was found
    iterations: int  # less than steps if it was stopped
    labels: tuple = ()  # those whose mean w the searches began with


class ProjectionError(UserError):
    """A search that leads nowhere."""


def read_target(path, size: int):
    """A picture as prepare_data.py makes it, upright, RGB, its central square at `size` px, as
    (3, size, size) in [-1, 1]. Raises UserError.
    """
    try:
        with open_picture(path, str(path)) as picture:
            square = resize(to_rgb(picture, "white").picture, size)
    except Exception as e:  # whatever a broken file drives Pillow to
        raise UserError(f"{path} cannot be read as a picture: {error_text(e)}") from None
    return np.asarray(square, "float32").transpose(2, 0, 1) / 127.5 - 1


def learning_rate(t: float, settings: Settings) -> float:
    """At time t, 0 to 1: up along a line, down along a cosine."""
    down = min(1.0, (1 - t) / settings.lr_rampdown) if settings.lr_rampdown else 1.0
    up = min(1.0, t / settings.lr_rampup) if settings.lr_rampup else 1.0
    return settings.lr * (0.5 - 0.5 * math.cos(down * math.pi)) * up


def exploration(t: float, settings: Settings) -> float:
    """What is added to w at time t, in units of w's spread."""
    fading = max(0.0, 1 - t / settings.noise_ramp) if settings.noise_ramp else 0.0
    return settings.noise * fading**2


def noise_penalty(x):
    """How much noise maps (n, maps, size, size) tell of their neighbours, at their size and,
    averaged over 2x2 cells, at each smaller one to 8 px -> (n,), and its gradient.

    Squares of the mean products of neighbours, (appendix D). The paper doubles each average; its
    code and the original do not, and the weight's default is theirs.
    """
    n, maps, h, w = x.shape
    penalty, gradient = np.zeros(n, x.dtype), np.zeros_like(x)
    for axis in (3, 2):
        before = np.roll(x, 1, axis)
        mean = (x * before).mean(axis=(2, 3), keepdims=True)
        penalty += (mean**2).sum(axis=(1, 2, 3))
        gradient += 2 * mean * (before + np.roll(x, -1, axis)) / (h * w)
    if h > SMALLEST:
        below = x.reshape(n, maps, h // 2, 2, w // 2, 2).mean(axis=(3, 5))
        more, slope = noise_penalty(below)
        penalty += more
        gradient += slope.repeat(2, axis=2).repeat(2, axis=3) / 4
    return penalty, gradient


def normalised(x):
    """Noise maps with mean 0 and variance 1, each for itself."""
    x = x - x.mean(axis=(2, 3), keepdims=True)
    return x / np.sqrt((x * x).mean(axis=(2, 3), keepdims=True))


class Adam:
    """Adam (Kingma & Ba 2015, algorithm 1) on NumPy arrays, in place."""

    def __init__(self, values):
        self.values, self.steps = values, 0
        self.moments = [(np.zeros_like(x), np.zeros_like(x)) for x in values]

    def step(self, gradients, lr: float) -> None:
        self.steps += 1
        scale = lr * math.sqrt(1 - BETA2**self.steps) / (1 - BETA1**self.steps)
        epsilon = EPSILON * math.sqrt(1 - BETA2**self.steps)
        for x, g, (m, v) in zip(self.values, gradients, self.moments):
            m += (1 - BETA1) * (g - m)
            v += (1 - BETA2) * (g * g - v)
            x -= scale * m / (np.sqrt(v) + epsilon)


class Distance:
    """Of images to targets, both (n, 3, size, size) in [-1, 1]: LPIPS, and mse times the mean
    squared error.
    """

    def __init__(self, targets, mse: float, lpips=None):
        """lpips: an `lpips.LPIPS`, or None for the mean squared error alone."""
        jt = device.load()
        self.targets, self.mse, self.lpips = jt.array(np.asarray(targets, "float32")), mse, lpips
        if lpips is not None:
            with jt.no_grad():
                self.features = lpips.features(halved(self.targets))
                jt.sync(self.features)

    def __call__(self, images):
        """(n,)"""
        total = self.mse * ((images - self.targets) ** 2).mean(dims=(1, 2, 3))
        if self.lpips is not None:
            features = self.lpips.features(halved(images))
            total = total + self.lpips.distance(features, self.features)
        return total


def halved(images):
    """The images at 256 px where they are larger: that is what LPIPS's networks have learned."""
    from operators import resampling  # imports Jittor

    while images.shape[-1] > LARGEST_SEEN:
        images = resampling.avg_pool2(images)
    return images


def evaluate(generator, distance, w, noise, step, alpha):
    """Images (n, 3, size, size) of w and noise maps, their distances (n,), and the distances'
    gradients in w and in each noise map: all arrays.
    """
    jt = device.load()
    w, noise = jt.array(w), [jt.array(x) for x in noise]
    styles = [w[:, level] for level in range(step + 1)] if w.ndim == 3 else w
    images = generator.synthesis(styles, noise, step, alpha)
    loss = distance(images)
    with jt.no_grad():  # nobody differentiates these once more
        gradients = jt.grad(loss.sum(), [w, *noise])
    jt.sync([images, loss, *gradients])
    return images.numpy(), loss.numpy(), [g.numpy() for g in gradients]


@np.errstate(over="ignore", invalid="ignore")  # what comes of them is not finite, and noticed
def project(generator, targets, settings, step, alpha=None, lpips=None, progress=None, labels=()):
    """Searches each target's w and noise maps, from the mean w on. Returns a Projection.

    targets: (n, 3, size, size) in [-1, 1], size = 4 * 2^step; each is found as if it were alone.
    lpips: an `lpips.LPIPS`, or None for the mean squared error alone. progress: called with a
    Progress after each iteration; returns True to stop there. labels: numbers, of whose mean the
    nearest is taken. The same seed finds the same. Raises ProjectionError.
    """
    n, distance = len(targets), Distance(targets, settings.mse, lpips)
    mean, spread = style_statistics(generator)
    rng = np.random.default_rng([settings.seed, NOISE_STREAM])
    shapes = [(1, generator.noise_maps, size, size) for size in SIZES[: step + 1]]
    noise = [rng.standard_normal(shape, "float32") for shape in shapes]
    noise = [normalised(x).repeat(n, axis=0) for x in noise]  # the same for each target
    w = mean.repeat(n, axis=0)
    if labels:
        means = [style_statistics(generator, label) for label in labels]
        seen = partial(evaluate, generator, distance, noise=noise, step=step, alpha=alpha)
        w, spread, labels = nearest(labels, means, n, seen)
    if settings.w_plus:
        w = w[:, None].repeat(step + 1, axis=1)
        spread = spread[:, None] if labels else spread
    start = render(generator, w, noise, step, alpha)

    adam, done = Adam([w, *noise]), 0
    rng = np.random.default_rng([settings.seed, EXPLORE_STREAM])
    for i in range(settings.steps):
        t = i / settings.steps
        offset = spread * exploration(t, settings) * rng.standard_normal(w.shape[1:], "float32")
        images, loss, gradients = evaluate(generator, distance, w + offset, noise, step, alpha)
        if not np.isfinite(loss).all():
            raise ProjectionError(f"the loss of iteration {i} is not finite: try a smaller --lr")
        for x, g in zip(noise, gradients[1:]):
            g += settings.noise_regularize * noise_penalty(x)[1]
        adam.step(gradients, learning_rate(t, settings))
        for x in noise:
            x[:] = normalised(x)
        done = i + 1
        if progress is not None and progress(Progress(i, settings.steps, images, loss)):
            break
    images = render(generator, w, noise, step, alpha)
    if not np.isfinite(images).all():
        raise ProjectionError(f"the image of iteration {done} is not finite: try a smaller --lr")
    return Projection(w, noise, start, images, done, labels)


def style_statistics(generator, label=None):
    """Mean (1, code_dim) of w over many latents, and the root of its mean squared distance."""
    w = many_styles(generator, label)
    mean = w.mean(axis=0, keepdims=True)
    return mean, np.sqrt(((w - mean) ** 2).sum(axis=1).mean())


def psnr(a, b):
    """Peak signal-to-noise ratio in dB of images (n, 3, h, w) in [-1, 1] -> (n,)"""
    error = ((np.clip(a, -1, 1) - np.clip(b, -1, 1)) ** 2).mean(axis=(1, 2, 3))
    return 10 * np.log10(4 / np.maximum(error, 1e-12))
