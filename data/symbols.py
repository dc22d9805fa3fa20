"""The symbols of TrueType fonts as pictures."""

import colorsys
import functools
import hashlib
import os
import sys
import unicodedata

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from backend.bar import Bar
from data.choice import error_text
from data.reading import Source
from data.store import DataError

SYMBOL_SIZE = 128
SYMBOL_COUNT = 6949  # unless more are asked for: as many as the Jittor course's set has
LARGEST_GLYPH = 112  # pixels of the 128, the rest is margin
FONT_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
DEJAVU = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")


class Symbols(Source):
    """The distinct symbols of fonts, each in a colour of its own on white, 128 x 128.

    At most `count` of them, font by font in the order of their code points; the colours follow from
    the seed. Two code points whose outlines look alike count once.
    """

    def __init__(self, fonts, seed, count):
        self.fonts, self.seed = fonts or find_dejavu(), seed
        self.symbols = []  # (font, character)
        seen = set()
        progress = Bar(total=count, desc="symbols", unit="img", leave=False)
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
