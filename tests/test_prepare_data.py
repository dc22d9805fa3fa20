"""prepare_data.py against PIL calls written out by hand, on real files, good and bad. It needs no
Jittor.
"""

import io
import os
import subprocess
import sys
from contextlib import closing

import numpy as np
import pytest
from PIL import Image
from preparing import ROOT, about, encoded, folder, picture, records, run, truncated  # noqa: F401

import prepare_data
from data import store


def test_importing_and_preparing_do_not_need_jittor(folder):
    program = (
        "import sys, prepare_data; code = prepare_data.main(['--n_worker', '2', 'pictures']);"
        "sys.exit(code or 'jittor' in sys.modules or 'jittor_offline' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=folder.parent, env=env, check=True)
    assert (folder.parent / "lmdb" / "data.mdb").exists()


def test_odd_sizes_crop_as_torchvision_does(tmp_path, folder, run):
    wide, tall, exact = picture(37, 21, 1), picture(19, 50, 2), picture(16, 16, 3)
    wide.save(folder / "a.bmp")
    tall.save(folder / "b.PNG")
    exact.save(folder / "c.webp", lossless=True)
    code, stdout, stderr = run(folder)
    assert code == 0 and stderr == ""
    assert f"the smallest picture, {folder / 'c.webp'}, has 16 pixels" in stdout
    assert stdout.splitlines()[-1] == f"4 pictures at 8,16 px in {tmp_path / 'out'}"
    good, lanczos = picture(20, 17), Image.LANCZOS
    # 16 * 37 / 21 = 28.2, and (28 - 16) / 2 = 6; 16 * 50 / 19 = 42.1, 13; 8 * 50 / 19 = 21.05,
    # (21 - 8) / 2 = 6.5, which Python rounds to 6; 16 * 20 / 17 = 18.8, 1; 8 * 20 / 17 = 9.4,
    # 0.5, rounded to 0; 8 * 37 / 21 = 14.1, 3.
    assert records(tmp_path / "out") == {
        b"8-00000": encoded(wide.resize((14, 8), lanczos).crop((3, 0, 11, 8))),
        b"16-00000": encoded(wide.resize((28, 16), lanczos).crop((6, 0, 22, 16))),
        b"8-00001": encoded(tall.resize((8, 21), lanczos).crop((0, 6, 8, 14))),
        b"16-00001": encoded(tall.resize((16, 42), lanczos).crop((0, 13, 16, 29))),
        b"8-00002": encoded(exact.resize((8, 8), lanczos)),
        b"16-00002": encoded(exact),
        b"8-00003": encoded(good.resize((9, 8), lanczos).crop((0, 0, 8, 8))),
        b"16-00003": encoded(good.resize((18, 16), lanczos).crop((1, 0, 17, 16))),
        b"length": b"4",
    }


def test_other_modes_become_rgb(tmp_path, folder, run):
    (folder / "good.png").unlink()
    rgb = picture(8, 8, 1)
    grey, palette, cmyk = rgb.convert("L"), rgb.convert("P"), rgb.convert("CMYK")
    grey.save(folder / "0.png")
    palette.save(folder / "1.gif")
    cmyk.save(folder / "2.tiff")
    grey.convert("1").save(folder / "3.png")
    rgb.convert("YCbCr").save(folder / "4.jpg", quality=100)
    assert run(folder)[0] == 0
    written = records(tmp_path / "out")
    assert written[b"8-00000"] == encoded(grey.convert("RGB"))
    assert written[b"8-00001"] == encoded(Image.open(folder / "1.gif").convert("RGB"))
    assert written[b"8-00002"] == encoded(cmyk.convert("RGB"))
    assert written[b"8-00003"] == encoded(grey.convert("1").convert("RGB"))
    assert written[b"8-00004"] == encoded(Image.open(folder / "4.jpg").convert("RGB"))
    assert written[b"length"] == b"5"


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 128, 255)])
def test_transparency_shows_the_background(tmp_path, folder, run, background):
    (folder / "good.png").unlink()
    pixels = np.full((8, 8, 4), (200, 0, 0, 255), np.uint8)
    pixels[:4, :, 3] = 0
    pixels[4, :, 3] = 51  # a fifth
    image = Image.fromarray(pixels)
    image.save(folder / "0.png")
    image.convert("LA").save(folder / "1.png")
    indexed = Image.new("P", (8, 8), 1)
    indexed.putpalette([9, 9, 9, 200, 0, 0])
    indexed.paste(0, (0, 0, 8, 4))
    indexed.save(folder / "2.gif", transparency=0)
    indexed.save(folder / "3.png", transparency=0)
    option = "#" + bytes(background).hex()
    assert run(folder, "--format", "png", "--background", option)[0] == 0
    found = [
        np.asarray(Image.open(io.BytesIO(records(tmp_path / "out")[b"8-0000%d" % i])))
        for i in range(4)
    ]
    opaque = [(200, 0, 0), (60, 60, 60), (200, 0, 0), (200, 0, 0)]  # 0.299 * 200 = 59.8
    for pixels, colour in zip(found, opaque):
        assert (pixels[:4] == background).all()
        assert (pixels[5:] == colour).all()
    blend = [(200 + 4 * background[0]) / 5, *(4 * b / 5 for b in background[1:])]
    np.testing.assert_allclose(found[0][4], [blend] * 8, atol=1)


