"""Files that the page shows, in a folder of this program's own below results/, until newer ones
need the room.
"""

import contextlib
import os
import shutil
from pathlib import Path

MOST_BYTES = 256 * 2**20
YOUNG = 60.0  # seconds that a file stays whatever its size


class Shelf:
    """The folder results/.explore-PID. Those of programs that were killed are removed."""

    def __init__(self, results: Path):
        for path in results.glob(".explore-*"):
            if not alive(path.name.rpartition("-")[2]):
                shutil.rmtree(path, ignore_errors=True)
        self.folder = (results / f".explore-{os.getpid()}").resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.count = 0

    def add(self, name: str, content: bytes) -> str:
        """A file of that name; its path."""
        self.count += 1
        folder = self.folder / f"{self.count:08d}"
        folder.mkdir()
        (folder / name).write_bytes(content)
        return str(folder / name)

    def sweep(self, now: float) -> None:
        """Removes the oldest, until the others fit into MOST_BYTES."""
        files = []
        for path in self.folder.rglob("*"):
            with contextlib.suppress(OSError):
                if path.is_file():
                    files.append((path.stat().st_mtime, path.stat().st_size, path))
        total = sum(size for _, size, _ in files)
        for time, size, path in sorted(files):
            if total <= MOST_BYTES or now - time < YOUNG:
                return
            with contextlib.suppress(OSError):
                path.unlink()
                total -= size
                path.parent.rmdir()

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


def alive(pid: str) -> bool:
    """Whether a process of that number runs."""
    return pid.isdecimal() and Path("/proc", pid).exists()
