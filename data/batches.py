"""The endless, seeded batches of training: which pictures a run sees, in which order, mirrored or
not. A function of seed and images seen alone, so that a run goes on anywhere.
"""

import functools
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np

from backend import machine
from data.workers import in_order

# Third words of the seeds, so that the order and the flips of a run are independent of each other.
ORDER_STREAM, FLIP_STREAM = 1, 2


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
