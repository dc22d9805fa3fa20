"""The figures: functions of an artist and generate.py's options that give rows of images
(n_col, 3, size, size).
"""

import itertools

import numpy as np

from figures.artist import blend, mix

LEVELS = {"coarse": (0, 1), "middle": (2, 3), "fine": (4, 8)}  # section 3.1: 4-8, 16-32, 64- px
PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)  # figure 8


def seeds_of(options, n: int, skip: int = 0):
    """n seeds: those given, after the first `skip`, and then on from the last by one; with
    --latents those given over and over.
    """
    given = options.seeds or [options.seed]
    more = itertools.count(given[-1] + 1)
    seeds = itertools.cycle(given) if options.latents else itertools.chain(given, more)
    return list(itertools.islice(seeds, skip, skip + n))


def row_seeds(options):
    """One for each row of n_row; of --latents none twice."""
    return seeds_of(options, min(options.n_row, len(options.seeds) if options.latents else 2**63))


def sample_seeds(options):
    """Those given, else as many as the grid has cells."""
    return options.seeds or seeds_of(options, options.n_row * options.n_col)


def sample(artist, options):
    """An image for each seed."""
    seeds = sample_seeds(options)
    for i in range(0, len(seeds), options.n_col):
        row = seeds[i : i + options.n_col]
        yield artist.draw(artist.styles(row), artist.noise(row))


def draw_path(artist, options, seeds, noise, places, between):
    """For each of `places` the images of between(values, place, spherical): (n, d) -> (m, d), of
    the seeds' latents in z or in w. `noise` serves all, unless the maps are given: they blend too,
    along great circles, where they keep their variance.
    """
    in_z = options.space == "z"
    codes = artist.latents(seeds) if in_z else artist.codes(seeds)
    labels = artist.asked.of(seeds) if in_z else None
    maps = artist.noise(seeds) if artist.knows_noise else ()

    def blended(x, place, spherical):
        values = between(x.reshape(len(x), -1), place, spherical).astype("float32")
        return values.reshape(len(values), *x.shape[1:])

    for place in places:
        w = blended(codes, place, options.slerp)
        w = artist.mapping(w, blended(labels, place, False)) if in_z else w
        blended_maps = [blended(x, place, True) for x in maps]
        yield artist.draw(artist.truncate(w), blended_maps or noise)


def interpolation(artist, options):
    """Four latents in the corners and the blends of them between."""

    def row(corners, down, spherical):
        across = np.linspace(0, 1, options.n_col)[:, None]
        above = blend(corners[0], corners[1], across, spherical)  # (n_col, d)
        below = blend(corners[2], corners[3], across, spherical)
        return blend(above, below, down, spherical)

    seeds = seeds_of(options, 4)
    noise, places = artist.noise(seeds[:1]), np.linspace(0, 1, options.n_row)
    return draw_path(artist, options, seeds, noise, places, row)


def styles_and_noise(artist, seeds, *split):
    """What mixing figures need of seeds, cut into parts: [(styles, noise maps)]"""
    styles, noise = artist.styles(seeds), artist.common_noise(seeds)
    bounds = zip((0, *split), (*split, len(seeds)))
    return [(styles[a:b], [x[a:b] for x in noise]) for a, b in bounds]


def mixing_rows(artist, target, source, levels):
    """A row for each target: its own image, then mixed with each source, noise maps too.

    target, source: as from `styles_and_noise`.
    """
    first, last = levels
    for i, mixed in enumerate(mix(target[0], source[0], levels)):
        noise = []
        for level, (of_targets, of_sources) in enumerate(zip(target[1], source[1])):
            own = of_targets[i : i + 1]
            is_mixed = first <= level <= last
            others = of_sources if is_mixed else np.repeat(own, len(of_sources), axis=0)
            noise.append(np.concatenate([own, others]))
        yield artist.draw(np.concatenate([target[0][i : i + 1], mixed]), noise)


def header(artist, source):
    """The first row of a mixing figure: an empty cell, then the sources."""
    images = artist.draw(*source)
    return np.concatenate([np.full_like(images[:1], -1), images])


def mixing(artist, options, k: int = 0):
    """Styles mixed: sources above, targets on the left (the original's layout); figure number k.

    Each image has its source's styles on `mixing_levels` and its target's on the others.
    """
    n = options.n_col + options.n_row
    seeds = seeds_of(options, n, skip=k * n)
    source, target = styles_and_noise(artist, seeds, options.n_col)
    yield header(artist, source)
    yield from mixing_rows(artist, target, source, options.mixing_levels)


