"""A run leaves alone what it did not write, and no two runs share a folder."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from saved import TINY as SMALL
from tiny import ROOT, TINY, assert_same_checkpoint

import convert
import train
from backend import disk
from backend.disk import locked
from backend.terminal import UsageError
from figures.grid import save_grid
from operators.convolution import jt
from training import progress
from training.checkpoint import read_checkpoint
from training.folder import check_vacant, checkpoints, make_ready, remove_old
from training.history import MARK, History, header_of, iteration_of
from training.run import TrainState

NAMES = ("000002.model", "000004.model")


@pytest.fixture(scope="module")
def finished(lmdb, tmp_path_factory):
    """A run of 4 iterations with a checkpoint of every second one."""
    folder = tmp_path_factory.mktemp("finished")
    assert start(lmdb, folder, *TINY, "--save_every", 2, "--max_iters", 4) == 0
    return folder


@pytest.fixture
def mine(finished, tmp_path):
    """A copy of it."""
    return Path(shutil.copytree(finished, tmp_path / "mine"))


@pytest.fixture(scope="module")
def network():
    return TrainState(SMALL)


def start(lmdb, folder, *options):
    return train.main([lmdb, "--expname", str(folder), *map(str, options)])


def go_on(lmdb, folder, *options):
    return start(lmdb, folder, "--ckpt", "latest", "--device", "cpu", *options)


def contents(folder):
    """Bytes by path of all files below a folder."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def log(folder, *entries):
    """Writes a log of these lines."""
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (folder / "log.jsonl").write_text("".join(f"{line}\n" for line in lines))


def ckpt(network, folder, name, iteration, config=SMALL, pictures=10):
    """Writes a checkpoint of a run under `config`."""
    network.iteration, network.config, network.pictures = iteration, config, pictures
    network.save(folder / "checkpoint" / name, alpha=1.0, size=8)
    return folder / "checkpoint" / name


def noted(config, at=0, pictures=10):
    """What the log says of a start."""
    return {"config": config.__dict__, "from": at, "pictures": pictures}


# Whose is it?


def test_header_tells_what_the_whole_file_does(mine):
    for path in (mine / "checkpoint").iterdir():
        content = read_checkpoint(path)
        header = header_of(path)
        assert header.items() >= content["config"].items()
        for name in ("version", "iteration", "images_seen", "pictures", "size", "alpha"):
            assert header[name] == content[name]


def test_header_of_other_files_is_empty(network, tmp_path):
    (tmp_path / "picture.model").write_bytes(b"\x89PNG\r\n\x1a\n")
    jt.save({"generator": np.zeros(3), "iteration": 5}, str(tmp_path / "port.model"))
    jt.save(["version", 1, "config"], str(tmp_path / "list.model"))
    (tmp_path / "folder.model").mkdir()
    for path in tmp_path.iterdir():
        assert header_of(path) == {}
    assert iteration_of(tmp_path / "000070.model") == 70


def test_a_checkpoint_of_another_run_is_not_of_this_one(network, tmp_path):
    """Another seed, another set of pictures, or a start since with other options."""
    other = SMALL.__class__(**{**SMALL.__dict__, "seed": 9})
    log(tmp_path, noted(SMALL), {"iteration": 10, "images": 1}, noted(other, at=20))
    for name, iteration, config, pictures, wrote in (
        ("000010.model", 10, SMALL, 10, True),
        ("000020.model", 20, SMALL, 10, True),
        ("000021.model", 21, SMALL, 10, False),
        ("000022.model", 22, other, 10, True),
        ("000023.model", 23, other, 11, False),
        ("000009.model", 9, other, 10, False),
    ):
        path = ckpt(network, tmp_path, name, iteration, config, pictures)
        assert History(tmp_path).wrote(path) == wrote, name
        assert (path in checkpoints(tmp_path)) == wrote
    assert [p.name for p in checkpoints(tmp_path)] == [
        "000022.model",
        "000020.model",
        "000010.model",
    ]


def test_logs_of_an_earlier_version_will_do(network, tmp_path):
    """Without pictures, and without the options that have come since."""
    old = {k: v for k, v in SMALL.__dict__.items() if not k.startswith("start_")}
    log(tmp_path, {"config": old, "from": 0}, {"iteration": 10, "images": 1})
    assert History(tmp_path).wrote(ckpt(network, tmp_path, "000010.model", 10))


def test_names_that_train_does_not_give_are_not_taken(mine):
    for name in ("best.model", "4.model", "999999.model", "000009.model.bak", "train_step-x.model"):
        shutil.copy(mine / "checkpoint" / NAMES[0], mine / "checkpoint" / name)
    assert [p.name for p in checkpoints(mine)] == [*NAMES[::-1]]


# Going on


