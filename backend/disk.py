"""Files that appear complete or not at all."""

import contextlib
import os
from pathlib import Path


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
