"""Pictures that are kept out of training: never in a batch, the same ones in every run."""

import json
import os
from argparse import ArgumentTypeError
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import TINY, assert_same_checkpoint

import prepare_data
import train
from backend.terminal import UsageError
from data import store
from data.batches import batches
from data.heldout import Part, divide, divided, heldout_amount
from data.store import open_pictures
from quality import gap
from training.checkpoint import config_of, read_checkpoint
from training.progress import Progress


def train_in(lmdb, folder, *options):
    """train.py in this process; the lines of its log."""
    argv = [lmdb, "--expname", str(folder), "--device", "cpu", *map(str, options)]
    assert train.main(argv) == 0
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


# Which


def test_a_set_is_divided_in_one_way():
    seen, unseen = divide(500, 100, "lmdb")
    assert sorted([*seen, *unseen]) == list(range(500)) and len(unseen) == 100
    assert (np.diff(seen) > 0).all() and (np.diff(unseen) > 0).all()
    again = divide(500, 0.2, "lmdb")
    assert (again[0] == seen).all() and (again[1] == unseen).all()
    assert set(divide(500, 20, "lmdb")[1]) < set(unseen)  # nested
    assert 20 < np.median(unseen) < 480 and len(set(np.diff(unseen))) > 3  # from everywhere


@pytest.mark.parametrize(
    "amount, words", [(10, "none to train on"), (500, "none to train on"), (0.04, "none held out")]
)
def test_neither_part_may_be_empty(amount, words):
    with pytest.raises(UsageError, match=f"--heldout .* of the 10 pictures in lmdb: {words}"):
        divide(10, amount, "lmdb")


def test_amounts():
    assert [heldout_amount(x) for x in ("0", "0.25", "1", "300")] == [0, 0.25, 1, 300]
    for text in ("-1", "2.5", "nan", "many"):
        with pytest.raises(ArgumentTypeError):
            heldout_amount(text)


# A held-out picture never reaches a batch


class Numbered(store.Pictures):
    """Pictures whose every pixel is their index, which notes what is read."""

    def __init__(self, length):
        self.path, self.length, self.sizes, self.about, self.asked = "n", length, [8], {}, []

    def record(self, index, size):
        self.asked.append(index)
        return index

    def name(self, index, size):
        return f"picture {index}"


@pytest.mark.parametrize("amount", [1, 7, 0.5, 19])
def test_no_batch_has_a_held_out_picture(monkeypatch, amount):
    """By the indices that are read and by what arrives, over three epochs and more."""
    whole = Numbered(20)
    pixels = np.zeros((8, 8, 3), "uint8")
    monkeypatch.setattr(store, "read_record", lambda record, *_, **__: pixels + np.uint8(record))
    seen, unseen = divided(whole, amount)
    expected = set(divide(20, amount, "n")[1])
    assert {unseen.indices[i] for i in range(unseen.length)} == expected
    phase, found = SimpleNamespace(size=8, batch=6), []
    with closing(batches(seen, lambda _: phase, seed=3, images_seen=0, flip=True)) as loaded:
        while len(found) < 3 * seen.length:
            found += list(np.rint((next(loaded)[:, 0, 0, 0] + 1) * 127.5).astype(int))
    assert set(whole.asked) == set(found) == set(range(20)) - expected
    assert set(found[: seen.length]) == set(range(20)) - expected  # an epoch has all of them


def test_nothing_held_out_is_the_set_itself():
    whole = Numbered(20)
    assert divided(whole, 0.0) == (whole, None)


def test_a_run_reads_no_held_out_picture(lmdb, tmp_path, monkeypatch):
    """Of train.py, through the growth: exactly the others; whatever the seed."""
    record, asked = store.Lmdb.record, set()

    def watched(self, index, size):
        asked.add(index)
        return record(self, index, size)

    monkeypatch.setattr(store.Lmdb, "record", watched)
    for seed in (0, 1):
        asked.clear()
        options = [*TINY, "--heldout", 3, "--max_iters", 14, "--seed", seed]
        train_in(lmdb, tmp_path / str(seed), *options)
        assert asked == set(divide(10, 3, lmdb)[0])
    content = read_checkpoint(tmp_path / "0" / "checkpoint" / "000014.model")
    assert config_of(content).heldout == 3 and content["pictures"] == 10