def test_others_files_stay_when_a_run_goes_on(lmdb, mine, capfd):
    """Beside its checkpoints: a port's, one of another run, half a file, a note in the log."""
    aside = mine / "checkpoint"
    jt.save({"generator": {"style.1.linear.bias": np.zeros(3)}}, str(aside / "900000.model"))
    own = jt.load(str(aside / NAMES[1]))
    own["config"]["seed"], own["iteration"] = 77, 500
    jt.save(own, str(aside / "000500.model"))
    (aside / "theirs.model.tmp").write_bytes(b"half")
    (aside / "000500.model.tmp").write_bytes(b"half")
    (mine / "sample" / "note.png.tmp").write_bytes(b"half")
    (mine / "sample" / "000100.png.tmp").write_bytes(b"half")
    (mine / "log.jsonl.tmp").write_bytes(b"half")
    with open(mine / "log.jsonl", "a") as file:
        file.write("a note\n[1, 2]\n")
    before = contents(mine)
    options = ["--max_iters", 7, "--save_every", 1, "--keep", 1]
    assert go_on(lmdb, mine, *options) == 0
    out, err = capfd.readouterr()
    assert "going on from" in out and "000004.model: iteration 4" in out
    assert "warning" in err and "900000.model" in err
    after = contents(mine)
    kept = {k for k, v in before.items() if after.get(k) == v}
    gone = {"log.jsonl", "checkpoint/000002.model"}  # grown; no longer among the newest
    assert kept == set(before) - gone
    assert after["log.jsonl"].startswith(before["log.jsonl"])
    assert {"checkpoint/000007.model", "checkpoint/000004.model"} <= set(after)


def test_going_back_twice_keeps_all(lmdb, mine):
    early = mine / "checkpoint" / NAMES[0]
    for _ in range(2):
        assert start(lmdb, mine, "--ckpt", early, "--max_iters", 4) == 0
    names = sorted(p.name for p in (mine / "checkpoint").iterdir())
    assert names == [*NAMES, "000004.model-2.later", "000004.model.later"]


def test_a_name_that_is_taken_is_left(lmdb, mine, capfd):
    taken = mine / "checkpoint" / "000006.model"
    taken.write_bytes(b"PK\3\4 theirs")
    Image.new("RGB", (8, 8)).save(mine / "sample" / "000006.png")
    before = contents(mine)
    assert go_on(lmdb, mine, "--max_iters", 6) == 0
    assert "writing 000006-2.model beside it" in capfd.readouterr().out
    after = contents(mine)
    for name in ("checkpoint/000006.model", "sample/000006.png"):
        assert after[name] == before[name]
    assert "sample/000006-2.png" in after
    assert go_on(lmdb, mine, "--max_iters", 8) == 0
    assert "000006-2.model: iteration 6" in capfd.readouterr().out


def test_a_linked_folder_of_checkpoints_is_its_own(lmdb, mine, tmp_path):
    """On a larger disk, say."""
    shutil.move(str(mine / "checkpoint"), str(tmp_path / "large"))
    (mine / "checkpoint").symlink_to(tmp_path / "large")
    assert go_on(lmdb, mine, "--max_iters", 5) == 0


# Beginning


def test_checkpoint_from_outside_does_not_go_into_a_run(lmdb, finished, mine, capfd):
    before = contents(mine)
    for path in (finished / "checkpoint" / NAMES[0], finished / "checkpoint" / NAMES[1]):
        assert start(lmdb, mine, "--ckpt", path, "--device", "cpu", "--max_iters", 9) == 2
        error = capfd.readouterr().err
        assert "holds a run" in error and "--expname" in error and error.count("\n") == 1
    assert contents(mine) == before


def test_checkpoint_from_outside_begins_a_folder(lmdb, finished, tmp_path):
    before = contents(finished)
    source = finished / "checkpoint" / NAMES[0]
    assert start(lmdb, tmp_path, "--ckpt", source, "--device", "cpu", "--max_iters", 4) == 0
    assert contents(finished) == before
    for name in NAMES[1:]:
        assert_same_checkpoint(finished / "checkpoint" / name, tmp_path / "checkpoint" / name)
    assert go_on(lmdb, tmp_path, "--max_iters", 5) == 0


def test_another_programs_checkpoint_in_the_folder_stays(lmdb, finished, tmp_path):
    """As of the original, whose folder has the same name; by a number that comes later."""
    source = tmp_path / "checkpoint" / "010000.model"
    source.parent.mkdir()
    own = finished / "checkpoint" / NAMES[0]
    assert convert.main([str(own), "--export", str(source)]) == 0
    before = source.read_bytes()
    assert start(lmdb, tmp_path, *TINY, "--ckpt", source, "--max_iters", 2) == 0
    assert source.read_bytes() == before and go_on(lmdb, tmp_path, "--max_iters", 3) == 0
    assert source.read_bytes() == before


@pytest.mark.parametrize("kind", ["other", "options", "sample"])
def test_what_others_left_is_not_taken_over(lmdb, tmp_path, capfd, kind):
    """The log of another program, the log or the samples of a run whose checkpoints are gone."""
    if kind == "other":
        log(tmp_path, {"step": 1, "loss": 0.5})
    elif kind == "options":
        log(tmp_path, noted(SMALL), {"iteration": 10, "images": 1})
    else:
        save_grid(np.zeros((1, 3, 8, 8)), tmp_path / "sample" / "000100.png", 1, MARK)
    before = contents(tmp_path)
    assert start(lmdb, tmp_path, *TINY, "--max_iters", 1) == 2
    assert "--expname" in capfd.readouterr().err
    assert contents(tmp_path) == before


