"""Broken pictures of every format that this Pillow has, through every door: each gives a picture or
one sentence, and none starts a process or fills the memory.
"""

import os
import resource
import struct
import subprocess
import warnings
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest
from oddities import saved, slope
from PIL import Image
from preparing import folder, run  # noqa: F401

from backend.terminal import UserError
from data import store
from data.choice import formats
from figures.projection import read_target
from quality.sets import open_data

COUNT, SIDE = 300, 16
MEMORY = 2**30  # bytes that a test may add
STARTS = {  # of what Pillow does not write
    "CUR": b"\0\0\2\0\1\0" + bytes([16, 16, 0, 0, 1, 0, 1, 0]) + struct.pack("<LL", 99, 22),
    "DCX": struct.pack("<LLL", 987654321, 12, 0),
    "FITS": b"".join(
        line.ljust(80)
        for line in [
            b"SIMPLE  = T",
            b"BITPIX  = 16",
            b"NAXIS   = 2",
            b"NAXIS1  = 16",
            b"NAXIS2  = 16",
            b"END",
        ]
    ).ljust(2880),
    "FLI": struct.pack("<LHHHHHH", 999, 0xAF11, 1, 16, 16, 8, 3).ljust(128, b"\0"),
    "FTEX": b"FTEX" + struct.pack("<LLLLLLLLL", 1, 16, 16, 1, 1, 0, 0, 32, 999),
    "GBR": struct.pack(">LLLLL", 28, 2, 16, 16, 3) + b"GIMP" + struct.pack(">L", 10),
    "MCIDAS": struct.pack(">LL", 0, 4).ljust(256, b"\0"),
    "PCD": (bytes(2048) + b"PCD_").ljust(8192, b"\0"),
    "PIXAR": b"\x80\xe8\0\0".ljust(416, b"\0") + struct.pack("<HH", 16, 16),
    "PSD": b"8BPS" + struct.pack(">HHLHLLHHLLL", 1, 0, 0, 3, 16, 16, 8, 3, 0, 0, 0),
    "QOI": b"qoif" + struct.pack(">LLBB", 16, 16, 3, 0),
    "SUN": struct.pack(">LLLLLLLL", 0x59A66A95, 16, 16, 24, 768, 1, 0, 0),
    "XPM": b'/* XPM */\nstatic char *x[] = {\n"16 16 2 1",\n"a c #000000",\n"b c #ff0000",\n'
    + b'"aaaabbbbaaaabbbb",\n' * 16,
    "XVTHUMB": b"P7 332\n#XVVERSION\n16 16 255\n",
    "IPTC": b"\x1c\x03\x3c\0\2\1\0\x1c\3\x14\0\2\0\x10\x1c\3\x1e\0\2\0\x10\x1c\3\x78\0\1\1",
}
POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 16 16\n%%EndComments\nshowpage\n"
# In an IPTC that says 5, a JPEG, lies in it: Pillow opens it whatever it is
NESTED = STARTS["IPTC"][:-1] + b"\5\x1c\x08\x0a" + struct.pack(">H", len(POSTSCRIPT)) + POSTSCRIPT


def samples():
    """{name: bytes} of a picture of each extension, whole or nearly so."""
    found, noise = {}, np.random.default_rng(0).bytes(3000)
    for extension, kind in sorted(Image.registered_extensions().items()):
        if kind in STARTS:
            found[f"a{extension}"] = STARTS[kind] + noise
        for mode in ("RGB", "L", "P", "RGBA", "1", "I;16", "I", "F", "CMYK"):
            try:
                content = saved(slope(SIDE, SIDE).convert(mode.split(";")[0]).convert(mode), kind)
            except Exception:  # a mode that the format lacks
                continue
            found[f"{mode.replace(';', '')}{extension}"] = content
    return {name: content for name, content in found.items() if content}


def mutated(content, rng):
    """A few bytes changed, a length or size among them, a piece lost or doubled, or cut off."""
    content, what = bytearray(content), rng.integers(5)
    if what == 0:
        return bytes(content[: rng.integers(len(content))])
    at = int(rng.integers(len(content)))
    if what == 1:
        piece = content[at : at + int(rng.integers(1, 64))]
        content[at:at] = piece
    elif what == 2:
        del content[at : at + int(rng.integers(1, 64))]
    elif what == 3:  # numbers near the beginning
        at = int(rng.integers(min(len(content), 64)))
        content[at : at + 4] = rng.choice([b"\xff" * 4, b"\0\0\x40\0", b"\x7f\xff\xff\xff"])
    else:
        for place in rng.integers(len(content), size=rng.integers(1, 9)):
            content[place] = rng.integers(256)
    return bytes(content)


