"""A trained generator, asked in arrays: from seeds to latents, styles and images."""

import numpy as np
from tqdm import tqdm

from data.sizes import SIZES
from figures.rendering import map_latents, render
from labels.asked import Asked
from labels.table import drawn, one_hot

MEAN_STYLE_LATENTS = 10 * 1024
# Second words of the seeds: what is drawn for a seed
LATENT_STREAM, NOISE_STREAM, MEAN_STREAM = 1, 2, 3


def many_styles(generator, label=None):
    """w (10240, code_dim) of as many latents, always the same; of all labels, or of one number."""
    rng, n = np.random.default_rng([0, MEAN_STREAM]), MEAN_STYLE_LATENTS
    z = rng.standard_normal((n, generator.code_dim), dtype="float32")
    only = None if label is None else one_hot([label], generator.labels)[0]
    return map_latents(generator, z, drawn(rng, generator.labels, n, only))


def mean_of_styles(generator):
    """Of those: (1, code_dim), where nothing else is known the centre of truncation."""
    return many_styles(generator).mean(axis=0, keepdims=True)


def draw_latents(seeds, code_dim: int):
    """z (n, code_dim) of seeds."""
    rngs = [np.random.default_rng([seed, LATENT_STREAM]) for seed in seeds]
    return np.stack([rng.standard_normal(code_dim, "float32") for rng in rngs])


def draw_noise(seeds, step: int, maps: int = 1):
    """Noise maps of seeds: step + 1 arrays (n, maps, size, size)."""
    rngs = [np.random.default_rng([seed, NOISE_STREAM]) for seed in seeds]
    return [
        np.stack([rng.standard_normal((maps, size, size), "float32") for rng in rngs])
        for size in SIZES[: step + 1]
    ]


