"""What every source of pictures can do, and how much it has to read for a picture's size."""

import io
import warnings

from backend.bar import Bar
from backend.terminal import printable
from data.choice import error_text, open_picture
from data.sizes import DEFAULT_SIZES
from data.store import DataError

BEGINNINGS = 2**12, 2**16, 2**20  # bytes that hold the headers of most pictures, of nearly all

ARCHIVES = {".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".mdb", ".rar", ".7z"}


class SourceGone(OSError):
    """The folder or archive of the pictures, not one of them, is missing."""


class Source:
    """Pictures in an order. Loading and measuring may raise anything."""

    names: list  # one for each picture
    labels = None  # the same, where they are asked for

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

    def notes(self):
        """What its pictures follow from beside the options of every source: plain values by name,
        noted with the set.
        """
        return {}


class LargeEnough(Source):
    """Those of a source whose shorter side has `least` pixels or more, with `pad` the longer; and
    those whose size cannot be read, to be told when their turn comes. Reads every header.
    """

    def __init__(self, source, least, pad):
        self.source, self.least, self.chosen = source, least, []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i in range(len(source.names)):
                try:
                    side = (max if pad else min)(source.size(i))
                except Exception:  # Pillow raises nearly anything
                    side = least
                self.chosen += [i] * (side >= least)
        if not self.chosen:
            count = len(source.names)
            raise DataError(f"--min_size {least}: all of the {count:,} pictures are smaller.")
        self.names = [source.names[i] for i in self.chosen]

    def load(self, i):
        return self.source.load(self.chosen[i])

    def size(self, i):
        return self.source.size(self.chosen[i])

    def identity(self, i):
        return self.source.identity(self.chosen[i])

    def notes(self):
        return self.source.notes()

    def left_out(self):
        count, others = len(self.source.names) - len(self.chosen), self.source.left_out()
        smaller = f"{count:,} smaller than {self.least} px" if count else ""
        return ", ".join(filter(None, (others, smaller)))


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


def smallest(source, count, pad):
    """(pixels, name) of the smallest of the first `count` pictures that is not below every size.

    The shorter side counts, with `pad` the longer. Reads every header. DataError if there is none.
    """
    usable, too_small, broken = [], [], []
    bar = Bar(total=count, desc="checking", unit="img", leave=False)
    with bar, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, name in enumerate(source.names[:count]):
            bar.update()
            try:
                side = (max if pad else min)(source.size(i))
            except Exception as error:  # told again, and the file skipped, when its turn comes
                broken.append(f"{printable(name)}: {error_text(error)}")
                continue
            if side >= DEFAULT_SIZES[0]:
                usable.append((side, printable(name)))
            else:
                too_small.append(f"{printable(name)} is only {side} pixels wide or high")
    if not usable:
        raise DataError(
            f"None of {count} pictures can be used, the first because {(too_small or broken)[0]}: "
            f"name others{', or give --sizes' if too_small else ''}."
        )
    return min(usable)
