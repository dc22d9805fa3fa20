"""A run cannot be lost: killed, diverged, on a full disk, it goes on from what it saved."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny import ROOT, TINY, assert_same_checkpoint, run_train

import prepare_data
import train
from backend.disk import UNFINISHED
from training import progress
from training.checkpoint import config_of, read_checkpoint
from training.folder import DivergedError, checkpoints, iteration_of
from training.run import TrainState

KILLS = 20
LATEST = ("--ckpt", "latest")
TIMES = ("seconds", "images_per_second")


def train_here(lmdb, folder, *options):
    """train.py in this process, which has compiled everything already; its exit code."""
    return train.main([lmdb, "--expname", str(folder), *map(str, options)])


def begin(lmdb, folder, *options):
    return train_here(lmdb, folder, *TINY, *options)


def go_on(lmdb, folder, *options):
    return train_here(lmdb, folder, *LATEST, "--device", "cpu", *options)


def names(folder, below="checkpoint"):
    return sorted(p.name for p in (folder / below).iterdir())


def iterations(folder):
    """Lines of the log that tell of an iteration, without the times."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "iteration" in line]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in lines]


@pytest.fixture
def often(monkeypatch):
    """Logs every iteration and draws samples in every second one."""
    monkeypatch.setattr(progress, "LOG_EVERY", 1)
    monkeypatch.setattr(train, "SAMPLE_EVERY", 2)


