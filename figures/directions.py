"""Directions in w along which a generator's latents vary most: the principal components of w.

After Härkönen et al. 2020 (GANSpace, arXiv 2004.02546), section 2.1. NumPy alone; the same
generator gives the same directions, which are kept in a file under its checkpoint's SHA-1.
"""

from pathlib import Path
from typing import NamedTuple, Optional, Union

import numpy as np

from backend.terminal import UsageError
from figures import latents
from figures.rendering import map_latents
from labels.table import drawn

LATENTS, CHUNK = 50_000, 10_000  # mapped in all, and at a time
DIRECTION_STREAM = 6  # second word of the seed, beside those of artist.py and projection.py
KEPT = 64  # directions, those of the largest deviations
KEYS = ("vectors", "deviations", "parts")  # of the arrays in a file, as Directions has them


class Directions(NamedTuple):
    """The largest first."""

    vectors: np.ndarray  # (k, code_dim), of length 1; the largest number in each is positive
    deviations: np.ndarray  # (k,) standard deviations of w along them
    shares: np.ndarray  # (k,) of the variance of w, 0 to 1


class Move(NamedTuple):
    """A step along a direction, of some levels' styles."""

    number: Union[int, str]  # of the direction, from 0, or a .npy that holds one
    deviations: float  # how far, in standard deviations; of a file's, in times its length
    levels: tuple  # first and last


def principal(count: int, total, squares) -> Directions:
    """Principal components of `count` vectors, from their sum (d,) and the sum of their outer
    products (d, d), both float64.
    """
    mean = total / count
    covariance = squares / count - np.outer(mean, mean)
    values, vectors = np.linalg.eigh(covariance)  # ascending, in columns
    values, vectors = np.maximum(values[::-1], 0), vectors.T[::-1]
    largest = np.abs(vectors).argmax(axis=1)[:, None]
    vectors = vectors * np.sign(np.take_along_axis(vectors, largest, axis=1))
    shares = values / max(values.sum(), 1e-300)
    return Directions(*(x[:KEPT].astype("float32") for x in (vectors, np.sqrt(values), shares)))


def find(generator, pause=None) -> Directions:
    """The directions of a generator, from 50,000 latents that are always the same.

    pause: called between the parts of the work; returns True to stop, and then None is returned.
    """
    rng, total, squares = np.random.default_rng([0, DIRECTION_STREAM]), 0.0, 0.0
    for _ in range(LATENTS // CHUNK):
        z = rng.standard_normal((CHUNK, generator.code_dim), dtype="float32")
        labels = drawn(rng, generator.labels, CHUNK)
        w = map_latents(generator, z, labels).astype("float64")
        total, squares = total + w.sum(axis=0), squares + w.T @ w
        if pause is not None and pause():
            return None
    return principal(LATENTS, total, squares)


def kept(folder, checksum: str, code_dim: int):
    """The directions kept for a checkpoint, or None."""
    try:
        with np.load(Path(folder) / f"{checksum}.npz", allow_pickle=False) as file:
            directions = Directions(*(file[key] for key in KEYS))
    except Exception:  # not there, or damaged: computed anew
        return None
    k = min(KEPT, code_dim)
    fits = [x.shape for x in directions] == [(k, code_dim), (k,), (k,)]
    return directions if fits and all(np.isfinite(x).all() for x in directions) else None


def of(generator, checksum: str, folder, pause=None) -> Directions:
    """`find`'s, from the file that keeps them in a folder, which is written where it is missing."""
    directions = kept(folder, checksum, generator.code_dim)
    if directions is None:
        directions = find(generator, pause)
        if directions is not None:
            path = Path(folder) / f"{checksum}.npz"
            latents.write_arrays(path, **dict(zip(KEYS, directions)))
    return directions


def of_file(path: str, code_dim: int, step: int):
    """A direction in w from a .npy, for each level (step + 1, code_dim): it may hold one for all,
    or for each level or layer, with a first axis of 1 or without. Raises LatentsError.
    """
    array = latents.read_arrays(Path(path))[0].get("", np.zeros(0))
    array = array[0] if array.ndim == 3 and len(array) == 1 else array
    array = array[None] if array.ndim == 1 else array
    if array.ndim == 2:
        array = latents.as_styles(array, step + 1, True, path)[0]
    shapes = f"({code_dim},) or ({step + 1}, {code_dim})"
    fitting = [(1, code_dim), (step + 1, code_dim)]
    array = latents.checked(array, path, "", shapes, fitting.__contains__)
    return np.broadcast_to(array, (step + 1, code_dim))


def offset(directions: Optional[Directions], moves, step: int, code_dim: int):
    """What moves add to the styles: (step + 1, code_dim). directions: None where all moves are
    along those of files. UsageError for an unknown direction.
    """
    added = np.zeros((step + 1, code_dim), "float32")
    for move in moves:
        first, last = move.levels
        if isinstance(move.number, str):
            vectors = of_file(move.number, code_dim, step)
            added[first : last + 1] += np.float32(move.deviations) * vectors[first : last + 1]
            continue
        k = len(directions.vectors)
        if move.number >= k:
            raise UsageError(f"--directions {move.number}: this network has 0 to {k - 1}")
        length = np.float32(move.deviations) * directions.deviations[move.number]
        added[first : last + 1] += length * directions.vectors[move.number]
    return added