def test_a_run_is_that_on_a_set_without_them(lmdb, tmp_path):
    """Bit by bit, and the option is what the configuration differs in."""
    pictures, folder = Path(lmdb).parent / "pictures", tmp_path / "pictures"
    folder.mkdir()
    for i in divide(10, 0.4, lmdb)[0]:
        os.link(pictures / f"{i}.png", folder / f"{i}.png")
    less = str(tmp_path / "less")
    assert prepare_data.main([str(folder), "--out", less, "--sizes", "4,8,16"]) == 0
    train_in(lmdb, tmp_path / "a", *TINY, "--heldout", 0.4, "--max_iters", 14)
    train_in(less, tmp_path / "b", *TINY, "--max_iters", 14)
    a, b = (read_checkpoint(tmp_path / x / "checkpoint/000014.model") for x in "ab")
    for part in ("generator", "discriminator", "g_running"):
        for name, x in a[part].items():
            assert x.tobytes() == b[part][name].tobytes(), name
    assert {k for k, x in a["config"].items() if b["config"].get(k) != x} == {"heldout"}


def test_going_on(lmdb, tmp_path, capfd, monkeypatch):
    """Exactly, the gaps in the log too; that they are measured changes no bit of the weights."""
    monkeypatch.setattr(gap, "EVERY", 3)
    options = [*TINY, "--heldout", 4, "--mixing"]
    once = train_in(lmdb, tmp_path / "once", *options, "--max_iters", 12)
    train_in(lmdb, tmp_path / "twice", *options, "--max_iters", 7)
    twice = train_in(lmdb, tmp_path / "twice", "--ckpt", "latest", "--max_iters", 12)
    one, two = ([x for x in lines if "gap" in x] for lines in (once, twice))
    assert [x["iteration"] for x in one] == [3, 6, 9, 12] and one == two
    assert len({x["d_train"] for x in one}) == 4
    name = "checkpoint/000012.model"
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "twice" / name)
    monkeypatch.setattr(gap, "EVERY", 100)
    none = train_in(lmdb, tmp_path / "none", *options, "--max_iters", 12)
    assert not [x for x in none if "gap" in x]
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "none" / name)
    argv = [lmdb, "--expname", str(tmp_path / "once"), "--ckpt", "latest", "--max_iters", "13"]
    assert train.main([*argv, "--heldout", "5"]) == 2
    assert "heldout 4.0, not 5.0" in capfd.readouterr().err


def test_too_many_are_refused_before_anything_is_written(lmdb, tmp_path, capfd):
    argv = [lmdb, *TINY, "--expname", str(tmp_path), "--heldout", "10"]
    assert train.main(argv) == 2
    error = capfd.readouterr().err
    assert "--heldout 10 of the 10 pictures" in error and error.count("\n") == 1
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_part_reads_the_pictures_of_its_set(lmdb):
    with closing(open_pictures(lmdb)) as whole:
        part = Part(whole, np.array([2, 7]))
        assert part.length == 2 and part.sizes == whole.sizes
        assert part.record(1, 8) == whole.record(7, 8)
        assert (np.asarray(part.read(0, 16)) == np.asarray(whole.read(2, 16))).all()
        assert part.name(1, 8) == whole.name(7, 8)


# What is said


def line_of(value):
    return {"gap": value, "d_train": 1.0, "d_heldout": 0.25, "d_fake": -1.5}


def test_a_large_gap_is_told_once():
    """The mean of five; one alone says little. The bar has it, and the three means."""
    written, said = [], []
    bar = SimpleNamespace(write=said.append)
    progress = SimpleNamespace(write=written.append, bar=bar, gaps=[], gap_text="", warned=False)
    for value in (0.9, 0.1, 0.1, 0.1, None):
        Progress.report_gap(progress, line_of(value))
    assert not said and progress.gap_text == "; Gap: 0.30 (1.00/0.25/-1.50)"
    Progress.report_gap(progress, line_of(0.2))  # five: 0.28
    assert not said
    Progress.report_gap(progress, line_of(1.1))  # 0.32
    Progress.report_gap(progress, line_of(0.9))
    assert len(said) == 1 and said[0].startswith("gap 0.32: the discriminator learns")
    assert "--neighbours" in said[0] and len(written) == 8
