"""Folders that metrics.py compares: pictures as prepare_data.py sees them. No Jittor needed."""

import io

import numpy as np
import pytest
from oddities import exif, saved, swapped_profile, turned
from PIL import Image
from preparing import folder, records, run  # noqa: F401

from data import decode
from data.store import DataError
from quality import sets

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"


def odd_pictures():
    """{name: bytes} of pictures of 16 x 16 that are not what their first bytes look like."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 65536, (16, 16)).astype("uint16")
    colours = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype="uint8"))
    clear = Image.fromarray(rng.integers(0, 256, (16, 16, 4), dtype="uint8"))
    return {
        "0.png": saved(Image.fromarray(grey), "PNG"),
        "1.pgm": b"P5 16 16 65535\n" + (grey // 300).astype(">u2").tobytes(),
        "2.png": saved(clear, "PNG"),
        "3.gif": saved(colours.quantize(8), "GIF", transparency=2),
        "4.png": saved(colours, "PNG", exif=exif(turned(6))),
        "5.png": saved(colours, "PNG", icc_profile=swapped_profile()),
        "6.tif": saved(Image.fromarray(grey), "TIFF"),
        "7.tga": saved(colours, "TGA"),
    }


def test_pictures_are_those_of_prepare_data(tmp_path, folder, run):
    (folder / "good.png").unlink()
    for name, content in odd_pictures().items():
        (folder / name).write_bytes(content)
    assert run(folder, "--format", "png", "--sizes", "16")[0] == 0
    prepared, found = records(tmp_path / "out"), sets.open_data(folder).folder
    assert found.length == len(odd_pictures())
    for i in range(found.length):
        expected = np.asarray(Image.open(io.BytesIO(prepared[b"16-%05d" % i])))
        assert np.array_equal(found.read(i).transpose(1, 2, 0), expected)


@pytest.mark.parametrize(
    "content, words",
    [
        (EPS, "no picture of a known format"),
        (b"hello", "no picture of a known format"),
        (saved(Image.new("F", (16, 16)), "TIFF"), "32 bits per pixel"),
        (saved(Image.new("RGB", (16, 16)), "PNG")[:45], "truncated"),
    ],
)
def test_what_cannot_be_decoded_gets_a_sentence(folder, content, words):
    (folder / "z.png").write_bytes(content)
    with pytest.raises(DataError, match=f"z.png is unusable .*{words}") as error:
        sets.open_data(folder).folder.read(1)
    assert "object at" not in str(error.value)


def test_features_are_kept_by_content_and_rules(folder, monkeypatch):
    """Of pictures that another version decoded otherwise they are computed anew."""
    first = sets.open_data(folder).folder.fingerprint([0])
    assert sets.open_data(folder).folder.fingerprint([0]) == first
    monkeypatch.setattr(sets, "RULES", decode.RULES + 1)
    assert sets.open_data(folder).folder.fingerprint([0]) != first