@pytest.fixture(scope="module")
def broken():
    """[(name, bytes)] of COUNT mutated pictures of all formats, and of programs in disguise."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        formats()
        whole = samples()
    assert {Image.registered_extensions()[os.path.splitext(name)[1]] for name in whole} >= {
        "BMP", "PNG", "JPEG", "TIFF", "GIF", "WEBP", "PPM", "JPEG2000", "TGA", "PSD", "ICO", "IPTC",
    }  # fmt: skip
    rng, names = np.random.default_rng(20), list(whole)
    rng.shuffle(names)
    chosen = [names[i % len(names)] for i in range(COUNT)]
    mutants = [(f"{i:03}{name}", mutated(whole[name], rng)) for i, name in enumerate(chosen)]
    disguised = [("a.png", POSTSCRIPT), ("b.eps", POSTSCRIPT), ("c.iim", NESTED), ("d.png", NESTED)]
    return [*mutants, *disguised]


def most_memory():
    """Bytes that this process or one that it waited for had at most."""
    whose = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return 1024 * max(resource.getrusage(who).ru_maxrss for who in whose)


@pytest.fixture
def watched(monkeypatch):
    """Nothing may start a process, or take much memory."""

    def start(*args, **options):
        raise AssertionError("starts a process")  # which the doors make a sentence of

    for module, name in ((subprocess, "Popen"), (os, "system"), (os, "popen"), (os, "posix_spawn")):
        monkeypatch.setattr(module, name, start)
    before = most_memory()
    yield
    assert most_memory() - before < MEMORY


def outcomes(read, count):
    """How many of `count` pictures there were; the rest have to be one sentence."""
    good = 0
    for i in range(count):
        try:
            pixels = np.asarray(read(i))
        except UserError as error:
            assert not any(x in str(error) for x in ("\n", "object at", "starts a process")), error
        else:
            assert pixels.shape[0] == 3 or pixels.shape[-1] == 3
            good += 1
    return good


def write_all(folder, broken):
    folder.mkdir(exist_ok=True)
    for name, content in broken:
        (folder / name).write_bytes(content)


def test_prepare_data_on_a_folder(tmp_path, broken, watched, run):
    write_all(tmp_path / "in", broken)
    code, stdout, stderr = run(tmp_path / "in", "--sizes", "8", "--format", "png")
    lines = stderr.splitlines()
    assert code == 3 and all(line.startswith("skipped ") for line in lines), stderr[:2000]
    with closing(store.open_pictures(tmp_path / "out")) as pictures:
        assert pictures.length > 20
        assert outcomes(lambda i: pictures.read(i, 8), pictures.length) == pictures.length
    assert "starts a process" not in stderr
    assert stderr.count("/a.png: no picture of a known format") == 1


def test_metrics_on_a_folder(tmp_path, broken, watched):
    write_all(tmp_path / "in", broken)
    slope(SIDE, SIDE).save(tmp_path / "in" / "#.png")  # sorted before
    folder = open_data(tmp_path / "in").folder
    assert 20 < outcomes(folder.read, folder.length) < folder.length


def test_a_tree_of_sizes(tmp_path, broken, watched):
    write_all(tmp_path / str(SIDE), broken)
    pictures = store.open_pictures(tmp_path)
    good = outcomes(lambda i: pictures.read(i, SIDE), pictures.length)
    assert 20 < good < pictures.length


def test_an_lmdb_of_another_program(tmp_path, broken, watched, run):
    with lmdb.open(str(tmp_path / "set")) as env, env.begin(write=True) as txn:
        for i, (_, content) in enumerate(broken):
            txn.put(store.image_key(SIDE, i), content)
        txn.put(b"length", str(len(broken)).encode())
    with closing(store.open_pictures(tmp_path / "set")) as pictures:
        good = outcomes(lambda i: pictures.read(i, SIDE), pictures.length)
        assert 20 < good < pictures.length


def test_targets_of_the_projector(tmp_path, broken, watched):
    write_all(tmp_path, broken)
    paths = [Path(tmp_path, name) for name, _ in broken]
    assert 20 < outcomes(lambda i: read_target(paths[i], 8), len(paths)) < len(paths)
