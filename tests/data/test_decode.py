"""Odd pictures as RGB: broken EXIF, many or few bits, transparency, profiles. No Jittor needed."""

import io
import struct

import numpy as np
import pytest
from oddities import chunk, exif, png, profile_with, saved, slope, swapped_profile, turned
from PIL import Image
from preparing import about, folder, records, run  # noqa: F401

from data.choice import formats, open_picture
from data.decode import to_rgb
from formats import profiles

WHITE = (255, 255, 255)
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about broken EXIF


def decoded(content, name="x.png", background=WHITE, **options):
    with open_picture(io.BytesIO(content), name) as picture:
        result = to_rgb(picture, background, **options)
    assert result.picture.mode == "RGB"
    return result


def pixels(content, *args, **options):
    return np.asarray(decoded(content, *args, **options).picture).astype(int)


# EXIF

TEXT = b"abc\0"
BROKEN = {
    "text for a number": exif(turned(), (0x11A, 2, 4, TEXT)),
    "negative": exif((0x102, 8, 1, struct.pack("<hh", -1, 0)), turned()),
    "text for a width": exif((0x100, 2, 4, TEXT), turned()),
    "out of the file": exif((0x10F, 2, 99, struct.pack("<L", 9999)), turned()),
    "no such type": exif((0x10F, 99, 1, TEXT), turned(), (0x8769, 4, 1, b"\xff" * 4)),
    "more entries than there are": exif(turned(), count=500),
    "a loop": exif(turned(), (0x8769, 4, 1, struct.pack("<L", 8))),
    "big-endian": exif((0x11A, 5, 1, TEXT), turned(order=">"), order=">"),
    "a long": exif(turned(kind=4), (0x128, 2, 4, TEXT)),
    "a byte": exif(turned(kind=1)),
    "two of them": exif(turned(number=2)),
}
UNREADABLE = {
    "no header": b"Exif\0\0\0\x08\0\2\1\x12\0\3",
    "words": b"Exif\0\0junk",
    "out of range": exif(turned(0), (0x11A, 2, 4, TEXT)),
    "cut off": exif(turned())[:18],
    "odd type": exif((0x112, 12, 1, TEXT)),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("case", [*BROKEN, *UNREADABLE])
def test_broken_exif_costs_no_picture_and_turns_it_where_it_can(kind, case):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(slope(), kind, exif={**BROKEN, **UNREADABLE}[case], **options)
    expected = slope().transpose(Image.Transpose.ROTATE_270) if case in BROKEN else slope()
    assert decoded(content).picture.size == expected.size
    assert np.abs(pixels(content) - np.asarray(expected)).max() <= (3 if kind == "JPEG" else 0)


@pytest.mark.parametrize("bad", [(0x8769, 4, 1, struct.pack("<L", 1)), (0x8825, 2, 4, TEXT)])
def test_a_tiff_with_a_broken_directory_is_turned_once(bad):
    plain = saved(slope(), "TIFF")
    (place,) = struct.unpack_from("<L", plain, 4)
    (count,) = struct.unpack_from("<H", plain, place)
    entries = plain[place + 2 : place + 2 + 12 * count]
    entries += b"".join(struct.pack("<HHL", *e[:3]) + e[3] for e in (turned(), bad))
    content = plain[:4] + struct.pack("<L", len(plain)) + plain[8:]
    content += struct.pack("<H", count + 2) + entries + bytes(4)
    expected = slope().transpose(Image.Transpose.ROTATE_270)
    assert np.array_equal(pixels(content, "x.tif"), expected)


# Bits

HALVES = np.repeat([[0, 1]], 8, axis=0).repeat(4, axis=1)  # (8, 8), left 0, right 1


@pytest.mark.parametrize("what", ["turned", "black is transparent", "light is transparent"])
def test_grey_of_any_bits_is_turned_and_transparent_alike(what):
    found = []
    for bits in (1, 2, 4, 8, 16):
        light = 2**bits - 1
        if bits == 16:
            rows = (HALVES * light).astype(">u2")
        else:
            per_byte = 8 // bits
            parts = (HALVES * light).reshape(8, -1, per_byte)
            rows = (parts << bits * np.arange(per_byte)[::-1]).sum(axis=2).astype("uint8")
        extra = {
            "turned": chunk(b"eXIf", exif(turned())[6:]),
            "black is transparent": chunk(b"tRNS", struct.pack(">H", 0)),
            "light is transparent": chunk(b"tRNS", struct.pack(">H", light)),
        }[what]
        found.append(
            pixels(png(bits, 0, [row.tobytes() for row in rows], extra), background=(9, 99, 9))
        )
    grey = HALVES[:, :, None] * np.array([255, 255, 255])
    expected = {
        "turned": np.rot90(grey, -1),
        "black is transparent": np.where(grey == 0, [9, 99, 9], grey),
        "light is transparent": np.where(grey == 255, [9, 99, 9], grey),
    }[what]
    for image in found:
        assert np.array_equal(image, expected)


def test_colour_of_16_bits():
    values = np.zeros((4, 8, 3), ">u2")
    values[:, 4:] = 65535, 30000, 200
    rows = [row.tobytes() for row in values]
    assert np.array_equal(pixels(png(16, 2, rows)), values >> 8)
    extra = chunk(b"tRNS", struct.pack(">HHH", 65535, 30000, 200))
    image = pixels(png(16, 2, rows, extra), background=(1, 2, 3))
    assert (image[:, :4] == 0).all() and (image[:, 4:] == (1, 2, 3)).all()


def grey_tiff(bits, content, signed=False):
    """A TIFF of 8 x 8 greys of these bits, uncompressed."""
    fields = {256: 8, 257: 8, 258: bits, 259: 1, 262: 1, 273: 8, 277: 1, 278: 8, 279: len(content)}
    fields[339] = 2 if signed else 1
    entries = b"".join(struct.pack("<HHLL", tag, 4, 1, fields[tag]) for tag in sorted(fields))
    place = struct.pack("<L", 8 + len(content))
    return b"II*\0" + place + content + struct.pack("<H", len(fields)) + entries + bytes(4)


def packed_12_bits(values):
    bits = (values.reshape(-1, 1) >> np.arange(12)[::-1]) & 1
    return np.packbits(bits.astype("uint8").reshape(-1)).tobytes()


def plain(values, most):
    return b"P2 8 8 %d\n" % most + b" ".join(b"%d" % v for v in values.reshape(-1))


@pytest.mark.parametrize("light", [1.0, 0.25, 0.003], ids=str)
@pytest.mark.parametrize(
    "name, most, made",
    [
        ("raw.pgm", 65535, lambda v: b"P5 8 8 65535\n" + v.astype(">u2").tobytes()),
        ("raw.pgm", 1023, lambda v: b"P5 8 8 1023\n" + v.astype(">u2").tobytes()),
        ("raw.pgm", 300, lambda v: b"P5 8 8 300\n" + v.astype(">u2").tobytes()),
        ("raw.pgm", 15, lambda v: b"P5 8 8 15\n" + v.astype("u1").tobytes()),
        ("plain.pgm", 65535, lambda v: plain(v, 65535)),
        ("plain.pgm", 4095, lambda v: plain(v, 4095)),
        ("colour.ppm", 4095, lambda v: b"P6 8 8 4095\n" + v.repeat(3).astype(">u2").tobytes()),
        ("x.png", 65535, lambda v: saved(Image.fromarray(v.astype("uint16")), "PNG")),
        ("x.jp2", 65535, lambda v: saved(Image.fromarray(v.astype("uint16")), "JPEG2000")),
        ("x.im", 65535, lambda v: saved(Image.fromarray(v.astype("uint16")), "IM")),
        ("16.tif", 65535, lambda v: grey_tiff(16, v.astype("<u2").tobytes())),
        ("signed.tif", 32767, lambda v: grey_tiff(16, v.astype("<i2").tobytes(), signed=True)),
        ("12.tif", 4095, lambda v: grey_tiff(12, packed_12_bits(v))),
    ],
)
def test_greys_count_by_the_maximum_that_the_format_states(name, most, made, light):
    """However dark the whole picture is, and whatever maximum its format has."""
    values = np.linspace(0, most * light, 64).astype("int64").reshape(8, 8)
    found = pixels(made(values), name)
    assert np.abs(found - (values * (255 / most))[..., None]).max() <= 1
    assert (found == found[..., :1]).all()


def test_greys_of_32_bits_and_of_earlier_rules_are_as_they_were():
    dark = np.arange(64).reshape(8, 8)
    assert np.array_equal(pixels(grey_tiff(32, dark.astype("<u4").tobytes()))[..., 0], dark)
    twelve = grey_tiff(12, packed_12_bits(dark * 65))
    assert np.array_equal(pixels(twelve, rules=2)[..., 0], dark * 65 >> 8)
    pgm = b"P5 8 8 65535\n" + dark.astype(">u2").tobytes()
    for rules in (1, 2):
        assert np.array_equal(pixels(pgm, "x.pgm", rules=rules)[..., 0], dark)


@pytest.mark.parametrize("order", ["<", ">"])
def test_a_tiff_of_16_bits_in_either_order_is_turned(order):
    values = np.arange(8 * 6).reshape(6, 8) * 1365
    image = Image.frombytes(
        "I;16" if order == "<" else "I;16B", (8, 6), values.astype(order + "u2").tobytes()
    )
    content = saved(image, "TIFF", tiffinfo={0x112: 8})
    expected = np.rot90(values >> 8, 1)
    assert np.array_equal(pixels(content, "x.tif")[..., 0], expected)


def test_stretch_spreads_what_a_file_uses():
    values = np.linspace(0, 4095, 64).round().astype("uint16").reshape(8, 8)  # 12 bits
    content = saved(Image.fromarray(values), "PNG")
    dark = decoded(content)
    assert dark.dim and np.asarray(dark.picture).max() == 15
    light = decoded(content, stretch=True)
    expected = np.round(values * (255 / 4095))
    assert not light.dim and np.array_equal(np.asarray(light.picture)[..., 0], expected)
    above = saved(Image.fromarray(values + 1000), "TIFF")  # from the least, not from 0
    assert np.array_equal(pixels(above, "x.tif", stretch=True)[..., 0], expected)
    wide = Image.fromarray(values.astype("float32") * -7)
    assert np.array_equal(pixels(saved(wide, "TIFF"), stretch=True)[..., 0], 255 - expected)
    for flat in (
        saved(Image.new("I;16", (8, 8), 700), "PNG"),
        saved(Image.new("F", (8, 8)), "TIFF"),
    ):
        assert (pixels(flat, stretch=True) == 0).all()
    for kept in (np.full((8, 8), 16384, "uint16"), np.full((8, 8), 16384, "uint16") * 0):
        assert not decoded(saved(Image.fromarray(kept), "PNG")).dim


def test_stretch_of_colour_and_of_8_bits():
    values = np.random.default_rng(0).integers(0, 4096, (8, 8, 3))
    values[0, 0], values[0, 1] = 0, 4095
    content = png(16, 2, [row.astype(">u2").tobytes() for row in values])
    assert decoded(content).dim
    expected = np.round((values >> 8) * (255 / 15))  # Pillow has dropped the lower 8
    assert np.array_equal(pixels(content, stretch=True), expected)
    plain = saved(Image.new("RGB", (8, 8), (9, 8, 7)), "PNG")
    assert not decoded(plain).dim and (pixels(plain, stretch=True) == (9, 8, 7)).all()


def test_the_last_line_counts_what_looks_too_dark(tmp_path, folder, run):
    for name in "ab":
        Image.fromarray(np.full((20, 20), 4095, "uint16")).save(folder / f"{name}.png")
    code, stdout, _ = run(folder)
    assert code == 0 and ", 2 dark as with fewer bits in 16 (see --stretch)" in stdout
    assert about(tmp_path / "out")["dim"] == 2
    code, _, stderr = run(folder, "--resume", "--stretch")
    assert code == 1 and "stretch False, not True" in stderr
    code, stdout, _ = run(folder, "--overwrite", "--stretch")
    assert code == 0 and "dark" not in stdout


# Modes


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "LAB"])
def test_every_mode_of_a_tiff(mode):
    image = Image.new(mode, (8, 8)) if mode in ("PA", "LAB") else slope(8, 8).convert(mode)
    assert pixels(saved(image, "TIFF"), "x.tif").shape == (8, 8, 3)


