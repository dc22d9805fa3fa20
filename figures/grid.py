"""Pictures in rows and columns, laid out as torchvision's `save_image` does, and whose a file is
that lies where one is to be written.
"""

import os
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from backend import machine
from backend.disk import check_file, replacing
from backend.terminal import UsageError
from data.choice import most_pixels, open_picture
from data.sizes import SIZES

PADDING = 2  # pixels, black
NEARLY_BLACK = 40  # of 255, the mean of a line


def to_bytes(images):
    """(..., 3, h, w) in [-1, 1] -> uint8; values outside are clipped, halves rounded up."""
    return np.clip(np.floor((images + 1) * 127.5 + 0.5), 0, 255).astype("uint8")


def strip(images, n_col: int):
    """One row of a grid: up to n_col images (n, 3, h, w) -> uint8 (h + 2, W, 3)"""
    _, _, h, w = images.shape
    row = np.zeros((h + PADDING, n_col * (w + PADDING) + PADDING, 3), "uint8")
    for i, image in enumerate(to_bytes(images)):
        x = PADDING + i * (w + PADDING)
        row[PADDING:, x : x + w] = image.transpose(1, 2, 0)
    return row


def check_size(rows: int, cols: int, size, options: str, held: int = 1, drawn: int = 1) -> None:
    """UsageError where a grid of images of a size (width, height) does not fit into memory, or is
    more than is read again as ours. options: that lower it. held: such grids at a time; drawn: rows
    of them at a time.
    """
    width, height = (n * (side + PADDING) + PADDING for n, side in zip((cols, rows), size))
    needed = 6 * held * width * height + 24 * drawn * width * size[1]  # bytes, and float32
    if width * height > most_pixels() or needed > (machine.memory() or needed):
        several = f"{held:,} pictures" if held > 1 else "a picture"
        raise UsageError(
            f"{several} of {rows:,} rows of {cols:,} images, {width:,} x {height:,} pixels, "
            f"cannot be held in this machine's memory: lower {options}"
        )


def stack(rows, n_col: int = 0):
    """Rows of images, an iterable of (n_col, 3, h, w) in [-1, 1] -> uint8 (H, W, 3), black lines
    between and around; the last row may be shorter, any row where n_col is given.

    Each is turned into bytes before the next is asked for.
    """
    rows = iter(rows)
    first = next(rows)
    n_col = n_col or len(first)
    strips = [strip(first, n_col), *(strip(row, n_col) for row in rows)]
    return np.concatenate([*strips, np.zeros_like(strips[0][:PADDING])])


def make_grid(images, n_col: int):
    """(n, 3, h, w) in [-1, 1], row by row -> uint8 (H, W, 3)"""
    return stack(images[i : i + n_col] for i in range(0, len(images), n_col))


def shows_grid(image, crop=None) -> bool:
    """Whether a PIL image is a grid of squares of one of our sizes, or of rectangles `crop` (width,
    height). Its lines are black, or nearly so in formats that lose something, its images are not.
    """
    width, height = image.size
    for cell in [(size, size) for size in SIZES] + ([crop] if crop else []):
        across, down = (length + PADDING for length in cell)
        fits = (width - PADDING) % across == (height - PADDING) % down == 0
        if fits and width > across and height > down:
            pixels = np.asarray(image.convert("L"))
            lines = [pixels[np.arange(height) % down < PADDING]]
            lines.append(pixels[:, np.arange(width) % across < PADDING].T)
            if image.format == "PNG":
                black = not any(line.any() for line in lines)
            else:
                black = max(line.mean(axis=1).max() for line in lines) < NEARLY_BLACK
            if black:
                return bool(pixels.max() > 2 * NEARLY_BLACK)  # not where all is dark
    return False


def is_grid(path, crop=None) -> bool:
    """Whether the first image of a file is a grid, as frames and contact sheets are.
    crop: see `shows_grid`.
    """
    try:
        with open_picture(path, str(path)) as image:
            return shows_grid(image, crop)
    except Exception:  # whatever another file drives Pillow to
        return False


def notes_of(path) -> dict:
    """What a PNG says of itself: keyword -> text; {} of another file."""
    try:
        with open_picture(path, str(path), only=("PNG",)) as picture:
            return {k: x for k, x in picture.info.items() if isinstance(x, str)}  # undecoded
    except Exception:  # whatever another file drives Pillow to
        return {}


def check_place(path, is_own, option: str) -> None:
    """UsageError if at a path, where a file is to be written, lies one that is not our own, or none
    can be written.

    is_own(path): whether it says so itself; what is empty is nobody's loss. option: names another.
    """
    check_file(path, f"give another {option}")
    if os.path.lexists(path) and os.path.getsize(path) and not is_own(path):
        raise UsageError(
            f"{path} would be replaced, but nothing in it says that the same command made it: move "
            f"it, or give another {option}"
        )


def encode_png(pixels, file, text=()) -> None:
    """Writes uint8 (H, W, 3) as a PNG into a path or file.

    text: {keyword: string}, kept in it as text chunks.
    """
    chunks = PngImagePlugin.PngInfo()
    for keyword, value in dict(text).items():
        # the name of a file may hold bytes that are no text
        chunks.add_text(keyword, value.encode("utf-8", "backslashreplace").decode())
    Image.fromarray(pixels).save(file, format="png", pnginfo=chunks)


def save_png(pixels, path, text=()) -> None:
    """The same as a file, all or nothing; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        encode_png(pixels, unfinished, text)


def save_grid(images, path, n_col: int, text=()) -> None:
    """Writes images (n, 3, h, w) in [-1, 1] as a grid; text as in save_png."""
    save_png(make_grid(images, n_col), path, text)
