"""Whose is a file in the folder of a run? What the run did not write itself stays as it is.

A run is known by its configuration, which log.jsonl notes at each start and each checkpoint holds.
"""

import contextlib
import dataclasses
import itertools
import json
import os
import pickletools
import re
from pathlib import Path

from data.choice import open_picture
from training.schedule import Config

ROLLING = "rolling.model"  # the run since its last checkpoint, where that is long ago
CHECKPOINT = re.compile(r"(\d{6,}|train_step-\d+|rolling)(-\d+)?\.model", re.ASCII)  # ours
SAMPLE = re.compile(r"\d{6,}(-\d+)?\.png", re.ASCII)
MARK = {"Software": "train.py"}  # in the text of a sample
CONSTANTS = {"NEWTRUE": True, "NEWFALSE": False, "NONE": None}
LINE_STARTS = (b'{"iteration": ', b'{"config": ')  # how those of log.jsonl begin


def header_of(path) -> dict:
    """The plain values in the first bytes of a checkpoint of train.py, the configuration's among
    them; {} of another file.
    """
    words, memo = [], []
    with contextlib.suppress(Exception), open(path, "rb") as f:  # reading all of it tells more
        for code, value, _ in itertools.islice(pickletools.genops(f), 500):
            if code.name == "MEMOIZE":
                memo.append(words[-1] if words else None)
            elif code.name == "BINGET":  # a string once more, such as both of --freeze_d and _g 8
                words.append(memo[value])
            elif code.name in CONSTANTS:
                words.append(CONSTANTS[code.name])
            elif value is not None and not re.search("PROTO|FRAME|MEMO|PUT", code.name):
                words.append(value)
            if words[-1:] == ["generator"]:
                break
    if words[:1] != ["version"] or words[2:3] != ["config"]:
        return {}
    del words[2]
    header = dict(zip(words[::2], words[1::2]))
    return header if isinstance(header.get("iteration"), int) else {}


def iteration_of(path) -> int:
    """The iteration noted in the first bytes of a checkpoint, else in its name, else -1."""
    noted = header_of(path).get("iteration")
    return noted if noted is not None else number_of(path) if is_periodic(path) else -1


def number_of(path) -> int:
    """The iteration in the name of a periodic checkpoint."""
    return int(re.match(r"\d+", path.name)[0])


def is_periodic(path) -> bool:
    """Whether a checkpoint is named after its iteration (others end a stage)."""
    return path.name[0].isdecimal()


def named_as_ours(folder: Path, pattern=CHECKPOINT, suffix: str = "") -> list:
    """Files of a folder that have the names that train.py gives, and then a suffix."""
    names = re.compile(pattern.pattern + re.escape(suffix), re.ASCII)
    found = folder.iterdir() if folder.is_dir() else ()
    return [path for path in found if names.fullmatch(path.name) and path.is_file()]


def entry_of(line: bytes) -> dict:
    """What a line of log.jsonl says, of an iteration or a start; {} where it is not of train.py."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    ours = isinstance(entry, dict) and (
        type(entry.get("iteration")) is int
        or (type(entry.get("from")) is int and isinstance(entry.get("config"), dict))
    )
    return entry if ours else {}


def cut_off(line: bytes) -> bool:
    """Whether a kill or power cut has left it, as the last of the log."""
    begins = any(line.startswith(start) or start.startswith(line) for start in LINE_STARTS)
    return not line.endswith(b"\n") and (begins or b"\0" in line)


def is_kept(line: bytes, iteration: int) -> bool:
    """Whether a line of the log stays when a run goes on from an iteration: one of another program,
    of an iteration up to that one, or of a start before it.
    """
    if cut_off(line):
        return False
    entry = entry_of(line)
    if "from" in entry:
        return entry["from"] < iteration
    return entry.get("iteration", -1) <= iteration


def same_run(one: dict, other: dict, *pictures: dict) -> bool:
    """Whether two configurations, whose fields may be missing, are the same, and the numbers of
    `pictures` noted with them, where both are known.
    """
    same = all(one.get(k, v) == other.get(k, v) for k, v in dataclasses.asdict(Config()).items())
    counts = {noted.get("pictures") for noted in pictures} - {None}
    return same and len(counts) <= 1


class History:
    """What the log in a folder tells of the run there: its starts, and whether it got on."""

    def __init__(self, folder: Path):
        self.folder, self.log = folder, folder / "log.jsonl"
        self.starts, self.has_iterations, self.has_foreign_lines = [], False, False
        for line in self.lines():
            if line.startswith(LINE_STARTS[0]):
                self.has_iterations = True
            elif "config" in entry_of(line):
                self.starts.append(entry_of(line))
            elif line.strip() and not cut_off(line):
                self.has_foreign_lines = True

    def lines(self) -> list:
        """Those of the log, as bytes with their ends."""
        return self.log.read_bytes().splitlines(keepends=True) if self.log.exists() else []

    def wrote(self, path) -> bool:
        """Whether the run here wrote a checkpoint or sample, as far as can be told. An empty file
        is what a power cut left of one.
        """
        if not path.is_file():  # removed meanwhile, or none
            return False
        if path.stat().st_size == 0:
            return True
        if path.suffix == ".png":
            with contextlib.suppress(Exception), open_picture(path, "", ["PNG"]) as picture:
                return MARK.items() <= picture.info.items()
            return False
        header = header_of(path)
        if not header or (is_periodic(path) and number_of(path) != header["iteration"]):
            return False  # the second is a copy that somebody keeps
        before = [start for start in self.starts if start["from"] < header["iteration"]]
        return not before or same_run(header, before[-1]["config"], header, before[-1])

    def holds(self, path) -> bool:
        """Whether a checkpoint is one of the run here."""
        inside = path.parent.resolve() == (self.folder / "checkpoint").resolve()
        return inside and self.wrote(path)

    def place(self, path: Path) -> Path:
        """Where a file of the run is written: at `path`, beside what is not its own there."""
        if not path.exists() or self.wrote(path):
            return path
        other = free(path)
        print(f"{path} is not of this run: writing {other.name} beside it")
        return other


def free(path: Path) -> Path:
    """A path at which nothing is: this one, or with -2, -3 ... after its stem."""
    others = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in itertools.count(2))
    return next(p for p in itertools.chain([path], others) if not os.path.lexists(p))
