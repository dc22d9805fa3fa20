"""Training as a user runs it: the same twice, on and on, and clear about mistakes."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY, assert_same_checkpoint, run_train

import prepare_data
import train
from backend import signals
from data.store import WRITER, LmdbWriter
from operators.convolution import jt
from training.checkpoint import read_checkpoint
from training.parameters import used_parameters
from training.run import TrainState
from training.schedule import Config, phase_at


def test_writes_what_the_original_writes(reference):
    names = {p.name for p in (reference / "checkpoint").iterdir()}
    assert names == {f"train_step-{s}.model" for s in (1, 2, 3)} | {"000020.model"}
    with Image.open(reference / "sample" / "000020.png") as picture:
        assert picture.size == (10 * 18 + 2, 5 * 18 + 2)
    lines = [json.loads(line) for line in (reference / "log.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines[1:]] == [10, 20]
    assert lines[1]["size"] == 8 and lines[2]["size"] == 16
    assert lines[2]["images"] == 80
    assert all(np.isfinite(lines[2][k]) for k in ("d_real", "d_fake", "penalty", "g"))


def test_one_seed_one_result(lmdb, reference, tmp_path):
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "20")
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)
    sample = "sample/000020.png"
    assert (reference / sample).read_bytes() == (tmp_path / sample).read_bytes()


@pytest.mark.parametrize("stop", [3, 6, 8, 13])
def test_goes_on_exactly(lmdb, reference, tmp_path, stop):
    """Stopped in the first stage, at its end, in the middle of a fade, and at the last size."""
    run_train(lmdb, tmp_path, *TINY, "--max_iters", str(stop))
    run_train(lmdb, tmp_path, "--ckpt", "latest", "--max_iters", "20", "--device", "cpu")
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_another_seed_is_another_run(lmdb, reference, tmp_path):
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "1", "--seed", "1")
    key = "generator.to_rgb.0.conv.weight_orig"
    a = read_checkpoint(reference / "checkpoint/train_step-1.model")["generator"][key]
    b = read_checkpoint(tmp_path / "checkpoint/000001.model")["generator"][key]
    assert np.abs(a - b).max() > 0.1


@pytest.mark.parametrize(
    "number, lines",
    [(signal.SIGINT, 1), *((x, 2) for x in signals.numbers() if x != signal.SIGINT)],
)
def test_signal_saves_and_ends(lmdb, tmp_path, number, lines):
    """To the whole group, as a terminal's Ctrl-C: in the first iteration, and later."""
    command = [sys.executable, str(ROOT / "train.py"), lmdb, "--expname", str(tmp_path), *TINY]
    process = subprocess.Popen(
        [*command, "--max_iters", "5000"],  # it ends, too, where nothing ends it
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    log = tmp_path / "log.jsonl"
    while not (log.exists() and log.read_text().count("\n") >= lines) and process.poll() is None:
        time.sleep(0.1)
    time.sleep(0.2)
    os.killpg(process.pid, number)
    out, err = process.communicate()
    assert process.returncode == 128 + number and "Traceback" not in err
    assert number.name in out
    (path,) = (p for p in (tmp_path / "checkpoint").iterdir() if p.name[0] == "0")
    assert read_checkpoint(path)["iteration"] == int(path.stem) >= 1


def test_nobody_listens_and_the_terminal_closes_under_nohup(lmdb, tmp_path):
    """It goes on to its end: all that is said is lost, all that is written is there."""
    words = [sys.executable, str(ROOT / "train.py"), lmdb, "--expname", str(tmp_path), *TINY]
    process = subprocess.Popen(
        [*words, "--max_iters", "30"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    process.stdout.readline()
    process.stdout.close()
    log = tmp_path / "log.jsonl"
    while not log.exists() and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGHUP)
    assert process.wait() == 0
    assert read_checkpoint(tmp_path / "checkpoint" / "000030.model")["iteration"] == 30
    assert log.read_text().count('{"iteration"') == 3


def test_ctrl_c_before_the_first_iteration_leaves_nothing(lmdb, tmp_path):
    """While Jittor loads: at once, without a word of Jittor's or ours, and nothing in the way."""
    code = (
        "import os, signal, subprocess, sys, time\n"
        "back = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)\n"
        "p = subprocess.Popen(sys.argv[2:], stderr=-1, preexec_fn=back, start_new_session=True)\n"
        "while not os.path.isdir(sys.argv[1]) and p.poll() is None: time.sleep(0.01)\n"
        "p.send_signal(signal.SIGINT)\n"
        "print(p.communicate()[1].decode(), p.returncode)\n"
    )
    words = [sys.executable, str(ROOT / "train.py"), lmdb, "--expname", str(tmp_path), *TINY]
    between = subprocess.run(  # Jittor, loaded here, would end these tests over it
        # The folders are made just before
        [sys.executable, "-c", code, str(tmp_path / "sample"), *words],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert between.stdout.split("\n")[-2].strip() == str(-signal.SIGINT), between.stdout
    assert "Traceback" not in between.stdout and "Caught" not in between.stdout
    assert not list(tmp_path.rglob("*.model"))
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "1")


def tiny_run(**options):
    config = Config(code_size=8, n_mlp=1, channel_max=4, batch_default=4, init_size=8, **options)
    return config, TrainState(config)


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_iterations_leave_nothing_behind(loss):
    """Memory does not grow: an optimiser that keeps the graph alive costs gigabytes an hour."""
    config, run = tiny_run(loss=loss, mixing=True)
    real = np.zeros((4, 3, 8, 8), "float32")
    held = []
    for _ in range(6):
        losses = train.train_iteration(run, phase_at(config, 0), real)
        del losses
        jt.gc()
        held.append(jt.liveness_info())
    assert held[2] == held[5]


def test_iteration_updates_used_parameters_and_no_others():
    config, run = tiny_run(loss="r1")
    before = {k: p.numpy() for k, p in run.g_parameters.items()}
    phase = phase_at(config, 0)
    train.train_iteration(run, phase, np.zeros((4, 3, 8, 8), "float32"))
    used = set(used_parameters(run.generator, phase.step, phase.alpha))
    changed = {k for k, p in run.g_parameters.items() if (p.numpy() != before[k]).any()}
    assert changed == used
    assert {k for k, n in run.g_optimizer.steps.items() if n} == used
    for name, p in run.g_parameters.items():  # the average has moved by 1 - 0.999 of the way
        expected = before[name] + (p.numpy() - before[name]) * 0.001
        np.testing.assert_allclose(run.running_parameters[name].numpy(), expected, atol=1e-6)


def test_mixing_draws_two_latents_in_nine_of_ten_iterations():
    config, _ = tiny_run(mixing=True)
    counts = []

    class Recorder:
        def __init__(self):
            self.config, self.images_seen = config, 0

        def whole_iteration(self, phase, crossover):
            return contextlib.nullcontext()

        def discriminator_step(self, phase, real, latents, crossover, noise, eps):
            counts.append(len(latents))
            assert (crossover in range(phase.step)) == (len(latents) == 2)
            return (0, 0, 0)

        def generator_step(self, phase, latents, crossover, noise):
            assert len(latents) == counts[-1]

        def average_generator(self, batch):
            pass

        def finish_iteration(self, n):
            self.images_seen += n

    run, phase = Recorder(), phase_at(config, 0)._replace(step=3)
    for _ in range(500):
        train.train_iteration(run, phase, np.zeros((2, 3, 32, 32)))
    assert 0.86 < counts.count(2) / 500 < 0.94


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["nowhere"], 1, "nowhere"),
        (["LMDB", "--init_size", "32"], 1, "not at 32,64,128,256,512,1024"),
        (["LMDB", "--init_size", "12"], 2, "power of two"),
        (["LMDB", "--init_size", "16", "--max_size", "8"], 2, "--init_size 16"),
        (["LMDB", "--lr", "fast"], 2, "fast"),
        (["LMDB", "--ema", "1.5"], 2, "out of range"),
        (["LMDB", "--max_iters", "0"], 2, "out of range"),
        (["LMDB", "--max_size", "16", "--expname", "/dev/null/x"], 1, "/dev/null/x"),
        (["LMDB", "--ckpt", "missing.model"], 2, "missing.model"),
        (["LMDB", "--ckpt", "latest"], 2, "no checkpoint"),
        (["LMDB", "--max_size", "16", "--init_size", "8", "--device", "cuda"], 2, "cuda"),
    ],
)
def test_mistakes_get_one_sentence(lmdb, tmp_path, monkeypatch, capfd, options, code, words):
    if "cuda" in options and jt.has_cuda:
        pytest.skip("CUDA works here")
    monkeypatch.chdir(tmp_path)
    argv = [lmdb if o == "LMDB" else o for o in options]
    try:
        result = train.main(argv)
    except SystemExit as e:  # argparse
        result = e.code
    error = capfd.readouterr().err
    assert result == code
    assert words in error and "Traceback" not in error
    assert len(error.strip().splitlines()[-1]) < 400
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize("choice", ["cuda", "auto"])
def test_plain_sums_on_cuda_are_not_deterministic(lmdb, tmp_path, monkeypatch, capfd, choice):
    """Nothing is written, whether CUDA was asked for or found."""
    found = SimpleNamespace(flags=SimpleNamespace(use_cuda=1))
    monkeypatch.setattr(train.device, "load", lambda *_: found)
    folder, both = tmp_path / "run", ["--deterministic", "--plain"]
    options = [*TINY, "--device", choice, "--expname", str(folder), *both]
    assert train.main([lmdb, *options]) == 2
    error = capfd.readouterr().err
    assert "--deterministic --plain: on CUDA the plain layers" in error and error.count("\n") == 1
    assert not folder.exists()


