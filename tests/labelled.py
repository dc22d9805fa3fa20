"""A small set with labels, and a run that has learned it."""

import numpy as np
import pytest
from PIL import Image
from tiny import TINY, run_train

import prepare_data

COUNTS = {"cat": 6, "dog": 3, "emu": 1}
NAMES = list(COUNTS)


def pictures_in(folder, counts=COUNTS):
    """The folder, with below it one of each label's name, and pictures of noise."""
    rng = np.random.RandomState(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.randint(0, 256, (20, 24, 3), dtype="uint8")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def prepared(source, out, *options):
    command = [str(source), "--out", str(out), "--sizes", "4,8,16", "--n_worker", "1"]
    assert prepare_data.main([*command, *map(str, options)]) == 0
    return str(out)


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """An LMDB of 10 pictures."""
    folder = tmp_path_factory.mktemp("labelled")
    return prepared(pictures_in(folder / "pictures"), folder / "lmdb", "--labels")


@pytest.fixture(scope="session")
def conditional(labelled, tmp_path_factory):
    """20 iterations with labels, from 4 to 16 px."""
    folder = tmp_path_factory.mktemp("conditional")
    run_train(labelled, folder, *TINY, "--labels", "--max_iters", "20")
    return folder


@pytest.fixture(scope="session")
def checkpoint(conditional):
    return str(conditional / "checkpoint/000020.model")
