"""Makes the paper's figures from a checkpoint.

    python generate.py checkpoint/train_step-6.model
    python generate.py checkpoint/train_step-6.model --only sample,truncation --seeds 3,7,20-29
    python generate.py checkpoint/train_step-6.model --images 1000 --out pictures

Writes sample.png, interpolation.png, mixing_{k}.png, noise.png, noise_levels.png, truncation.png
and an animation into results/. A seed stands for a latent and the noise that goes with it. The same
command writes the same bytes on a CPU; each PNG notes seeds, psi and the checkpoint's checksum.
"""

import argparse
import hashlib
import itertools
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from backend import device, terminal
from backend.terminal import UsageError, number, seed_number
from formats.files import CheckpointError
from pictures.animation import import_ffmpeg, save_animation
from pictures.artist import Artist, blend, mix
from pictures.grid import make_grid, save_png, stack, to_bytes
from pictures.sizes import SIZES, image_size, joined, step_of

LEVELS = {"coarse": (0, 1), "middle": (2, 3), "fine": (4, 8)}  # section 3.1: 4-8, 16-32, 64- px
MOST_IMAGES = 10**7
PSIS = (1.0, 0.7, 0.5, 0.0, -0.5, -1.0)  # figure 8


# Figures: functions of an artist and the options that give rows of images (n_col, 3, size, size)


def seeds_of(options, n: int, skip: int = 0):
    """n seeds: those given, after the first `skip`, and then on from the last by one."""
    given = options.seeds or [options.seed]
    seeds = itertools.chain(given, itertools.count(given[-1] + 1))
    return list(itertools.islice(seeds, skip, skip + n))


def sample(artist, options):
    """An image for each seed."""
    n = len(options.seeds or ()) or options.n_row * options.n_col
    for i in range(0, n, options.n_col):
        seeds = seeds_of(options, min(options.n_col, n - i), skip=i)
        yield artist.draw(artist.styles(seeds), artist.noise(seeds))


def path_styles(artist, options, seeds, points):
    """Styles of `points`, a function of the seeds' latents (n, d) -> (m, d), in z or in w."""
    latents, mapping = artist.latents(seeds), artist.generator.map_latents
    if options.space == "w":
        w = points(mapping(latents)).astype("float32")
    else:
        w = mapping(points(latents).astype("float32"))
    return artist.truncate(w)


def interpolation(artist, options):
    """Four latents in the corners and the blends of them between."""
    n_row, n_col = options.n_row, options.n_col

    def points(corners):
        across = np.linspace(0, 1, n_col)[:, None]
        above = blend(corners[0], corners[1], across, options.slerp)  # (n_col, d)
        below = blend(corners[2], corners[3], across, options.slerp)
        down = np.linspace(0, 1, n_row)[:, None, None]
        return blend(above, below, down, options.slerp).reshape(n_row * n_col, -1)

    seeds = seeds_of(options, 4)
    styles, noise = path_styles(artist, options, seeds, points), artist.noise(seeds[:1])
    for i in range(0, len(styles), n_col):
        yield artist.draw(styles[i : i + n_col], noise)


def mixing_rows(artist, target, source, levels, noise):
    """A row for each target: its own image, then mixed with each source."""
    for own, mixed in zip(target, mix(target, source, levels)):
        yield artist.draw(np.concatenate([own[None], mixed]), noise)


def header(artist, source, noise):
    """The first row of a mixing figure: an empty cell, then the sources."""
    images = artist.draw(source, noise)
    return np.concatenate([np.full_like(images[:1], -1), images])


def mixing(artist, options, k: int = 0):
    """Styles mixed: sources above, targets on the left (the original's layout); figure number k.

    Each image has its source's styles on `mixing_levels` and its target's on the others.
    """
    n = options.n_col + options.n_row
    seeds = seeds_of(options, n, skip=k * n)
    styles, noise = artist.styles(seeds), artist.noise(seeds[:1])
    source, target = styles[: options.n_col], styles[options.n_col :]
    yield header(artist, source, noise)
    yield from mixing_rows(artist, target, source, options.mixing_levels, noise)