class Artist:
    """A trained generator, asked in arrays: seeds to latents, latents to styles, styles to images.

    psi: truncation, of the levels 0 to psi_level, around mean_style (1, code_dim), where it is
    None that of 10,240 latents. batch: how many images are computed at a time. files:
    `LatentsFile`s; seeds are then the places of their latents, from 0. `bar`, a tqdm, counts the
    images.

    What may be changed: `noise_seed`, whose noise all images have; `noise_strength`, a factor;
    `offset` (step + 1, code_dim), added to all styles after truncation; `mixed`, [(levels, seed)]:
    levels (first, last) of the `styles` of all seeds that are those of one; `crop` (width, height),
    the middle of all images that alone is drawn; `asked`, which label each seed has.
    """

    def __init__(
        self, generator, step, alpha, psi=0.7, psi_level=8, batch=16, files=(), mean_style=None
    ):
        self.generator, self.step, self.alpha = generator, step, alpha
        self.psi, self.psi_level, self.batch = psi, psi_level, batch
        self.files = files
        self.given = [latent for file in files for latent in file.latents]
        self.asked, self.given_w = Asked(generator.labels), None
        self.knows_z = all(latent.z is not None for latent in self.given)
        self.knows_noise = any(latent.noise for latent in self.given)
        self.noise_seed, self.noise_strength, self.offset, self.mixed = None, 1.0, None, ()
        self.crop = None
        self.bar = tqdm(disable=True)
        if mean_style is None:
            mean_style = mean_of_styles(generator)
        self.mean_style = mean_style

    @classmethod
    def of(cls, network, psi, psi_level, batch=16, files=()) -> "Artist":
        """An artist for a `network.Network`."""
        shown = (network.generator, network.step, network.alpha)
        artist = cls(*shown, psi, psi_level, batch, files, network.mean_style)
        artist.asked.names = network.config.label_names
        return artist

    def codes_of(self, given):
        """w of given latents: (n, code_dim), or (n, step + 1, code_dim) if one is of that kind."""
        places = [i for i, latent in enumerate(given) if latent.w is None]
        z = [given[i].z for i in places]
        mapped = iter(self.mapping(np.stack(z), self.asked.of(places)) if z else ())
        w = [next(mapped) if latent.w is None else latent.w for latent in given]
        if any(code.ndim == 2 for code in w):
            w = [np.broadcast_to(code, (self.step + 1, code.shape[-1])) for code in w]
        return np.stack(w)

    def mapping(self, z, labels=None):
        """z (n, code_dim), labels (n, labels) -> w before truncation (n, code_dim)"""
        return map_latents(self.generator, z, labels)

    def latents(self, seeds):
        """z (n, code_dim)"""
        if self.given:
            return np.stack([self.given[seed].z for seed in seeds])
        return draw_latents(seeds, self.generator.code_dim)

    def codes(self, seeds):
        """w before truncation: (n, code_dim), or (n, step + 1, code_dim) as given."""
        if self.given:
            self.given_w = self.codes_of(self.given) if self.given_w is None else self.given_w
            return self.given_w[list(seeds)]
        return self.mapping(self.latents(seeds), self.asked.of(seeds))

    def truncate(self, w, psi=None):
        """w as from `codes` -> (n, step + 1, code_dim): mean + psi (w - mean) (section B)."""
        w = w if w.ndim == 3 else w[:, None]
        psi = self.psi if psi is None else psi
        truncated = self.mean_style + psi * (w - self.mean_style)
        levels = np.arange(self.step + 1)[:, None]
        styles = np.where(levels <= self.psi_level, truncated, w)
        return styles if self.offset is None else styles + self.offset

    def styles(self, seeds):
        """Truncated styles (n, step + 1, code_dim)"""
        styles = self.truncate(self.codes(seeds))
        for (first, last), seed in self.mixed:
            levels = slice(first, last + 1)
            styles[:, levels] = self.truncate(self.codes([seed]))[:, levels]
        return styles

    def noise_of(self, seed: int, level: int):
        """The noise map of a level that was given with a seed's latent, or None."""
        for (first, last), other in self.mixed:
            seed = other if first <= level <= last else seed
        return self.given[seed].noise.get(SIZES[level])

    def noise(self, seeds):
        """A set of noise maps for each seed, as given where they are: step + 1 arrays (n, 1 or 2,
        size, size).
        """
        if self.noise_seed is not None:
            return self.drawn_noise([self.noise_seed] * len(seeds))
        maps = self.drawn_noise(seeds)
        if self.knows_noise:
            for i, seed in enumerate(seeds):
                for level, x in enumerate(maps):
                    given = self.noise_of(seed, level)
                    x[i] = x[i] if given is None else given
        return maps

    def common_noise(self, seeds):
        """The same for images that differ in style only: the first one's maps for all. Given ones
        hold a part of their picture, and stay with it.
        """
        if self.knows_noise:
            return self.noise(seeds)
        return [np.broadcast_to(x, (len(seeds), *x.shape[1:])) for x in self.noise(seeds[:1])]

    def drawn_noise(self, seeds):
        """The same from the seeds alone."""
        return draw_noise(seeds, self.step, self.generator.noise_maps)

    def draw(self, styles, noise):
        """Styles (n, step + 1, code_dim), noise maps of n images or of one for all -> images
        (n, 3, size, size), or cropped
        """
        n = len(styles)
        if self.noise_strength != 1:
            noise = [np.float32(self.noise_strength) * x for x in noise]
        noise = [np.broadcast_to(x, (n, *x.shape[1:])) for x in noise]
        self.bar.total = (self.bar.total or 0) + n
        images = []
        for i in range(0, n, self.batch):
            rows = slice(i, i + self.batch)
            maps = [x[rows] for x in noise]
            whole = render(self.generator, styles[rows], maps, self.step, self.alpha)
            images.append(middle(whole, self.crop))
            self.bar.update(len(images[-1]))
        return np.concatenate(images)


def middle(images, crop):
    """The middle of images, crop (width, height) of (n, 3, size, size); None: all. Where it is not
    in the middle by half a pixel, it is nearer to the left and the top.
    """
    if crop is None:
        return images
    left, top = ((images.shape[-1] - length) // 2 for length in crop)
    return images[..., top : top + crop[1], left : left + crop[0]]


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
