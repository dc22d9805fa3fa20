"""A picture as Pillow opened it, as RGB of 8 bits: upright, in sRGB, on a background."""

import io
import math
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from data.choice import open_picture
from formats.profiles import to_srgb

# Of which files are pictures, how they look and what a record holds; sets that note none follow the
# first. 2: hidden files are left out, profiles count. 3: records of png and webp hold pixels only,
# greys have as many bits as their format says.
RULES = 3
WRITTEN = ("JPEG", "PNG", "WEBP")  # formats of the records that we write
ORIENTATION = 0x0112  # EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
EXIF_NUMBERS = {1: "B", 3: "H", 4: "L"}  # by their EXIF types, in the words of `struct`
GREY_STEPS = {"1": 255, "L;2": 85, "L;4": 17}  # what 1 becomes when few bits become eight
DIM = 64  # of 256: 16 bits whose largest value stays below may be 14 or fewer


class Decoded(NamedTuple):
    picture: Image.Image
    dim: bool  # looks as if fewer bits were kept in its 16


def raw_mode(picture):
    """How the file holds its values, in Pillow's words; '' where Pillow does not tell."""
    tiles = getattr(picture, "tile", None)
    args = tiles[0][3] if tiles else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def load(picture):
    """Decodes the pixels. What is read after them, as a TIFF's EXIF, may be broken."""
    load_end = getattr(picture, "load_end", None)
    if load_end:

        def tolerant():
            try:
                load_end()
            except MemoryError:
                raise
            except Exception:  # nearly anything, as from all of Pillow
                pass

        picture.load_end = tolerant
    picture.load()


def scanned(exif):
    """The orientation in EXIF data that is broken elsewhere, or None.

    The first directory of TIFF 6.0 (section 2), of which nothing but that entry is looked at.
    """
    exif = exif[6:] if exif.startswith(b"Exif\0\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    try:
        (place,) = struct.unpack_from(order + "L", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, place)
        for entry in range(place + 2, place + 2 + 12 * count, 12):
            tag, number_type = struct.unpack_from(order + "HH", exif, entry)
            if tag == ORIENTATION:
                return struct.unpack_from(order + EXIF_NUMBERS[number_type], exif, entry + 8)[0]
    except (struct.error, TypeError, KeyError):
        pass
    return None


def orientation(picture):
    """EXIF's, 2 to 8; None where there is none, or none that can be read."""
    try:
        value = picture.getexif().get(ORIENTATION)
    except Exception:  # broken in one of many ways; viewers show the picture all the same
        value = None
    if value not in range(1, 9):
        exif = picture.info.get("exif")
        value = scanned(exif) if isinstance(exif, bytes) else None
    return value if value in TURNS else None


def draft(picture, side):
    """Lets a JPEG, not yet loaded, be halved up to three times while it is decoded, its sides to
    `side` or more. Returns the box of what will then be the upright picture; None if it is no JPEG.

    The last row and the last column may lie outside in part, for they stand for up to 8 of a file
    that may have fewer.
    """
    drafted = picture.draft(None, (side, side))
    if drafted is None:
        return None
    width, height = drafted[1][2:]
    turn = orientation(picture) or 1
    if turn >= 5:
        width, height = height, width
    left = math.ceil(width) - width if turn in (2, 3, 6, 7) else 0
    top = math.ceil(height) - height if turn in (3, 4, 7, 8) else 0
    return left, top, left + width, top + height


def repair_transparency(picture, raw):
    """The transparent colour of a PNG in the values that Pillow has made of the pixels."""
    value = picture.info.get("transparency")
    if raw in GREY_STEPS and isinstance(value, int):
        picture.info["transparency"] = min(255, value * GREY_STEPS[raw])
    elif raw == "RGB;16B" and isinstance(value, tuple):
        picture.info["transparency"] = tuple(channel >> 8 for channel in value)


def spread(values):
    """Values from their least to their largest as 0 to 255; what is no number as the least."""
    numbers = values[np.isfinite(values)].astype("float64")
    least, largest = (numbers.min(), numbers.max()) if numbers.size else (0, 0)
    scaled = (values.astype("float64") - least) * (255 / (largest - least or 1))
    return np.nan_to_num(scaled, nan=0, posinf=255, neginf=0).round().astype("uint8")


def grey_bits(picture, raw, rules):
    """Of the largest grey that the format allows, in a picture of mode I or the like; None for 32,
    which nobody uses up. raw: its raw_mode before it was decoded.
    """
    if picture.mode.startswith("I;16"):
        return 12 if raw == "I;12" and rules > 2 else 16
    if rules < 3:
        return None
    if picture.format == "PPM":  # Pillow has spread them over 16, whatever their maximum was
        return 16
    if raw.startswith("I;16"):
        return 15 if raw.endswith("S") else 16  # one is the sign
    return None


def grey_to_8_bits(picture, stretch, bits):
    """Grey of `bits`, or of 32: L, or LA where a value is transparent. Pillow's own conversion
    would make nearly all of it white.
    """
    values, transparent = np.asarray(picture), picture.info.get("transparency")
    dim = False
    if stretch:
        grey = spread(values)
    elif picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("32 bits per pixel: save it with 8 or 16 (or prepare_data.py --stretch)")
    elif bits is None and values.max() < 256:  # 8 bits that were kept in 32
        grey = values.astype("uint8")
    else:
        grey = (values >> (bits or 16) - 8).astype("uint8")
        dim = values.max() > 0 and grey.max() < DIM
    result = Image.fromarray(grey)
    if isinstance(transparent, int):
        result.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype("uint8")))
    return Decoded(result, bool(dim))