def test_the_same_run_begins_anew_where_it_left_no_checkpoint(lmdb, mine, capfd, monkeypatch):
    monkeypatch.setattr(progress, "LOG_EVERY", 1)
    shutil.rmtree(mine / "checkpoint")
    config = json.loads((mine / "log.jsonl").read_text().splitlines()[0])
    log(mine, config, {"iteration": 1, "images": 4}, '{"iteration": 2, "im')
    before = (mine / "log.jsonl").read_bytes()
    assert start(lmdb, mine, *TINY, "--max_iters", 2) == 0
    assert "renamed to log.jsonl.later" in capfd.readouterr().out
    assert (mine / "log.jsonl.later").read_bytes() == before
    assert len((mine / "log.jsonl").read_text().splitlines()) == 3


def test_starts_that_trained_nothing_hinder_none(tmp_path):
    log(tmp_path, noted(SMALL))
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"conf')
    check_vacant(tmp_path, train.Config(), 10)
    make_ready(tmp_path, 0, None)
    assert (tmp_path / "log.jsonl").read_text().count("\n") == 1
    assert not list(tmp_path.glob("*.later"))


def test_old_checkpoints_of_others_are_not_removed(network, tmp_path):
    log(tmp_path, noted(SMALL))
    for iteration in (1, 2, 3):
        ckpt(network, tmp_path, f"{iteration:06d}.model", iteration)
    (tmp_path / "checkpoint" / "000500.model").write_bytes(b"theirs")
    (tmp_path / "checkpoint" / "000001-backup.model").write_bytes(b"theirs")
    remove_old(History(tmp_path), 1, None)
    names = sorted(p.name for p in (tmp_path / "checkpoint").iterdir())
    assert names == ["000001-backup.model", "000003.model", "000500.model"]


# Locks


IN_THE_WAY = [
    "log.jsonl",
    "log.jsonl.stylegan-tmp",
    "checkpoint/000004.model.stylegan-tmp",
    "checkpoint/rolling.model.stylegan-tmp",
    "sample/000004.png.stylegan-tmp",
]


@pytest.mark.parametrize("make, kind", [(os.mkdir, "a folder"), (os.mkfifo, "a pipe")])
@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_is_in_the_way_is_found_at_once(tmp_path, name, make, kind, capfd):
    """Not at the first save, and before Jittor or the data are asked for."""
    (tmp_path / name).parent.mkdir(exist_ok=True)
    make(tmp_path / name)
    for options in ((), ("--ckpt", "latest"), ("--ckpt", "auto")):
        assert start("nowhere", tmp_path, *options) == 2
        said = capfd.readouterr().err
        assert f"{name} is {kind}, where a file is to be written" in said
        assert said.count("\n") == 1
    files = [path for path in tmp_path.rglob("*") if not path.is_dir()]
    assert files == [tmp_path / name] * (make is os.mkfifo)


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_name_that_is_taken_by_no_file(lmdb, mine, make):
    """It stays, and the checkpoint and the sample are written beside it."""
    for name in ("checkpoint/000006.model", "sample/000006.png"):
        make(mine / name)
    assert go_on(lmdb, mine, "--max_iters", 6) == 0
    for name in ("checkpoint/000006.model", "sample/000006.png"):
        path = mine / name
        assert path.exists() and not path.is_file()
        assert path.with_name(f"000006-2{path.suffix}").is_file()
    assert iteration_of(checkpoints(mine)[0]) == 6


def test_a_folder_in_use_is_refused(lmdb, mine, capfd):
    before = contents(mine)
    with locked(mine, UsageError("busy")):
        assert go_on(lmdb, mine, "--max_iters", 9) == 2
    error = capfd.readouterr().err
    assert "in use by a train.py that is running" in error and error.count("\n") == 1
    assert contents(mine) == before


HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from backend.disk import locked
with locked(sys.argv[2], OSError("busy")):
    print("held", flush=True)
    time.sleep(100)
"""


def test_lock_ends_with_its_process(tmp_path):
    """Through a shell: Jittor, loaded here, would end these tests over a child that is killed."""
    command = ["sh", "-c", '"$@" & echo $!; wait $!; exit 0', "sh", sys.executable, "-c", HOLD]
    shell = subprocess.Popen(
        [*command, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    process = int(shell.stdout.readline())
    assert shell.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match="busy"), locked(tmp_path, UsageError("busy"), 0.2):
        pass
    os.kill(process, signal.SIGKILL)
    shell.communicate()
    with locked(tmp_path, UsageError("busy")):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EBADF])
def test_without_locks_one_line_says_so(tmp_path, monkeypatch, capsys, number):
    def refuse(handle, kind):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with locked(tmp_path / "new", UsageError("busy")):
        pass
    out = capsys.readouterr().out
    assert "no locks in" in out and os.strerror(number) in out and out.count("\n") == 1
    assert not (tmp_path / "new").exists()  # it was empty


def test_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="a.model") as e, disk.replacing(tmp_path / "a.model"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert e.value.filename == str(tmp_path / "a.model")
