"""Pictures in rows and columns, laid out as torchvision's `save_image` does."""

from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from backend.disk import replacing

PADDING = 2  # pixels, black


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


def stack(rows):
    """Rows of images, an iterable of (n_col, 3, h, w) in [-1, 1] -> uint8 (H, W, 3), black lines
    between and around; the last row may be shorter.

    Each is turned into bytes before the next is asked for.
    """
    rows = iter(rows)
    first = next(rows)
    n_col = len(first)
    strips = [strip(first, n_col), *(strip(row, n_col) for row in rows)]
    return np.concatenate([*strips, np.zeros_like(strips[0][:PADDING])])


def make_grid(images, n_col: int):
    """(n, 3, h, w) in [-1, 1], row by row -> uint8 (H, W, 3)"""
    return stack(images[i : i + n_col] for i in range(0, len(images), n_col))


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
