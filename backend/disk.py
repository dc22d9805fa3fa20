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

from backend.terminal import UsageError, UserError, reason

UNFINISHED = ".stylegan-tmp"  # after the name of a file: nobody else calls one so
KINDS = {
    stat.S_IFREG: "a file",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def kind_of(path) -> str:
    """What lies at a path, or where the links there lead: "a file", "a folder" ...; "" for nothing,
    and where that cannot be told.
    """
    try:
        return KINDS.get(stat.S_IFMT(os.stat(path).st_mode), "a device")
    except (OSError, ValueError):
        return "a link to nothing" if os.path.islink(path) else ""


def unfinished_of(path: Path) -> Path:
    """Where the file is written that then appears at `path`."""
    return path.with_name(path.name + UNFINISHED)


def check_folder(folder, name: str = "") -> None:
    """UserError where a folder that will be written in is neither there nor can be made, for a file
    is in its way, this user may not, or a name, or that of a file in it, is too long: to be told
    before anything is computed.
    """
    folder = Path(folder)
    place = next(p for p in (folder, *folder.parents) if os.path.lexists(p))
    if not place.is_dir():
        raise UserError(
            f"{place} is no folder, but files are to be written into {folder}: move it, or name "
            "another folder"
        )
    disk = os.statvfs(place)
    if disk.f_flag & os.ST_RDONLY:
        raise UserError(
            f"{place.absolute()} is on a disk that may only be read: name another folder"
        )
    if not os.access(place, os.W_OK | os.X_OK):
        raise UserError(
            f"{place.absolute()} may not be written in by this user: name another folder"
        )
    for part in (*folder.parts[len(place.parts) :], name):
        if len(os.fsencode(part)) > disk.f_namemax > 0:
            raise UserError(
                f"{part[:40]}... has more than {disk.f_namemax} bytes: give a shorter name"
            )


def check_file(path, advice: str = "name another file") -> None:
    """The same of a file that `replacing` will write: UsageError where something else lies at its
    name or at that of what is unfinished.
    """
    path = Path(path)
    unfinished = unfinished_of(path)
    check_folder(path.parent, unfinished.name)
    for place in (path, unfinished):
        kind = kind_of(place)
        if kind not in ("", "a file") and not (place == unfinished and place.is_symlink()):
            raise UsageError(
                f"{place} is {kind}, where a file is to be written: move it, or {advice}"
            )


def check_log(path) -> None:
    """The same of a file to which lines will be added."""
    check_file(path, "name another folder")
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise UserError(f"{path} may not be written to by this user: change its permissions")


def finished_name(name: str) -> str:
    """That of a file, whether it is unfinished or not."""
    return name[: -len(UNFINISHED)] if name.endswith(UNFINISHED) else name


@contextlib.contextmanager
def replacing(path):
    """Yields a path to write to; the file then appears at `path`, complete or not at all.

    Written beside, flushed to the disk, renamed: a kill, a full disk or a power cut at any instant
    leaves what was there before.
    """
    path = Path(path)
    unfinished = unfinished_of(path)
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


def check_readable(path, error, advice: str = "", kinds=("a file",)) -> None:
    """Raises error(a sentence) where nothing of these kinds lies at a path, or this user may not
    read it. A pipe, for example, would be waited for, and cannot be read twice.
    """
    try:
        os.stat(path)
    except OSError as e:
        if e.errno not in (errno.ENOENT, errno.ENOTDIR):
            raise error(f"{path} cannot be read: {reason(e)}") from None
    kind, wanted = kind_of(path), " or ".join(kind[2:] for kind in kinds)
    if kind not in kinds:
        found = f" is {kind}, no {wanted}" if kind else f": no such {wanted}"
        raise error(f"{path}{found}{advice}")
    if not os.access(path, os.R_OK | (os.X_OK if kind == "a folder" else 0)):
        raise error(f"{path} may not be read by this user: change its permissions")


def content_of(path: Path, error) -> bytes:
    """What a file holds. Raises error(a sentence) where it is none, or cannot be read."""
    check_readable(path, error)
    try:
        return path.read_bytes()
    except OSError as e:
        raise error(f"{path} cannot be read: {reason(e)}") from None


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
