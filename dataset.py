"""The pictures of a run as a data set of Jittor, and the endless, seeded batches of training.

python dataset.py lmdb                       # what is in it, and a contact sheet
python dataset.py lmdb --out sheet.png --n_row 8 --n_col 16
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import argparse
import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from backend import machine, terminal
from backend.terminal import number, printable
from pictures.grid import save_grid
from pictures.prefetch import in_order
from pictures.sizes import image_size, joined
from pictures.store import open_pictures

# Third words of the seeds, so that the order and the flips of a run are independent of each other.
ORDER_STREAM, FLIP_STREAM = 1, 2


def __getattr__(name: str):
    """`MultiResolutionDataset`: a class of Jittor's, which nothing else here needs."""
    if name != "MultiResolutionDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from pictures.jittor_dataset import MultiResolutionDataset

    return MultiResolutionDataset


# Cached, for shuffling 70,000 anew in every batch would cost; two, for a batch may straddle epochs.
@functools.lru_cache(maxsize=2)
def epoch_order(seed: int, length: int, epoch: int):
    """The permutation of range(length) that is epoch number `epoch`."""
    return np.random.default_rng([seed, epoch, ORDER_STREAM]).permutation(length)


def image_order(seed: int, length: int, start: int, count: int):
    """Indices (count,) int64 from position `start` of an endless sequence of shuffled epochs."""
    order = np.empty(count, np.int64)
    done = 0
    while done < count:
        epoch, place = divmod(start + done, length)
        part = epoch_order(seed, length, epoch)[place : place + count - done]
        order[done : done + len(part)] = part
        done += len(part)
    return order


def load_batch(pictures, size, seed, images_seen, batch, flip, rank=0, ranks=1):
    """The batch that follows `images_seen` pictures: (batch, size, size, 3) uint8.

    A function of its arguments alone, so a resumed run sees the same batches. `flip` mirrors each
    picture with probability 0.5. Of several `ranks` each gets every ranks-th picture of the batch.
    """
    order = image_order(seed, pictures.length, images_seen, batch)[rank::ranks]
    images = np.stack([np.asarray(pictures.read(index, size)) for index in order])
    if flip:
        mirrored = np.random.default_rng([seed, images_seen, FLIP_STREAM]).random(batch) < 0.5
        mirrored = mirrored[rank::ranks]
        images[mirrored] = images[mirrored, :, ::-1]
    return images


def to_network(images):
    """(n, h, w, 3) uint8 -> (n, 3, h, w) float32 in [-1, 1]"""
    images = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")
    images /= 127.5
    images -= 1
    return images


def batches(pictures, phase_of, seed, images_seen, flip, rank=0, ranks=1, ahead=4):
    """Endless batches (n, 3, size, size) float32 from `images_seen` on.

    Up to `ahead` of them are decoded early, in threads, and held as bytes. phase_of(images_seen)
    gives an object with `size` and `batch`; it too is asked early, so it must have an answer beyond
    the end of the run. Close the generator to stop its threads.
    """

    def tasks():
        position = images_seen
        while True:
            phase = phase_of(position)
            yield pictures, phase.size, seed, position, phase.batch, flip, rank, ranks
            position += phase.batch

    threads = min(ahead, machine.cores())
    with ThreadPoolExecutor(threads) as pool:  # Pillow decodes outside the interpreter lock
        with closing(in_order(pool, load_batch, tasks(), ahead)) as loaded:
            for images in loaded:
                yield to_network(images)


def description(pictures) -> str:
    """What a person wants to know of a prepared set, in lines."""
    lines = [f"{pictures.path}: {pictures.length:,} pictures at {joined(pictures.sizes)} px"]
    about = pictures.about
    if about:
        settings = about["settings"]
        fast = " with --fast" if settings.get("fast") else ""
        lines.append(f"made from {settings['source']} as {settings['format']}{fast}")
        lines.append(f"{len(about['skipped'])} files skipped, {about['enlarged']} enlarged")
        lines += [f"    {name}: {reason}" for name, reason in about["skipped"]]
    return "\n".join(map(printable, lines))


def contact_sheet(pictures, size: int, count: int):
    """The first `count` pictures of the first epoch of seed 0, (n, 3, size, size) in [-1, 1]."""
    count = min(count, pictures.length)
    return to_network(load_batch(pictures, size, 0, 0, count, flip=False))


def png(text: str) -> str:
    """Parser type: the name of a PNG file."""
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png")
    return text


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("path", help="LMDB or tree of sizes made by prepare_data.py")
    text = "the contact sheet (default results/data.png)"
    p.add_argument("--out", type=png, default="results/data.png", metavar="FILE.png", help=text)
    text = "pixels of each picture (default: the largest size there is, at most 128)"
    p.add_argument("--size", type=image_size, help=text)
    p.add_argument("--n_row", type=number(int, 1, 10_000), default=5, help="rows (default 5)")
    p.add_argument("--n_col", type=number(int, 1, 10_000), default=10, help="columns (default 10)")
    return p


def show(args) -> None:
    """Says what is in a set and writes its contact sheet."""
    with closing(open_pictures(args.path)) as pictures:
        print(description(pictures))
        smaller = [size for size in pictures.sizes if size <= 128]
        size = args.size or max(smaller or pictures.sizes[:1])
        pictures.require([size])
        n_col = min(args.n_col, pictures.length)
        save_grid(contact_sheet(pictures, size, args.n_row * n_col), args.out, n_col)
    print(args.out)


def main(argv=None) -> int:
    return terminal.run("dataset.py", show, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
