"""Pictures in rows and columns, laid out as torchvision's `save_image` does."""

import os
from pathlib import Path

import numpy as np
from PIL import Image


def to_bytes(images):
    """(..., 3, h, w) in [-1, 1] -> uint8; values outside are clipped, halves rounded up."""
    return np.clip(np.floor((images + 1) * 127.5 + 0.5), 0, 255).astype("uint8")


def make_grid(images, n_col: int, padding: int = 2):
    """(n, 3, h, w) in [-1, 1], row by row -> uint8 (H, W, 3), black lines between and around."""
    n, _, h, w = images.shape
    n_row = -(-n // n_col)
    grid = np.zeros((n_row * (h + padding) + padding, n_col * (w + padding) + padding, 3), "uint8")
    for i, image in enumerate(to_bytes(images)):
        y = padding + i // n_col * (h + padding)
        x = padding + i % n_col * (w + padding)
        grid[y : y + h, x : x + w] = image.transpose(1, 2, 0)
    return grid


def save_grid(images, path, n_col: int) -> None:
    """Writes the grid as a PNG, all or nothing; makes the folder."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    Image.fromarray(make_grid(images, n_col)).save(unfinished, format="png")
    os.replace(unfinished, path)
