"""What happens to Jittor's processes and to others beside it, as a program of its own sees it."""

import os
import signal
import subprocess
import sys
from concurrent.futures import BrokenExecutor

import pytest
from tiny import ROOT

from backend.children import Pool, handlers_kept

LOADED = """
import os, signal, subprocess, sys, threading
sys.path.insert(0, {!r})
signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # ignored where tests run in the background
from backend import device
thread = threading.Thread(target=device.load, args=["cpu"], kwargs=dict(threads=1))
thread.start()
thread.join()
jt = sys.modules["jittor"]
child = subprocess.Popen(["sleep", "60"])
{}
print(jt.ones(3).sum().item())
"""


def with_jittor(code: str):
    """(exit code, output) of code after Jittor was loaded, by a thread that has ended."""
    command = [sys.executable, "-c", LOADED.format(str(ROOT), code)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSTOP", "SIGSEGV"])
def test_a_child_that_dies_or_stops_ends_nothing(name):
    code = f"child.send_signal(signal.{name}); child.kill(); child.wait()"
    assert with_jittor(code) == (0, "3.0\n")


def test_no_helper_is_left_and_ctrl_backslash_ends_it():
    code = (
        "own = open(f'/proc/self/task/{os.getpid()}/children').read().split()\n"
        "child.kill()\nprint(own == [str(child.pid)], flush=True)\n"
        "os.kill(os.getpid(), signal.SIGQUIT)"
    )
    assert with_jittor(code) == (-signal.SIGQUIT, "True\n")


@pytest.mark.parametrize(
    "options, words",
    [
        ("'cuda'", "--device cuda: this process began with --device cpu"),
        ("threads=2", "--threads 2: this process began with --threads 1"),
        ("precision='tf32'", "--precision tf32: this process began with --precision float32"),
    ],
)
def test_another_choice_later(options, words):
    code = "child.kill()\ntry: device.load({})\nexcept device.DeviceError as e: print(e)"
    status, text = with_jittor(code.format(options))
    assert status == 0 and text.startswith(words) and text.endswith("\n3.0\n")


def end(name):
    os.kill(os.getpid(), name) if name else None
    return name


def test_a_helper_that_is_killed_is_an_error_not_a_wait():
    with Pool(2, int) as pool:
        assert sorted(pool.imap_unordered(end, [0, 0, 0])) == [0, 0, 0]
    with Pool(2, int) as pool, pytest.raises(BrokenExecutor):
        list(pool.imap_unordered(end, [0, signal.SIGKILL, 0]))


def test_handlers_come_back():
    before = signal.getsignal(signal.SIGUSR1)
    with handlers_kept([signal.SIGUSR1]):
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    assert "SigIgn" in open("/proc/self/status").read()
    ignored = int(open("/proc/self/status").read().split("SigIgn:")[1].split()[0], 16)
    assert not ignored >> (signal.SIGUSR1 - 1) & 1
    signal.signal(signal.SIGUSR1, before)
