"""LMDBs as files: whether one is there, how it is opened, and what of the system is in the way."""

import errno
import os

import lmdb

from backend.terminal import AWAY, HELP

MAGIC = (0xBEEFC0DE).to_bytes(4, "little")  # of an LMDB, after its first page's header
TREE = "prepare a tree of pictures with `python prepare_data.py --folders TREE PICTURES`"
UNMAPPED = f"this disk cannot map files into memory, which LMDBs need: take another disk, or {TREE}"
ADVICE = {
    **HELP,
    **dict.fromkeys((errno.ENODEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP), UNMAPPED),
    **dict.fromkeys((errno.ENOLCK, errno.ENOTTY), f"take another disk, or {TREE}"),
    errno.ENOENT: "",  # there is none
}


def is_lmdb(path) -> bool:
    """Whether the file is an LMDB, of this machine's byte order or the other."""
    with open(path, "rb") as file:
        magic = file.read(20)[16:]
    return MAGIC in (magic, magic[::-1])


def open_lmdb(path):
    """The LMDB in a folder, or in one file, to be read; lmdb.Error if it is none or cut off, or if
    it is out of reach (`obstacle`).
    """
    folder = os.path.isdir(path)
    env = lmdb.open(
        os.fsencode(path),
        subdir=folder,
        max_readers=32,
        readonly=True,
        lock=False,
        readahead=False,
        meminit=False,
    )
    held = os.path.getsize(os.path.join(path, "data.mdb") if folder else path)
    if held < (env.info()["last_pgno"] + 1) * env.stat()["psize"]:  # reading on would be fatal
        env.close()
        raise lmdb.CorruptedError("data.mdb is cut off")
    return env


def files_are_limited() -> bool:
    """Whether this process may not write files of any size."""
    import resource  # of Unix alone: terminal.check_system says so first

    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def obstacle(error) -> str:
    """What of the system keeps an LMDB out of reach, and what helps; "" where the system is not to
    blame, but what the file holds, or that there is none.
    """
    text = str(error)  # the binding tells the system's errors by their texts alone
    number = next((n for n in errno.errorcode if text.endswith(f": {os.strerror(n)}")), None)
    advice = "" if number is None else ADVICE.get(number, AWAY)
    if number == errno.EIO and files_are_limited():  # what it says of a write that is cut short
        advice = HELP[errno.EFBIG]
    return advice and f"{os.strerror(number)}: {advice}"


def needs_another_disk(error) -> bool:
    """Whether the file system lacks something that every LMDB needs, but no tree of pictures."""
    return isinstance(error, lmdb.Error) and TREE in obstacle(error)
