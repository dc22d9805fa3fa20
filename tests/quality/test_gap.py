"""The gap between training pictures and held-out ones, from its definition."""

import shlex
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import prepare_data
import train
from data import store
from operators.convolution import jt
from quality.gap import Gap, advice, gap_of
from training.run import TrainState
from training.schedule import Config, phase_at


class Flat(store.Pictures):
    """Pictures of 8 px of one grey level each."""

    def __init__(self, levels):
        self.length, self.levels = len(levels), levels

    def read(self, index, size):
        return np.full((size, size, 3), self.levels[index], "uint8")


def run_of(group=0, batch=4):
    """A run at iteration 100 whose discriminator scores the mean of an image, and how many images
    it saw at a time.
    """
    seen = []

    def score(images, step, alpha):
        seen.append(images.shape[0])
        assert (step, alpha) == (1, 1.0)
        return images.mean(dims=(1, 2, 3)).reshape(-1, 1)

    config = Config(init_size=8, stddev_group=group, batch_default=batch)
    run = SimpleNamespace(config=config, iteration=100, images_seen=400, discriminator=score)
    return run, phase_at(config, 0), seen


def told(run, phase, gap):
    lines = []
    gap(run, phase, lines.append)
    return lines


def test_the_gap_and_the_means(monkeypatch):
    """64 of each, in whole epochs: the means of all; those of images of -1, 0, 1."""
    run, phase, seen = run_of()
    gap = Gap(Flat([255, 255, 127, 255]), Flat([255, 0]))
    fakes = np.zeros((64, 3, 8, 8), "float32")
    fakes[:32] = -1
    monkeypatch.setattr(gap, "fakes", lambda *_: (fakes, None))
    (line,) = told(run, phase, gap)
    grey = 127 / 127.5 - 1
    expected = {"d_train": (3 + grey) / 4, "d_heldout": 0.0, "d_fake": -0.5}
    expected["gap"] = expected["d_train"] / (expected["d_train"] + 0.5)
    assert {k: line[k] for k in expected} == pytest.approx(expected, abs=1e-5)
    assert (line["iteration"], line["images"], line["size"]) == (100, 400, 8)
    assert seen == [2] * 96  # no more at a time than are held out, of any kind
    run.iteration = 101
    assert told(run, phase, gap) == []


@pytest.mark.parametrize(
    "group, batch, at_a_time, count",
    [(0, 48, 30, 60), (4, 48, 28, 56), (4, 3, 3, 63), (0, 100, 30, 60)],
)
def test_batches_are_those_of_training(monkeypatch, group, batch, at_a_time, count):
    run, phase, seen = run_of(group, batch)
    gap = Gap(Flat(range(100)), Flat(range(30)))
    zeros = np.zeros((64, 3, 8, 8), "float32")
    monkeypatch.setattr(gap, "fakes", lambda run, phase, rng, n: (zeros[:n], None))
    told(run, phase, gap)
    assert set(seen) == {at_a_time} and sum(seen) == 3 * count


def test_gaps():
    assert gap_of(2.0, 2.0, -1.0) == 0.0 and gap_of(2.0, -1.0, -1.0) == 1.0
    assert gap_of(1.0, 0.25, -0.5) == 0.5
    assert gap_of(1.0, 0.5, 1.0) is None and gap_of(0.0, 1.0, 2.0) is None


def test_of_a_run_it_is_the_same_again_and_changes_nothing():
    config = Config(code_size=8, n_mlp=1, channel_max=4, batch_default=4, init_size=8)
    run = TrainState(config)
    run.iteration, run.images_seen = 100, 400
    networks = run.generator, run.discriminator, run.running

    def arrays():
        return [np.array(p.numpy()) for network in networks for p in network.parameters()]

    before = arrays()
    gap = Gap(Flat(range(0, 250, 25)), Flat(range(5, 250, 50)))
    phase = phase_at(config, 0)
    first, second = told(run, phase, gap), told(run, phase, gap)
    assert first == second and len({first[0][k] for k in ("d_train", "d_heldout", "d_fake")}) == 3
    assert all(a.tobytes() == b.tobytes() for a, b in zip(before, arrays()))
    rng = np.random.default_rng(0)
    images, labels = gap.fakes(run, phase, rng, 6)
    assert labels is None
    assert images.shape == (6, 3, 8, 8) and len({x.tobytes() for x in images}) == 6
    score = gap.score(run, phase, 3, images)
    with jt.no_grad():
        halves = [run.discriminator(jt.array(x), 1, 1.0).numpy() for x in (images[:3], images[3:])]
    assert score == pytest.approx(np.concatenate(halves).mean(), rel=1e-6)


def test_what_few_pictures_are_enough_for(tmp_path, capsys):
    """The command that is named is one that train.py takes."""
    assert advice(99, "lmdb") == advice(1000, "lmdb") == ""
    said, command = advice(500, "my pictures").split("\n    ")
    assert "500 at 32 px were enough" in said and "\n" not in said
    words = shlex.split(command)
    assert words[:3] == ["python", "train.py", "my pictures"]
    args = train.parser().parse_args(words[2:])
    assert (args.tune, args.heldout, args.ckpt, args.expname) == (True, 50, "CKPT", "tuned")
    for count in (99, 100):
        (tmp_path / str(count)).mkdir()
        pixels = np.zeros((8, 8, 3), "uint8")
        for i in range(count):
            Image.fromarray(pixels).save(tmp_path / str(count) / f"{i}.bmp")
        out = str(tmp_path / f"lmdb{count}")
        argv = [str(tmp_path / str(count)), "--out", out, "--n_worker", "1"]
        assert prepare_data.main(argv) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith(f"{count} pictures at") == (count == 99)
    assert lines[-1].endswith(f"{out} --expname tuned --ckpt CKPT --tune --heldout 10")
