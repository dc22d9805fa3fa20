"""Perceptual path length: how much images change along a path between latents, in LPIPS (Karras et
al. 2019, section 4.1).
"""

import numpy as np

from figures.artist import blend

EPSILON = 1e-4  # of the way from one latent to the other
PATH_STREAM = 4  # second word of the seeds, after those of artist.py


def unit(z):
    return z / np.sqrt((z * z).sum(axis=1, keepdims=True))


def ends_of_steps(artist, space: str, whole: bool, seeds):
    """Styles (n, step + 1, d) before and after a small step between the latents of seeds 2 i and
    2 i + 1, linear in w or along a great circle in z.

    whole: somewhere on the path, else at its start.
    """
    z = [artist.latents([2 * seed + i for seed in seeds]).astype("float64") for i in (0, 1)]
    draws = [np.random.default_rng([seed, PATH_STREAM]).random() for seed in seeds]
    t = np.asarray(draws)[:, None] * whole
    labels = artist.asked.of([2 * seed for seed in seeds])  # a path is of one label
    if space == "w":
        a, b = (artist.mapping(x.astype("float32"), labels).astype("float64") for x in z)
        w = [blend(a, b, place).astype("float32") for place in (t, t + EPSILON)]
    else:
        a, b = map(unit, z)
        points = [blend(a, b, place, spherical=True) for place in (t, t + EPSILON)]
        w = [artist.mapping(point.astype("float32"), labels) for point in points]
    return [artist.truncate(x) for x in w]


def path_lengths(artist, distance, space: str, whole: bool, seeds):
    """distance(image, image) / epsilon^2 for each of the seeds, under one noise: (n,) float64.

    distance: two batches (n, 3, size, size) -> (n,) array.
    """
    noise = artist.noise([2 * seed for seed in seeds])
    before, after = (artist.draw(w, noise) for w in ends_of_steps(artist, space, whole, seeds))
    return np.asarray(distance(before, after), "float64") / EPSILON**2


def trimmed_mean(lengths) -> float:
    """Of those from the 1st to the 99th percentile, both included, as StyleGAN's code has it."""
    low = np.percentile(lengths, 1, method="lower")
    high = np.percentile(lengths, 99, method="higher")
    return float(lengths[(lengths >= low) & (lengths <= high)].mean())
