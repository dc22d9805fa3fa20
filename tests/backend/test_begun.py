"""Who started a process: what is told before anything is computed."""

import os

import pytest

import convert
import generate
import prepare_data
import train
from backend.begun import LAUNCHERS, check_alone, check_launcher


@pytest.fixture(autouse=True)
def started_by_hand(monkeypatch):
    for _, size, rank in (*LAUNCHERS, ("", "OMPI_COMM_WORLD_SIZE", "SLURM_STEP_ID")):
        monkeypatch.delenv(size, raising=False)
        monkeypatch.delenv(rank, raising=False)


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


def test_mpirun_of_one_process_is_no_trouble(monkeypatch):
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "1")
    check_alone("generate.py")