def test_16_bits_of_grey(tmp_path, folder, run):
    (folder / "good.png").unlink()
    values = np.linspace(0, 65535, 64).astype("uint16").reshape(8, 8)
    Image.fromarray(values).save(folder / "0.png")
    Image.fromarray(values).save(folder / "1.tiff")
    (folder / "2.pgm").write_bytes(b"P5 8 8 65535\n" + values.astype(">u2").tobytes())
    Image.fromarray(values.astype("float32")).save(folder / "3.tiff")
    Image.fromarray((values >> 8).astype("int32")).save(folder / "4.tiff")  # 0 to 255 in 32 bits
    code, _, stderr = run(folder, "--format", "png")
    assert code == 3 and "3.tiff: 32 bits per pixel" in stderr and stderr.count("\n") == 1
    for i in range(4):
        found = np.asarray(Image.open(io.BytesIO(records(tmp_path / "out")[b"8-0000%d" % i])))
        assert np.array_equal(found, np.repeat(values[:, :, None] >> 8, 3, axis=2))


@pytest.mark.parametrize("orientation, turned", [(3, 180), (6, 270), (8, 90)])
def test_turned_photographs_come_upright(tmp_path, folder, run, orientation, turned):
    image, exif = picture(9, 8), Image.Exif()
    exif[0x0112] = orientation
    image.save(folder / "good.png", exif=exif)
    assert run(folder, "--format", "png")[0] == 0
    upright = image.rotate(turned, expand=True)
    width, height = upright.size
    upright = upright.crop((0, 0, 8, 8))  # of 8 x 9 or 9 x 8, 0.5 rounded to 0
    found = Image.open(io.BytesIO(records(tmp_path / "out")[b"8-00000"]))
    assert np.array_equal(found, upright)


def test_of_an_animation_the_first_frame(tmp_path, folder, run):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    frames[0].save(folder / "good.gif", save_all=True, append_images=frames[1:])
    (folder / "good.png").unlink()
    assert run(folder)[0] == 0
    assert records(tmp_path / "out")[b"8-00000"] == encoded(frames[0])