def start_train(lmdb, folder, *options):
    """train.py as a group of processes of its own; returns (shell, process number).

    Through a shell that tells the number first: Jittor, which these tests have loaded, would end
    them over a child of theirs that is killed.
    """
    program = [sys.executable, str(ROOT / "train.py"), lmdb, "--expname", str(folder), *options]
    shell = subprocess.Popen(
        ["setsid", "sh", "-c", '"$@" & echo $!; wait $!; exit 0', "sh", *program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    return shell, int(shell.stdout.readline())


def starts(folder):
    """How many starts of a run the log tells of."""
    log = folder / "log.jsonl"
    return log.read_text().count('"config"') if log.exists() else 0


def test_a_cpu_is_deterministic_anyway(lmdb, reference, tmp_path):
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "20", "--deterministic")
    name = "checkpoint/000020.model"
    assert_same_checkpoint(reference / name, tmp_path / name)


def test_killed_at_random_moments_it_always_goes_on(lmdb, tmp_path):
    """kill -9 during the start, the iterations and the saving: same weights, same log."""
    dice, killed = random.Random(0), tmp_path / "killed"
    options = [*TINY, "--save_every", "1", "--keep", "2", "--max_iters", "100000"]
    for attempt in range(KILLS):
        before = checkpoints(killed)
        shell, process = start_train(lmdb, killed, *options, *(LATEST if before else ()))
        while attempt % 4 and shell.poll() is None and checkpoints(killed) == before:
            time.sleep(0.02)  # each fourth is killed while it starts
        time.sleep(dice.uniform(0, 1))
        assert shell.poll() is None, shell.communicate()
        os.kill(process, signal.SIGKILL)
        shell.communicate()
    reached = iteration_of(checkpoints(killed)[0])
    assert reached > KILLS
    end = ["--max_iters", str(reached // 10 * 10 + 20)]
    assert go_on(lmdb, killed, *end) == 0 and begin(lmdb, tmp_path / "whole", *end) == 0
    last = f"checkpoint/{reached // 10 * 10 + 20:06d}.model"
    assert_same_checkpoint(tmp_path / "whole" / last, killed / last)
    assert iterations(killed) == iterations(tmp_path / "whole")
    assert not list(killed.rglob(f"*{UNFINISHED}"))


def test_log_and_samples_have_no_gap_and_no_repetition(lmdb, tmp_path, often):
    """Killed at iteration 16 with the last checkpoint of 12, in the middle of a line."""
    assert begin(lmdb, tmp_path / "whole", "--max_iters", 20) == 0
    killed = tmp_path / "killed"
    assert begin(lmdb, killed, "--save_every", 12, "--max_iters", 16) == 0
    (killed / "checkpoint" / "000016.model").unlink()
    with open(killed / "log.jsonl", "a") as log:
        log.write('{"iteration": 17, "ima')
    assert go_on(lmdb, killed, "--max_iters", 20) == 0
    assert iterations(killed) == iterations(tmp_path / "whole")
    assert [line["iteration"] for line in iterations(killed)] == list(range(1, 21))
    assert starts(killed) == 2
    assert names(killed, "sample") == [f"{i:06d}.png" for i in range(2, 21, 2)]
    for name in names(killed, "sample"):
        a, b = (tmp_path / run / "sample" / name for run in ("whole", "killed"))
        assert a.read_bytes() == b.read_bytes()


def test_the_rolling_checkpoint(lmdb, tmp_path, monkeypatch, often):
    """Every iteration, no time after the last checkpoint: what a kill leaves goes on bit by bit, a
    regular checkpoint takes its place, and all else is as without.
    """
    options = ["--save_every", 7, "--max_iters", 12]
    assert begin(lmdb, tmp_path / "whole", *options, "--save_minutes", 0) == 0
    killed, left = tmp_path / "killed", {}
    save = train.save

    def watched(run, phase, losses, output, written):
        paths = save(run, phase, losses, output, written)
        left[run.iteration, written[-1]] = names(killed)
        if run.iteration == 10:
            raise KeyboardInterrupt  # as good as a kill: nothing is saved any more
        return paths

    monkeypatch.setattr(train, "save", watched)
    with pytest.raises(KeyboardInterrupt):
        begin(lmdb, killed, *options, "--save_minutes", 1e-9)
    assert left[5, "rolling.model"] == ["rolling.model"]
    assert left[6, "train_step-1.model"] == ["train_step-1.model"]
    assert left[7, "000007.model"] == ["000007.model", "train_step-1.model"]
    newest = checkpoints(killed)[0]
    assert newest.name == "rolling.model" and iteration_of(newest) == 10
    monkeypatch.setattr(train, "save", save)
    assert go_on(lmdb, killed, *options) == 0
    assert names(killed) == names(tmp_path / "whole") and "000012.model" in names(killed)
    for name in names(killed):
        one, other = (tmp_path / run / "checkpoint" / name for run in ("whole", "killed"))
        assert_same_checkpoint(one, other)
    assert iterations(killed) == iterations(tmp_path / "whole")


def test_an_earlier_checkpoint_puts_the_rolling_one_aside(lmdb, tmp_path):
    assert begin(lmdb, tmp_path, "--save_every", 2, "--max_iters", 4) == 0
    folder = tmp_path / "checkpoint"
    (folder / "000004.model").rename(folder / "rolling.model")
    source = ["--ckpt", str(folder / "000002.model"), "--device", "cpu"]
    assert train.main([lmdb, "--expname", str(tmp_path), *source, "--max_iters", "3"]) == 0
    assert {"rolling.model.later", "000003.model"} < set(names(tmp_path))
    assert "rolling.model" not in names(tmp_path)


def test_sample_every(lmdb, tmp_path):
    assert begin(lmdb, tmp_path, "--sample_every", 3, "--max_iters", 8) == 0
    assert names(tmp_path, "sample") == ["000003.png", "000006.png", "000008.png"]


def test_save_every_and_keep(lmdb, tmp_path):
    assert begin(lmdb, tmp_path, "--save_every", 2, "--keep", 2, "--max_iters", 7) == 0
    assert names(tmp_path) == ["000006.model", "000007.model", "train_step-1.model"]
    options = ["--save_every", 1, "--keep", 1, "--max_iters", 10]
    assert go_on(lmdb, tmp_path, *options) == 0  # the one gone on from stays
    assert names(tmp_path) == ["000007.model", "000010.model", "train_step-1.model"]


def test_latest_goes_by_iterations_not_by_dates(lmdb, tmp_path, capfd):
    assert begin(lmdb, tmp_path, "--save_every", 2, "--max_iters", 4) == 0
    os.utime(tmp_path / "checkpoint" / "000004.model", (0, 0))
    assert go_on(lmdb, tmp_path, "--max_iters", 5) == 0
    assert "000004.model: iteration 4" in capfd.readouterr().out


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1000],
        lambda raw: raw[:9000] + bytes([raw[9000] ^ 1]) + raw[9001:],
        lambda raw: b"",
    ],
    ids=["truncated", "bit", "empty"],
)
def test_damaged_newest_is_skipped(lmdb, reference, tmp_path, capfd, damage):
    assert begin(lmdb, tmp_path, "--save_every", 5, "--max_iters", 10) == 0
    newest = tmp_path / "checkpoint" / "000010.model"
    newest.write_bytes(damage(newest.read_bytes()))
    assert go_on(lmdb, tmp_path, "--max_iters", 20) == 0
    out, err = capfd.readouterr()
    assert "train_step-1.model: iteration 6" in out
    assert f"warning: {newest} is " in err and "damaged" in err
    assert "000010.model.later" in names(tmp_path) and not newest.exists()
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_all_damaged_is_one_sentence(lmdb, tmp_path, capfd):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "000010.model").write_bytes(b"x")
    assert go_on(lmdb, tmp_path) == 1
    error = capfd.readouterr().err
    assert "000010.model is not a checkpoint, or is damaged" in error
    assert error.count("\n") == 1


