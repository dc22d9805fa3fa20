"""On the emulated GPU a run is the CPU's, goes on exactly, and draws the CPU's figures."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY, assert_same_checkpoint

from backend import device

ITERATIONS = 10
EVERY_LINE = "import sys, train; from training import progress; progress.LOG_EVERY = 1; "
EVERY_LINE += "sys.exit(train.main())"


def ours(*arguments):
    """Runs Python as a user does; the process must succeed and build nothing of Jittor again."""
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stderr


def train_on(name, lmdb, folder, iterations, *options):
    """Iterations of a tiny run from 4 to 8 px; its losses, (iterations, 4)."""
    options = [*TINY, *options, "--device", name, "--max_iters", iterations]
    ours("-c", EVERY_LINE, lmdb, "--expname", folder, *options)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    names = ("d_real", "d_fake", "penalty", "g")
    return np.array([[line[n] for n in names] for line in lines if "iteration" in line])


@pytest.fixture(scope="module")
def run(lmdb, tmp_path_factory):
    """(folder, losses) of a run on the emulated GPU."""
    folder = tmp_path_factory.mktemp("cuda")
    return folder, train_on("cuda", lmdb, folder, ITERATIONS)


def checkpoint(folder):
    return folder / "checkpoint" / f"{ITERATIONS:06d}.model"


def test_all_this_is_cuda():
    assert device.load().flags.use_cuda == 1


def test_losses_follow_the_cpus(run, lmdb, tmp_path):
    losses = train_on("cpu", lmdb, tmp_path, ITERATIONS)
    assert len(losses) == ITERATIONS
    np.testing.assert_allclose(run[1], losses, rtol=1e-5)


def test_a_run_goes_on_exactly(run, lmdb, tmp_path):
    train_on("cuda", lmdb, tmp_path, 4)
    train_on("cuda", lmdb, tmp_path, ITERATIONS, "--ckpt", "latest")
    assert_same_checkpoint(checkpoint(run[0]), checkpoint(tmp_path))


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_a_deterministic_run_goes_on_to_the_bit(lmdb, tmp_path, monkeypatch, loss):
    """With blocks, threads and cuDNN's atomic sums in an order of chance; no algorithm is tried."""
    monkeypatch.setenv("EMU_SHUFFLE", "1")
    options = ["--loss", loss, "--mixing", "--deterministic"]
    train_on("cuda", lmdb, tmp_path / "whole", ITERATIONS, *options)
    monkeypatch.setenv("EMU_STATS", "1")
    options += ["--device", "cuda"]
    said = ours(
        "train.py", lmdb, "--expname", tmp_path / "parts", *TINY, *options, "--max_iters", 4
    )
    assert "cudnnGetConvolutionForwardAlgorithm_v7" in said and "cudnnFind" not in said
    train_on("cuda", lmdb, tmp_path / "parts", ITERATIONS, "--ckpt", "latest", *options)
    assert_same_checkpoint(checkpoint(tmp_path / "whole"), checkpoint(tmp_path / "parts"))


@pytest.mark.parametrize("script", ["generate.py", "style_mixing.py"])
def test_figures_are_the_cpus(script, run, tmp_path):
    for name in ("cpu", "cuda"):
        options = ["--device", name, "--expname", tmp_path / name]
        ours(script, checkpoint(run[0]), *options)
    figures = sorted(p.relative_to(tmp_path / "cpu") for p in (tmp_path / "cpu").rglob("*.png"))
    assert figures
    for figure in figures:
        cpu, cuda = (
            np.asarray(Image.open(tmp_path / name / figure), "int") for name in ("cpu", "cuda")
        )
        assert cpu.std() > 1
        assert np.abs(cpu - cuda).max() <= 1, figure
