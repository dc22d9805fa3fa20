"""A run so small that it trains in seconds, and the data for it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import prepare_data
from training.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parent.parent
TINY = (
    "--loss r1 --mixing --code_size 8 --n_mlp 1 --channel_max 4 --batch_default 4 "
    "--phase 10 --init_size 4 --max_size 16 --device cpu"
).split()


@pytest.fixture(scope="session")
def lmdb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.RandomState(0)
    (folder / "pictures").mkdir()
    for i in range(10):
        pixels = rng.randint(0, 256, (20, 24, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / "pictures" / f"{i}.png")
    out = folder / "lmdb"
    assert (
        prepare_data.main([str(folder / "pictures"), "--out", str(out), "--sizes", "4,8,16"]) == 0
    )
    return str(out)


def run_train(lmdb, folder, *options):
    """Runs train.py as a user does; the process must succeed."""
    command = [sys.executable, str(ROOT / "train.py"), lmdb, "--expname", str(folder)]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done


def assert_same_checkpoint(a, b):
    def compare(x, y, place):
        assert type(x) is type(y), place
        if isinstance(x, dict):
            assert x.keys() == y.keys(), place
            for key in x:
                compare(x[key], y[key], f"{place}/{key}")
        elif isinstance(x, np.ndarray):
            assert x.tobytes() == y.tobytes(), place
        else:
            assert x == y, place

    contents = [{**read_checkpoint(path), "sha1": None} for path in (a, b)]  # not byte by byte
    compare(*contents, "")


@pytest.fixture(scope="session")
def reference(lmdb, tmp_path_factory):
    """20 iterations from 4 to 16 px: stages of 24 images, the last starts at iteration 12."""
    folder = tmp_path_factory.mktemp("reference")
    run_train(lmdb, folder, *TINY, "--max_iters", "20")
    return folder
