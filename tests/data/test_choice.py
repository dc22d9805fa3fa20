"""Which files are pictures: names, hidden and linked folders, what is left out."""

import io
import os
import struct
import subprocess
import sys
import tarfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from oddities import chunk, saved, slope
from PIL import Image, PngImagePlugin, UnidentifiedImageError
from preparing import about, folder, picture, records, run  # noqa: F401

from backend import machine
from data.choice import (
    FIRST_EXTENSIONS,
    Choice,
    error_text,
    find_pictures,
    formats,
    open_picture,
    set_limits,
)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def found(folder, choice=None):
    return [os.path.relpath(path, folder) for path in find_pictures(str(folder), choice)]


HIDDEN = [
    ".a.png",
    "._a.png",
    ".git/a.png",
    ".ipynb_checkpoints/a-checkpoint.png",
    "b/.Trash-1000/files/a.png",
    "b/@eaDir/a.png/SYNOPHOTO_THUMB_M.jpg",
    "__MACOSX/a.png",
    "$RECYCLE.BIN/$R1.png",
    "lost+found/#1.png",
    "System Volume Information/a.png",
    "c/#recycle/a.png",
]


def test_hidden_folders_and_files_are_left_out_unless_named(tmp_path):
    touch(tmp_path, "a.png", "b/c.png", "@home/d.png", "#1/e.png", *HIDDEN)
    choice = Choice()
    assert found(tmp_path, choice) == ["#1/e.png", "@home/d.png", "a.png", "b/c.png"]
    assert choice.left_out() == f"{len(HIDDEN)} hidden"
    assert found(tmp_path / ".git") == ["a.png"]  # named
    assert found(tmp_path / "b" / "@eaDir" / "a.png") == ["SYNOPHOTO_THUMB_M.jpg"]
    inside = Choice()
    assert [name for name in ("a.png", "./b/c.png", *HIDDEN) if inside.takes(name)] == [
        "a.png",
        "./b/c.png",
    ]
    assert inside.left_out() == choice.left_out()
    assert not inside.takes("d\\.git\\a.png")  # as some zips on Windows


def test_a_hidden_folder_need_not_be_readable(tmp_path, monkeypatch):
    touch(tmp_path, "a.png", "lost+found/b.png")
    real = os.scandir

    def scandir(path):
        if "lost+found" in str(path):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert found(tmp_path) == ["a.png"]


def test_what_is_left_out_is_counted_by_kind(tmp_path, folder, run):
    others = [f"{i}.MOV" for i in range(3)] + ["a.eps", "b.eps", "notes.txt", "README"]
    touch(folder, *others, ".DS_Store", "Thumbs.db", "desktop.ini")
    code, stdout, stderr = run(folder)
    assert code == 0 and stderr == ""
    assert stdout.splitlines()[-1] == (
        f"1 pictures at 8,16 px in {tmp_path / 'out'}; "
        "left out: 3 .mov, 2 .eps, 1 .txt, 1 without extension"
    )
    assert run(folder, "--resume")[1].splitlines()[-1] == stdout.splitlines()[-1]
    (folder / "good.png").unlink()
    code, _, stderr = run(folder, "--overwrite")
    assert code == 1 and "left out: 3 .mov, 2 .eps" in stderr and stderr.count("\n") == 1
    touch(folder, *(f"a.x{i}" for i in range(20)))
    choice = Choice()
    find_pictures(str(folder), choice)
    assert choice.left_out().count(",") == 6 and choice.left_out().endswith("of other kinds")
    touch(folder, "b.zip")
    assert "unpack" in run(folder, "--overwrite")[2]


def test_pipes_and_devices_are_counted(folder, run):
    """And links to them; nothing waits for them. Where there is nothing else that is said too."""
    os.mkfifo(folder / "b.png")
    code, stdout, stderr = run(folder)
    assert code == 0 and stderr == ""
    assert stdout.splitlines()[-1].endswith(f"; left out: 1 pipe or device, {folder / 'b.png'}")
    (folder / "c.jpg").symlink_to("/dev/zero")
    (folder / "d.webp").symlink_to("b.png")
    touch(folder, "notes.txt")
    os.mkfifo(folder / "no picture")
    said = f"left out: 1 .txt, 1 without extension, 3 pipes or devices, such as {folder / 'b.png'}"
    assert run(folder, "--overwrite")[1].splitlines()[-1].endswith(said)
    (folder / "good.png").unlink()
    code, _, stderr = run(folder, "--overwrite")
    assert code == 1 and "3 pipes or devices, such as" in stderr and stderr.count("\n") == 1


def test_pipes_and_devices_in_an_archive(tmp_path, folder, run):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder / "good.png", "good.png")
        for name, kind in (("x/p.png", tarfile.FIFOTYPE), ("d.jpg", tarfile.CHRTYPE)):
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
    code, stdout, _ = run(tmp_path / "a.tar")
    assert code == 0
    assert stdout.splitlines()[-1].endswith("left out: 2 pipes or devices, such as d.jpg")


def test_links_that_go_round_end(tmp_path):
    """Each of two folders holds a link to the other, and both to themselves and the top."""
    touch(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a" / "to_b").symlink_to("../b")
    (tmp_path / "b" / "to_a").symlink_to("../a")
    (tmp_path / "a" / "top").symlink_to(tmp_path)
    (tmp_path / "a" / "self").symlink_to("self")
    (tmp_path / "b" / "again.png").symlink_to("2.png")  # a second name counts
    assert found(tmp_path) == [
        "a/1.png",
        "a/to_b/2.png",
        "a/to_b/again.png",
        "b/2.png",
        "b/again.png",
        "b/to_a/1.png",
    ]


def test_a_deep_tree(tmp_path):
    deep = Path(*["d"] * 1100)
    where = tmp_path
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1100):
            os.mkdir("d", dir_fd=here)
            inner = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("a.png", os.O_CREAT, dir_fd=here))
    finally:
        os.close(here)
    assert found(where) == [str(deep / "a.png")]
    subprocess.run(["rm", "-r", str(tmp_path / "d")], check=True)  # pytest could not