def test_going_back_puts_later_checkpoints_aside(lmdb, reference, tmp_path, capfd):
    assert begin(lmdb, tmp_path, "--save_every", 3, "--max_iters", 9) == 0
    early = str(tmp_path / "checkpoint" / "000003.model")
    (tmp_path / "checkpoint" / f"000011.model{UNFINISHED}").write_bytes(b"unfinished")
    assert train_here(lmdb, tmp_path, "--ckpt", early, "--max_iters", 5) == 0
    assert "renamed to 000009.model.later" in capfd.readouterr().out
    aside = ["000006.model.later", "000009.model.later", "train_step-1.model.later"]
    assert names(tmp_path) == sorted(["000003.model", "000005.model", *aside])
    assert go_on(lmdb, tmp_path, "--max_iters", 20) == 0
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_override_takes_the_options_given(lmdb, tmp_path, capfd):
    assert begin(lmdb, tmp_path, "--max_iters", 2) == 0
    assert go_on(lmdb, tmp_path, "--lr", 0.5, "--max_iters", 3) == 2
    assert "lr 0.001, not 0.5" in capfd.readouterr().err
    assert go_on(lmdb, tmp_path, "--lr", 0.5, "--override", "--max_iters", 3) == 0
    content = read_checkpoint(tmp_path / "checkpoint" / "000003.model")
    assert config_of(content).lr == 0.5 and config_of(content).phase == 10


@pytest.mark.parametrize(
    "options",
    [
        ["--batch_default", 2],
        ["--batch_at", "4:2,8:2"],
        ["--phase", 100],
        ["--phase", 5, "--sched"],
    ],
    ids=str,
)
def test_override_keeps_the_stage(lmdb, tmp_path, capfd, options):
    """Stopped at 8 px, alpha 0.5; killed and resumed after that, the new run has no gap either."""
    assert begin(lmdb, tmp_path / "a", "--max_iters", 7) == 0
    capfd.readouterr()
    assert go_on(lmdb, tmp_path / "a", *options, "--override", "--max_iters", 8) == 0
    out = capfd.readouterr().out
    assert "goes on from 8 px, alpha 0.5 (by the new options alone it would be" in out
    content = read_checkpoint(tmp_path / "a" / "checkpoint" / "000008.model")
    phase = config_of(content).phase
    assert content["size"] == 8 and 0 <= content["alpha"] - 0.5 <= 1 / phase
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert go_on(lmdb, tmp_path / "a", "--max_iters", 10) == 0
    assert go_on(lmdb, tmp_path / "b", "--max_iters", 9) == 0
    assert go_on(lmdb, tmp_path / "b", "--max_iters", 10) == 0
    last = "checkpoint/000010.model"
    assert_same_checkpoint(tmp_path / "a" / last, tmp_path / "b" / last)
    assert "--override" not in capfd.readouterr().out


