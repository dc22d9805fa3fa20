"""A trained generator, asked in arrays: from seeds to latents, styles and images."""

import numpy as np
from tqdm import tqdm

from pictures.sizes import SIZES

MEAN_STYLE_LATENTS = 10 * 1024
# Second words of the seeds: what is drawn for a seed
LATENT_STREAM, NOISE_STREAM, MEAN_STREAM = 1, 2, 3


class Artist:
    """A trained generator, asked in arrays: seeds to latents, latents to styles, styles to images.

    psi: truncation, of the levels 0 to psi_level, around the mean style: the generator's own where
    it knows one, else that of 10,240 latents. batch: how many images are computed at a time.
    `bar`, a tqdm, counts them.
    """

    def __init__(self, generator, step, alpha, psi=0.7, psi_level=8, batch=16):
        self.generator, self.step, self.alpha = generator, step, alpha
        self.psi, self.psi_level, self.batch = psi, psi_level, batch
        self.bar = tqdm(disable=True)
        self.mean_style = generator.stored_mean
        if self.mean_style is None:
            rng = np.random.default_rng([0, MEAN_STREAM])
            z = rng.standard_normal((MEAN_STYLE_LATENTS, generator.code_dim), dtype="float32")
            self.mean_style = generator.map_latents(z).mean(axis=0, keepdims=True)

    def latents(self, seeds):
        """z (n, code_dim)"""
        rngs = [np.random.default_rng([seed, LATENT_STREAM]) for seed in seeds]
        return np.stack([rng.standard_normal(self.generator.code_dim, "float32") for rng in rngs])

    def truncate(self, w, psi=None):
        """w (n, code_dim) -> (n, step + 1, code_dim): mean + psi (w - mean) (section B)."""
        styles = np.repeat(w[:, None], self.step + 1, axis=1)
        psi = self.psi if psi is None else psi
        truncated = self.mean_style + psi * (w - self.mean_style)
        styles[:, : self.psi_level + 1] = truncated[:, None]
        return styles

    def styles(self, seeds):
        """Truncated styles (n, step + 1, code_dim)"""
        return self.truncate(self.generator.map_latents(self.latents(seeds)))

    def noise(self, seeds):
        """A set of noise maps for each seed: step + 1 arrays (n, 1 or 2, size, size)."""
        maps = self.generator.noise_maps
        rngs = [np.random.default_rng([seed, NOISE_STREAM]) for seed in seeds]
        return [
            np.stack([rng.standard_normal((maps, size, size), "float32") for rng in rngs])
            for size in SIZES[: self.step + 1]
        ]

    def draw(self, styles, noise):
        """Styles (n, step + 1, code_dim), noise maps of n images or of one for all -> images
        (n, 3, size, size)
        """
        n = len(styles)
        noise = [np.broadcast_to(x, (n, *x.shape[1:])) for x in noise]
        self.bar.total = (self.bar.total or 0) + n
        images = []
        for i in range(0, n, self.batch):
            part = slice(i, i + self.batch)
            maps = [x[part] for x in noise]
            images.append(self.generator.render(styles[part], maps, self.step, self.alpha))
            self.bar.update(len(images[-1]))
        return np.concatenate(images)


def blend(a, b, t, spherical: bool = False):
    """From a to b, both (..., d), as t goes from 0 to 1; spherical: along the great circle."""
    if not spherical:
        return (1 - t) * a + t * b
    cosine = (a * b).sum(-1, keepdims=True) / np.sqrt(
        (a * a).sum(-1, keepdims=True) * (b * b).sum(-1, keepdims=True)
    )
    angle = np.arccos(np.clip(cosine, -1, 1))
    straight = np.sin(angle) < 1e-4  # (nearly) along one line there is no great circle
    sine = np.where(straight, 1, np.sin(angle))
    arc = np.sin((1 - t) * angle) / sine * a + np.sin(t * angle) / sine * b
    return np.where(straight, (1 - t) * a + t * b, arc)


def mix(target, source, levels):
    """Every target's styles (a, levels, d) with every source's (b, levels, d) on `levels` (first,
    last) -> (a, b, levels, d)
    """
    first, last = levels
    mixed = np.repeat(target[:, None], len(source), axis=1)
    mixed[:, :, first : last + 1] = source[None, :, first : last + 1]
    return mixed
