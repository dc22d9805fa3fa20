"""Drawn people: the same pictures everywhere, their licence, what is missing."""

import builtins
import hashlib
import os
import signal
import sys
from contextlib import closing

import numpy as np
import PIL
import pytest
from preparing import about, finish, records, run, start, wait_for_a_commit  # noqa: F401

from data import people, store
from dataset import description

SIZES = ["--sizes", "8,16,32,64"]


@pytest.fixture
def dicebear():
    for name in ("resvg_py", "dicebear_styles", "dicebear"):
        reason = "needs pip install --no-deps -r requirements-people.txt, and so Python 3.10"
        pytest.importorskip(name, reason=reason)


def pixels(path):
    """SHA-1 of the pixels of all pictures, from the smallest size to the largest."""
    digest = hashlib.sha1()
    with closing(store.open_pictures(path)) as pictures:
        for size in pictures.sizes:
            for i in range(pictures.length):
                digest.update(np.asarray(pictures.read(i, size)).tobytes())
    return digest.hexdigest()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_twenty_seeds_are_the_same_everywhere(tmp_path, run, dicebear, workers):
    options = ["--max_images", "20", "--n_worker", workers, *SIZES]
    code, stdout, stderr = run("people", "--format", "png", *options)
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        "licence: Open Peeps by Pablo Stanley, CC0 1.0, "
        "https://creativecommons.org/publicdomain/zero/1.0/",
        f"20 pictures at 8,16,32,64 px in {tmp_path / 'out'}",
    ]
    assert pixels(tmp_path / "out") == "bf6b3dfb10e120c8dde93193225a87fd6d64a27a"
    if PIL.__version__ == "10.4.0":  # whose libjpeg others may not have
        assert run("people", "--overwrite", *options)[0] == 0
        digest = hashlib.sha1((tmp_path / "out" / "data.mdb").read_bytes())
        assert digest.hexdigest() == "6d4376861b1fdeb8543d044264e76ea0c392871d"


def test_what_is_noted(tmp_path, run, dicebear):
    backgrounds = ["--people_backgrounds", "white,#f80,white"]
    options = ["--people_style", "lorelei", *backgrounds, "--seed", "7", "--max_images", "3"]
    code, stdout, _ = run("people", *options)
    assert code == 0 and "licence: Lorelei by Lisa Wischofsky, CC0 1.0, https" in stdout
    assert "3 pictures at 8,16,32,64,128 px" in stdout
    settings = about(tmp_path / "out")["settings"]
    assert settings["people_style"] == "lorelei" and settings["seed"] == 7
    assert settings["people_backgrounds"] == ["#ffffff", "#ff8800"]
    assert [name.split()[0] for name in settings["packages"]] == list(people.PACKAGES)
    with closing(store.open_pictures(tmp_path / "out")) as pictures:
        assert f"\nlicence: {settings['licence']}\n" in description(pictures)
    for other in (
        ["--people_style", "notionists"],
        ["--seed", "8"],
        ["--people_backgrounds", "red"],
    ):
        code, _, stderr = run("people", "--resume", *options, *other)
        assert code == 1 and "was begun with" in stderr and stderr.count("\n") == 1


