"""A small run, and files of it as we, the ports and our export write them."""

from pathlib import Path

import numpy as np
import pytest

import convert
from operators.convolution import jt
from training.run import TrainState
from training.schedule import Config

DATA = Path(__file__).parent / "recorded"

TINY = Config(loss="r1", code_size=8, n_mlp=1, channel_max=4, phase=64, max_size=16, seed=3)


@pytest.fixture(scope="module")
def run():
    run = TrainState(TINY)
    run.images_seen, run.iteration = 128, 4
    run.g_optimizer.steps["style.1.linear.bias"] = 4
    return run


@pytest.fixture
def saved(run, tmp_path):
    path = tmp_path / "a.model"
    run.save(path, alpha=0.25, size=16)
    return path


@pytest.fixture
def parts(run):
    """State dicts of Jittor Vars, as the ports save them, the average not being the generator."""
    average = {k: jt.array(p.numpy() + 1) for k, p in run.running.state_dict().items()}
    return {
        "generator": run.generator.state_dict(),
        "discriminator": run.discriminator.state_dict(),
        "g_running": average,
    }


@pytest.fixture
def exported(run, saved, tmp_path, capsys):
    run.d_optimizer.steps["linear.linear.bias"] = 7
    run.d_optimizer.v["linear.linear.bias"] = jt.array(np.array([0.25], "float32"))
    run.save(saved, alpha=0.25, size=16)
    path = tmp_path / "out.pth"
    assert convert.main([str(saved), "--export", str(path)]) == 0
    return path
