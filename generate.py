"""Makes the paper's figures from a checkpoint.

    python generate.py checkpoint/train_step-6.model
    python generate.py checkpoint/train_step-6.model --only sample,truncation --seeds 3,7,20-29
    python generate.py checkpoint/train_step-6.model --images 1000 --out pictures
    python generate.py checkpoint/train_step-6.model --latents results/me.npz results/you.npz

Writes sample.png, interpolation.png, mixing_{k}.png, noise.png, noise_levels.png, truncation.png
and an animation into results/. A seed stands for a latent and the noise that goes with it; latents
may come from files instead. The same command writes the same bytes on a CPU; each PNG notes seeds,
psi and the checkpoint's checksum.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import argparse
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
from PIL import Image
from tqdm import tqdm

from backend import device, terminal
from backend.terminal import UsageError, number, seed_number
from data.prefetch import in_order
from data.sizes import SIZES, image_size, joined, step_of
from figures import latents
from figures.animation import import_ffmpeg, save_animation
from figures.artist import Artist
from figures.changes import CHANGES, add_changes, change, level_range
from figures.figures import FIGURES, PSIS, animation, mixing, sample_seeds, seeds_of
from figures.grid import make_grid, save_png, stack, to_bytes
from formats.files import CheckpointError

MOST_IMAGES = 10**7
WRITERS = 8  # threads that wait for the disk


def notes(artist, options, figure: str, seeds) -> dict:
    """What a PNG says of itself, so that it can be made again: keyword -> text."""
    hidden = ("ckpt", "device", "expname", "only", "save_latents")
    hidden += tuple(name for name in CHANGES if getattr(options, name, None) is None)
    shown = {k: v for k, v in vars(options).items() if k not in hidden}
    given = {}
    if artist.files:
        given["latents"] = ", ".join(file.path.name for file in artist.files)
        given["latents-sha1"] = ", ".join(file.sha1 for file in artist.files)
    return {
        "Software": "generate.py",
        **given,
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


def single_images(artist, options):
    """(pixels (h, w, 3), path, notes) of each seed's image, each drawn when it is asked for."""
    seeds = list(dict.fromkeys(seeds_of(options, options.images)))  # each name once
    common = notes(artist, options, "image", None)
    for i in range(0, len(seeds), options.batch):
        part = seeds[i : i + options.batch]
        images = to_bytes(artist.draw(artist.styles(part), artist.noise(part)))
        for seed, image in zip(part, images):
            path = Path(options.out) / f"{seed:06d}.png"
            yield image.transpose(1, 2, 0), path, {**common, "seeds": json.dumps([seed])}


def write_images(artist, options) -> None:
    """A PNG of its own for each seed, named by it. While the disk is waited for, the next ones are
    drawn.
    """
    with ThreadPoolExecutor(WRITERS) as pool:
        ahead = options.batch + WRITERS
        with closing(in_order(pool, save_png, single_images(artist, options), ahead)) as written:
            for _ in written:
                pass


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


def latents_item(text: str):
    """Parser type: a seed, or the path of a file."""
    return seed_number(text) if text.isdecimal() else text


