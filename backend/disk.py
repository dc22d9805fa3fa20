"""Files and folders that appear complete or not at all, folders that one program has at a time."""

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from pathlib import Path
from typing import Callable

from backend.terminal import UsageError, UserError

UNFINISHED = ".stylegan-tmp"  # after the name of a file: nobody else calls one so


@contextlib.contextmanager
def replacing(path):
    """Yields a path to write to; the file then appears at `path`, complete or not at all.

    Written beside, flushed to the disk, renamed: a kill, a full disk or a power cut at any instant
    leaves what was there before.
    """
    path = Path(path)
    unfinished = path.with_name(path.name + UNFINISHED)
    if unfinished.is_symlink():  # another file would be written through it
        unfinished.unlink()
    try:
        yield unfinished
        flush(unfinished)
        os.replace(unfinished, path)
    except BaseException as e:
        with contextlib.suppress(OSError):
            unfinished.unlink()
        if isinstance(e, OSError) and e.filename is None:  # a full disk: what did not fit
            e.filename = str(path)
        raise
    with contextlib.suppress(OSError):  # some file systems cannot; the file is there already
        flush(path.parent)


def flush(path) -> None:
    """Waits until a file's content, or a folder's list of names, is on the disk."""
    try:
        handle = os.open(path, os.O_RDWR)  # some shares refuse a descriptor that cannot write
    except OSError:  # a folder, a file that is write-protected
        handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):  # it has no such thing
            raise
    finally:
        os.close(handle)


def content_of(path: Path, error) -> bytes:
    """What a file holds. Raises error(a sentence) where it is none, or cannot be read."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise error(f"{path} is no file")
        return path.read_bytes()
    except OSError as e:
        raise error(f"{path} cannot be read: {e.strerror}") from None


def reason(e: OSError) -> str:
    """Why a file could not be written; NumPy says of a full disk no more than how many numbers."""
    return e.strerror or ("the disk is full" if "requested and" in str(e) else str(e))


def check_folder(folder) -> None:
    """UserError where a folder that will be written in is neither there nor can be made, for a
    file is in its way, or this user may not: to be told before anything is computed.
    """
    folder = Path(folder)
    place = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not place.is_dir():
        raise UserError(
            f"{place} is no folder, but files are to be written into {folder}: move it, or name "
            "another folder"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(f"{place} may not be written in by this user: name another folder")


def made_once(folder: Path, fill: Callable[[Path], None]) -> Path:
    """The folder, which `fill` makes if it is not there: it is given an empty one to write into.

    There as a whole or not at all, whenever the process ends and however many make it at a time.
    """
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(tempfile.mkdtemp(dir=str(folder.parent)))
        try:
            fill(unfinished)
            with contextlib.suppress(OSError):  # some shares have modes of their own
                unfinished.chmod(0o755)
            unfinished.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was faster
                raise
        finally:
            shutil.rmtree(str(unfinished), ignore_errors=True)
    return folder


@contextlib.contextmanager
def locked(folder, busy: Exception, patience=3.0):
    """`folder`, made if missing, for one process at a time; raises `busy` if another has it.

    It waits `patience` seconds: the helpers of a program that was killed outlive it for a moment.
    Yields a file descriptor, which forked processes that go on should close. The lock ends with its
    process. Where locks do not work one line says so. What was made and is still empty at the end
    goes.
    """
    made = not os.path.exists(folder)
    os.makedirs(folder, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY)
    try:
        lock(handle, folder, busy, time.monotonic() + patience)
        yield handle
    finally:
        os.close(handle)
        if made and not os.listdir(folder):
            os.rmdir(folder)


def lock(handle: int, folder, busy: Exception, until: float) -> None:
    """Locks an open folder, or says that this cannot be done here."""
    import fcntl  # of Linux alone: terminal.check_system says so first

    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise busy from None
            time.sleep(0.1)
        except OSError as e:
            why = e.strerror or e
            print(f"warning: no locks in {folder} ({why}): let one program at a time write there")
            return None


def home() -> Path:
    """The user's home folder. Raises UsageError for a user without one, as containers have them."""
    try:
        return Path.home()
    except (KeyError, RuntimeError):
        raise UsageError(
            "this user has no home folder: set HOME to a folder that can be written"
        ) from None


def user_cache() -> Path:
    """The user's folder for what can be made again; may not be there yet. Raises UsageError."""
    return Path(os.environ.get("XDG_CACHE_HOME") or home() / ".cache")


def our_cache() -> Path:
    """This program's folder in it."""
    return user_cache() / "stylegan-jittor"
