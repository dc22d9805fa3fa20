"""The options of the commands that make figures, generate.py and style_mixing.py: parsers, their
types, and which options contradict each other.
"""

import argparse
import re

from backend import device
from backend.terminal import Parser, UsageError, given, is_digits, number, seed_number
from data.sizes import SIZES, image_size
from figures.animation import import_ffmpeg
from figures.changes import add_changes, level_range
from figures.figures import FIGURES
from labels.asked import add_option

MOST_IMAGES = 10**7
GIF_FPS = 50  # programs that show faster ones slow them down


def seed_list(text: str):
    """Parser type: '3,7,20-29' -> the seeds."""
    wrong = f"{text[:40]!r} is no list like 3,7,20-29, of at most {MOST_IMAGES:,} seeds"
    seeds = []
    for item in text.split(","):
        first, dash, last = item.partition("-")
        if not is_digits(first) or (dash and not is_digits(last)):
            raise argparse.ArgumentTypeError(wrong)
        first, last = seed_number(first), seed_number(last or first)
        if not first <= last < first + MOST_IMAGES - len(seeds):
            raise argparse.ArgumentTypeError(wrong)
        seeds += range(first, last + 1)
    return seeds


def latents_item(text: str):
    """Parser type: a seed, or the path of a file."""
    return seed_number(text) if is_digits(text) else given(text)


def figure_list(text: str):
    """Parser type: names of figures, comma-separated; each once."""
    names, known = text.split(","), [*FIGURES, "animation"]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(known)}")
    return list(dict.fromkeys(names))


def crop_size(text: str):
    """Parser type: '512x384' -> (width, height)."""
    match = re.fullmatch(r"(\d{1,4})x(\d{1,4})", text, re.ASCII)
    if not match or not all(1 <= int(length) <= SIZES[-1] for length in match.groups()):
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is no WIDTHxHEIGHT like 512x384, each 1 to {SIZES[-1]}"
        )
    return int(match[1]), int(match[2])


def add_image_options(p) -> None:
    """Those that style_mixing.py has too."""
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint of train.py or others")
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "show the middle of every image alone, like 512x384 of 512 x 512 px (default all of it)"
    p.add_argument("--crop", type=crop_size, metavar="WxH", help=text)
    text = "truncation, 1 for none, -5 to 5 (default 0.7, of --latents 1)"
    p.add_argument("--psi", type=number(float, -5.0, 5.0), help=text)
    text = "truncate only the levels 0 (4 px) to LEVEL, at most 8 (default 8, all; of NVIDIA's 3)"
    p.add_argument("--psi_levels", type=number(int, 0, 8), metavar="LEVEL", help=text)
    seeds = p.add_mutually_exclusive_group()
    text = "first seed, the others follow by one, 0 to 2^64 - 1 (default 0)"
    seeds.add_argument("--seed", type=seed_number, default=0, help=text)
    text = "seeds like 3,7,20-29; where more are needed they go on from the last by one"
    seeds.add_argument("--seeds", type=seed_list, help=text)
    text = "show latents of .npz files (projector.py, --save_latents), of the original projector's "
    text += ".pt or of plain .npy arrays (n, code) or (n, levels, code) instead; seeds are then "
    text += "places in them, from 0, and where more are needed they begin again (default all); a "
    text += "number is a seed's latent"
    p.add_argument(
        "--latents", nargs="+", action="extend", type=latents_item, metavar="FILE", help=text
    )
    add_option(p)
    text = "what a .npy of shape (n, code) holds, before or after the mapping network; w+: of one "
    text += "picture, a row for each level or layer"
    p.add_argument("--latents_are", choices=["z", "w", "w+"], help=text)
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
    text = "frames per second, 1 to 60, of gif to 50 (default 20)"
    g.add_argument("--fps", type=number(int, 1, 60), default=20, help=text)
    g.add_argument("--n_walk", type=count, default=5, help="latents of each walk (default 5)")
    g.add_argument("--walk_rows", type=count, default=2, help="rows of walks (default 2)")
    g.add_argument("--walk_cols", type=count, default=4, help="columns of walks (default 4)")
    g.add_argument("--frames_dir", metavar="DIR", help="write each frame into DIR as a PNG too")


def figure_parser(description=None) -> Parser:
    """That of generate.py."""
    p = Parser(description)
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
    if args.animation == "gif" and args.fps > GIF_FPS:
        raise UsageError(f"--fps {args.fps}: gif counts hundredths, {GIF_FPS} or choose webp")
    if args.animation == "mp4":
        import_ffmpeg()