def test_seeds_sizes_and_backgrounds(dicebear):
    five, two = (people.People("open-peeps", people.BACKGROUNDS, side, 0, 40) for side in (64, 32))
    later = people.People("open-peeps", people.BACKGROUNDS, 64, 3, 1)
    assert later.names == [five.names[3]] == ["open-peeps 3"]
    images = [np.asarray(five.load(i)) for i in range(40)]
    assert np.array_equal(np.asarray(later.load(0)), images[3])
    assert five.size(0) == five.load(0).size == (64, 64) and two.load(0).size == (32, 32)
    assert len({image.tobytes() for image in images}) == 40
    corners = {"#{:02x}{:02x}{:02x}".format(*image[0, 0]) for image in images}
    assert corners == set(people.BACKGROUNDS)
    white = people.People("open-peeps", ["#ffffff"], 64, 0, 8)
    for i in range(8):
        assert (np.asarray(white.load(i))[0, 0] == 255).all()


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path, dicebear):
    options = ["people", "--max_images", "150", "--sizes", "64", "--out"]
    assert finish(tmp_path, *options, "whole") == (0, "")
    process = start(tmp_path, *options, "out")
    wait_for_a_commit(store.LmdbWriter, tmp_path / "out")
    os.kill(process.number, signal.SIGKILL)
    process.communicate()
    done = store.LmdbWriter.read_about(tmp_path / "out")
    assert 35 <= done["done"] < 150 and not done["complete"]
    assert finish(tmp_path, *options, "out", "--resume") == (0, "")
    whole, resumed = (tmp_path / name / "data.mdb" for name in ("whole", "out"))
    assert whole.read_bytes() == resumed.read_bytes()


@pytest.mark.parametrize(
    "style, why",
    [
        ("adventurer", "is not in the public domain (CC BY 4.0)"),
        ("avataaars", "is not in the public domain (Free for personal and commercial use)"),
        ("icons", "is not in the public domain (MIT)"),
        ("initials", "writes with the fonts of each machine"),
        ("initial-face", "writes with the fonts of each machine"),
        ("../open-peeps", "is none of DiceBear's"),
        ("nobody", "is none of DiceBear's"),
    ],
)
def test_styles_that_are_refused(tmp_path, run, dicebear, style, why):
    code, _, stderr = run("people", "--people_style", style)
    last = stderr.splitlines()[-1]
    assert code == 2 and f"--people_style {style} {why}: choose one of " in last
    named = last.split("choose one of ")[1].split(", ")
    assert {"open-peeps", "lorelei", "notionists"} < set(named) and style not in named
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("missing", ["dicebear", "dicebear_styles", "resvg_py"])
def test_a_missing_package(tmp_path, run, monkeypatch, missing):
    imported = builtins.__import__

    def without(name, *rest):
        if name.split(".")[0] == missing:
            raise ModuleNotFoundError(f"No module named {name!r}")
        return imported(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    for name in ("dicebear", "dicebear_styles", "resvg_py"):
        monkeypatch.setitem(sys.modules, name, sys)
    code, _, stderr = run("people")
    assert code == 1 and stderr.count("\n") == 1 and missing in stderr
    assert "`pip install --no-deps -r requirements-people.txt`" in stderr
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("version", [(3, 8, 18), (3, 9, 2)])
def test_a_python_that_is_too_old(tmp_path, run, monkeypatch, version):
    monkeypatch.setattr(people.sys, "version_info", version)
    code, _, stderr = run("people", "--max_images", "3")
    monkeypatch.undo()
    text = "people needs Python 3.10 or newer, for DiceBear; this is {}.{}.\n"
    assert (code, stderr) == (1, text.format(*version))
    assert os.listdir(tmp_path) == []


def test_options_of_people_alone(run):
    for options in (["--people_style", "lorelei"], ["--people_backgrounds", "white"]):
        code, _, stderr = run("mnist", *options)
        assert code == 2 and "go with people only" in stderr
    for wrong in ("white,nocolour", ",", ",".join(f"#0000{i:02x}" for i in range(129))):
        assert run("people", "--people_backgrounds", wrong)[0] == 2


def test_a_folder_of_that_name(tmp_path, run, monkeypatch, dicebear):
    """Whoever prepared ./people by its name is told; what was drawn into it is not in the way."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "people").mkdir()
    code, _, stderr = run("people")
    assert code == 2 and "./people" in stderr and "--people_style open-peeps" in stderr
    code, _, stderr = run("./people")
    assert code == 1 and "There are no pictures in ./people" in stderr
    few = ["--max_images", "2", "--sizes", "8"]
    assert run("people", "--people_style", "open-peeps", *few)[0] == 0
    assert run("people", "--out", "people/lmdb", *few)[0] == 0