def test_override_of_what_the_place_does_not_hang_on_says_nothing(lmdb, tmp_path, capfd):
    assert begin(lmdb, tmp_path, "--max_iters", 8) == 0
    capfd.readouterr()
    assert go_on(lmdb, tmp_path, "--lr", 0.01, "--override", "--max_iters", 9) == 0
    assert "goes on from 8 px" not in capfd.readouterr().out
    content = read_checkpoint(tmp_path / "checkpoint" / "000009.model")
    assert config_of(content).start_size == 0 and content["size"] == 8


@pytest.mark.parametrize(
    "size, alpha, words", [(4, 1.0, "fully grown"), (8, 0.1, "fading in"), (16, 0.1, "fading in")]
)
def test_restart_begins_a_stage(lmdb, tmp_path, capfd, size, alpha, words):
    """Of a size that was learned, of the one that is fading in, of the next."""
    assert begin(lmdb, tmp_path, "--max_iters", 8) == 0
    assert go_on(lmdb, tmp_path, "--restart_at", size, "--max_iters", 9) == 0
    assert f"begins a stage of {size} px, {words}" in capfd.readouterr().out
    content = read_checkpoint(tmp_path / "checkpoint" / "000009.model")
    assert (content["size"], content["alpha"]) == (size, alpha)
    assert (content["iteration"], content["images_seen"]) == (9, 36)
    assert go_on(lmdb, tmp_path, "--max_iters", 10) == 0  # and goes on there
    assert read_checkpoint(tmp_path / "checkpoint" / "000010.model")["size"] == size


def test_restart_where_it_cannot_be(lmdb, reference, tmp_path, capfd):
    early = reference / "checkpoint" / "train_step-1.model"
    for options, words in (
        (
            ["--ckpt", early, "--restart_at", 16],
            "has learned 4 to 4 px: --restart_at can be 4 to 8",
        ),
        (["--ckpt", early, "--restart_at", 32], "above --max_size 16"),
        (["--ckpt", early, "--restart_at", 8, "--lr", 1], "lr 0.001, not 1.0"),
        (["--restart_at", 8], "goes with --ckpt only"),
    ):
        assert train_here(lmdb, tmp_path / "new", *options, "--max_iters", 9) == 2
        assert words in capfd.readouterr().err
    options = ["--restart_at", 8, "--max_size", 8, "--max_iters", 7]
    assert train_here(lmdb, tmp_path / "new", "--ckpt", early, *options) == 0


def test_numbers_at_the_edge_come_back(lmdb, tmp_path):
    """Whatever the parser takes."""
    edges = {
        "seed": 2**64 - 1,
        "phase": 10**15,
        "gp_weight": 0.0,
        "mapping_lr_mult": 1e30,
        "lr": 0.0,
        "ema": 1.0,
    }
    options = [f"--{name}={value}" for name, value in edges.items()]
    assert begin(lmdb, tmp_path, *options, "--max_iters", 2) == 0
    assert go_on(lmdb, tmp_path, "--max_iters", 3, "--save_every", 10**15) == 0
    config = config_of(read_checkpoint(tmp_path / "checkpoint" / "000002.model"))
    assert {name: getattr(config, name) for name in edges} == edges


