"""Several processes under mpirun follow the run of one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, TINY, assert_same_checkpoint

import train
from data.batches import image_order
from data.store import LmdbWriter
from operators import norms
from operators.convolution import jt
from training import augmentation
from training.checkpoint import read_checkpoint

pytestmark = pytest.mark.skipif(
    not (shutil.which("mpirun") and shutil.which("mpicc")),
    reason="no OpenMPI here (apt-get install openmpi-bin libopenmpi-dev)",
)
ENVIRONMENT = {
    **os.environ,
    "OMP_NUM_THREADS": "1",  # processes with several threads each block one another on few cores
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
}


def start_two(lmdb, folder, *options):
    command = ["mpirun", "--oversubscribe", "-np", "2", sys.executable, str(ROOT / "train.py")]
    return subprocess.Popen(
        [*command, lmdb, "--expname", str(folder), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def train_two(lmdb, folder, *options):
    """(exit code, stdout, stderr) of two processes."""
    process = start_two(lmdb, folder, *options)
    out, err = process.communicate(timeout=900)
    return process.returncode, out, err


def process_of(rank, folder):
    """Number of the process of that rank that writes into the folder."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            variables = (place / "environ").read_bytes().split(b"\0")
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile, or somebody else's
            continue
        if f"OMPI_COMM_WORLD_RANK={rank}".encode() in variables and str(folder).encode() in words:
            found.append(int(place.name))
    return min(found)  # the later ones are Jittor's compilers


@pytest.fixture(scope="module")
def two(lmdb, tmp_path_factory):
    """20 iterations by two processes, each with 2 of 4 images."""
    folder = tmp_path_factory.mktemp("two")
    code, out, err = train_two(lmdb, folder, *TINY, "--max_iters", "20")
    assert code == 0, err
    assert out.count("saved") == 1 and err.count("80/80") <= 2  # one of them speaks
    return folder


@pytest.fixture
def stddev_by_process(monkeypatch):
    """Minibatch stddev as two processes take it, each over its part of a batch."""
    whole = norms.minibatch_stddev

    def by_process(x, group):
        parts = [whole(x[0::2], group), whole(x[1::2], group)]
        n, c, h, w = x.shape
        return jt.stack(parts, dim=1).reshape(n, c + 1, h, w)

    monkeypatch.setattr(norms, "minibatch_stddev", by_process)


def assert_close_checkpoints(a, b, place=""):
    assert a["images_seen"] == b["images_seen"]
    for part in ("generator", "discriminator", "g_running"):
        for key in a[part]:
            where = f"{place} {part} {key}"
            np.testing.assert_allclose(b[part][key], a[part][key], atol=2e-6, err_msg=where)


def test_two_follow_one(lmdb, two, tmp_path, stddev_by_process):
    """The same weights but for rounding, from 4 to 16 px, once minibatch stddev is by process."""
    options = [lmdb, "--expname", str(tmp_path), *TINY, "--max_iters", "20"]
    assert train.main(options) == 0
    names = sorted(p.name for p in (two / "checkpoint").iterdir())
    assert names == ["000020.model", *(f"train_step-{s}.model" for s in (1, 2, 3))]
    for name in names:
        runs = (read_checkpoint(run / "checkpoint" / name) for run in (tmp_path, two))
        assert_close_checkpoints(*runs, name)
    a, b = ((run / "log.jsonl").read_text().splitlines() for run in (tmp_path, two))
    assert len(a) == len(b) == 3
    assert (two / "sample" / "000020.png").exists()


def test_two_augment_as_one(lmdb, tmp_path, stddev_by_process, monkeypatch):
    """From a probability above 0 on: each its part of what is drawn, and the signs of all."""
    monkeypatch.setattr(augmentation, "TARGET_SIGN", -2)  # it rises, whatever was learned
    options = [*TINY, "--augment", "--augment_images", "40", "--max_iters", "4"]
    assert train.main([lmdb, "--expname", str(tmp_path / "start"), *options]) == 0
    start = str(tmp_path / "start/checkpoint/000004.model")
    options = ["--ckpt", start, "--max_iters", "7", "--device", "cpu"]
    code, out, err = train_two(lmdb, tmp_path / "two", *options)
    assert code == 0, err
    assert train.main([lmdb, "--expname", str(tmp_path / "one"), *options]) == 0
    one, two = (read_checkpoint(tmp_path / x / "checkpoint/000007.model") for x in ("one", "two"))
    assert one["augmentation"] == two["augmentation"] and one["augmentation"]["p"] == 0.4
    assert_close_checkpoints(one, two)


def test_two_go_on_exactly_after_a_signal_to_one(lmdb, two, tmp_path):
    process = start_two(lmdb, tmp_path, *TINY, "--max_iters", "100000", "--save_every", "1")
    while process.poll() is None and not list(tmp_path.glob("checkpoint/0*.model")):
        time.sleep(0.02)
    os.kill(process_of(1, tmp_path), signal.SIGTERM)
    out, err = process.communicate(timeout=900)
    assert process.returncode == 128 + signal.SIGTERM and "stopped by SIGTERM, saved" in out
    for path in tmp_path.glob("checkpoint/*.model"):  # as if it had stopped early
        if read_checkpoint(path)["iteration"] > 8:
            path.unlink()
    code, out, err = train_two(lmdb, tmp_path, "--ckpt", "latest", "--max_iters", "20", *TINY)
    assert code == 0, err
    last = "checkpoint/000020.model"
    assert_same_checkpoint(two / last, tmp_path / last)
    iterations = [line for line in open(tmp_path / "log.jsonl") if line.startswith('{"iter')]
    assert len(iterations) == 2


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["--batch_default", "5"], 2, "2 processes cannot share the batch of 5 at 4 px evenly"),
        (["--lr", "1e30", "--max_iters", "20"], 1, "the training has diverged"),
    ],
)
def test_failures_end_all(lmdb, tmp_path, options, code, words):
    returned, out, err = train_two(lmdb, tmp_path, *TINY, *options)
    assert returned == code and words in err and "Traceback" not in err
    assert not list(tmp_path.rglob("*.model"))


def test_picture_that_one_cannot_read_ends_all_and_saves(lmdb, tmp_path):
    """The second process finds it in its part of the second batch."""
    broken, index = tmp_path / "broken", image_order(seed=0, length=10, start=4, count=4)[1]
    shutil.copytree(lmdb, broken)
    LmdbWriter(broken).write([(4, index, b"no picture")], LmdbWriter.read_about(broken))
    code, out, err = train_two(str(broken), tmp_path / "run", *TINY, "--max_iters", "20")
    assert code == 1 and f"4-{index:05d}" in err and "Traceback" not in err
    assert [p.name for p in (tmp_path / "run" / "checkpoint").iterdir()] == ["000001.model"]
