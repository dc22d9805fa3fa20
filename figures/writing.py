"""What is written of figures: PNGs that say how they were made, single images, animations, latents.
Options are settled ones.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

from PIL import Image

from backend.disk import check_folder, finished_name
from backend.terminal import UsageError, printable
from data.choice import extension, formats, is_hidden
from data.workers import in_order
from figures import latents
from figures.animation import is_own, save_animation
from figures.changes import CHANGES
from figures.figures import FIGURES, PSIS, animation, mixing, sample_seeds, seeds_of
from figures.grid import check_place, is_grid, make_grid, notes_of, save_png, stack, to_bytes

WRITERS = 8  # threads that wait for the disk
SCRIPT = "generate.py"  # in the notes of what is written here
ADDED = ("crop", "label", *CHANGES)  # options that are noted where they are given
LOOKS = ("size", "alpha", "psi_levels", *ADDED)  # options that change an image


def check_folders(options, folder: Path) -> None:
    """UserError where a folder that generate.py will write in cannot be there: said before what
    takes long. options: as they are typed.
    """
    figures = options.out or folder / "images" if options.images else folder
    check_folder(figures)
    if options.save_latents:
        check_folder(Path(options.save_latents).parent)
    if options.frames_dir and not options.images:
        check_folder(options.frames_dir)


def notes(artist, options, figure: str, seeds) -> dict:
    """What a PNG says of itself, so that it can be made again: keyword -> text."""
    hidden = ("ckpt", "device", "expname", "only", "save_latents")
    hidden += tuple(name for name in ADDED if getattr(options, name, None) is None)
    hidden += () if options.plain else ("plain",)
    shown = {k: v for k, v in vars(options).items() if k not in hidden}
    given = {}
    if artist.files:
        given["latents"] = ", ".join(file.path.name for file in artist.files)
        given["latents-sha1"] = ", ".join(file.sha1 for file in artist.files)
    return {
        "Software": SCRIPT,
        **given,
        "figure": figure,
        "seeds": json.dumps(seeds),
        "psi": json.dumps(PSIS if figure == "truncation" else artist.psi),
        "checkpoint": Path(options.ckpt).name,
        "checkpoint-sha1": options.checksum,
        "options": json.dumps(shown, default=str, sort_keys=True),
    }


def is_figure(path) -> bool:
    """Whether a PNG says that it is of generate.py or style_mixing.py."""
    return notes_of(path).get("Software") == SCRIPT


def set_of(text: dict):
    """What the images of one set have in common, from the notes of one; None where these are not
    as they are written here.
    """
    try:
        options = json.loads(text.get("options", "{}"))
    except ValueError:
        return None
    if not isinstance(options, dict):
        return None
    common = [text.get(k) for k in ("checkpoint-sha1", "latents-sha1", "psi")]
    return [*common, *(options.get(name) for name in LOOKS)]


def check_places(artist, options, folder: Path) -> None:
    """UsageError if what is to be written would replace what is not of the same command, or mix
    with another set. To be asked before anything is drawn.
    """
    if options.save_latents:
        check_place(options.save_latents, made_from_seeds, "--save_latents")
    if options.images:
        check_set(artist, options)
        return
    for name in options.only:
        if name == "animation":
            path = folder / f"animation.{options.animation}"
            check_place(path, partial(is_own, crop=options.crop), "--expname")
            if options.frames_dir:
                check_frames(options)
            continue
        for path in paths_of(options, name, folder):
            check_place(path, is_figure, "--expname")


def made_from_seeds(path) -> bool:
    """Whether --save_latents wrote a file."""
    return latents.made_from(path) == latents.SEEDS


def paths_of(options, name: str, folder: Path) -> list:
    """Those of one of FIGURES."""
    names = [f"mixing_{k}" for k in range(options.n_mixing)] if name == "mixing" else [name]
    return [folder / f"{name}.png" for name in names]


def check_set(artist, options) -> None:
    """UsageError if --images would replace what is no image of ours, or leave those of another set
    among the new ones. Says which other pictures lie in the folder.
    """
    folder, others = Path(options.out), []
    now = set_of(notes(artist, options, "image", None))
    names = {f"{seed:06d}.png" for seed in seeds_of(options, options.images)}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        path = folder / name
        if finished_name(name) in names:
            check_place(folder / finished_name(name), is_figure, "--out")
        elif extension(name) in formats() and not is_hidden(name):
            text = notes_of(path)
            if text.get("Software") != SCRIPT or text.get("figure") != "image":
                others.append(name)
            elif set_of(text) != now:
                raise UsageError(
                    f"{path} is of another checkpoint or of other options, and would stay among "
                    "the new images: remove those, or give another --out"
                )
    if others:
        print(f"{folder} holds other pictures too, which are no part of this: {named(others)}")


def check_frames(options) -> None:
    """The same of --frames_dir."""
    folder, is_frame = Path(options.frames_dir), partial(is_grid, crop=options.crop)
    names = {f"{i:05d}.png" for i in range(options.frames)}
    others = []
    for name in sorted(os.listdir(folder)) if folder.is_dir() else ():
        path = folder / name
        if finished_name(name) in names:
            check_place(folder / finished_name(name), is_frame, "--frames_dir")
        elif path.stem.isdecimal() and is_frame(path):
            raise UsageError(
                f"{path} is of another animation, and would stay among the new frames: remove "
                "those, or give another --frames_dir"
            )
        elif extension(name) in formats() and not is_hidden(name):
            others.append(name)
    if others:
        print(f"{folder} holds other pictures too, which are no part of this: {named(others)}")


def named(names: list) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return ", ".join(map(printable, names[:3])) + more


def write_figure(artist, options, name: str, folder: Path) -> None:
    """One of FIGURES, in as many files as it has."""
    for k, path in enumerate(paths_of(options, name, folder)):
        rows = mixing(artist, options, k) if name == "mixing" else FIGURES[name](artist, options)
        if not artist.given:
            artist.asked.shown.clear()
        pixels = stack(rows)
        text = notes(artist, options, path.stem, options.seeds or [options.seed])
        save_png(pixels, path, {**text, **artist.asked.notes(name)})
        artist.bar.write(str(path))


def single_images(artist, options):
    """(pixels (h, w, 3), path, notes) of each seed's image, each drawn when it is asked for."""
    seeds = list(dict.fromkeys(seeds_of(options, options.images)))  # each name once
    common = notes(artist, options, "image", None)
    for i in range(0, len(seeds), options.batch):
        batch = seeds[i : i + options.batch]
        images = to_bytes(artist.draw(artist.styles(batch), artist.noise(batch)))
        for seed, image in zip(batch, images):
            path = Path(options.out) / f"{seed:06d}.png"
            text = {**common, "seeds": json.dumps([seed]), **artist.asked.notes("image", [seed])}
            yield image.transpose(1, 2, 0), path, text


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

    def frames():
        for i, images in enumerate(animation(artist, options)):
            pixels = make_grid(images, options.walk_cols)
            if options.frames_dir:
                save_png(pixels, Path(options.frames_dir) / f"{i:05d}.png")
            yield Image.fromarray(pixels)

    path = folder / f"animation.{options.animation}"
    save_animation(frames(), path, options.fps)
    artist.bar.write(str(path))


def save_latents(artist, options) -> None:
    """What --latents reads, of the seeds that single images or sample.png show."""
    seeds = seeds_of(options, options.images) if options.images else sample_seeds(options)
    made = {"checkpoint": Path(options.ckpt).name, "checkpoint_sha1": options.checksum}
    latents.save(options.save_latents, artist.codes(seeds), artist.noise(seeds), **made)
    artist.bar.write(options.save_latents)
