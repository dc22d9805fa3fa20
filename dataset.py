"""The pictures of a run: an LMDB with each at several sizes, and the endless, seeded batches.

The LMDB is interchangeable with those of rosinality/style-based-gan-pytorch: `{size}-{index:05d}`
holds an encoded RGB picture of size x size, `length` the number of pictures in decimal ASCII.
"""

import functools
import io
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import lmdb
import numpy as np
from PIL import Image

SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
LENGTH_KEY = b"length"
# Third words of the seeds, so that the order and the flips of a run are independent of each other.
ORDER_STREAM, FLIP_STREAM = 1, 2


class DataError(Exception):
    """What is wrong with the data and what to do, in one sentence that names the file or option."""


def image_key(size, index):
    """The LMDB key of picture `index` at `size` pixels."""
    return f"{size}-{index:05d}".encode()


def joined(sizes):
    """Sizes as people read them and as `--sizes` takes them: '8,16,32'."""
    return ",".join(map(str, sizes))


class MultiResolutionDataset:
    """Pictures of an LMDB; `dataset[i]` is picture i at `resolution`, passed through `transform`.

    `sizes` lists the sizes that the LMDB holds. Threads may share a dataset. DataError if `path` is
    not a prepared LMDB.
    """

    def __init__(self, path, transform=None, resolution=8):
        self.path = str(path)
        self.transform = transform
        self.resolution = resolution
        prepare = f"prepare one with `python prepare_data.py --out {self.path} PICTURES`"
        try:
            self.env = lmdb.open(
                self.path, max_readers=32, readonly=True, lock=False, readahead=False, meminit=False
            )
        except lmdb.Error as error:
            raise DataError(f"Cannot open the LMDB {self.path} ({error}): {prepare}.") from error
        with self.env.begin() as txn:
            length = txn.get(LENGTH_KEY, b"")
            self.length = int(length) if length.isdigit() else 0
            ends = (0, self.length - 1)
            self.sizes = [s for s in SIZES if all(txn.get(image_key(s, i)) for i in ends)]
        if self.length == 0:
            self.close()
            raise DataError(f"The LMDB {self.path} has no pictures or is unfinished: {prepare}.")

    def close(self):
        """Closes the LMDB, which a process may open but once at a time."""
        self.env.close()

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        if not 0 <= index < self.length:
            raise IndexError(f"picture {index} of {self.length}")
        picture = self.read(index, self.resolution)
        return self.transform(picture) if self.transform else picture

    def read(self, index, size):
        """Picture `index` as a PIL RGB image of size x size; DataError if missing or broken."""
        key = image_key(size, index)
        try:
            with self.env.begin() as txn:
                record = txn.get(key)
            if record is None:
                raise ValueError("missing")
            picture = Image.open(io.BytesIO(record)).convert("RGB")
            if picture.size != (size, size):
                raise ValueError("{} x {} pixels".format(*picture.size))
        except Exception as error:  # a broken stream makes Pillow raise nearly anything
            problem = f"The record {key.decode()} of the LMDB {self.path} is unusable ({error})"
            raise DataError(f"{problem}: prepare the LMDB again.") from error
        return picture

    def require(self, sizes):
        """DataError unless every one of `sizes` is present."""
        missing = [size for size in sizes if size not in self.sizes]
        if missing:
            held, wanted = joined(self.sizes) or "(none)", joined(sorted({*sizes, *self.sizes}))
            command = f"prepare_data.py --out {self.path} --overwrite --sizes {wanted} PICTURES"
            raise DataError(
                f"The LMDB {self.path} holds the sizes {held} but not {joined(missing)}: "
                f"train within them (--init_size, --max_size), or run `python {command}`."
            )


# Cached, for shuffling 70,000 anew in every batch would cost; two, for a batch may straddle epochs.
@functools.lru_cache(maxsize=2)
def epoch_order(seed, length, epoch):
    """The permutation of range(length) that is epoch number `epoch`."""
    return np.random.default_rng([seed, epoch, ORDER_STREAM]).permutation(length)


def image_order(seed, length, start, count):
    """Indices (count,) int64 from position `start` of an endless sequence of shuffled epochs."""
    order = np.empty(count, np.int64)
    done = 0
    while done < count:
        epoch, place = divmod(start + done, length)
        part = epoch_order(seed, length, epoch)[place : place + count - done]
        order[done : done + len(part)] = part
        done += len(part)
    return order


def load_batch(dataset, size, seed, images_seen, batch, flip):
    """The batch that follows `images_seen` pictures: (batch, 3, size, size) float32 in [-1, 1].

    A function of its arguments alone, so a resumed run sees the same batches. `flip` mirrors each
    picture with probability 0.5.
    """
    order = image_order(seed, len(dataset), images_seen, batch)
    images = np.stack([np.asarray(dataset.read(index, size)) for index in order])  # (n, h, w, 3)
    if flip:
        mirrored = np.random.default_rng([seed, images_seen, FLIP_STREAM]).random(batch) < 0.5
        images[mirrored] = images[mirrored, :, ::-1]
    images = images.transpose(0, 3, 1, 2).astype(np.float32, order="C")  # (n, 3, h, w)
    images /= 127.5
    images -= 1
    return images


def in_order(pool, function, tasks, ahead):
    """Yields function(*task) for each of `tasks`, in order; `pool` works up to `ahead` tasks early.

    An exception of `function` is raised in its turn. Closing the generator cancels what waits.
    """
    futures = deque()
    try:
        for task in tasks:
            futures.append(pool.submit(function, *task))
            if len(futures) >= ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def batches(dataset, phase_of, seed, images_seen, flip, ahead=4):
    """Endless batches of load_batch from `images_seen` on, decoded up to `ahead` batches early.

    phase_of(images_seen) gives an object with `size` and `batch`; it too is asked early, so it must
    have an answer beyond the end of the run. Close the generator to stop its threads.
    """

    def tasks():
        position = images_seen
        while True:
            phase = phase_of(position)
            yield dataset, phase.size, seed, position, phase.batch, flip
            position += phase.batch

    with ThreadPoolExecutor(max_workers=2) as pool:  # Pillow decodes outside the interpreter lock
        with closing(in_order(pool, load_batch, tasks(), ahead)) as loaded:
            yield from loaded