def noise(artist, options):
    """Rows of one latent under different noise, and last how much each pixel varies: the standard
    deviation over n_noise images, white where it is largest (figure 4). What is below an eighth of
    a grey level may be rounding: it is not made visible.
    """
    seeds = seeds_of(options, options.n_row)
    rows = [spread(artist, styles, options) for styles in artist.styles(seeds)]
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
        noise = artist.noise(range(i, min(i + artist.batch, n)))
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
    for seed in seeds_of(options, options.n_row):
        maps = artist.noise([seed])
        noise = [np.concatenate([x * (i in levels) for levels in kept]) for i, x in enumerate(maps)]
        yield artist.draw(np.repeat(artist.styles([seed]), len(kept), axis=0), noise)


def truncation(artist, options):
    """Rows of one latent each, truncated from psi 1 to its opposite, -1 (figure 8)."""
    for seed in seeds_of(options, options.n_row):
        w = artist.generator.map_latents(artist.latents([seed]))
        styles = np.concatenate([artist.truncate(w, psi) for psi in PSIS])
        yield artist.draw(styles, artist.noise([seed]))


FIGURES = {
    figure.__name__: figure
    for figure in (sample, interpolation, mixing, noise, noise_levels, truncation)
}


def animation(artist, options):
    """Frames (n, 3, size, size) of closed walks, n of them side by side, each through n_walk
    latents.
    """
    n, n_walk = options.walk_rows * options.walk_cols, options.n_walk
    seeds = seeds_of(options, n * n_walk)

    def points(latents):
        stops = latents.reshape(n, n_walk, -1)
        frames = []
        for place in np.arange(options.frames) * n_walk / options.frames:
            i, t = int(place), place % 1
            frames.append(blend(stops[:, i], stops[:, (i + 1) % n_walk], t, options.slerp))
        return np.concatenate(frames)  # (frames * n, d)

    styles, noise = path_styles(artist, options, seeds, points), artist.noise(seeds[:n])
    for i in range(0, len(styles), n):
        yield artist.draw(styles[i : i + n], noise)


# Files


def notes(artist, options, figure: str, seeds) -> dict:
    """What a PNG says of itself, so that it can be made again: keyword -> text."""
    shown = {
        k: v for k, v in vars(options).items() if k not in ("ckpt", "device", "expname", "only")
    }
    return {
        "Software": "generate.py",
        "figure": figure,
        "seeds": json.dumps(seeds),
        "psi": json.dumps(PSIS if figure == "truncation" else artist.psi),
        "checkpoint": Path(options.ckpt).name,
        "checkpoint-sha1": options.checksum,
        "options": json.dumps(shown, default=str, sort_keys=True),
    }


def write_figure(artist, options, name: str, folder: Path) -> None:
    """One of FIGURES, in as many files as it has."""
    count = options.n_mixing if name == "mixing" else 1
    for k in range(count):
        rows = mixing(artist, options, k) if name == "mixing" else FIGURES[name](artist, options)
        path = folder / (f"mixing_{k}.png" if name == "mixing" else f"{name}.png")
        text = notes(artist, options, path.stem, options.seeds or [options.seed])
        save_png(stack(rows), path, text)
        artist.bar.write(str(path))


def write_images(artist, options) -> None:
    """A PNG of its own for each seed, named by it."""
    seeds = seeds_of(options, options.images)
    for i in range(0, len(seeds), options.batch):
        part = seeds[i : i + options.batch]
        images = to_bytes(artist.draw(artist.styles(part), artist.noise(part)))
        for seed, image in zip(part, images):
            path = Path(options.out) / f"{seed:06d}.png"
            save_png(image.transpose(1, 2, 0), path, notes(artist, options, "image", [seed]))