def figure_list(text: str):
    """Parser type: names of figures, comma-separated."""
    names, known = text.split(","), [*FIGURES, "animation"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return names


def load_network(args, say=print):
    """Loads Jittor and the checkpoint: (generator, config, step, alpha). Notes in `args` what is to
    be told of it; `say` gets the line about the device.

    A size below the checkpoint's is fully grown: alpha 1.
    """
    if not Path(args.ckpt).is_file():  # a mistake shows before Jittor loads
        raise CheckpointError(f"{args.ckpt}: no such file")
    device.load(args.device, say, args.precision, args.threads)
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
    return generator, config, step_of(size), alpha


def new_artist(args, load=load_network) -> Artist:
    """An artist for the checkpoint, and for the latents where they come from files; settles which
    of those are shown and how far they are truncated.
    """
    for path in args.latents or ():
        if isinstance(path, str) and not Path(path).exists():  # shows before Jittor loads
            raise latents.LatentsError(f"{path}: no such file")
    generator, config, step, alpha = load(args)
    if args.psi is None:
        args.psi = 1.0 if args.latents else config.psi
    args.psi_levels = config.psi_levels if args.psi_levels is None else args.psi_levels
    code, maps = generator.code_dim, generator.noise_maps
    files = [
        latents.read(item, code, step, args.latents_are, maps)
        if isinstance(item, str)
        else latents.of_seed(item, code, step, maps)
        for item in args.latents or ()
    ]
    for file in files:
        if file.checkpoint_sha1 not in (None, args.checksum):
            print(f"{file.path} was found with another checkpoint: images may be others")
    artist = Artist(generator, step, alpha, args.psi, args.psi_levels, args.batch, files)
    if files:
        count = len(artist.given)
        args.seeds = args.seeds or list(range(args.seed, count)) or [args.seed]
        if max(args.seeds) >= count:
            text = f"{max(args.seeds)} is no place of a latent: --latents holds 0 to {count - 1}"
            raise UsageError(f"--seeds {text}")
    return artist


def settle(args, artist) -> None:
    """Options whose default depends on the images: the levels to mix, where to interpolate, how
    many mixing figures. UsageError if the images have none of them.
    """
    step = artist.step
    if args.mixing_levels is None:
        args.mixing_levels = (0, 1 if step > 1 else 0)  # at 8 px 0-1 would be everything
    first = args.mixing_levels[0]
    if first > step:
        raise UsageError(
            f"--mixing_levels begins at {SIZES[first]} px, but the images have {SIZES[step]}"
        )
    if args.space is None:
        args.space = "z" if args.slerp or artist.knows_z else "w"
    if args.space == "z" and not artist.knows_z:
        option = "--slerp" if args.slerp else "--space z"
        raise UsageError(f"{option} needs z, but --latents holds w")
    if args.n_mixing is None:
        shown = args.n_row + args.n_col
        args.n_mixing = -(-len(args.seeds) // shown) if args.latents else 20
    if args.latents and args.images and args.images > len(args.seeds):
        raise UsageError(f"--images {args.images}: --latents has {len(args.seeds)} to show")


def add_image_options(p) -> None:
    """Those that style_mixing.py has too."""
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint of train.py or others")
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "truncation, 1 for none, -5 to 5 (default 0.7, of --latents 1)"
    p.add_argument("--psi", type=number(float, -5.0, 5.0), help=text)
    text = "truncate only the levels 0 (4 px) to LEVEL, at most 8 (default 8, all; of NVIDIA's 3)"
    p.add_argument("--psi_levels", type=number(int, 0, 8), metavar="LEVEL", help=text)
    seeds = p.add_mutually_exclusive_group()
    text = "first seed, the others follow by one, 0 to 2^64 - 1 (default 0)"
    seeds.add_argument("--seed", type=seed_number, default=0, help=text)
    text = "seeds like 3,7,20-29; where more are needed they go on from the last by one"
    seeds.add_argument("--seeds", type=seed_list, help=text)
    text = "show latents of .npz files (projector.py, --save_latents) or of plain .npy arrays (n, "
    text += "code) or (n, levels, code) instead; seeds are then places in them, from 0, and where "
    text += "more are needed they begin again (default all); a number is a seed's latent"
    p.add_argument(
        "--latents", nargs="+", action="extend", type=latents_item, metavar="FILE", help=text
    )
    text = "what a .npy of shape (n, code) holds, before or after the mapping network"
    p.add_argument("--latents_are", choices=["z", "w"], help=text)
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
    text = "interpolate in z or in w (default z, or w where --latents knows no z)"
    g.add_argument("--space", choices=["z", "w"], help=text)
    text = "interpolate in z along great circles"
    g.add_argument("--slerp", action="store_true", help=text)
    text = "mixing figures, each with other seeds (default 20, or what shows all --latents)"
    g.add_argument("--n_mixing", type=count, help=text)
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
    text = "write w and noise maps of the seeds of sample.png or --images into FILE, a .npz"
    p.add_argument("--save_latents", metavar="FILE", help=text)
    add_changes(p)
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
    if args.mix and not args.images and args.only != ["sample"]:
        raise UsageError("--mix goes with --images or --only sample")
    if args.save_latents and not args.save_latents.endswith(".npz"):
        raise UsageError(f"--save_latents {args.save_latents}: name a file that ends in .npz")
    if args.animation == "mp4":
        import_ffmpeg()


def save_latents(artist, args) -> None:
    """What --latents reads, of the seeds that single images or sample.png show."""
    seeds = seeds_of(args, args.images) if args.images else sample_seeds(args)
    made = {"checkpoint": Path(args.ckpt).name, "checkpoint_sha1": args.checksum}
    latents.save(args.save_latents, artist.codes(seeds), artist.noise(seeds), **made)
    artist.bar.write(args.save_latents)


def generate(args) -> None:
    """Writes what the command line asks for."""
    check_usage(args)
    folder = Path(args.expname or ".") / "results"
    artist = new_artist(args)
    change(args, artist, folder / "directions")
    settle(args, artist)
    with tqdm(unit="img", disable=None) as artist.bar:
        if args.save_latents:
            save_latents(artist, args)
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