def test_plain_sums_on_a_cpu_are_deterministic(lmdb, tmp_path):
    options = [*TINY, "--max_iters", "8", "--deterministic", "--plain"]
    for name in ("one", "two"):
        run_train(lmdb, tmp_path / name, *options)
    assert_same_checkpoint(
        *(tmp_path / name / "checkpoint/000008.model" for name in ("one", "two"))
    )


def test_unfinished_data_is_refused(lmdb, tmp_path, capfd):
    writer = LmdbWriter(tmp_path / "half")
    os.makedirs(writer.folder)
    about = {"writer": WRITER, "complete": False, "done": 1, "total": 10}
    writer.write([(8, 0, b"x")], about)
    assert train.main([writer.folder]) == 1
    error = capfd.readouterr().err
    assert "half is unfinished, 1 of 10 pictures: " in error and "--resume" in error
    assert "Traceback" not in error and error.count("\n") == 1


def test_trains_on_a_tree_of_sizes(lmdb, reference, tmp_path):
    """The same pictures as files: the same run."""
    pictures, tree = str(Path(lmdb).parent / "pictures"), str(tmp_path / "tree")
    assert prepare_data.main([pictures, "--folders", tree, "--sizes", "4,8,16"]) == 0
    run_train(tree, tmp_path, *TINY, "--max_iters", "20")
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_checkpoint_of_other_options_is_refused(lmdb, reference, tmp_path, capfd):
    path = str(reference / "checkpoint" / "000020.model")
    folder = str(tmp_path)
    for options, words in (
        (["--seed", "5"], "seed 0, not 5"),
        (["--max_iters", "20"], "at iteration 20 already"),
        (["--max_iters", "30", "--max_size", "8"], "--max_size 8"),
    ):
        assert train.main([lmdb, "--ckpt", path, "--expname", folder, *options]) == 2
        assert words in capfd.readouterr().err


