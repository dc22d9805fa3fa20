"""What train.py expects a run to need, and the warning where there is less."""

import pytest
from tiny import TINY

import train
from backend import machine
from model import Discriminator, StyledGenerator, widths
from training import memory
from training.parameters import used_parameters
from training.schedule import Config


@pytest.mark.parametrize(
    "channels, code, n_mlp, step", [(512, 512, 8, 8), (512, 512, 8, 3), (40, 64, 2, 4)]
)
def test_counts_the_weights(channels, code, n_mlp, step):
    config = Config(channel_max=channels, code_size=code, n_mlp=n_mlp)
    networks = StyledGenerator(code, n_mlp, channels), Discriminator(channel_max=channels)
    exact = sum(p.numel() for n in networks for p in used_parameters(n, step).values())
    assert abs(memory.weights(config, widths(channels), step) / exact - 1) < 0.02


@pytest.mark.parametrize(
    "size, channels, batch, measured",
    [
        (8, 40, 16, 157),
        (32, 40, 16, 184),
        (32, 40, 64, 288),
        (64, 40, 8, 223),
        (128, 40, 4, 284),
        (256, 40, 4, 705),
        (8, 128, 16, 193),
        (32, 128, 16, 314),
        (64, 128, 8, 430),
        (128, 128, 4, 647),
        (256, 128, 4, 1772),  # the one beyond 15 %
        (8, 512, 16, 607),
        (16, 512, 16, 744),
        (32, 512, 16, 1130),
        (64, 512, 8, 1500),
        (128, 512, 4, 1559),
        (256, 512, 4, 2448),
    ],
)
def test_expects_what_was_measured(size, channels, batch, measured):
    """MiB, by benchmarks/memory.py."""
    config = Config(channel_max=channels, batch_default=batch)
    expected = memory.needed(config, widths(channels), size) / 2**20
    assert abs(expected / measured - 1) < (0.19 if measured == 1772 else 0.15)


def test_the_largest_stage_counts():
    """With --sched batches shrink while images grow."""
    config = Config(sched=True, init_size=4, max_size=16, channel_max=40)
    line = memory.check(config, widths(40))
    assert line.endswith("at 16 px in batches of 128")
    small = memory.check(Config(init_size=8, max_size=8), widths(512))
    assert small == "memory: about 0.7 GB at 8 px in batches of 32"


def test_what_may_not_fit_is_said_and_tried(monkeypatch, lmdb, tmp_path, capsys):
    monkeypatch.setattr(machine, "memory", lambda: 50_000_000)
    options = [lmdb, "--expname", str(tmp_path / "run"), *TINY, "--max_iters", "1"]
    assert train.main(options) == 0
    told = capsys.readouterr()
    warnings = [line for line in told.err.splitlines() if line.startswith("train.py: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith("train.py: training may need about 0.1 GB at ")
    assert warnings[0].endswith(
        "there are 0.1 GB: if they do not suffice, choose a smaller --batch_default, --max_size or "
        "--channel_max"
    )
    assert "memory: about 0.1 GB at " in told.out
    assert (tmp_path / "run/checkpoint/000001.model").exists()


@pytest.mark.parametrize(
    "options, words",
    [
        ({}, "choose a smaller --batch_default, --max_size or"),
        ({"sched": True}, "leave --sched out, or choose a smaller --max_size or"),
        ({"sched": True, "batch_at": "64:9"}, "choose a smaller --batch_at, --max_size or"),
    ],
)
def test_which_option_asks_for_less(monkeypatch, capsys, options, words):
    monkeypatch.setattr(machine, "memory", lambda: 1000)
    memory.check(Config(init_size=64, max_size=64, **options), widths(40))
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("available, warns", [(500_000_000, True), (10**11, False), (None, False)])
def test_warns_only_where_there_is_less(monkeypatch, capsys, available, warns):
    monkeypatch.setattr(machine, "memory", lambda: available)
    assert memory.check(Config(), widths(512)).startswith("memory: about ")
    assert ("there are 0.5 GB" in capsys.readouterr().err) == warns