def test_another_number_of_pictures_is_refused(lmdb, tmp_path, capfd):
    other = str(tmp_path / "other")
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("0.png", "1.png", "2.png"):
        os.link(Path(lmdb).parent / "pictures" / name, pictures / name)
    assert prepare_data.main([str(pictures), "--out", other, "--sizes", "4,8,16"]) == 0
    assert begin(lmdb, tmp_path, "--max_iters", 2) == 0
    capfd.readouterr()
    assert go_on(other, tmp_path, "--max_iters", 3) == 2
    error = capfd.readouterr().err
    assert f"10 pictures, {other} holds 3" in error and error.count("\n") == 1
    assert go_on(other, tmp_path, "--override", "--max_iters", 3) == 0
    assert read_checkpoint(tmp_path / "checkpoint" / "000003.model")["pictures"] == 3


def test_divergence_stops_and_saves_nothing(lmdb, tmp_path, capfd, often):
    assert begin(lmdb, tmp_path, "--save_every", 1, "--max_iters", 3) == 0
    good = (tmp_path / "checkpoint" / "000003.model").read_bytes()
    options = ["--lr", 1e30, "--override", "--save_every", 1, "--max_iters", 20]
    assert go_on(lmdb, tmp_path, *options) == 1
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "the training has diverged, " in error and "--override and a lower --lr" in error
    assert (tmp_path / "checkpoint" / "000003.model").read_bytes() == good
    assert len(names(tmp_path)) < 8 and "NaN" not in (tmp_path / "log.jsonl").read_text()
    for path in checkpoints(tmp_path):
        content = read_checkpoint(path)
        for part in ("generator", "discriminator", "g_running"):
            assert all(np.isfinite(a).all() for a in content[part].values()), path


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    """Losses are of before the update: they can be fine when the weights no longer are."""
    run = TrainState(train.Config(code_size=8, n_mlp=1, channel_max=4))
    bias = run.g_parameters["style.1.linear.bias"]
    bias.update(bias * float("nan"))
    with pytest.raises(DivergedError, match="style.1.linear.bias"):
        run.save(tmp_path / "a.model", alpha=1, size=8)
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_the_earlier_checkpoint(lmdb, tmp_path, capfd):
    assert begin(lmdb, tmp_path, "--max_iters", 3) == 0
    earlier = (tmp_path / "checkpoint" / "000003.model").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(earlier) // 2, limits[1]))
    try:
        assert go_on(lmdb, tmp_path, "--max_iters", 4) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capfd.readouterr().err.strip().splitlines()[-1]
    assert "000004.model cannot be written (File too large: a limit" in error
    assert "what was saved before is intact" in error and len(error) < 350
    assert names(tmp_path) == ["000003.model"]
    assert (tmp_path / "checkpoint" / "000003.model").read_bytes() == earlier
    assert go_on(lmdb, tmp_path, "--max_iters", 4) == 0


def test_signal_while_it_draws_a_sample(lmdb, tmp_path, monkeypatch, often):
    """It is heard when all of the iteration is written, and that iteration is saved."""
    monkeypatch.setattr(train, "save_sample", lambda *a: os.kill(os.getpid(), signal.SIGTERM))
    assert begin(lmdb, tmp_path, "--max_iters", 20) == 128 + signal.SIGTERM
    assert names(tmp_path) == ["000002.model"]


def test_signals_while_it_saves(lmdb, tmp_path, monkeypatch, often):
    """The second Ctrl-C, and a closed terminal on top, while the first one's checkpoint is
    written.
    """
    save = train.save

    def disturbed(*args):
        for number in (signal.SIGINT, signal.SIGHUP):
            os.kill(os.getpid(), number)
        return save(*args)

    monkeypatch.setattr(train, "save", disturbed)
    monkeypatch.setattr(train, "save_sample", lambda *a: os.kill(os.getpid(), signal.SIGHUP))
    assert begin(lmdb, tmp_path, "--max_iters", 20) == 128 + signal.SIGHUP
    assert names(tmp_path) == ["000002.model"]
    assert go_on(lmdb, tmp_path, "--max_iters", 3) == 0
