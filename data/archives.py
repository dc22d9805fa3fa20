"""Pictures in one file: a zip, a tar archive, an LMDB such as LSUN's. Nothing in them is unpacked
under a name of its own.
"""

import importlib
import os
import posixpath
import shutil
import tarfile
import tempfile
import zipfile
from contextlib import closing
from typing import NamedTuple, Optional

import lmdb

from backend.bar import Bar
from data.choice import Choice, error_text
from data.reading import Files, SourceGone
from data.sizes import SIZES
from data.store import ABOUT_KEY, DataError, image_key, parsed, unreadable
from formats.lmdbs import obstacle, open_lmdb

ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
ZIP_METHODS.add(getattr(zipfile, "ZIP_ZSTANDARD", zipfile.ZIP_STORED))  # from Python 3.14 on
COMPRESSED = {  # by what a file begins with: the module that reads it
    b"\x1f\x8b": "gzip",
    b"BZh": "bz2",
    b"\xfd7zXZ\0": "lzma",
    b"\x28\xb5\x2f\xfd": "compression.zstd",  # from Python 3.14 on
}
LINKS_FOLLOWED = 40  # in a row, in a tar archive; as many as Linux follows
UNPACK_IT = "unpack it with another program and name the folder"


def damaged(path, format_name, error):
    """The DataError for an archive that is none any more. Raises what is the disk's trouble."""
    if getattr(error, "errno", None):
        raise error
    return DataError(
        f"{path} is {format_name} that cannot be read ({error_text(error)}): it is cut off, "
        f"damaged or one of several parts. Copy it again, or {UNPACK_IT}."
    )


class Zip(Files):
    """All pictures in a zip file, in the order that the unpacked folder would have."""

    def __init__(self, path, choice=None):
        super().__init__(choice or Choice())
        self.path, self.archive, self.process = path, None, None
        try:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename: info for info in archive.infolist()}
        except Exception as error:  # of a damaged file nearly anything
            raise damaged(path, "a zip file", error) from error
        self.names = sorted(name for name in members if self.choice.takes(name))
        self.members = [members[name] for name in self.names]
        self.require_some(path)
        faults = sorted({self.fault(i) for i in range(len(self.names))})
        if all(faults):
            raise DataError(f"The pictures in {path} are {' or '.join(faults)}: {UNPACK_IT}.")

    def fault(self, i):
        """Why picture i cannot be unpacked here, or ''."""
        if self.members[i].flag_bits & 1:
            return "encrypted"
        method = self.members[i].compress_type
        if method not in ZIP_METHODS:
            name = getattr(zipfile, "compressor_names", {}).get(method, f"method {method}")
            return f"compressed by {name}, which this Python does not know"
        return ""

    def read(self, i, count=-1):
        if self.fault(i):
            raise ValueError(self.fault(i))
        if self.process != os.getpid():  # forked processes would move each other's file position
            try:
                self.archive, self.process = zipfile.ZipFile(self.path), os.getpid()
            except FileNotFoundError:
                raise SourceGone(f"{self.path} is gone") from None
        with self.archive.open(self.members[i]) as file:
            return file.read(count)

    def identity(self, i):
        return f"{self.names[i]} {self.members[i].file_size} {self.members[i].CRC}"


class Entry(NamedTuple):
    """What the index of a tar archive says of a file."""

    offset: int
    size: int  # bytes; -1 where they do not lie there as they are
    time: float
    link: Optional[str]  # the path of what it is a link to


def tar_entry(member):
    link = None
    if member.islnk():
        link = posixpath.normpath(member.linkname)
    elif member.issym():
        folder = posixpath.dirname(member.name)
        link = posixpath.normpath(posixpath.join(folder, member.linkname))
    return Entry(member.offset_data, -1 if member.issparse() else member.size, member.mtime, link)


def tar_index(file, choice):
    """{path: Entry} of all files in an open tar archive; of two of one path the later, as when
    unpacked. Pipes and devices are noted in the choice.
    """
    entries = {}
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8") as archive:
        for member in iter(archive.next, None):
            archive.members.clear()  # else they would fill the memory
            if member.isreg() or member.islnk() or member.issym():
                entries[posixpath.normpath(member.name)] = tar_entry(member)
            elif member.isdev() and choice.takes(posixpath.normpath(member.name)):
                choice.endless.append(member.name)
    return entries