def write_animation(artist, options, folder: Path) -> None:
    """The walk as one file, and with --frames_dir each frame as a PNG too."""
    frames = []
    for i, images in enumerate(animation(artist, options)):
        frames.append(Image.fromarray(make_grid(images, options.walk_cols)))
        if options.frames_dir:
            save_png(np.asarray(frames[-1]), Path(options.frames_dir) / f"{i:05d}.png")
    path = folder / f"animation.{options.animation}"
    save_animation(frames, path, options.fps)
    artist.bar.write(str(path))


# The command line


def seed_list(text: str):
    """Parser type: '3,7,20-29' -> the seeds."""
    wrong = f"{text[:40]!r} is no list like 3,7,20-29, of at most {MOST_IMAGES:,} seeds"
    seeds = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise argparse.ArgumentTypeError(wrong)
        first, last = seed_number(first), seed_number(last or first)
        if not first <= last < first + MOST_IMAGES - len(seeds):
            raise argparse.ArgumentTypeError(wrong)
        seeds += range(first, last + 1)
    return seeds


def level_range(text: str):
    """Parser type: '0-1', '3' or a name of LEVELS -> (first, last)."""
    if text in LEVELS:
        return LEVELS[text]
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not ("0" <= first <= last <= "8" and len(first) == len(last) == 1):
        names = ", ".join(LEVELS)
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is none of {names} nor levels like 0-1, 0 to 8"
        )
    return int(first), int(last)