def colour_to_8_bits(picture, stretch):
    """Colour of 16 bits, of which Pillow has kept the upper 8."""
    values = np.array(picture)
    colours = values[..., :3]
    if stretch:
        colours[...] = spread(colours)
        return Decoded(Image.fromarray(values), False)
    return Decoded(picture, bool(0 < colours.max() < DIM))


def to_8_bits(picture, raw, stretch, rules):
    """The picture with 8 bits in each channel."""
    if picture.mode.startswith(("I", "F")):
        return grey_to_8_bits(picture, stretch, grey_bits(picture, raw, rules))
    if picture.mode in ("RGB", "RGBA") and ";16" in raw:
        info = picture.info
        decoded = colour_to_8_bits(picture, stretch)
        decoded.picture.info = info
        return decoded
    return Decoded(picture, False)


def is_transparent(picture):
    if picture.mode == "P" and picture.palette is None:  # from an ICNS
        return False
    return picture.has_transparency_data


def on_background(picture, profile, background):
    """As RGB; `profile` describes the picture's colours, not the background's."""
    if not is_transparent(picture):
        return to_srgb(picture, profile)
    above = picture.convert("RGBA")
    if profile:
        colours = above.convert("L" if picture.mode in ("1", "L", "LA") else "RGB")
        alpha, above = above.getchannel("A"), to_srgb(colours, profile)
        above.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", above.size, background), above).convert("RGB")


def to_rgb(picture, background, stretch=False, rules=RULES):
    """Decoded, an RGB picture: upright, in sRGB, over `background` where it is transparent.

    Of an animation, the first frame. stretch: spread grey of more than 8 bits, or colour of 16,
    from the least to the largest value that the file uses. rules: those of a set that was begun
    with earlier ones.
    """
    raw = raw_mode(picture)
    load(picture)
    profile = picture.info.get("icc_profile") if rules > 1 else None
    turn = TURNS.get(orientation(picture))
    repair_transparency(picture, raw)
    picture, dim = to_8_bits(picture, raw, stretch, rules)
    if turn is not None:
        picture = picture.transpose(turn)
    return Decoded(on_background(picture, profile, background), dim)


def read_record(record, name, size, ours):
    """The bytes of a prepared picture as RGB of size x size. ours: pixels and nothing else, as
    prepare_data.py wrote them; those of others are decoded like any file. May raise anything.
    """
    with open_picture(io.BytesIO(record), name, WRITTEN if ours else ()) as picture:
        if picture.size == (size, size):  # else it may be huge
            as_written = ours and picture.mode == "RGB"
            picture = picture.convert("RGB") if as_written else to_rgb(picture, "white").picture
    if picture.size != (size, size):
        raise ValueError("{} x {} pixels".format(*picture.size))
    return picture
