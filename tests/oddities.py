"""Files with odd pictures in them, byte by byte."""

import io
import struct
import zlib

import numpy as np
from PIL import Image, ImageCms


def chunk(kind, content):
    return (
        struct.pack(">L", len(content))
        + kind
        + content
        + struct.pack(">L", zlib.crc32(kind + content))
    )


def png(bits, colour, rows, extra=b""):
    """A PNG of the bytes of its rows, with chunks before its pixels. colour: 0 grey, 2 RGB."""
    width = len(rows[0]) * 8 // bits // (3 if colour == 2 else 1)
    header = struct.pack(">LLBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = chunk(b"IHDR", header), extra, chunk(b"IDAT", content), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def exif(*entries, order="<", count=None):
    """EXIF data with one directory of entries (tag, type, count, 4 bytes)."""
    directory = struct.pack(order + "H", len(entries) if count is None else count)
    for tag, kind, number, value in entries:
        directory += struct.pack(order + "HHL", tag, kind, number) + value
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(order + "L", 8) + directory + bytes(4)


def turned(value=6, kind=3, number=1, order="<"):
    """The entry that says how a photograph was held."""
    form = {1: "BBBB", 3: "HH", 4: "L"}[kind]
    return 0x112, kind, number, struct.pack(order + form, value, *[0] * (len(form) - 1))


def profile_with(**changes):
    """ICC profile of sRGB with other names in its table: a name that stands for another one."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    table_end = 132 + 12 * int.from_bytes(profile[128:132], "big")
    table, names = profile[132:table_end], {}
    for i in range(0, len(table), 12):
        name = table[i : i + 4].decode()
        names[i] = changes.get(name, name).encode()
    table = b"".join(names[i] + table[i + 4 : i + 12] for i in range(0, len(table), 12))
    return profile[:132] + table + profile[table_end:]


def swapped_profile():
    """Says that the first channel is green and the second red."""
    return profile_with(rXYZ="gXYZ", gXYZ="rXYZ")


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def slope(width=96, height=64):
    """A picture whose four corners differ, grey, and smooth enough for JPEG."""
    rows, columns = np.indices((height, width))
    return Image.fromarray((rows + 2 * columns).astype("uint8")).convert("RGB")
