"""explore.py as a program of its own, on a tiny network with random weights."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from trained import spread_out

from training.run import TrainState
from training.schedule import Config

ROOT = Path(__file__).resolve().parent.parent
TINY = Config(code_size=8, n_mlp=2, channel_max=4, init_size=8, max_size=32, seed=3)


def make_checkpoints(folder: Path) -> None:
    """Of 8 px after 10 iterations and of 16 px after 20."""
    for iteration, size in ((10, 8), (20, 16)):
        run = TrainState(TINY)
        spread_out(run.running)
        run.iteration, run.images_seen = iteration, 16 * iteration
        run.save(folder / "checkpoint" / f"{iteration:06d}.model", alpha=1.0, size=size)


class Program:
    """What runs, at which address, what it has said, and the exit code when it has been ended."""

    def __init__(self, folder, *options):
        # through a shell: a child that a signal ends would end this process, which has Jittor
        command = ["sh", "-c", '"$@"; exit $?', "sh", sys.executable, str(ROOT / "explore.py")]
        command += [*options, "--no_browser", "--device", "cpu"]
        self.output = tempfile.TemporaryFile("a+")  # for each reads and writes where it likes
        streams = {"stdout": self.output, "stderr": subprocess.STDOUT}
        # whatever the machine's proxy is, it is not for loopback
        env = {**os.environ, "NO_PROXY": "127.0.0.1,localhost"}
        self.process = subprocess.Popen(command, cwd=str(folder), env=env, **streams)
        found = None
        while found is None:
            assert self.process.poll() is None, self.said()
            time.sleep(0.1)
            found = re.search(r"^open (http://\S+)", self.said(), re.MULTILINE)
        self.address = found[1].rstrip("/")
        shell = self.process.pid
        self.pid = int(Path(f"/proc/{shell}/task/{shell}/children").read_text())

    def said(self) -> str:
        self.output.seek(0)
        return self.output.read()

    def end(self, name=signal.SIGINT) -> int:
        os.kill(self.pid, name)
        return self.process.wait(60)


@contextlib.contextmanager
def running(folder, *options):
    """A Program until the end."""
    program = Program(folder, *options)
    try:
        yield program
    finally:
        if program.process.poll() is None:
            program.end()