def test_a_name_decides_only_where_the_content_does_not():
    assert open_picture(io.BytesIO(saved(slope(), "JPEG")), "a.png").format == "JPEG"
    assert open_picture(io.BytesIO(saved(slope(), "TGA")), "a.TGA").format == "TGA"
    with pytest.raises(UnidentifiedImageError):
        open_picture(io.BytesIO(saved(slope(), "TGA")), "a.png")


@pytest.mark.parametrize("name", ["a.eps", "a.ps", "a.wmf", "a.emf", "a.png"])
def test_what_starts_programs_is_never_opened(name):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    assert Choice().takes(name) == (name == "a.png")
    with pytest.raises(UnidentifiedImageError):
        open_picture(io.BytesIO(eps), name)


def large_png(width, height, extra=b""):
    """A grey PNG, black."""
    header = struct.pack(">LLBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = zlib.compressobj(1)
    content = b"".join(rows.compress(bytes(width + 1)) for _ in range(height)) + rows.flush()
    chunks = chunk(b"IHDR", header), extra, chunk(b"IDAT", content), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.fixture
def limits(monkeypatch):
    """limits(memory): those that are set with so many bytes of memory."""

    def set_anew(memory):
        monkeypatch.setattr(machine, "memory", lambda: memory)
        set_limits.cache_clear()

    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    for name in ("MAX_TEXT_CHUNK", "MAX_TEXT_MEMORY"):
        monkeypatch.setattr(PngImagePlugin, name, getattr(PngImagePlugin, name))
    yield set_anew
    set_limits.cache_clear()


def test_limits_are_set_by_memory(limits):
    """Where nothing tells the memory or it is small, those of Pillow's own are still exceeded."""
    for memory, pixels in ((None, 2**28), (2**30, 2**28), (2**36, 2**30)):
        limits(memory)
        for width, taken in ((pixels // 2**10, True), (pixels // 2**10 + 1, False)):
            head = large_png(width, 1)[:29].replace(struct.pack(">L", 1), struct.pack(">L", 2**10))
            head += struct.pack(">L", zlib.crc32(head[12:])) + chunk(b"IDAT", b"")
            if taken:
                assert open_picture(io.BytesIO(head), "a.png").size == (width, 2**10)
                continue
            with pytest.raises(Image.DecompressionBombError) as error:
                open_picture(io.BytesIO(head), "a.png")
            text = error_text(error.value)
            assert f"({width * 2**10} pixels)" in text and "memory" in text and "shrink" in text


def test_an_own_large_scan_is_taken(tmp_path, folder, run, recwarn):
    """182 million pixels: more than Pillow takes by itself."""
    (folder / "good.png").write_bytes(large_png(14000, 13000))
    code, stdout, stderr = run(folder, "--sizes", "8")
    assert code == 0 and stdout.startswith("1 pictures at 8 px") and stderr == ""
    with open_picture(str(folder / "good.png"), "good.png") as picture:
        assert picture.size == (14000, 13000)
    assert not recwarn.list


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt", b"iTXt", b"tEXt"])
def test_long_texts_beside_the_pixels_cost_no_picture(kind):
    """3 MB: Pillow's own limit for what is compressed is 1 MiB."""
    text = b"a" * 3_000_000
    content = {
        b"iCCP": b"profile\0\0" + zlib.compress(text),
        b"zTXt": b"comment\0\0" + zlib.compress(text),
        b"iTXt": b"comment\0\1\0\0\0" + zlib.compress(text),
        b"tEXt": b"comment\0" + text,
    }[kind]
    with open_picture(io.BytesIO(large_png(8, 8, chunk(kind, content))), "a.png") as picture:
        assert np.asarray(picture).shape == (8, 8)


def test_a_plugin_brings_its_extensions(tmp_path, monkeypatch):
    """Of one that is installed, and of none that is broken."""
    (tmp_path / "pillow_heif.py").write_text(
        "from PIL import Image, PngImagePlugin\n"
        "def register_heif_opener():\n"
        "    Image.register_open('HEIF', PngImagePlugin.PngImageFile, lambda start: True)\n"
        "    Image.register_extension('HEIF', '.heic')\n"
    )
    (tmp_path / "pillow_avif.py").write_text("raise RuntimeError('for another Pillow')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("pillow_heif", "pillow_avif"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    for registered in ("OPEN", "EXTENSION", "ID"):
        copy = type(getattr(Image, registered))(getattr(Image, registered))
        monkeypatch.setattr(Image, registered, copy)
    formats.cache_clear()
    try:
        assert Choice().takes("IMG_1.HEIC")
    finally:
        formats.cache_clear()


def test_all_extensions_that_were_read_before_still_are():
    assert set(FIRST_EXTENSIONS) <= set(formats())


def test_names_in_unknown_letters_are_shown_escaped(folder, run):
    """A name that is no UTF-8, and one that moves the cursor."""
    for name in (b"\xff.jpg", "\u65e5\x1b[2J.jpg".encode()):
        Path(os.fsdecode(os.fsencode(folder) + b"/" + name)).write_text("no picture")
    code, stdout, stderr = run(folder)
    assert code == 3 and "\\udcff.jpg" in stderr and "\u65e5\\x1b[2J.jpg" in stderr
    assert stdout.splitlines()[-1].endswith("2 skipped")
