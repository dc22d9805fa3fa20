"""Prepared pictures on disk, each at several sizes: an LMDB, or a tree with a folder for each size.

The LMDB is interchangeable with those of rosinality/style-based-gan-pytorch: `{size}-{index:05d}`
holds an encoded RGB picture of size x size, `length` the number of pictures in decimal ASCII. Keys
of ours are `about`, which describes the set in JSON, and where there are labels `label-{index:05d}`
with their names. The tree holds `{size}/{index:05d}.jpg` (or .png, .webp) and `about.json`, labels
too; trees of others need only the same pictures, in the same order, in a folder named after each
size. What is not complete has no `length`, or says so in `about.json`.
"""

import contextlib
import errno
import json
import os
from pathlib import Path

import lmdb

from backend import disk
from backend.disk import kind_of, replacing
from backend.terminal import UserError
from data.choice import error_text, find_pictures, visible
from data.decode import read_record
from data.sizes import SIZES, joined
from formats.lmdbs import is_lmdb, obstacle, open_lmdb

SUFFIXES = {"jpeg": ".jpg", "png": ".png", "webp": ".webp"}  # of the formats that are written
LENGTH_KEY, ABOUT_KEY = b"length", b"about"
WRITER = "style-based GAN in Jittor, prepare_data.py"  # in `about`: how we know our own
ABOUT_FILE = "about.json"
LABEL = "label"  # stands for the size in the records of labels
MAP_BYTES = 2**30  # what an LMDB may grow to at first; doubled whenever it is full


class DataError(UserError):
    """What is wrong with pictures or a prepared set of them."""


def image_key(size, index):
    """The LMDB key of picture `index` at `size` pixels."""
    return f"{size}-{index:05d}".encode()


def parsed(text):
    """What prepare_data.py noted of a set, from JSON bytes; {} where that is not what it is."""
    try:
        about = json.loads(text or b"{}")
        return about if about.get("writer") == WRITER else {}
    except (ValueError, AttributeError):
        return {}


# Reading


class Pictures:
    """A complete set: `length` pictures at each of `sizes`; `about`, what its maker noted, or {};
    `labels`, the name of each picture's label, or None.

    Threads may share one, and processes that were forked. Close it when done.
    """

    path: str
    length: int
    sizes: list
    about: dict
    labels = None

    def record(self, index, size):
        """The encoded picture as bytes, or None."""
        raise NotImplementedError

    def name(self, index, size):
        """What a person calls the record."""
        raise NotImplementedError

    def close(self):
        pass

    def read(self, index, size):
        """Picture `index` as a PIL RGB image of size x size; DataError if missing or broken."""
        name = self.name(index, size)
        try:
            record = self.record(index, size)
            if record is None:
                raise ValueError("missing")
            return read_record(record, name, size, ours=bool(self.about))
        except DataError:
            raise
        except Exception as error:  # a broken stream makes Pillow raise nearly anything
            number = getattr(error, "errno", None)
            if number and number != errno.ENOENT:  # the system's trouble, not the picture's
                why = f"{name} cannot be read ({os.strerror(number)})"
                raise DataError(f"{why}: mend that, then repeat the command.") from error
            text = error_text(error)
            raise DataError(f"{name} is unusable ({text}): prepare {self.path} again.") from error

    def require(self, sizes):
        """DataError unless every one of `sizes` is present."""
        missing = [size for size in sizes if size not in self.sizes]
        if missing:
            wanted = joined(sorted({*sizes, *self.sizes}))
            raise DataError(
                f"{self.path} holds {self.length} pictures at {joined(self.sizes) or '(no size)'} "
                f"px but not at {joined(missing)}: train within them (--init_size, --max_size), "
                f"or prepare others with `python prepare_data.py --sizes {wanted} PICTURES`."
            )


def unfinished(path, about, option):
    """The error for a set whose preparation was cut off."""
    return DataError(
        f"{path} is unfinished, {about['done']} of {about['total']} pictures: "
        f"repeat the command that began it with --resume (prepare_data.py {option} {path} ...)."
    )


def unreadable(path, error, advice):
    """The error for an LMDB that does not open; the advice is for one whose content is at fault."""
    why = obstacle(error) or f"({error}): {advice}"
    return DataError(f"Cannot open the LMDB {path}{' ' if why[0] == '(' else ': '}{why}.")