def test_growth_may_go_on_where_the_last_size_was_due_to_end(lmdb, reference, tmp_path):
    """Trained to 8 px first and to 16 px then, it is the run that reaches 16 at once."""
    options = [*TINY, "--max_size", "8", "--max_iters", "14"]
    run_train(lmdb, tmp_path, *options)
    path = tmp_path / "checkpoint" / "train_step-2.model"
    run_train(lmdb, tmp_path, "--ckpt", str(path), "--max_size", "16", "--max_iters", "20")
    last = "checkpoint/000020.model"
    assert_same_checkpoint(reference / last, tmp_path / last)


def test_a_folder_with_a_run_is_not_overwritten(lmdb, reference, capfd):
    assert train.main([lmdb, "--expname", str(reference), "--max_size", "16"]) == 2
    assert "--ckpt latest" in capfd.readouterr().err


def test_help_shows_every_default(capsys):
    with pytest.raises(SystemExit):
        train.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    for words in ("(default 0.999)", "(default 600000)", "(default wgan-gp)", "(default 512)"):
        assert words in text


def test_auto_begins_goes_on_and_ends(lmdb, tmp_path, capsys):
    """As `make demo` does, which is repeated after Ctrl-C or for no reason; other files stay."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "000009.model").write_text("x")
    command = [lmdb, "--expname", str(tmp_path), *TINY, "--ckpt", "auto", "--max_iters"]
    for iterations, words in (
        ("1", f"no run in {tmp_path} to go on with: beginning one"),
        ("2", "000001.model: iteration 1, 4 images"),
        ("2", "000002.model is at iteration 2 already: nothing to train"),
        ("1", "000002.model is at iteration 2 already: nothing to train"),
    ):
        assert train.main([*command, iterations]) == 0
        assert words in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert names == ["000001.model", "000002.model", "000009.model"]