def bomb(path):
    """A PNG of 2 kB that says it has more pixels than any memory holds."""
    content = bytearray(encoded(Image.new("1", (16, 16)), format="png"))
    content[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
BAD = {
    "text.png": (lambda path: path.write_text("hello"), "no picture of a known format"),
    "empty.jpg": (lambda path: path.touch(), "no picture of a known format"),
    "truncated.png": (lambda path: truncated(path, format="png"), "truncated"),
    "truncated.jpg": (truncated, "truncated"),
    "bomb.png": (bomb, "4611686014132420609 pixels"),
    "gone.webp": (lambda path: path.symlink_to("nowhere"), "No such file"),
    "1x1.gif": (lambda path: picture(1, 1).save(path), "1 x 1 pixels: smaller than"),
    "header.bmp": (lambda path: path.write_bytes(b"BM" + bytes(60)), "BMP header"),
    "program.png": (
        lambda path: path.write_bytes(EPS),
        "no picture of a known format",
    ),  # runs Ghostscript
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_skipped_and_named(tmp_path, folder, run, name):
    make, words = BAD[name]
    make(folder / name)
    picture(18, 18, 1).save(folder / "z.png")
    code, stdout, stderr = run(folder)
    assert code == 3 and stdout.splitlines()[-1].endswith("1 skipped")
    assert stderr.count("\n") == 1 and f"skipped {folder / name}: " in stderr and words in stderr
    written = records(tmp_path / "out")
    assert written[b"length"] == b"2" and len(written) == 5  # no hole where it was
    assert written[b"16-00001"] == encoded(picture(18, 18, 1).resize((16, 16), Image.LANCZOS))
    ((skipped, reason),) = about(tmp_path / "out")["skipped"]
    assert skipped == str(folder / name) and words in reason


def test_strict_stops_at_a_bad_file(tmp_path, folder, run):
    truncated(folder / "a.jpg")
    code, stdout, stderr = run(folder, "--strict", "--sizes", "8")
    assert code == 1 and stdout == "" and str(folder / "a.jpg") in stderr
    assert stderr.count("\n") == 1
    assert run(folder, "--resume", "--sizes", "8")[0] == 3
    assert set(records(tmp_path / "out")) == {b"8-00000", b"length"}


def test_enlarging_is_said(tmp_path, folder, run):
    picture(1, 1).save(folder / "1x1.png")
    picture(40, 40).save(folder / "large.png")
    code, stdout, _ = run(folder, "--sizes", "8,32")
    assert code == 0 and "3 pictures at 8,32 px" in stdout
    assert stdout.splitlines()[-1].endswith(", 2 enlarged to fill 32 px")


def test_a_sliver_does_not_fill_the_memory(folder, run):
    picture(2, 9000).save(folder / "sliver.png")
    code, _, stderr = run(folder, "--sizes", "1024")
    assert code == 3 and "too long and narrow: 2 x 9000 pixels" in stderr


def test_when_no_picture_can_be_used_nothing_is_left(tmp_path, folder, run):
    (folder / "good.png").rename(folder / "good.txt")
    code, _, stderr = run(folder)
    assert code == 1 and str(folder) in stderr and stderr.count("\n") == 1
    picture(30, 7).save(folder / "tiny.png")
    code, _, stderr = run(folder)
    assert code == 1 and "tiny.png is only 7 pixels" in stderr and stderr.count("\n") == 1
    truncated(folder / "tiny.png", format="png")
    code, _, stderr = run(folder)
    assert code == 1 and stderr.splitlines()[-1].startswith("None of the pictures can be used")
    assert os.listdir(tmp_path) == ["pictures"]


# Options


def test_sizes_option(tmp_path, folder, run):
    assert run(folder, "--sizes", "32,4,4")[0] == 0
    assert set(records(tmp_path / "out")) == {b"4-00000", b"32-00000", b"length"}
    assert prepare_data.size_list("all") == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert prepare_data.default_sizes(3000) == prepare_data.size_list("all")
    assert prepare_data.default_sizes(1023)[-1] == 512


@pytest.mark.parametrize(
    "options, expected",
    [
        (["--format", "png"], {"format": "png"}),
        (["--format", "webp"], {"format": "webp", "lossless": True}),
        (["--quality", "60"], {"format": "jpeg", "quality": 60}),
    ],
)
def test_formats(tmp_path, folder, run, options, expected):
    image = picture(16, 16, 5)
    image.save(folder / "good.png")
    assert run(folder, *options)[0] == 0
    assert records(tmp_path / "out")[b"16-00000"] == encoded(image, **expected)
    with closing(store.open_pictures(tmp_path / "out")) as pictures:
        lossless = np.array_equal(pictures.read(0, 16), image)
    assert lossless == (expected["format"] != "jpeg")


def test_default_sizes_with_pad_and_max_images(folder, run):
    """Only the pictures that will be written count, and with --pad their longer sides."""
    (folder / "good.png").unlink()
    for name, size in (("a", (3, 70)), ("b", (80, 66)), ("c", (9, 9))):
        picture(*size).save(folder / f"{name}.png")
    code, stdout, _ = run(folder, "--max_images", "2", "--pad")
    assert code == 0 and "2 pictures at 8,16,32,64 px" in stdout


def test_pad(tmp_path, folder, run):
    (folder / "good.png").unlink()
    Image.new("RGB", (16, 7), "red").save(folder / "wide.png")
    Image.new("RGB", (6, 16), "red").save(folder / "tall.png")
    options = ["--pad", "--background", "blue", "--format", "png", "--sizes", "16"]
    code, stdout, _ = run(folder, *options)
    assert code == 0 and "enlarged" not in stdout
    tall, wide = Image.new("RGB", (16, 16), "blue"), Image.new("RGB", (16, 16), "blue")
    tall.paste("red", (5, 0, 11, 16))
    wide.paste("red", (0, 4, 16, 11))
    with closing(store.open_pictures(tmp_path / "out")) as pictures:
        assert np.array_equal(pictures.read(0, 16), tall)
        assert np.array_equal(pictures.read(1, 16), wide)


def test_max_images(tmp_path, folder, run):
    for i in range(5):
        picture(8, 8, i).save(folder / f"{i}.png")
    assert run(folder, "--max_images", "2", "--sizes", "8")[0] == 0
    written = records(tmp_path / "out")
    assert written == {
        b"8-00000": encoded(picture(8, 8, 0)),
        b"8-00001": encoded(picture(8, 8, 1)),
        b"length": b"2",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        ["--sizes", "8,12"],
        ["--sizes", "2048"],
        ["--sizes", "8,"],
        ["--n_worker", "0"],
        ["--n_worker", "two"],
        ["--quality", "101"],
        ["--format", "gif"],
        ["--background", "whitish"],
        ["--max_images", "0"],
        ["--font", "a.ttf"],
        ["--resume", "--overwrite"],
        ["--folders", "a", "--out", "b"],
    ],
)
def test_wrong_options(tmp_path, folder, run, wrong):
    code, _, stderr = run(folder, *wrong)
    assert code == 2 and wrong[0] in stderr.splitlines()[-1] and "Traceback" not in stderr
    assert os.listdir(tmp_path) == ["pictures"]


def test_wrong_paths(tmp_path, folder, run):
    code, _, stderr = run(tmp_path / "nowhere")
    assert code == 2 and "nowhere: no such file or folder" in stderr.splitlines()[-1]
    code, _, stderr = run(folder / "good.png")
    assert code == 1 and "good.png is no zip file" in stderr and stderr.count("\n") == 1
    code, _, stderr = run(folder, "--out", folder / "good.png")
    assert code == 2 and "good.png is no folder" in stderr
    for out in (folder, folder / "out", tmp_path):
        for option in ("--out", "--folders"):
            code, _, stderr = run(folder, option, out, "--overwrite")
            assert code == 2 and "lie one in the other" in stderr
    assert os.listdir(tmp_path) == ["pictures"]
