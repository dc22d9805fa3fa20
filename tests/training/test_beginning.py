"""What is told before anything is computed."""

import os
import shlex

import numpy as np
import pytest
from PIL import Image

import convert
import generate
import prepare_data
import train
from backend.disk import check_folder
from backend.terminal import UserError
from training.beginning import LAUNCHERS, advice, check_alone, check_launcher


@pytest.fixture(autouse=True)
def started_by_hand(monkeypatch):
    for _, size, rank in (*LAUNCHERS, ("", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID")):
        monkeypatch.delenv(size, raising=False)
        monkeypatch.delenv(rank, raising=False)


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone")
    check_folder(tmp_path)
    check_folder(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]
    for folder in ("file", "file/a/b", "nowhere"):
        with pytest.raises(UserError, match="(file|nowhere) is no folder, but files are to be"):
            check_folder(tmp_path / folder)


@pytest.mark.parametrize("launcher, size, rank", LAUNCHERS)
def test_launchers_that_jittor_does_not_know(monkeypatch, capsys, tmp_path, launcher, size, rank):
    monkeypatch.chdir(tmp_path)
    check_launcher()
    monkeypatch.setenv(size, "2")
    check_launcher()  # noted for a job, whose script is one process
    monkeypatch.setenv(rank, "1")
    assert train.main(["lmdb"]) == 2
    said = capsys.readouterr().err
    assert f"train.py: {launcher} has started 2 processes" in said
    assert "mpirun -np 2 python train.py" in said and "--expname" not in said
    assert os.listdir(tmp_path) == []
    monkeypatch.setenv(size, "1")
    check_launcher()
    monkeypatch.setenv(size, "2")
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")  # mpirun in a job
    check_launcher()


def test_a_batch_job_is_one_process(monkeypatch):
    for name in ("SLURM_NTASKS", "SLURM_NPROCS"):
        monkeypatch.setenv(name, "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    check_launcher()
    check_alone("generate.py")


@pytest.mark.parametrize("script", [generate, convert, prepare_data])
@pytest.mark.parametrize(
    "launcher, variables",
    [
        ("mpirun", {"OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "1"}),
        ("torchrun", {"WORLD_SIZE": "4", "RANK": "0"}),
    ],
)
def test_scripts_that_do_not_divide_their_work(monkeypatch, capsys, script, launcher, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    try:
        code = script.main(["none.model"])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr().err
    assert code == 2 and f"does not divide its work, and {launcher} has started 4 of it" in said


def test_what_few_pictures_are_enough_for(tmp_path, capsys):
    """The command that is named is one that train.py takes."""
    assert advice(99, "lmdb") == advice(1000, "lmdb") == ""
    said, command = advice(500, "my pictures").split("\n    ")
    assert "500 at 32 px were enough" in said and "\n" not in said
    words = shlex.split(command)
    assert words[:3] == ["python", "train.py", "my pictures"]
    args = train.parser().parse_args(words[2:])
    assert (args.tune, args.heldout, args.ckpt, args.expname) == (True, 50, "CKPT", "tuned")
    for count in (99, 100):
        (tmp_path / str(count)).mkdir()
        pixels = np.zeros((8, 8, 3), "uint8")
        for i in range(count):
            Image.fromarray(pixels).save(tmp_path / str(count) / f"{i}.bmp")
        out = str(tmp_path / f"lmdb{count}")
        argv = [str(tmp_path / str(count)), "--out", out, "--n_worker", "1"]
        assert prepare_data.main(argv) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines[-1].startswith(f"{count} pictures at") == (count == 99)
    assert lines[-1].endswith(f"{out} --expname tuned --ckpt CKPT --tune --heldout 10")


def test_mpirun_of_one_process_is_no_trouble(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    check_alone("generate.py")
