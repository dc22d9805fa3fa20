"""Pictures in zips, tar archives and LMDBs: what their folder gives; faults and fitting advice."""

import gzip
import io
import os
import struct
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import lmdb
import numpy as np
import pytest
from oddities import exif, saved, slope, turned
from PIL import Image
from preparing import about, encoded, folder, many, picture, records, run  # noqa: F401

import prepare_data
from data import reading, sources, store


def noise(side=256, kind="PNG", seed=0, **options):
    return saved(picture(side, side, seed), kind, **options)


def zipped(path, contents, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return path


def tarred(path, contents, mode="w"):
    with tarfile.open(path, mode) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def patched(path, member_flag=0, method=None):
    """Changes flags and method of every member of a zip in its headers."""
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.find(signature)
        while place >= 0:
            content[place + offset] |= member_flag
            if method is not None:
                struct.pack_into("<H", content, place + offset + 2, method)
            place = content.find(signature, place + 4)
    path.write_bytes(content)
    return path


# Tar


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_gives_what_its_folder_gives(tmp_path, many, run, mode):
    assert run(many)[0] == 3
    expected = records(tmp_path / "out")
    contents = {"./__MACOSX/._00.png": b"resource fork", "./a/notes.txt": b"x"}
    for path in sorted(many.iterdir(), reverse=True):
        contents[f"./a/{path.name}"] = path.read_bytes()
    archive = tarred(tmp_path / "many.tar.any", contents, mode)
    code, stdout, stderr = run(archive, "--overwrite", "--n_worker", "2")
    assert code == 3 and "skipped a/31x.jpg: image file is truncated" in stderr
    assert stdout.splitlines()[-1].endswith("1 skipped; left out: 1 .txt, 1 hidden")
    assert records(tmp_path / "out") == expected
    assert ("unpacking" in stdout) == (mode != "w")
    assert sorted(os.listdir(tmp_path)) == ["many", "many.tar.any", "out"]
    assert set(os.listdir(tmp_path / "out")) <= {"data.mdb", "lock.mdb"}
    assert run(archive, "--resume")[0] == 3


def test_links_and_odd_members_of_a_tar(tmp_path, run):
    image = saved(slope(16, 16), "PNG")
    with tarfile.open(tmp_path / "a.tar", "w") as archive:

        def add(name, content=b"", kind=tarfile.REGTYPE, link=""):
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(content), kind, link
            archive.addfile(info, io.BytesIO(content))

        add("d", kind=tarfile.DIRTYPE)
        add("d/real", image)
        add("d/e/sym.png", kind=tarfile.SYMTYPE, link="../real")
        add("hard.png", kind=tarfile.LNKTYPE, link="d/real")
        add("twice.png", kind=tarfile.SYMTYPE, link="hard.png")
        add("out.png", kind=tarfile.SYMTYPE, link="/etc/passwd")
        add("loop.png", kind=tarfile.SYMTYPE, link="loop.png")
        add("../up.png", image)
        add("pipe.png", kind=tarfile.FIFOTYPE)
        add("later.png", b"no picture")
        add("later.png", image)  # the later one counts, as when it is unpacked
    source = sources.open_source(str(tmp_path / "a.tar"))
    assert source.names == [
        "../up.png",
        "d/e/sym.png",
        "hard.png",
        "later.png",
        "loop.png",
        "out.png",
        "twice.png",
    ]
    code, stdout, stderr = run(tmp_path / "a.tar")
    assert code == 3 and stderr.count("a link to what is not in the archive") == 2
    assert stdout.splitlines()[-1].startswith("5 pictures at 8,16 px")
    assert os.listdir(tmp_path.parent).count("up.png") == 0


def test_a_cut_off_tar_says_so(tmp_path, run):
    contents = {f"{i}.png": noise(64, seed=i) for i in range(4)}
    whole = tarred(tmp_path / "a.tar", contents).read_bytes()
    (tmp_path / "a.tar").write_bytes(whole[:20000])
    code, _, stderr = run(tmp_path / "a.tar")
    assert code == 1 and "a.tar is a tar archive that cannot be read" in stderr
    assert "cut off" in stderr and stderr.count("\n") == 1
    for count in (400, 20000):
        (tmp_path / "a.tgz").write_bytes(gzip.compress(whole)[:count])
        code, _, stderr = run(tmp_path / "a.tgz")
        assert code == 1 and "cut off" in stderr and stderr.count("\n") == 1
    assert sorted(os.listdir(tmp_path)) == ["a.tar", "a.tgz"]


def test_a_full_disk_while_unpacking_is_not_the_archives_fault(tmp_path, run):
    tarred(tmp_path / "a.tgz", {"a.png": noise()}, "w:gz")
    program = (
        "import resource, sys, prepare_data; resource.setrlimit(resource.RLIMIT_FSIZE, (9999,) * 2)"
        "; sys.exit(prepare_data.main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", program, "--n_worker", "1", "--out", "out", "a.tgz"]
    env = {**os.environ, "PYTHONPATH": str(Path(prepare_data.__file__).parent)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 1 and "MiB are free" in done.stderr
    assert "damaged" not in done.stderr and "Traceback" not in done.stderr


# Zip


@pytest.mark.parametrize(
    "flag, method, words",
    [(1, None, "encrypted"), (0, 9, "deflate64"), (0, 97, "method|wavpack"), (1, 99, "encrypted")],
)
def test_what_a_zip_needs_another_program_for(tmp_path, run, flag, method, words):
    archive = zipped(tmp_path / "a.zip", {"a.png": noise(32), "b.png": noise(32)})
    patched(archive, flag, method)
    code, _, stderr = run(archive)
    assert code == 1 and any(word in stderr for word in words.split("|"))
    assert "unpack it with another program and name the folder" in stderr
    assert "ZipInfo" not in stderr and "--sizes" not in stderr and stderr.count("\n") == 1


def test_one_encrypted_picture_is_skipped(tmp_path, run):
    archive = zipped(tmp_path / "a.zip", {"a.png": noise(32), "b.png": noise(32, seed=1)})
    content = bytearray(archive.read_bytes())
    content[content.find(b"PK\1\2") + 8] |= 1
    archive.write_bytes(content)
    code, stdout, stderr = run(archive)
    assert code == 3 and stderr == "skipped a.png: encrypted\n" and "1 pictures" in stdout


FAULTY = {
    "cut.zip": (lambda content: content[:-300], "cut off, damaged or one of several parts"),
    "rar.zip": (lambda content: b"Rar!\x1a\7\0" + content[:99], "is a RAR archive: unpack it"),
    "seven.7z": (lambda content: b"7z\xbc\xaf\x27\x1c" + bytes(99), "is a 7z archive: unpack it"),
    "page.zip": (lambda content: b"<html>Quota exceeded</html>", "is no zip file, tar archive or"),
    "none.zip": (lambda content: b"", "is no zip file, tar archive or LMDB"),
    "text.gz": (lambda content: gzip.compress(b"words" * 999), "is no zip file, tar archive or"),
    "utf.zip": (
        lambda content: content.replace(b"\xc3\xa4", b"\xc3\xc3"),
        "cannot be read ('utf-8' codec",
    ),
}


@pytest.mark.parametrize("name", FAULTY)
def test_advice_fits_the_fault(tmp_path, run, name):
    change, words = FAULTY[name]
    whole = zipped(tmp_path / "whole.zip", {"\xe4.png": noise(64), "b.png": noise(64)})
    (tmp_path / name).write_bytes(change(whole.read_bytes()))
    code, _, stderr = run(tmp_path / name)
    assert code == 1 and words in stderr and name in stderr
    assert "Traceback" not in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_zip_with_a_program_before_it_and_names_of_all_kinds(tmp_path, run):
    names = [
        "z/\u65e5\u672c.jpg",
        "Z.PNG",
        "a.jpg",
        "a.jpg",
        "b\\c.png",
        ".x.png",
        "A/@eaDir/d.png",
    ]
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(
        tmp_path / "a.zip", "w"
    ) as z:
        for i, name in enumerate(names):
            z.writestr(name, noise(16, seed=i))
    content = (tmp_path / "a.zip").read_bytes()
    (tmp_path / "a.exe").write_bytes(b"MZ a program" + content)
    code, stdout, _ = run(tmp_path / "a.exe", "--format", "png")
    assert code == 0 and stdout.splitlines()[-1].endswith("; left out: 2 hidden")
    source = sources.Zip(str(tmp_path / "a.zip"))
    assert source.names == ["Z.PNG", "a.jpg", "b\\c.png", "z/\u65e5\u672c.jpg"]
    first = Image.open(io.BytesIO(records(tmp_path / "out")[b"16-00001"]))
    assert np.array_equal(first, picture(16, 16, 3))  # the later of two


def test_only_too_small_pictures_are_advised_to_be_enlarged(tmp_path, run):
    archive = zipped(tmp_path / "a.zip", {"a.png": noise(7), "b.png": b"junk"})
    code, _, stderr = run(archive)
    assert code == 1 and "a.png is only 7 pixels" in stderr and "--sizes" in stderr
    code, _, stderr = run(zipped(archive, {"b.png": b"junk"}))
    assert code == 1 and "b.png: no picture" in stderr and "--sizes" not in stderr


# How much is read


def counted(source, monkeypatch):
    """Bytes that `smallest` asks of a source."""
    read, total = source.read, []

    def counting(i, count=-1):
        content = read(i, count)
        total.append(len(content))
        return content

    monkeypatch.setattr(source, "read", counting)
    found = prepare_data.smallest(source, len(source.names), False)
    return sum(total), found


KINDS = {
    "png": noise(256),
    "jpg": noise(512, "JPEG", quality=95),
    "webp": noise(256, "WEBP", lossless=True),
    "lossy.webp": noise(512, "WEBP", quality=95),
    "turned.webp": noise(256, "WEBP", lossless=True, exif=exif(turned())),
    "tif": noise(256, "TIFF"),
    "gif": noise(512, "GIF"),
    "bmp": noise(256, "BMP"),
    "ppm": noise(256, "PPM"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_is_found_without_reading_all(tmp_path, monkeypatch, kind):
    contents = {f"{i}.{kind}": KINDS[kind] for i in range(3)}
    contents["x." + kind] = noise(64, Image.open(io.BytesIO(KINDS[kind])).format)
    zipped(tmp_path / "a.zip", contents, zipfile.ZIP_DEFLATED)
    tarred(tmp_path / "a.tar", contents)
    with lmdb.open(str(tmp_path / "lsun"), map_size=2**27) as env, env.begin(write=True) as txn:
        for name, content in contents.items():
            txn.put(name.encode(), content)
    for name in ("a.zip", "a.tar", "lsun"):
        source = sources.open_source(str(tmp_path / name))
        count, found = counted(source, monkeypatch)
        assert found == (64, "x." + kind) and count <= 4 * 2**12


def test_headers_behind_much_else_are_found(tmp_path, monkeypatch):
    """A JPEG whose size comes after 80 kB of other things, and files that are nothing."""
    long = noise(64, "JPEG", icc_profile=b"x" * 80000)
    source = sources.Zip(str(zipped(tmp_path / "a.zip", {"a.jpg": long, "b.jpg": b"x" * 99999})))
    assert source.size(0) == (64, 64)
    with pytest.raises(OSError):
        source.size(1)


def test_webp_sizes():
    for options in ({"lossless": True}, {"quality": 50}, {"exif": exif(turned())}):
        image = saved(slope(300, 17), "WEBP", **options)
        assert reading.webp_size(image[:30]) == (300, 17)
    for other in (b"", b"RIFF", noise(16)[:30], b"RIFF1234WEBPVP8?" + bytes(14)):
        assert reading.webp_size(other) is None


# LMDB


@pytest.fixture
def lsun(tmp_path):
    """As LSUN: keys are hashes, values WebP."""
    path = tmp_path / "church_train_lmdb"
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        for i, key in enumerate([b"c0ffee", b"00bead", b"\xff\0"]):
            txn.put(key, noise(20, "WEBP", seed=i, lossless=True))
    return path


def test_values_of_an_lmdb_in_the_order_of_its_keys(tmp_path, lsun, run):
    code, stdout, _ = run(lsun, "--n_worker", "2")
    assert code == 0 and stdout.splitlines()[-1].startswith("3 pictures at 8,16 px")
    written = records(tmp_path / "out")
    for i, seed in enumerate([1, 0, 2]):
        expected = encoded(picture(20, 20, seed).resize((16, 16), Image.LANCZOS))
        assert written[b"16-%05d" % i] == expected
    assert run(lsun, "--resume")[0] == 0


def test_an_lmdb_may_be_named_by_its_file(tmp_path, lsun, run):
    assert run(lsun)[0] == 0
    written = records(tmp_path / "out")
    assert run(lsun / "data.mdb", "--overwrite")[0] == 0
    assert records(tmp_path / "out") == written
    (lsun / "data.mdb").rename(tmp_path / "lsun.mdb")
    assert run(tmp_path / "lsun.mdb", "--overwrite")[0] == 0
    assert records(tmp_path / "out") == written


def test_other_values_of_an_lmdb_are_skipped(tmp_path, lsun, run):
    with lmdb.open(str(lsun)) as env, env.begin(write=True) as txn:
        txn.put(b"__len__", b"3")
    code, _, stderr = run(lsun)
    assert code == 3 and stderr == "skipped __len__: no picture of a known format\n"


def test_prepared_sets_are_no_source(tmp_path, folder, run):
    assert run(folder)[0] == 0
    assert run(folder, "--folders", tmp_path / "tree")[0] == 0
    with lmdb.open(str(tmp_path / "original")) as env, env.begin(write=True) as txn:
        txn.put(b"8-00000", noise(8))
        txn.put(b"length", b"1")
    for name in ("out", "out/data.mdb", "tree", "original"):
        code, _, stderr = run(tmp_path / name, "--out", tmp_path / "again")
        assert code == 1 and "is prepared already" in stderr and "train.py" in stderr
        assert stderr.count("\n") == 1 and not (tmp_path / "again").exists()


def test_a_damaged_lmdb_is_an_error(tmp_path, lsun, run):
    os.truncate(lsun / "data.mdb", 9000)
    code, _, stderr = run(lsun)
    assert code == 1 and "cut off" in stderr and stderr.count("\n") == 1
    (lsun / "data.mdb").write_bytes(b"junk" * 5000)
    code, _, stderr = run(lsun)
    assert code == 1 and "church_train_lmdb is an LMDB that cannot be read" in stderr


def test_an_archive_in_an_archive_has_to_be_unpacked(tmp_path, lsun, run):
    archive = zipped(tmp_path / "a.zip", {"l/data.mdb": b"x", "l/lock.mdb": b"x"})
    code, _, stderr = run(archive)
    assert code == 1 and "left out: 2 .mdb" in stderr and "unpack those that lie in it" in stderr


# Where a prepared set is wanted


@pytest.mark.parametrize("name", ["data.mdb", "lock.mdb", "about.json"])
def test_training_on_a_file_of_a_set(tmp_path, name):
    (tmp_path / name).write_bytes(b"x" * 30)
    with pytest.raises(store.DataError, match=f"{name} is a file.*name the folder.*{tmp_path}"):
        store.open_pictures(tmp_path / name)


def test_training_on_other_files(tmp_path, lsun):
    one = (lsun / "data.mdb").rename(tmp_path / "one.mdb")
    archive = zipped(tmp_path / "a.zip", {"a.png": noise(16)})
    for path, words in (
        (one, "as data.mdb"),
        (archive, "prepare_data.py --out LMDB .*a.zip"),
        (Path("/dev/null"), "is a device.*: name one"),
        (archive / "below", "Not a directory"),
    ):
        with pytest.raises(store.DataError, match=words) as caught:
            store.open_pictures(path)
        assert "about.json" not in str(caught.value)