def followed(entries, path):
    """The Entry at `path` or where its links lead, None if out of the archive."""
    for _ in range(LINKS_FOLLOWED):
        entry = entries.get(path)
        if entry is None or entry.link is None:
            return entry
        path = entry.link
    return None


def compression(path):
    """Name of the module that reads a compressed file, or None."""
    with open(path, "rb") as file:
        start = file.read(8)
    return next((name for magic, name in COMPRESSED.items() if start.startswith(magic)), None)


def open_tar(path):
    """A tar file, compressed or not, as a stream of its content; None if it is something else."""
    module = compression(path)
    file = importlib.import_module(module).open(path) if module else open(path, "rb")
    try:
        tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        file.close()
        return None
    file.seek(0)
    return file


def unpacked(path, packed, folder):
    """The content of a compressed file, whose parts cannot be found, as a nameless file."""
    print(f"unpacking {path} into a nameless file in {folder}, for a compressed tar has no index")
    file = tempfile.TemporaryFile(dir=folder)
    try:
        with Bar.wrapattr(packed, "read", desc="unpacking", leave=False) as source:
            shutil.copyfileobj(source, file, 2**20)
        file.seek(0)  # writes too what is still in memory
    except BaseException:
        file.close()
        raise
    return file


class Tar(Files):
    """All pictures in a tar archive, in the order that the unpacked folder would have.

    stream: its content. folder: where a compressed one may be unpacked to.
    """

    def __init__(self, path, stream, choice=None, folder=None):
        super().__init__(choice or Choice())
        try:
            with closing(stream):
                self.file = (
                    unpacked(path, stream, folder) if compression(path) else open(path, "rb")
                )
            entries = tar_index(self.file, self.choice)
        except Exception as error:
            raise damaged(path, "a tar archive", error) from error
        self.names = sorted(path for path in entries if self.choice.takes(path))
        self.entries = [followed(entries, path) for path in self.names]
        self.require_some(path)

    def read(self, i, count=-1):
        entry = self.entries[i]
        if entry is None:
            raise ValueError("a link to what is not in the archive")
        if entry.size < 0:
            raise ValueError(f"a sparse file: {UNPACK_IT}")
        size = entry.size if count < 0 else min(count, entry.size)
        # At a place of its own: processes and threads share the file
        return os.pread(self.file.fileno(), size, entry.offset)

    def identity(self, i):
        entry = self.entries[i]
        return f"{self.names[i]} {entry.size} {entry.time}" if entry else self.names[i]


class Lmdb(Files):
    """The values of an LMDB in the order of its keys: LSUN keeps encoded pictures so."""

    def __init__(self, path, choice=None):
        super().__init__(choice or Choice())
        self.path = path
        self.names, self.lengths = [], []
        self.open()
        with self.env.begin(buffers=True) as txn:
            about = parsed(bytes(txn.get(ABOUT_KEY, b"")))
            if about or any(txn.get(image_key(size, 0)) for size in SIZES):
                raise prepared_already(path)
            for key, value in txn.cursor():
                self.names.append(bytes(key).decode("utf-8", "surrogateescape"))
                self.lengths.append(len(value))
        self.require_some(path)

    def open(self):
        try:
            self.env, self.process = open_lmdb(self.path), os.getpid()
        except lmdb.Error as error:
            if obstacle(error):
                raise unreadable(self.path, error, "") from error
            raise damaged(self.path, "an LMDB", error) from error

    def read(self, i, count=-1):
        if self.process != os.getpid():  # an LMDB must not be used across a fork
            self.env.close()  # nor would newer versions open it twice
            self.open()
        key = self.names[i].encode("utf-8", "surrogateescape")
        with self.env.begin(buffers=True) as txn:
            value = txn.get(key)
            return bytes(value if count < 0 else value[:count])

    def identity(self, i):
        return f"{self.names[i]} {self.lengths[i]}"


def prepared_already(path):
    return DataError(
        f"{path} is prepared already: train on it with `python train.py {path}`, or name the "
        "pictures that it was made from."
    )


def opened_tar(path):
    """open_tar's stream, or None; DataError for a compressed file that this Python cannot read."""
    try:
        return open_tar(path)
    except ImportError as error:
        module = compression(path).rpartition(".")[2]
        raise DataError(
            f"{path} is compressed by {module}, which this Python lacks: {UNPACK_IT}."
        ) from error
    except (OSError, EOFError, ValueError) as error:
        raise damaged(path, "a compressed file", error) from error
