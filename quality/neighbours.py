"""Are the images copies? The training picture nearest to each, beside it.

Distances are LPIPS's where its weights are at hand, else mean squared differences of pixels.
"""

from typing import Callable, NamedTuple

import numpy as np

from backend.terminal import UserError
from figures.grid import make_grid
from formats.features import find_weights

IMAGES = 64
PAIRS = 8  # a row
ENOUGH = 2**20  # pixels of the images whose features are held at a time


class Nearest(NamedTuple):
    """Of each image the nearest picture of a collection, and the (squared) distance."""

    index: np.ndarray  # (n,)
    distance: np.ndarray  # (n,)


class Space(NamedTuple):
    """Where pictures lie near each other that look alike. embed: uint8 (n, 3, h, w) -> (n, d)
    float32, whose squared distances count.
    """

    name: str
    embed: Callable


def pixel_space() -> Space:
    def embed(pixels):
        flat = pixels.reshape(len(pixels), -1).astype("float32") / 127.5
        return flat / np.float32(np.sqrt(flat.shape[1]))

    return Space("pixels", embed)


def lpips_space(weights) -> Space:
    from operators.convolution import jt  # imports Jittor
    from quality.features import reduced, signed
    from quality.lpips import LPIPS

    distance = LPIPS(weights)

    def embed(pixels):
        with jt.no_grad():
            return distance.embedding(reduced(signed(pixels))).numpy()

    return Space("LPIPS", embed)


def find_space(vgg16=None, lpips=None) -> Space:
    """LPIPS's by the files named or the package's; pixels where there is neither."""
    try:
        return lpips_space(find_weights("vgg16", vgg16, lpips))
    except UserError:
        if vgg16 or lpips:
            raise
        return pixel_space()


def squared_distances(a, b):
    """(n, d), (m, d) -> (n, m)"""
    squares = (a * a).sum(axis=1)[:, None] + (b * b).sum(axis=1)
    return np.maximum(squares - 2 * (a @ b.T), 0)


def at_once(images) -> list:
    """Images (n, 3, h, w) in parts whose features may be held together."""
    n = max(1, ENOUGH // (images.shape[2] * images.shape[3]))
    return [images[i : i + n] for i in range(0, len(images), n)]


def nearest(images, collection, space: Space, batch: int, bar) -> Nearest:
    """Of images uint8 (n, 3, h, w) in a `Collection` of the same size; the bar counts pictures, all
    for each part of `at_once`.
    """
    indices, found = range(collection.length), []
    for some in at_once(images):
        places, done = space.embed(some), 0
        best = Nearest(np.zeros(len(some), int), np.full(len(some), np.inf))
        for pixels in collection.batches(indices, batch):
            distances = squared_distances(places, space.embed(pixels))
            here = Nearest(done + distances.argmin(axis=1), distances.min(axis=1))
            closer = here.distance < best.distance
            best = Nearest(*(np.where(closer, new, old) for new, old in zip(here, best)))
            done += len(pixels)
            bar.update(len(pixels))
        found.append(best)
    return Nearest(*map(np.concatenate, zip(*found)))


def sheet(images, collection, found: Nearest):
    """Each image with its nearest picture on its right, PAIRS a row, the nearest pairs first: uint8
    (H, W, 3).
    """
    order = np.argsort(found.distance, kind="stable")
    pairs = [x for i in order for x in (images[i], collection.read(int(found.index[i])))]
    return make_grid(np.stack(pairs) / 127.5 - 1, 2 * PAIRS)


def share_near(seen: Nearest, unseen: Nearest) -> float:
    """Of images that lie nearer to a training picture than to any that was held out."""
    return float((seen.distance < unseen.distance).mean())
