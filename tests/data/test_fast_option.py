"""prepare_data.py --fast beside the exact way: how much differs, and that all else is the same."""

import io
from contextlib import closing

import numpy as np
import pytest
from oddities import exif, profile_with, saved, swapped_profile, turned
from PIL import Image, ImageDraw, ImageFilter
from preparing import about, encoded, folder, picture, records, run, truncated  # noqa: F401

import prepare_data
from data import encode, store
from data.choice import open_picture
from data.sizes import DEFAULT_SIZES
from dataset import description

SIZES = list(DEFAULT_SIZES)
MOST, MOST_FROM_512 = 16, 42  # grey levels, as the help says of photographs
SETTINGS = {
    "enlarge": True,
    "format": "png",
    "quality": 100,
    "pad": False,
    "background": [255, 255, 255],
    "rules": 2,
}


def both(content, sizes, name="x.jpg", **changed):
    """Arrays at each size, the exact way and the fast one."""
    found = []
    for fast in (False, True):
        with open_picture(io.BytesIO(content), name) as opened:
            settings = {**SETTINGS, "sizes": sizes, "fast": fast, **changed}
            values = encode.encode(opened, settings).values
        found.append([np.asarray(Image.open(io.BytesIO(value))).astype(int) for value in values])
    return found


def gaps(content, sizes, **options):
    """[(largest, mean) difference] at each size"""
    pairs = zip(*both(content, sizes, **options))
    return [(np.abs(a - b).max(), np.abs(a - b).mean()) for a, b in pairs]


