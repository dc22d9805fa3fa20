"""What a record holds: pixels, and nothing else of the file that they came from."""

import io
import struct
import zlib

import numpy as np
import pytest
from oddities import chunk, exif, png, profile_with, saved, swapped_profile, turned
from PIL import Image, PngImagePlugin
from preparing import encoded, folder, picture, records, run  # noqa: F401

import prepare_data
from data import store
from data.sources import Folder

NOISE = np.random.default_rng(0).bytes(1_350_000)  # of which no profile is made smaller


def everything():
    """Keyword arguments for a PNG with all that Pillow reads beside pixels."""
    text = PngImagePlugin.PngInfo()
    for key in ("comment", "Comment", "Description", "XML:com.adobe.xmp"):
        text.add_itxt(key, "a text")
    text.add(b"gAMA", struct.pack(">L", 45455))
    text.add(b"sRGB", b"\0")
    text.add(b"cHRM", struct.pack(">8L", *range(1, 9)))
    return {
        "pnginfo": text,
        "dpi": (300, 300),
        "icc_profile": profile_with(),
        "exif": exif(turned(1)),
        "transparency": (1, 2, 3),
    }


def kinds_of_png(content):
    """Names of its chunks."""
    found, place = [], 8
    while place < len(content):
        length, kind = struct.unpack_from(">L4s", content, place)
        found.append(kind)
        place += length + 12
    return found


def kinds_of_webp(content):
    found, place = [], 12
    while place < len(content):
        kind, length = struct.unpack_from("<4sL", content, place)
        found.append(kind)
        place += 8 + length + length % 2
    return found


def kinds_of_jpeg(content):
    """Its markers up to the pixels."""
    found, place = [], 2
    while content[place + 1] != 0xDA:
        found.append(content[place + 1])
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return set(found)


def sources():
    """Pictures of 16 x 16 pixels with more than pixels in them."""
    image = picture(16, 16)
    palette = image.convert("P")
    jpeg = {"exif": exif(turned(1)), "icc_profile": profile_with(), "dpi": (72, 72)}
    return {
        "all.png": saved(image, "PNG", **everything()),
        "large.png": saved(image, "PNG", icc_profile=NOISE),
        "swapped.png": saved(image, "PNG", icc_profile=swapped_profile()),
        "broken.png": saved(image, "PNG", icc_profile=b"junk" * 50),
        "all.jpg": saved(image, "JPEG", comment=b"a text", quality=95, **jpeg),
        "all.tif": saved(image, "TIFF", icc_profile=profile_with(), dpi=(300, 300)),
        "all.webp": saved(image, "WEBP", lossless=True, xmp=b"<x/>", icc_profile=profile_with()),
        "all.gif": saved(palette, "GIF", comment=b"a text" * 99, transparency=3),
        "grey.png": png(16, 0, [bytes(32)] * 16, chunk(b"gAMA", struct.pack(">L", 45455))),
    }


@pytest.mark.parametrize("options", [[], ["--fast"], ["--pad"]], ids=str)
@pytest.mark.parametrize("form", ["png", "webp", "jpeg"])
def test_records_hold_pixels_only(tmp_path, folder, run, form, options):
    (folder / "good.png").unlink()
    for name, content in sources().items():
        (folder / name).write_bytes(content)
    assert run(folder, "--format", form, "--sizes", "8,16", *options)[0] == 0
    written = records(tmp_path / "out")
    assert written.pop(b"length") == b"%d" % len(sources())
    for content in written.values():
        assert len(content) < 4000
        with Image.open(io.BytesIO(content)) as image:
            assert (image.mode, not image.getexif()) == ("RGB", True)
        if form == "png":
            assert set(kinds_of_png(content)) == {b"IHDR", b"IDAT", b"IEND"}
        elif form == "webp":
            assert kinds_of_webp(content) == [b"VP8L"]
        else:  # JFIF, tables; what Pillow keeps of a comment, as in the original's
            assert kinds_of_jpeg(content) <= {0xE0, 0xDB, 0xC0, 0xC4, 0xFE}


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_other_records_keep_their_bytes(tmp_path, folder, run, form):
    """Of pictures with nothing beside their pixels, and in JPEGs a comment."""
    image = picture(16, 16, 1)
    image.save(folder / "good.png")
    (folder / "a.gif").write_bytes(saved(image.quantize(8), "GIF", comment=b"a text"))
    assert run(folder, "--format", form, "--sizes", "16")[0] == 0
    expected = {"format": form, **({"quality": 100} if form == "jpeg" else {})}
    first = Image.open(folder / "a.gif").convert("RGB")
    if form == "png":
        assert "comment" in first.info
    written = records(tmp_path / "out")
    assert written[b"16-00000"] == encoded(first, **expected)
    assert written[b"16-00001"] == encoded(image, **expected)


@pytest.mark.parametrize("length", [60_000, 65_533, 65_534, 200_000])
def test_a_comment_too_long_for_a_jpeg_costs_no_picture(tmp_path, folder, run, length):
    text = chunk(b"zTXt", b"comment\0\0" + zlib.compress(b"a" * length))
    (folder / "good.png").write_bytes(png(8, 2, [bytes(48)] * 16, text))
    assert run(folder, "--sizes", "16")[0] == 0
    assert (len(records(tmp_path / "out")[b"16-00000"]) > 60_000) == (length == 60_000)


def test_a_set_that_was_begun_with_profiles_in_it_goes_on_so(tmp_path, folder, run):
    image, profile = picture(16, 16), profile_with()  # which holds the time of day
    image.save(folder / "good.png", icc_profile=profile)
    args = prepare_data.parser().parse_args([str(folder), "--format", "png"])
    settings = prepare_data.new_settings(args, Folder(str(folder)), [16], False, rules=2)
    noted = {"writer": store.WRITER, "settings": settings, "total": 1, "complete": False}
    noted.update(done=0, kept=0, enlarged=0, skipped=[])
    (tmp_path / "out").mkdir()
    store.LmdbWriter(tmp_path / "out").write([], noted)
    assert run(folder, "--resume", "--format", "png")[0] == 0
    expected = encoded(image, format="png", icc_profile=profile)
    assert records(tmp_path / "out")[b"16-00000"] == expected
    assert run(folder, "--overwrite", "--format", "png")[0] == 0
    assert records(tmp_path / "out")[b"16-00000"] == encoded(image, format="png")
