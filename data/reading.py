"""What every source of pictures can do, and how much it has to read for a picture's size."""

import io

from data.choice import open_picture
from data.store import DataError

BEGINNINGS = 2**12, 2**16, 2**20  # bytes that hold the headers of most pictures, of nearly all

ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".mdb", ".rar", ".7z"}


class SourceGone(OSError):
    """The folder or archive of the pictures, not one of them, is missing."""


class Source:
    """Pictures in an order. Loading and measuring may raise anything."""

    names: list  # one for each picture

    def load(self, i):
        """Picture i as Pillow opens it."""
        raise NotImplementedError

    def size(self, i):
        """(width, height) of picture i."""
        with self.load(i) as picture:
            return picture.size

    def identity(self, i):
        """A string that changes when the picture does."""
        return self.names[i]

    def left_out(self):
        """What has a name that is not taken, by kind, or ''."""
        return ""


def webp_size(start):
    """(width, height) of a WebP from its first 30 bytes, or None. Pillow reads all of it first.

    The layout is that of RFC 9649, sections 2.4 to 2.7.
    """
    if start[:4] != b"RIFF" or start[8:12] != b"WEBP" or len(start) < 30:
        return None
    chunk = start[12:16]
    if chunk == b"VP8X":
        sides = start[24:27], start[27:30]
        return tuple(1 + int.from_bytes(side, "little") for side in sides)
    if chunk == b"VP8L" and start[20] == 0x2F:
        bits = int.from_bytes(start[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        sides = start[26:28], start[28:30]
        return tuple(int.from_bytes(side, "little") & 0x3FFF for side in sides)
    return None


class Files(Source):
    """Pictures that are files, or something like it, of which the beginning can be read alone."""

    def __init__(self, choice):
        self.choice = choice

    def read(self, i, count=-1):
        """The first `count` bytes of picture i, or all."""
        raise NotImplementedError

    def load(self, i):
        return open_picture(io.BytesIO(self.read(i)), self.names[i])

    def size(self, i):
        for count in BEGINNINGS:
            start = self.read(i, count)
            size = webp_size(start)
            if size:
                return size
            try:
                with open_picture(io.BytesIO(start), self.names[i]) as picture:
                    return picture.size
            except Exception:  # cut off too early, or broken
                if len(start) < count:  # that was all of it
                    raise
        return super().size(i)

    def left_out(self):
        return self.choice.left_out()

    def require_some(self, path):
        """DataError if there are no pictures."""
        if self.names:
            return
        left_out = self.left_out()
        remark = f" (left out: {left_out})" if left_out else ""
        unpack = (
            ", or unpack those that lie in it" if ARCHIVES & set(self.choice.extensions) else ""
        )
        raise DataError(
            f"There are no pictures in {path}{remark}: name a folder or an archive with some of "
            f"a kind that Pillow reads{unpack}."
        )