class Lmdb(Pictures):
    """Those of an LMDB."""

    def __init__(self, path):
        self.path = str(path)
        self.open()
        try:
            self.check()
        except DataError:
            self.close()
            raise

    def open(self):
        try:
            self.env = open_lmdb(self.path)
        except lmdb.Error as error:
            advice = "prepare one with `python prepare_data.py --out LMDB PICTURES`"
            raise unreadable(self.path, error, advice) from error
        self.process = os.getpid()

    def check(self):
        """Reads what it holds and holds it against the count."""
        with self.env.begin() as txn:
            length = txn.get(LENGTH_KEY, b"")
            self.about = parsed(txn.get(ABOUT_KEY))
            self.length = int(length) if length.isdigit() else 0
            ends = (0, self.length - 1)
            self.sizes = [s for s in SIZES if any(txn.get(image_key(s, i)) for i in ends)]
            extras = sum(txn.get(key) is not None for key in (LENGTH_KEY, ABOUT_KEY))
            if txn.get(image_key(LABEL, 0)) is not None:
                labels = (txn.get(image_key(LABEL, i), b"") for i in range(self.length))
                self.labels = [label.decode() for label in labels]
                extras += self.length
        if self.length == 0 and self.about:
            raise unfinished(self.path, self.about, "--out")
        if self.length == 0:
            raise DataError(
                f"The LMDB {self.path} has no pictures or is unfinished: prepare one with "
                "`python prepare_data.py --out LMDB PICTURES`."
            )
        if self.env.stat()["entries"] - extras != self.length * len(self.sizes):
            self.check_counts()

    def check_counts(self):
        """DataError unless every size has `length` pictures; goes through all keys."""
        counts = dict.fromkeys(map(str, SIZES), 0)
        with self.env.begin() as txn:
            for key in txn.cursor().iternext(keys=True, values=False):
                size, _, index = key.decode(errors="replace").partition("-")
                if size in counts and index.isdigit():
                    counts[size] += 1
        if set(counts.values()) - {0, self.length}:
            held = ", ".join(f"{count} at {size} px" for size, count in counts.items() if count)
            raise DataError(
                f"The LMDB {self.path} says it has {self.length} pictures but holds {held}: "
                "prepare it again."
            )

    def record(self, index, size):
        if self.process != os.getpid():  # an LMDB must not be used across a fork
            self.env.close()  # nor would newer versions open it twice
            self.open()
        with self.env.begin() as txn:
            return txn.get(image_key(size, index))

    def name(self, index, size):
        return f"The record {image_key(size, index).decode()} of the LMDB {self.path}"

    def close(self):
        self.env.close()


class Tree(Pictures):
    """Those of a folder with a folder for each size."""

    def __init__(self, path):
        self.path = str(path)
        self.about = read_about_file(self.path)
        if self.about and not self.about["complete"]:
            raise unfinished(self.path, self.about, "--folders")
        folders = {size: os.path.join(self.path, str(size)) for size in SIZES}
        files = {s: find_pictures(f) for s, f in folders.items() if os.path.isdir(f)}
        self.files = {size: paths for size, paths in files.items() if paths}
        if self.about:  # the order of their numbers, which have five digits or more
            for files in self.files.values():
                files.sort(key=lambda path: (len(path), path))
        self.sizes = list(self.files)
        counts = {size: len(files) for size, files in self.files.items()}
        if len(set(counts.values())) != 1:
            held = ", ".join(f"{count} at {size} px" for size, count in counts.items())
            raise DataError(
                f"{self.path} needs as many pictures at every size but holds {held or 'none'}: "
                "prepare one with `python prepare_data.py --folders TREE PICTURES`."
            )
        self.length = next(iter(counts.values()))
        self.labels = self.about.get("labels")

    def record(self, index, size):
        with open(self.files[size][index], "rb") as file:
            return file.read()

    def name(self, index, size):
        return self.files[size][index]


def is_tree(path):
    """Whether `path` is a tree, complete or not, and no LMDB."""
    if os.path.exists(os.path.join(path, "data.mdb")):
        return False
    sizes = [os.path.isdir(os.path.join(path, str(size))) for size in SIZES]
    return any(sizes) or bool(read_about_file(path))


def wanted_folder(path):
    """The error for a file where a prepared set was to be named."""
    folder = os.path.dirname(path) or "."
    prepare = f"prepare it with `python prepare_data.py --out LMDB {path}`"
    if os.path.basename(path) in ("data.mdb", "lock.mdb", ABOUT_FILE):
        advice = f"name the folder that it lies in, {folder}"
    elif os.path.isfile(path) and is_lmdb(path):
        advice = f"if it is prepared, move it to a folder of its own as data.mdb; else {prepare}"
    else:
        advice = f"if it is an archive of pictures, {prepare}"
    kind = kind_of(path)
    advice = advice if kind == "a file" else "name one"
    return DataError(f"{path} is {kind}, but training needs a folder, an LMDB or a tree: {advice}.")


def open_pictures(path) -> Pictures:
    """The prepared set at `path`; DataError if there is none or it is unfinished."""
    if os.path.exists(path) and not os.path.isdir(path):
        raise wanted_folder(str(path))
    return Tree(path) if is_tree(path) else Lmdb(path)


# Writing


def read_about_file(folder):
    """Content of a tree's about.json, or {}."""
    try:
        return parsed(Path(folder, ABOUT_FILE).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}


def locked(folder):
    """disk.locked; DataError if another process prepares pictures there."""
    return disk.locked(
        folder, DataError(f"Another prepare_data.py is writing {folder}: wait for it.")
    )


