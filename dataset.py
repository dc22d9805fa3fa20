"""Says what is in a set of prepared pictures, and shows some; the set as a data set of Jittor.

python dataset.py lmdb                       # what is in it, and a contact sheet
python dataset.py lmdb --out sheet.png --n_row 8 --n_col 16
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import argparse
from contextlib import closing

import numpy as np

from backend import terminal
from backend.begun import check_alone
from backend.terminal import Parser, number, printable
from data.batches import image_order, load_batch, to_network
from data.sizes import image_size, joined
from data.store import open_pictures
from figures.grid import check_place, check_size, is_grid, save_grid, save_png, stack
from labels.table import counts, in_order

N_ROW, LABEL_ROWS = 5, 50  # rows of the contact sheet, unless asked for


def __getattr__(name: str):
    """`MultiResolutionDataset`: a class of Jittor's, which nothing else here needs."""
    if name != "MultiResolutionDataset":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from data.jittor_dataset import MultiResolutionDataset

    return MultiResolutionDataset


def description(pictures) -> str:
    """What a person wants to know of a prepared set, in lines."""
    lines = [f"{pictures.path}: {pictures.length:,} pictures at {joined(pictures.sizes)} px"]
    about = pictures.about
    if about:
        settings = about["settings"]
        fast = " with --fast" if settings.get("fast") else ""
        lines.append(f"made from {settings['source']} as {settings['format']}{fast}")
        if "licence" in settings:
            lines.append(f"licence: {settings['licence']}")
        lines.append(f"{len(about['skipped'])} files skipped, {about['enlarged']} enlarged")
        lines += [f"    {name}: {reason}" for name, reason in about["skipped"]]
    if pictures.labels:
        lines.append(f"{len(set(pictures.labels))} labels: {counts(pictures.labels)}")
    return "\n".join(map(printable, lines))


def contact_sheet(pictures, size: int, count: int):
    """The first `count` pictures of the first epoch of seed 0, (n, 3, size, size) in [-1, 1]."""
    count = min(count, pictures.length)
    return to_network(load_batch(pictures, size, 0, 0, count, flip=False))


def label_rows(pictures, size: int, n_row: int, n_col: int):
    """Rows of pictures (n, 3, size, size), one for each label: its first ones of that epoch."""
    order = image_order(0, pictures.length, 0, pictures.length)
    for name in in_order(pictures.labels)[:n_row]:
        chosen = [i for i in order if pictures.labels[i] == name][:n_col]
        yield to_network(np.stack([np.asarray(pictures.read(i, size)) for i in chosen]))


def png(text: str) -> str:
    """Parser type: the name of a PNG file."""
    if not text.endswith(".png"):
        raise argparse.ArgumentTypeError(f"{text!r} does not end in .png")
    return text


def parser() -> Parser:
    p = Parser(__doc__)
    p.add_argument("path", help="LMDB or tree of sizes made by prepare_data.py")
    text = "the contact sheet (default results/data.png)"
    p.add_argument("--out", type=png, default="results/data.png", metavar="FILE.png", help=text)
    text = "pixels of each picture (default: the largest size there is, at most 128)"
    p.add_argument("--size", type=image_size, help=text)
    text = "rows (default 5; of a set with labels one for each, the first 50)"
    p.add_argument("--n_row", type=number(int, 1, 10_000), help=text)
    p.add_argument("--n_col", type=number(int, 1, 10_000), default=10, help="columns (default 10)")
    return p


def show(args) -> None:
    """Says what is in a set and writes its contact sheet."""
    check_alone("dataset.py")
    check_place(args.out, is_grid, "--out")
    with closing(open_pictures(args.path)) as pictures:
        print(description(pictures))
        smaller = [size for size in pictures.sizes if size <= 128]
        size = args.size or max(smaller or pictures.sizes[:1])
        pictures.require([size])
        n_col = min(args.n_col, pictures.length)
        labels = len(set(pictures.labels or ()))
        most = labels or -(-pictures.length // n_col)
        n_row = min(args.n_row or (LABEL_ROWS if labels else N_ROW), most)
        check_size(n_row, n_col, (size, size), "--n_row or --n_col", drawn=n_row)
        if labels:
            save_png(stack(label_rows(pictures, size, n_row, n_col), n_col), args.out)
        else:
            save_grid(contact_sheet(pictures, size, n_row * n_col), args.out, n_col)
    print(args.out)


def main(argv=None) -> int:
    return terminal.run("dataset.py", show, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