def noise(artist, options):
    """Rows of one latent under different noise, and last how much each pixel varies: the standard
    deviation over n_noise images, white where it is largest (figure 4). What is below an eighth of
    a grey level may be rounding: it is not made visible.
    """
    styles = artist.styles(row_seeds(options))
    rows = [spread(artist, style, options) for style in styles]
    largest = max(1e-3, *(deviation.max() for _, deviation in rows))
    for images, deviation in rows:
        yield np.concatenate([images, np.repeat(deviation / largest * 2 - 1, 3, axis=1)])


def spread(artist, styles, options):
    """One latent's images under the first n_col noises, and the standard deviation of its pixels
    over n_noise of them, all channels together (1, 1, size, size). styles (step + 1, code_dim)
    """
    shown, total, squares = [], 0.0, 0.0
    n = max(options.n_noise, options.n_col)
    for i in range(0, n, artist.batch):
        noise = artist.drawn_noise(range(i, min(i + artist.batch, n)))
        images = artist.draw(np.repeat(styles[None], len(noise[0]), axis=0), noise)
        shown.append(images[: max(options.n_col - i, 0)])
        reference = shown[0][:1].astype("float64")  # differences: squares of them lose no digits
        total = total + (images - reference).sum(axis=0, keepdims=True)
        squares = squares + ((images - reference) ** 2).sum(axis=0, keepdims=True)
    variance = np.maximum(squares / n - (total / n) ** 2, 0)
    return np.concatenate(shown), np.sqrt(variance.mean(axis=1, keepdims=True)).astype("float32")


def noise_levels(artist, options):
    """Rows of one latent with all noise, none, noise on the fine levels only, on the coarse only
    (figure 5). Fine begins at 64 px; in a smaller network, at the upper half of its levels.
    """
    split = min(LEVELS["fine"][0], (artist.step + 1) // 2)
    kept = [range(9), (), range(split, 9), range(split)]
    for seed in row_seeds(options):
        maps = artist.noise([seed])
        noise = [np.concatenate([x * (i in levels) for levels in kept]) for i, x in enumerate(maps)]
        yield artist.draw(np.repeat(artist.styles([seed]), len(kept), axis=0), noise)


def truncation(artist, options):
    """Rows of one latent each, truncated from psi 1 to its opposite, -1 (figure 8)."""
    for seed in row_seeds(options):
        w = artist.codes([seed])
        styles = np.concatenate([artist.truncate(w, psi) for psi in PSIS])
        yield artist.draw(styles, artist.noise([seed]))


def labels(artist, options):
    """A row for each label that was asked for, else for all: the same latents and noise."""
    seeds = seeds_of(options, options.n_col)
    for number in artist.asked.rows():
        w = artist.mapping(artist.latents(seeds), artist.asked.alone(number).of(seeds))
        yield artist.draw(artist.truncate(w), artist.noise(seeds))


FIGURES = {
    figure.__name__: figure
    for figure in (sample, interpolation, mixing, noise, noise_levels, truncation, labels)
}


def tiles(options, name: str, count: int = 0):
    """(rows, columns) of one of FIGURES. count: labels that are shown."""
    rows, cols = options.n_row, options.n_col
    if name == "sample" and options.seeds:
        rows = -(-len(options.seeds) // cols)
    elif name in ("noise", "noise_levels", "truncation"):
        rows = len(row_seeds(options))
    elif name == "labels":
        rows = count
    own = {"mixing": cols + 1, "noise": cols + 1, "noise_levels": 4, "truncation": len(PSIS)}
    return rows + (name == "mixing"), own.get(name, cols)


def animation(artist, options):
    """Frames (n, 3, size, size) of closed walks, n of them side by side, each through n_walk
    latents.
    """
    n, n_walk = options.walk_rows * options.walk_cols, options.n_walk
    seeds = seeds_of(options, n * n_walk)

    def frame(values, place, spherical):
        stops, i = values.reshape(n, n_walk, -1), int(place)
        return blend(stops[:, i], stops[:, (i + 1) % n_walk], place % 1, spherical)

    places = np.arange(options.frames) * n_walk / options.frames
    return draw_path(artist, options, seeds, artist.noise(seeds[:n]), places, frame)
