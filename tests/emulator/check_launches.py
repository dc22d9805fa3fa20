"""A kernel that the emulated GPU does not start ends a command in one sentence: CUDA itself says
nothing, and what memory held would be taken for the result.
"""

import os
import subprocess
import sys
from argparse import ArgumentParser

from tiny import ROOT

from backend import device, terminal

COMMAND = "import sys; import check_launches; sys.exit(check_launches.main())"


def bend(_):
    """One launch of one kernel."""
    from operators.native import call

    jt = device.load("cuda")
    y = call("biased_slope", [jt.ones(300), jt.ones(300)], [[300]], 300, 0.5, 0.2)[0]
    print(y.numpy().sum())


def main() -> int:
    return terminal.run("bend", bend, ArgumentParser, [])


def bent(monkeypatch, refused: str):
    """Exit code, output and errors where CUDA refuses that kernel."""
    monkeypatch.setenv("EMU_REFUSE", refused)
    path = os.pathsep.join([*sys.path, os.path.dirname(__file__)])
    done = subprocess.run(
        [sys.executable, "-c", COMMAND],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout, done.stderr


def test_a_kernel_that_starts(monkeypatch):
    code, said, errors = bent(monkeypatch, "style_planes")
    assert (code, said.split()[-1:]) == (0, ["150.0"]), errors


def test_a_kernel_that_does_not_start(monkeypatch):
    code, said, errors = bent(monkeypatch, "bend")
    expected = "bend: the GPU did not start kernel bend (grid 2 x 1 x 1, block 256 x 1 x 1): "
    assert code == 1 and "150" not in said
    assert errors.splitlines()[-1].startswith(expected + "cudaError"), errors
    assert "Traceback" not in errors
