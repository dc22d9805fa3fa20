"""What is written of figures: PNGs that say how they were made, single images, animations, latents.
Options are settled ones.
"""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from data.prefetch import in_order
from figures import latents
from figures.animation import save_animation
from figures.changes import CHANGES
from figures.figures import FIGURES, PSIS, animation, mixing, sample_seeds, seeds_of
from figures.grid import make_grid, save_png, stack, to_bytes
from training.beginning import check_folder

WRITERS = 8  # threads that wait for the disk


def check_places(options, folder: Path) -> None:
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
    hidden += tuple(name for name in CHANGES if getattr(options, name, None) is None)
    hidden += () if options.plain else ("plain",)
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
        batch = seeds[i : i + options.batch]
        images = to_bytes(artist.draw(artist.styles(batch), artist.noise(batch)))
        for seed, image in zip(batch, images):
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


def save_latents(artist, options) -> None:
    """What --latents reads, of the seeds that single images or sample.png show."""
    seeds = seeds_of(options, options.images) if options.images else sample_seeds(options)
    made = {"checkpoint": Path(options.ckpt).name, "checkpoint_sha1": options.checksum}
    latents.save(options.save_latents, artist.codes(seeds), artist.noise(seeds), **made)
    artist.bar.write(options.save_latents)
