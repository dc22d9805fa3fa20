"""generate.py --images: single pictures, written while the next ones are drawn."""

import errno
import os
import threading

import numpy as np
import pytest
from PIL import Image

import generate
from backend import disk
from figures import writing
from figures.grid import save_png
from figures.options import figure_parser
from figures.settling import open_artist, settle
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=1, channel_max=4, init_size=8, max_size=8)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "a.model"
    TrainState(TINY).save(path, alpha=1.0, size=8)
    return path


def single(checkpoint, out, *options):
    argv = [str(checkpoint), "--batch", "2", "--device", "cpu", *options]
    return generate.main([*argv, "--images", "9", "--out", str(out)])


def test_images_written_beside_the_drawing_are_those_written_in_turn(checkpoint, tmp_path):
    out = tmp_path / "images"
    assert single(checkpoint, out) == 0
    argv = ["--batch", "2", "--device", "cpu", "--images", "9", "--out", str(out)]
    artist, options = open_artist(figure_parser().parse_args([str(checkpoint), *argv]))
    paths = []
    for pixels, path, text in writing.single_images(artist, settle(options, artist)):
        paths.append(path)
        save_png(pixels, tmp_path / "again.png", text)
        assert path.read_bytes() == (tmp_path / "again.png").read_bytes()
    assert paths == [out / f"{seed:06d}.png" for seed in range(9)] == sorted(out.iterdir())


def test_a_slow_disk_holds_no_drawing_up_and_not_all_is_drawn_ahead(
    checkpoint, tmp_path, monkeypatch
):
    drawn, most, to_bytes, lock = [], [], writing.to_bytes, threading.Lock()
    third_batch, waited = threading.Event(), []

    def count(images):
        drawn.extend(images)
        if len(drawn) >= 6:
            third_batch.set()
        return to_bytes(images)

    def slow(pixels, path, text):
        waited.append(third_batch.wait(20 if all(waited) else 0))
        with lock:
            most.append(len(drawn) - len(most))  # not yet on the disk

    monkeypatch.setattr(writing, "WRITERS", 3)
    monkeypatch.setattr(writing, "to_bytes", count)
    monkeypatch.setattr(writing, "save_png", slow)
    assert single(checkpoint, tmp_path, "--seed", "5") == 0
    assert all(waited) and len(most) == 9
    assert max(most) <= 2 + 3 + 2  # ahead, and a batch of which the first is not asked for yet


@pytest.mark.parametrize(
    "number, help", [(errno.ENOSPC, "make room on that disk"), (errno.EIO, "the disk or share")]
)
def test_an_image_that_cannot_be_written_ends_it(
    checkpoint, tmp_path, monkeypatch, capfd, number, help
):
    flush = disk.flush

    def full(path):
        if "000004" in str(path):
            raise OSError(number, os.strerror(number))
        flush(path)

    monkeypatch.setattr(disk, "flush", full)
    assert single(checkpoint, tmp_path / "out") == 1
    error = capfd.readouterr().err.splitlines()[-1]
    path, reason = tmp_path / "out" / "000004.png", os.strerror(number)
    assert error.startswith(f"generate.py: {path}: {reason}: {help}")
    found = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert found[:4] == [f"00000{i}.png" for i in range(4)] and "000004.png" not in found
    for name in found:  # whole ones only
        with Image.open(tmp_path / "out" / name) as picture:
            assert np.asarray(picture).shape == (8, 8, 3)


def test_a_seed_given_twice_is_one_image(checkpoint, tmp_path):
    assert single(checkpoint, tmp_path / "out", "--seeds", "7,3,5,3,7,6") == 0  # and on from 6
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [f"{seed:06d}.png" for seed in (3, 5, 6, 7, 8, 9)]