def figure_list(text: str):
    """Parser type: names of figures, comma-separated."""
    names, known = text.split(","), [*FIGURES, "animation"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return names


def new_artist(args) -> Artist:
    """Loads Jittor and the checkpoint, and notes in `args` what the figures need to know of it.

    A size below the checkpoint's is fully grown: alpha 1.
    """
    if not Path(args.ckpt).is_file():  # a mistake shows before Jittor loads
        raise CheckpointError(f"{args.ckpt}: no such file")
    device.load(args.device, say=print, precision=args.precision)
    from training.run import load_generator  # imports Jittor, for the device chosen above

    generator, config, size, alpha = load_generator(args.ckpt)
    if size is None and args.size is None:  # another program's checkpoint
        raise UsageError(f"{args.ckpt} does not tell its size in pixels: give it with --size")
    if size is None:
        size, alpha = args.size, 1.0
    if args.size is not None and args.size != size:
        made = [s for s in SIZES if config.init_size <= s <= size]
        if args.size not in made:
            text = f"{args.ckpt} has not learned {args.size} px: --size {joined(made)}"
            raise CheckpointError(text)
        size, alpha = args.size, 1.0
    args.size, args.alpha = size, alpha
    args.checksum = hashlib.sha1(Path(args.ckpt).read_bytes()).hexdigest()
    return Artist(generator, step_of(size), alpha, args.psi, args.psi_levels, args.batch)


def check_levels(args, step: int) -> None:
    """Settles the levels to mix; UsageError if the images have none of them."""
    if args.mixing_levels is None:
        args.mixing_levels = (0, 1 if step > 1 else 0)  # at 8 px 0-1 would be everything
    first = args.mixing_levels[0]
    if first > step:
        raise UsageError(
            f"--mixing_levels begins at {SIZES[first]} px, but the images have {SIZES[step]}"
        )


def add_image_options(p) -> None:
    """Those that style_mixing.py has too."""
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint (.model) of train.py")
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "truncation, 1 for none, -5 to 5 (default 0.7)"
    p.add_argument("--psi", type=number(float, -5.0, 5.0), default=0.7, help=text)
    text = "truncate only the levels 0 (4 px) to LEVEL, at most 8 (default 8, all)"
    p.add_argument("--psi_levels", type=number(int, 0, 8), default=8, metavar="LEVEL", help=text)
    seeds = p.add_mutually_exclusive_group()
    text = "first seed, the others follow by one, 0 to 2^64 - 1 (default 0)"
    seeds.add_argument("--seed", type=seed_number, default=0, help=text)
    text = "seeds like 3,7,20-29; where more are needed they go on from the last by one"
    seeds.add_argument("--seeds", type=seed_list, help=text)
    text = "images computed at a time; fewer take less memory, 1 to 65536 (default 16)"
    p.add_argument("--batch", type=number(int, 1, 2**16), default=16, help=text)
    device.add_options(p)


def add_figure_options(p) -> None:
    count = number(int, 1, 10_000)
    g = p.add_argument_group("figures")
    text = f"which, comma-separated: {','.join(FIGURES)},animation (default all)"
    g.add_argument("--only", type=figure_list, metavar="FIGURES", help=text)
    g.add_argument(
        "--n_row", type=count, default=5, help="rows of every grid, 1 to 10000 (default 5)"
    )
    g.add_argument("--n_col", type=count, default=10, help="columns of every grid (default 10)")
    text = "interpolate in z or in w (default z)"
    g.add_argument("--space", choices=["z", "w"], default="z", help=text)
    text = "interpolate in z along great circles"
    g.add_argument("--slerp", action="store_true", help=text)
    text = "mixing figures, each with other seeds (default 20)"
    g.add_argument("--n_mixing", type=count, default=20, help=text)
    text = "levels that the source decides: first-last of 0 (4 px) to 8 (1024 px), or coarse, "
    text += "middle, fine for 4-8, 16-32, 64-1024 px (default 0-1)"
    g.add_argument("--mixing_levels", type=level_range, metavar="LEVELS", help=text)
    text = "images behind each standard deviation of noise.png (default 100)"
    g.add_argument("--n_noise", type=count, default=100, help=text)


def add_animation_options(p) -> None:
    count = number(int, 1, 10_000)
    g = p.add_argument_group("animation")
    text = "file format (default webp); mp4 needs the package imageio-ffmpeg"
    g.add_argument("--animation", choices=["webp", "gif", "mp4"], default="webp", help=text)
    g.add_argument("--frames", type=count, default=60, help="number of frames (default 60)")
    text = "frames per second, 1 to 50 (default 20)"
    g.add_argument("--fps", type=number(int, 1, 50), default=20, help=text)
    g.add_argument("--n_walk", type=count, default=5, help="latents of each walk (default 5)")
    g.add_argument("--walk_rows", type=count, default=2, help="rows of walks (default 2)")
    g.add_argument("--walk_cols", type=count, default=4, help="columns of walks (default 4)")
    g.add_argument("--frames_dir", metavar="DIR", help="write each frame into DIR as a PNG too")


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_image_options(p)
    p.add_argument("--expname", metavar="NAME", help="write into NAME/results instead of results")
    text = "instead of figures write N single pictures, named by their seeds, into --out"
    p.add_argument("--images", type=number(int, 1, MOST_IMAGES), metavar="N", help=text)
    p.add_argument("--out", metavar="DIR", help="folder for --images (default results/images)")
    add_figure_options(p)
    add_animation_options(p)
    return p


def check_usage(args) -> None:
    """UsageError for options that contradict each other."""
    if args.slerp and args.space == "w":
        raise UsageError("--slerp goes with --space z only")
    if args.out and not args.images:
        raise UsageError("--out goes with --images only: figures go into --expname NAME/results")
    if args.images and args.only:
        raise UsageError("--images writes no figures: leave --only out")
    if args.animation == "mp4":
        import_ffmpeg()


def generate(args) -> None:
    """Writes what the command line asks for."""
    check_usage(args)
    folder = Path(args.expname or ".") / "results"
    artist = new_artist(args)
    check_levels(args, artist.step)
    with tqdm(unit="img", disable=None) as artist.bar:
        if args.images:
            args.out = args.out or str(folder / "images")
            write_images(artist, args)
            artist.bar.write(args.out)
            return
        for name in args.only or [*FIGURES, "animation"]:
            artist.bar.set_description(name)
            if name == "animation":
                write_animation(artist, args, folder)
            else:
                write_figure(artist, args, name, folder)


def main(argv=None) -> int:
    return terminal.run("generate.py", generate, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
