"""Programs in a terminal, and what they write to it."""

import os
import pty
import subprocess
from typing import Tuple


def in_terminal(command: list, **environment: str) -> Tuple[int, str]:
    """(exit code, what a program writes to a terminal that is its stdout and stderr)."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
        env={**os.environ, "TERM": "xterm", **environment},
    )
    os.close(its)
    written = []
    try:
        while True:
            written.append(os.read(ours, 4096))
            if not written[-1]:
                break
    except OSError:  # nobody has the other end any more
        pass
    os.close(ours)
    return process.wait(), b"".join(written).decode()