class LmdbWriter:
    """An LMDB in the making. Each `write` is one transaction: a kill loses at most one.

    The same calls make the same bytes, also when they are divided between processes.
    """

    def __init__(self, folder):
        self.folder = str(folder)

    def write(self, records, about):
        """Adds `records` [(size, index, bytes)] and notes `about`; if complete, the length too."""
        file = Path(self.folder, "data.mdb")
        size, held = MAP_BYTES, file.stat().st_size if file.exists() else 0
        while size < held or not self.try_to_write(records, about, size):
            size *= 2

    def try_to_write(self, records, about, map_bytes):
        """Writes in one transaction; False, with nothing written, where a map of that many bytes is
        too small.
        """
        # Opened for each transaction: LMDB fills the gaps of a page with what its memory held
        # before, and a resumed run should write what an undisturbed one writes.
        # Without its lock, which some file systems lack: the folder is locked.
        with lmdb.open(os.fsencode(self.folder), map_size=map_bytes, lock=False) as env:
            try:
                with env.begin(write=True) as txn:
                    for size, index, value in records:
                        txn.put(image_key(size, index), value)
                    txn.put(ABOUT_KEY, json.dumps(about).encode())
                    if about["complete"]:
                        txn.put(LENGTH_KEY, str(about["kept"]).encode())
            except lmdb.MapFullError:  # the transaction was aborted
                return False
        return True

    @staticmethod
    def read_about(folder):
        """What has been noted of the LMDB in `folder`, or {}."""
        with LmdbWriter.reading(folder) as txn:
            return parsed(txn and txn.get(ABOUT_KEY))

    @staticmethod
    def find(folder):
        """What is in `folder`: "nothing", "ours", "original" (an LMDB like its), or "foreign"."""
        if set(visible(folder)) - {"data.mdb", "lock.mdb"}:
            return "foreign"
        with LmdbWriter.reading(folder) as txn:
            if txn is None or not txn.stat()["entries"]:
                return "nothing"
            if parsed(txn.get(ABOUT_KEY)):
                return "ours"
            like = txn.get(LENGTH_KEY) and any(txn.get(image_key(size, 0)) for size in SIZES)
            return "original" if like else "foreign"

    @staticmethod
    @contextlib.contextmanager
    def reading(folder):
        """A transaction on the LMDB in `folder`, or None where nothing was written yet."""
        file = os.path.join(folder, "data.mdb")
        if not os.path.exists(file) or not os.path.getsize(file):
            yield None
            return
        try:
            env = open_lmdb(folder)
        except lmdb.Error as error:
            raise unreadable(folder, error, "remove it yourself") from error
        with env, env.begin() as txn:
            yield txn

    @staticmethod
    def remove(folder):
        """Removes the LMDB in `folder`, and nothing else."""
        for name in ("data.mdb", "lock.mdb"):
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, name))


class TreeWriter:
    """A tree of sizes in the making, with the methods of LmdbWriter."""

    def __init__(self, folder):
        self.folder = str(folder)

    def write(self, records, about):
        suffix = SUFFIXES[about["settings"]["format"]]
        if not read_about_file(self.folder):  # else a kill would leave what looks complete
            note(self.folder, {**about, "done": 0, "kept": 0, "skipped": [], "complete": False})
        labels = read_about_file(self.folder).get("labels", [])
        labels += [value.decode() for size, _, value in records if size == LABEL]
        about = {**about, "labels": labels} if labels else about
        records = [record for record in records if record[0] != LABEL]
        for size in {size for size, _, _ in records}:
            os.makedirs(os.path.join(self.folder, str(size)), exist_ok=True)
        for size, index, value in records:
            Path(self.folder, str(size), f"{index:05d}{suffix}").write_bytes(value)
        note(self.folder, about)

    @staticmethod
    def read_about(folder):
        """What has been noted of the tree, or {}."""
        return read_about_file(folder)

    @staticmethod
    def find(folder):
        """What is in `folder`: "nothing", "ours" or "foreign"."""
        if read_about_file(folder):
            return "ours"
        return "foreign" if visible(folder) else "nothing"

    @staticmethod
    def remove(folder):
        """Removes the pictures that were written, the folders if then empty, and nothing else."""
        about = read_about_file(folder)
        if not about:
            return
        note(folder, {**about, "complete": False})
        suffix = SUFFIXES[about["settings"]["format"]]
        for size in about["settings"]["sizes"]:
            below = os.path.join(folder, str(size))
            for index in range(about["total"]):
                with contextlib.suppress(FileNotFoundError):
                    os.remove(os.path.join(below, f"{index:05d}{suffix}"))
            with contextlib.suppress(OSError):  # what else is in it stays
                os.rmdir(below)
        os.remove(os.path.join(folder, ABOUT_FILE))


def note(folder, about):
    """Replaces a tree's about.json."""
    with replacing(Path(folder, ABOUT_FILE)) as unfinished:
        unfinished.write_text(json.dumps(about), encoding="utf-8")
