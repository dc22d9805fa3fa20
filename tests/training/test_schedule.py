"""Growth, checked by walking it one iteration at a time as the original's loop does."""

import argparse

import pytest

from backend.terminal import number
from training.checkpoint import is_config
from training.options import batch_list
from training.schedule import Config, batches_of, continued, images_at, phase_at, restarted


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


def test_a_batch_for_each_size():
    """Those that are given; the other sizes as without, with --sched and without."""
    given = {"phase": 100, "init_size": 8, "max_size": 32, "batch_at": "8:64,32:7"}
    for sched, between in ((False, 32), (True, 128)):
        config, found, seen = Config(sched=sched, **given), [], 0
        for i in range(20):
            assert images_at(config, i) == seen
            found.append((phase_at(config, seen).size, phase_at(config, seen).batch))
            seen += found[-1][1]
        stages = 200 // 64 + 1, 200 // between + 1
        expected = [(8, 64)] * stages[0] + [(16, between)] * stages[1] + [(32, 7)] * 20
        assert found == expected[:20]
    rates = [phase_at(Config(sched=True, batch_at="128:8", init_size=128), 0)[i] for i in (3, 4)]
    assert rates == [8, 0.0015]


def test_lists_of_batches():
    assert batch_list("64:8,8:64") == "8:64,64:8" and batches_of("8:64,64:8") == {8: 64, 64: 8}
    assert batches_of("") == {} and is_config({"batch_at": "8:64"})
    for text in ("8", "8:", "8:0", "12:4", "8:4,8:4", "8:4:2", "8:65537", "8:x", "", "8:4,"):
        with pytest.raises(argparse.ArgumentTypeError, match="such as 8:64,64:8"):
            batch_list(text)
    for text in ("8", "12:4", "8:4,8:2", "8:99999999999999999999", 8):
        assert not is_config({"batch_at": text})


WAS = Config(phase=40, batch_default=4, init_size=8, max_size=32)
SEEN = 84 + 16  # images: a first stage of 21 iterations, then 4 of the fade of 16 px


@pytest.mark.parametrize(
    "options, used, batch, last",
    [
        ({"batch_default": 16}, 16, 16, 5),  # 16, 32, .. 80 images: the next finds more than 80
        ({"batch_default": 3}, 16, 3, 22),
        ({"phase": 400}, 169, 4, 158),  # 170 / 400 is 17 / 40
        ({"phase": 20}, 8, 4, 9),  # 9 / 20: the next above
        ({"batch_default": 1, "phase": 80}, 33, 1, 128),
        ({"sched": True}, 16, 128, 1),
        ({"batch_at": "16:2"}, 16, 2, 33),
        ({"init_size": 16}, 16, 4, 17),
        ({"init_size": 4}, 16, 4, 17),
        ({"max_size": 128}, 16, 4, 17),
    ],
    ids=str,
)
def test_another_growth_goes_on_from_the_place_reached(options, used, batch, last):
    """16 px, alpha 0.425 and on from there, one stage, then the next; `last` iterations of it."""
    config = continued(WAS, Config(**{**WAS.__dict__, **options}), SEEN, 25)
    place = phase_at(config, SEEN)
    assert (place.size, place.used, place.batch) == (16, used, batch)
    assert 0 <= place.alpha - 17 / 40 < 1 / config.phase
    assert images_at(config, 25) == SEEN and images_at(config, 26) == SEEN + batch
    seen = SEEN
    for i in range(last):
        p = phase_at(config, seen)
        assert p.size == 16 and p.alpha == min(1, (used + i * batch + 1) / config.phase)
        assert images_at(config, 25 + i) == seen
        seen += p.batch
    following = phase_at(config, seen)
    assert (following.size, following.used, following.alpha) == (32, 0, 1 / config.phase)
    assert images_at(config, 25 + last + 1) == seen + following.batch
    again = continued(config, config, SEEN + batch, 26)  # once more
    assert phase_at(again, SEEN + batch) == phase_at(config, SEEN + batch)


def test_what_was_fully_grown_stays_so():
    """The first stage, which does not fade in; the last, whatever it has seen; a size above
    max_size.
    """
    first = continued(WAS, Config(**{**WAS.__dict__, "phase": 10**15, "init_size": 4}), 40, 10)
    assert phase_at(first, 40)[:3] == (8, 1, 1.0)
    last = 84 * 2 + 1000
    for options in ({"phase": 7}, {"batch_default": 512}, {"max_size": 8}):
        config = continued(WAS, Config(**{**WAS.__dict__, **options}), last, 292)
        assert phase_at(config, last)[:3] == phase_at(config, 10**6)[:3] == (32, 3, 1.0)
    higher = continued(WAS, Config(**{**WAS.__dict__, "max_size": 64}), last, 292)
    assert phase_at(higher, last)[:3] == (64, 4, 1 / 40)  # it was due


@pytest.mark.parametrize("fades", [False, True])
def test_a_stage_may_begin_anew(fades):
    config = restarted(WAS, 8, fades, SEEN, 25)
    for used in range(0, 84, 4):
        alpha = min(1, (used + 1) / 40) if fades else 1
        assert phase_at(config, SEEN + used) == (8, 1, alpha, 4, 0.001, used)
    assert phase_at(config, SEEN + 84)[:3] == (16, 2, 1 / 40)
    assert images_at(config, 25 + 21 + 5) == SEEN + 104


def test_lr_option_is_used_where_sched_has_none():
    assert phase_at(Config(lr=0.5), 0).lr == 0.5
    assert phase_at(Config(lr=0.5, sched=True), 0).lr == 0.5


@pytest.mark.parametrize(
    "text, parse", [("inf", number(float, 0.0)), ("nan", number(float, 0.0)), ("0", number(int, 1))]
)
def test_numbers_out_of_range(text, parse):
    with pytest.raises(argparse.ArgumentTypeError, match="out of range"):
        parse(text)


def test_advice_for_another_batch():
    from training.schedule import BATCHES, batch_advice

    size = max(BATCHES)
    for sched in (False, True):
        assert batch_advice(Config(sched=sched, batch_at="8:4"), 8) == "change --batch_at"
    assert "leave --sched out" in batch_advice(Config(sched=True), size)
    for config, other in ((Config(sched=False), size), (Config(sched=True), 3)):
        assert batch_advice(config, other) == "change --batch_default"
