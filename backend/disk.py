"""Files and folders that appear complete or not at all."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Callable


@contextlib.contextmanager
def replacing(path):
    """Yields a path to write to; the file then appears at `path`, complete or not at all.

    Written beside, flushed to the disk, renamed: a kill, a full disk or a power cut at any instant
    leaves what was there before.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        yield unfinished
        flush(unfinished)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        raise
    with contextlib.suppress(OSError):  # some file systems cannot; the file is there already
        flush(path.parent)


def flush(path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, which `fill` makes if it is not there: it is given an empty one to write into.

    There as a whole or not at all, whenever the process ends and however many make it at a time.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=str(folder.parent)))
        try:
            fill(unfinished)
            unfinished.chmod(0o755)
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(str(unfinished), ignore_errors=True)
    return folder
