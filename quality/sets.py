"""Pictures to compare with: those of a prepared set at one size, or the files of a folder."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np

from backend import machine
from backend.terminal import UsageError
from data import workers
from data.choice import error_text, find_pictures, open_picture
from data.decode import RULES, to_rgb
from data.heldout import Part, divided
from data.sizes import joined
from data.store import DataError, is_tree, open_pictures
from labels.table import in_order

HELDOUT = "_heldout"  # ends the names of numbers that were measured against held-out pictures
CHOICE_STREAM = 5  # second word of the seed, after those of artist.py and path_length.py


def chosen(length: int, count: int):
    """`count` of range(length), ascending, always the same; all if there are not more."""
    if count >= length:
        return np.arange(length)
    return np.sort(np.random.default_rng([0, CHOICE_STREAM]).choice(length, count, replace=False))


class Collection:
    """`length` pictures of one `size` (height, width). Threads may share one."""

    path: str
    length: int
    size: tuple

    def encoded(self, index) -> bytes:
        """The file or record of a picture."""
        raise NotImplementedError

    def read(self, index):
        """uint8 (3, height, width); DataError where it cannot be."""
        raise NotImplementedError

    def fingerprint(self, indices) -> str:
        """Of the content of some of its pictures and how they are decoded, in hexadecimal."""
        digest = hashlib.sha1(repr((self.size, RULES)).encode())
        for index in indices:
            digest.update(hashlib.sha1(self.encoded(index)).digest())
        return digest.hexdigest()

    def batches(self, indices, count: int):
        """Yields them, up to `count` at a time: uint8 (n, 3, height, width)."""
        batches = [indices[i : i + count] for i in range(0, len(indices), count)]
        threads = min(4, machine.cores())
        with ThreadPoolExecutor(threads) as pool:
            read = workers.in_order(
                pool, self.read_all, ((batch,) for batch in batches), 2 * threads
            )
            with closing(read):
                yield from read

    def read_all(self, indices):
        return np.stack([self.read(index) for index in indices])


class Prepared(Collection):
    """Those of an LMDB or tree of prepare_data.py, at a size in pixels."""

    def __init__(self, pictures, size: int):
        if size not in pictures.sizes:
            raise DataError(
                f"{pictures.path} holds pictures at {joined(pictures.sizes)} px but not at {size}: "
                "prepare that with `python prepare_data.py --sizes`, or give another --size"
            )
        self.pictures, self.path, self.length = pictures, pictures.path, pictures.length
        self.size = (size, size)

    def encoded(self, index):
        return self.pictures.record(int(index), self.size[0]) or b""

    def read(self, index):
        return np.asarray(self.pictures.read(int(index), self.size[0])).transpose(2, 0, 1)


class Folder(Collection):
    """Those below a folder, sorted by their paths, as prepare_data.py decodes them."""

    def __init__(self, path):
        self.path, self.files = str(path), find_pictures(path)
        self.length = len(self.files)
        if not self.files:
            raise DataError(f"{path} holds no pictures")
        self.size = self.opened(0).size[::-1]

    def opened(self, index):
        try:
            with open_picture(self.files[index], self.files[index]) as picture:
                return to_rgb(picture, "white").picture
        except Exception as error:  # a broken file makes Pillow raise nearly anything
            text = error_text(error)
            raise DataError(f"{self.files[index]} is unusable ({text}): remove it") from error

    def encoded(self, index):
        return Path(self.files[index]).read_bytes()

    def read(self, index):
        picture = self.opened(index)
        if picture.size[::-1] != self.size:
            raise DataError(
                f"{self.files[index]} has {picture.size[0]} x {picture.size[1]} pixels, "
                f"{self.files[0]} {self.size[1]} x {self.size[0]}: all must have the same size"
            )
        return np.asarray(picture).transpose(2, 0, 1)


def is_prepared(path) -> bool:
    """Whether `path` is an LMDB or a tree of sizes rather than a folder of pictures."""
    return os.path.exists(os.path.join(path, "data.mdb")) or is_tree(path)


class Data:
    """What to compare with: a prepared set, at any size that it has, or a folder of pictures."""

    def __init__(self, pictures, ending: str = ""):
        """pictures: an open `Pictures` or a `Folder`. ending: of the names of what is measured."""
        self.path, self.length, self.ending = pictures.path, pictures.length, ending
        self.folder = pictures if isinstance(pictures, Folder) else None
        self.pictures = None if self.folder else pictures

    def at(self, size) -> Collection:
        """Its pictures of a size (height, width)."""
        if self.pictures and size[0] == size[1]:
            return Prepared(self.pictures, size[0])
        if self.folder and size == self.folder.size:
            return self.folder
        sizes = (
            joined(self.pictures.sizes) if self.pictures else "{1} x {0}".format(*self.folder.size)
        )
        raise DataError(
            f"{self.path} holds pictures at {sizes} px, what is to be compared with them has "
            f"{size[1]} x {size[0]}: the sizes must be the same"
        )

    def shares(self, names):
        """Of labels of those names among its pictures (len(names),); None where it has none."""
        labels = self.pictures.labels if self.pictures else None
        found = Counter(labels or ())
        counts = np.array([found[name] for name in names], float)
        return counts / counts.sum() if counts.sum() else None

    def label_names(self) -> list:
        """Those of its pictures' labels. UsageError where it has none."""
        labels = self.pictures.labels if self.pictures else None
        if not labels:
            raise UsageError(f"--per_label: {self.path} has no labels, leave that out")
        return in_order(labels)

    def of_label(self, name: str) -> "Data":
        """Its pictures of a label."""
        indices = [i for i, other in enumerate(self.pictures.labels) if other == name]
        return Data(Part(self.pictures, np.array(indices)), f"_{name}{self.ending}")

    def divided(self, amount: float) -> tuple:
        """(held-out pictures, the others), as train.py --heldout divides a prepared set."""
        if self.folder:
            raise UsageError(
                f"--heldout divides a set of prepare_data.py as train.py did: {self.path} is a "
                "folder of pictures"
            )
        seen, unseen = divided(self.pictures, amount)
        return Data(unseen, HELDOUT), Data(seen)

    def close(self):
        if self.pictures:
            self.pictures.close()


def open_data(path) -> Data:
    """What lies at `path`; DataError if that is nothing to compare with. Close it when done."""
    if os.path.isdir(path) and not is_prepared(path):
        return Data(Folder(path))
    return Data(open_pictures(path))
