"""Growth, checked by walking it one iteration at a time as the original's loop does."""

import argparse

import pytest

from backend.terminal import number
from training.schedule import Config, images_at, phase_at


def walk(config, iterations):
    """The original's mutated counters: (size, used, alpha) of each iteration."""
    size, used = config.init_size, 0
    for _ in range(iterations):
        batch = phase_at(config, 0).batch
        if used > 2 * config.phase and size < config.max_size:
            size, used = size * 2, 0
        alpha = min(1, (used + 1) / config.phase)
        if size == config.init_size:
            alpha = 1
        yield size, used, alpha
        used += batch


@pytest.mark.parametrize("phase, batch", [(100, 7), (64, 32), (50, 100), (1, 3)])
def test_follows_the_loop(phase, batch):
    config = Config(phase=phase, batch_default=batch, init_size=8, max_size=64)
    seen = 0
    for i, (size, used, alpha) in enumerate(walk(config, 200)):
        p = phase_at(config, seen)
        assert (p.size, p.used, p.alpha, p.batch) == (size, used, alpha, batch), i
        assert p.step == {8: 1, 16: 2, 32: 3, 64: 4}[size]
        assert images_at(config, i) == seen
        seen += p.batch


def test_default_stage_lengths():
    """Batch 32, phase 600,000: a stage is the first multiple of 32 above 1,200,000 images."""
    config = Config()
    assert phase_at(config, 1_200_000).size == 8
    assert phase_at(config, 1_200_032) == (16, 2, 1 / 600_000, 32, 0.001, 0)
    assert phase_at(config, 1_200_032 + 599_999).alpha == 1
    assert phase_at(config, 10**9) == (1024, 8, 1.0, 32, 0.001, 10**9 - 7 * 1_200_032)


def test_sched_sets_batch_and_learning_rate_by_size():
    config = Config(sched=True, init_size=4, phase=1000)
    found, seen = {}, 0
    while len(found) < 9:
        p = phase_at(config, seen)
        found[p.size] = (p.batch, p.lr)
        seen += p.batch
    assert found == {
        4: (512, 0.001),
        8: (256, 0.001),
        16: (128, 0.001),
        32: (64, 0.001),
        64: (32, 0.001),
        128: (32, 0.0015),
        256: (32, 0.002),
        512: (32, 0.003),
        1024: (32, 0.003),
    }


def test_lr_option_is_used_where_sched_has_none():
    assert phase_at(Config(lr=0.5), 0).lr == 0.5
    assert phase_at(Config(lr=0.5, sched=True), 0).lr == 0.5


@pytest.mark.parametrize(
    "text, parse", [("inf", number(float, 0.0)), ("nan", number(float, 0.0)), ("0", number(int, 1))]
)
def test_numbers_out_of_range(text, parse):
    with pytest.raises(argparse.ArgumentTypeError, match="out of range"):
        parse(text)