def test_lab_is_converted():
    grey = Image.merge("LAB", [Image.new("L", (8, 8), v) for v in (255, 128, 128)])
    assert (pixels(saved(grey, "TIFF"), "x.tif") >= 254).all()


# Every name

SAVED = {  # extension: Pillow's name of the format
    ".jfif": "JPEG", ".jpe": "JPEG", ".mpo": "JPEG", ".jp2": "JPEG2000", ".j2k": "JPEG2000",
    ".tga": "TGA", ".pcx": "PCX", ".qoi": "QOI", ".ico": "ICO", ".icns": "ICNS", ".dds": "DDS",
    ".sgi": "SGI", ".dib": "DIB", ".im": "IM", ".pnm": "PPM", ".apng": "PNG", ".avif": "AVIF",
}  # fmt: skip


@pytest.mark.parametrize("extension", SAVED)
def test_every_extension_that_pillow_reads(extension):
    kind = SAVED[extension]
    if extension not in formats() or kind not in Image.SAVE:
        pytest.skip("this Pillow cannot")
    image = slope(64, 64)
    found = pixels(saved(image, kind), "x" + extension)
    assert np.abs(found[:64, :64] - np.asarray(image)).mean() < (3 if found.shape[0] == 64 else 99)


# Profiles


def colours():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_a_profile_is_converted_to_srgb(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(colours(), kind, icc_profile=swapped_profile(), **options)
    expected = np.asarray(colours())[..., [1, 0, 2]]
    assert np.abs(pixels(content) - expected).max() <= 2
    assert np.array_equal(pixels(content, rules=1), colours())


def test_a_profile_of_transparent_colours_leaves_the_background_alone():
    image = Image.new("RGBA", (8, 8), (200, 10, 20, 0))
    image.paste((200, 10, 20, 255), (4, 0, 8, 8))
    content = saved(image, "PNG", icc_profile=swapped_profile())
    found = pixels(content, background=(7, 77, 0))
    assert (found[:, :4] == (7, 77, 0)).all()
    assert np.abs(found[:, 4:] - (10, 200, 20)).max() <= 2
    palette = Image.new("P", (8, 8))
    palette.putpalette([200, 10, 20])
    content = saved(palette, "PNG", icc_profile=swapped_profile())
    assert np.abs(pixels(content) - (10, 200, 20)).max() <= 2


def test_broken_and_unfitting_profiles_and_those_of_srgb_change_nothing(tmp_path, folder, run):
    good = profile_with()
    other_spaces = [good[:16] + space + good[20:] for space in (b"GRAY", b"CMYK")]
    cases = [None, good, b"junk" * 40, good[:200], swapped_profile()[:-300], *other_spaces]
    (folder / "good.png").unlink()
    for i, profile in enumerate(cases):
        options = {"icc_profile": profile} if profile else {}
        colours().save(folder / f"{i}.jpg", quality=95, **options)
    assert run(folder, "--sizes", "8")[0] == 0
    written = records(tmp_path / "out")
    assert {written[b"8-%05d" % i] for i in range(len(cases))} == {written[b"8-00000"]}


def test_grey_with_a_profile_of_grey():
    """A grey profile whose curve is a straight line: 0.5 of the light is 188 of 255 in sRGB."""
    profile = bytearray(profile_with(rTRC="kTRC"))
    profile[16:20] = b"GRAY"
    place = profile.find(b"para")  # parametricCurveType, ICC.1:2010, 10.16
    profile[place : place + 16] = b"para\0\0\0\0\0\0\0\0" + struct.pack(">l", 65536)  # Y = X
    content = saved(Image.new("L", (8, 8), 128), "PNG", icc_profile=bytes(profile))
    assert np.abs(pixels(content) - 188).max() <= 1
    both = saved(Image.new("LA", (8, 8), (128, 255)), "PNG", icc_profile=bytes(profile))
    assert np.array_equal(pixels(both), pixels(content))


def test_the_test_of_profiles_tells_srgb_by_its_colours():
    assert profiles.transform_of(profile_with(), "RGB") is None
    assert profiles.transform_of(profile_with(desc="nope"), "RGB") is None  # whatever its name
    assert profiles.transform_of(swapped_profile(), "RGB")[1] == "RGB"
    assert profiles.transform_of(swapped_profile(), "CMYK") is None