def landscape(width, height):
    """Soft noise of every scale with edges on top, blurred a little as by a lens."""
    rng = np.random.default_rng(0)
    pixels = np.full((height, width, 3), 128.0)
    for octave in range(2, 11):
        noise = rng.normal(0, 100 / 2 ** (octave / 2), (2**octave, 2**octave, 3))
        noise = np.clip(noise + 128, 0, 255).astype("uint8")
        pixels += np.asarray(Image.fromarray(noise).resize((width, height), Image.BICUBIC)) - 128.0
    image = Image.fromarray(np.clip(pixels, 0, 255).astype("uint8"))
    draw = ImageDraw.Draw(image)
    for i in range(40):
        x, y = rng.integers(0, (width, height)).tolist()
        r, grey = int(rng.integers(2, 60)), int(rng.integers(0, 256))
        draw.ellipse((x - r, y - r, x + r, y + r), fill=(grey, 255 - grey, grey // 2))
        draw.line((x, y, y, x), fill=(255 - grey,) * 3, width=1 + i % 3)
    return image.filter(ImageFilter.GaussianBlur(0.7))


def waves(width, height):
    """Four waves across and four down: at the borders they are as steep as anywhere."""
    rows, columns = np.indices((height, width))
    down, across = (np.sin(8 * np.pi * x / n) for x, n in ((rows, height), (columns, width)))
    return Image.fromarray((128 + 60 * down + 60 * across).astype("uint8")).convert("RGB")


# How much it differs


@pytest.mark.parametrize("width, height", [(1024, 1024), (1500, 1100)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_it_differs_by_no_more_than_is_said(width, height, kind):
    options = {"quality": 95} if kind == "JPEG" else {"compress_level": 1}
    found = gaps(saved(landscape(width, height), kind, **options), SIZES)
    assert max(largest for largest, _ in found) > 0
    for size, (largest, mean) in zip(SIZES, found):
        large = size >= 512
        assert largest <= (MOST_FROM_512 if large else MOST) and mean < (1.3 if large else 0.8), (
            size
        )


def test_it_differs_little_where_the_decoder_shrinks():
    content = saved(landscape(1500, 1100), "JPEG", quality=95)
    for largest in (16, 64, 128, 256):
        for gap, mean in gaps(content, [size for size in SIZES if size <= largest]):
            assert gap <= MOST and mean < 0.8


def test_the_help_says_how_much(capsys):
    with pytest.raises(SystemExit):
        prepare_data.main(["--help"])
    told = " ".join(capsys.readouterr().out.split())
    assert f"by at most {MOST} of 255, from 512 px on by {MOST_FROM_512}" in told


# How it is made


def test_a_jpeg_is_shrunk_while_it_is_decoded(tmp_path, folder, run):
    """Bytes of Pillow's calls written out by hand: 805 / 8 is still at least 2 x 32."""
    (folder / "good.png").unlink()
    landscape(1003, 805).save(folder / "a.jpg", quality=90)
    assert run(folder, "--fast", "--sizes", "8,32", "--format", "png")[0] == 0
    shrunk = Image.open(folder / "a.jpg")
    shrunk.draft("RGB", (1003 // 8, 805 // 8))
    shrunk.load()
    assert shrunk.size == (126, 101)  # a part of the last row and column
    resized = shrunk.resize((39, 32), Image.LANCZOS, (0, 0, 1003 / 8, 805 / 8))
    small = resized.resize((9, 8), Image.LANCZOS, reducing_gap=3.0)
    assert records(tmp_path / "out") == {
        b"32-00000": encoded(resized.crop((4, 0, 36, 32)), format="png"),  # 3.5, rounded to 4
        b"8-00000": encoded(small.crop((0, 0, 8, 8)), format="png"),
        b"length": b"1",
    }


def test_without_it_every_byte_is_as_before(tmp_path, folder, run):
    (folder / "good.png").unlink()
    image = landscape(1003, 805)
    image.save(folder / "a.jpg", quality=90)
    square = landscape(64, 64)
    square.save(folder / "b.jpg", quality=90, comment="kept by Pillow")
    assert run(folder, "--sizes", "8,64")[0] == 0
    whole = Image.open(folder / "a.jpg")
    same = Image.open(folder / "b.jpg")
    assert records(tmp_path / "out") == {
        b"8-00000": encoded(whole.resize((9, 8), Image.LANCZOS).crop((0, 0, 8, 8))),
        b"64-00000": encoded(whole.resize((79, 64), Image.LANCZOS).crop((8, 0, 72, 64))),
        b"8-00001": encoded(same.resize((8, 8), Image.LANCZOS)),
        b"64-00001": encoded(same),
        b"length": b"2",
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("width, height", [(1001, 809), (513, 1030), (800, 640)])
def test_what_the_decoder_shrinks_keeps_its_borders(orientation, width, height):
    """1001 / 8 is 125.125: what is beyond must not count, on whichever side it comes to lie."""
    content = saved(waves(width, height), "JPEG", quality=95, exif=exif(turned(orientation)))
    for gap, mean in gaps(content, [8, 16, 32]):
        assert gap <= 3 and mean < 1


# Odd pictures


def grey_of_16_bits():
    values = np.linspace(0, 65535, 300 * 200).reshape(200, 300).astype("uint16")
    return saved(Image.fromarray(values), "PNG")


def see_through():
    image = waves(300, 200).convert("RGBA")
    image.putalpha(waves(300, 200).convert("L"))
    return saved(image, "PNG")


def several_frames():
    return saved(waves(900, 700), "MPO", save_all=True, append_images=[picture(90, 70)])


ODD = {
    "grey jpeg": lambda: saved(waves(900, 700).convert("L"), "JPEG"),
    "cmyk jpeg": lambda: saved(waves(900, 700).convert("CMYK"), "JPEG"),
    "progressive jpeg": lambda: saved(waves(900, 700), "JPEG", progressive=True),
    "4:4:4": lambda: saved(waves(900, 700), "JPEG", subsampling=0),
    "profile": lambda: saved(waves(900, 700), "JPEG", icc_profile=swapped_profile()),
    "profile of sRGB": lambda: saved(waves(900, 700), "JPEG", icc_profile=profile_with()),
    "mpo": several_frames,
    "gif": lambda: saved(waves(300, 200), "GIF"),
    "webp": lambda: saved(waves(300, 200), "WEBP"),
    "tiff of jpeg": lambda: saved(waves(300, 200), "TIFF", compression="jpeg"),
    "bmp": lambda: saved(waves(2000, 130), "BMP"),
    "16 bits": grey_of_16_bits,
    "alpha": see_through,
    "small": lambda: saved(waves(20, 17), "JPEG"),
    "one pixel": lambda: saved(waves(1, 1), "JPEG"),
    "a strip": lambda: saved(waves(3000, 8), "JPEG"),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("pad", [False, True])
def test_odd_pictures_come_out_alike(kind, pad):
    for gap, mean in gaps(ODD[kind](), [4, 16, 64], name="x", pad=pad, stretch=True):
        assert gap <= (6 if pad else 2) and mean < (2 if pad else 0.5)


def test_what_was_drawn_and_not_read_works_too(run):
    """mnist has pictures that no file lies behind."""
    assert run("mnist", "--fast", "--max_images", "3")[0] == 0


def test_errors_are_the_same(folder, run):
    truncated(folder / "a.jpg")
    picture(2, 9000).save(folder / "b.png")
    picture(9000, 3).save(folder / "c.jpg")
    picture(9, 9).save(folder / "d.jpg")
    (folder / "e.jpg").write_text("hello")
    for sizes in (["--sizes", "8,1024"], ["--sizes", "8"], []):
        exact = run(folder, "--overwrite", *sizes)
        assert exact[0] == 3
        assert run(folder, "--overwrite", "--fast", *sizes) == exact


# The set


def test_ways_are_not_mixed(tmp_path, folder, run):
    for first, second, words in (
        (["--fast"], [], "fast True, not False"),
        ([], ["--fast"], "fast False, not True"),
    ):
        assert run(folder, "--overwrite", *first)[0] == 0
        before = records(tmp_path / "out")
        code, _, stderr = run(folder, "--resume", *second)
        assert code == 1 and words in stderr and stderr.count("\n") == 1
        assert run(folder, "--resume", *first)[0] == 0
        assert records(tmp_path / "out") == before


def test_a_set_that_notes_no_way_was_made_the_exact_one(tmp_path, folder, run):
    assert run(folder)[0] == 0
    noted = about(tmp_path / "out")
    del noted["settings"]["fast"]
    store.LmdbWriter(tmp_path / "out").write([], {**noted, "complete": True})
    code, _, stderr = run(folder, "--resume", "--fast")
    assert code == 1 and "fast False, not True" in stderr
    assert run(folder, "--resume")[0] == 0


def test_the_set_says_how_it_was_made(tmp_path, folder, run):
    for options, words in (([], "as jpeg\n"), (["--fast"], "as jpeg with --fast\n")):
        assert run(folder, "--overwrite", *options)[0] == 0
        with closing(store.open_pictures(tmp_path / "out")) as pictures:
            assert words in description(pictures)


def test_of_pictures_in_threads_too(tmp_path, folder, run, monkeypatch):
    from data import workers

    landscape(700, 500).save(folder / "a.jpg")
    assert run(folder, "--fast", "--sizes", "8,16,64")[0] == 0
    expected = records(tmp_path / "out")
    error = OSError(28, "No space left on device")
    monkeypatch.setattr(workers, "process_pool", lambda *args: (None, error))
    assert run(folder, "--fast", "--sizes", "8,16,64", "--overwrite")[0] == 0
    assert records(tmp_path / "out") == expected
