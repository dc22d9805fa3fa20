"""What a run writes: checkpoint/, sample/ and log.jsonl, side by side in one folder.

A kill or a full disk at any instant costs no more than what came after the last checkpoint.
"""

import contextlib
import json
import os
import pickletools
from itertools import islice
from pathlib import Path

import numpy as np

from backend.disk import replacing
from backend.terminal import UserError


class DivergedError(UserError):
    """A number of the run has become infinite or NaN: one sentence."""


def check_finite(values: dict, iteration: int) -> None:
    """DivergedError unless all numbers and arrays in a dictionary, at any depth, are finite."""
    for name, value in values.items():
        if isinstance(value, dict):
            check_finite(value, iteration)
        elif isinstance(value, (float, np.ndarray)) and not np.isfinite(value).all():
            raise DivergedError(
                f"the training has diverged, {name} is not finite after iteration {iteration}: "
                "nothing of it was saved, go on from the last checkpoint with --ckpt latest "
                "--override and a lower --lr"
            )


@contextlib.contextmanager
def writing(path):
    """Turns an OSError into a UserError that names the file."""
    try:
        yield
    except OSError as e:
        raise UserError(
            f"{path} cannot be written ({e.strerror or e}): what was saved before is intact, "
            "mend that and go on with --ckpt latest"
        ) from e


def iteration_of(path) -> int:
    """The iteration noted in the first bytes of a checkpoint, else in its name, else -1."""
    try:
        with open(path, "rb") as f:
            key = None
            for _, value, _ in islice(pickletools.genops(f), 1000):
                if key == "iteration" and isinstance(value, int):
                    return value
                key = key if value is None else value
    except Exception:  # damaged; reading all of it will tell how
        pass
    return int(path.stem) if is_periodic(path) else -1


def checkpoints(folder: Path) -> list:
    """Paths of the checkpoints in a run's folder, latest iteration first.

    Dates do not count: a copied folder has new ones.
    """
    files = (folder / "checkpoint").glob("*.model")
    return sorted(files, key=lambda p: (iteration_of(p), is_periodic(p), p.name), reverse=True)


def is_periodic(path) -> bool:
    """Whether a checkpoint is named after its iteration (others end a stage)."""
    return path.stem.isdecimal()


def remove_old(folder: Path, count: int, source) -> None:
    """Removes all periodic checkpoints but the last `count` and `source`, where the run began."""
    periodic = filter(is_periodic, (folder / "checkpoint").glob("*.model"))
    for path in sorted(periodic, key=lambda p: int(p.stem), reverse=True)[count:]:
        if source is None or path.resolve() != Path(source).resolve():
            path.unlink()


def make_folders(folder: Path) -> None:
    """The folders, where they are missing."""
    for name in ("checkpoint", "sample"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def go_back(folder: Path, iteration: int) -> None:
    """Leaves in a folder only what belongs to a run up to `iteration`.

    Unfinished files go, and the log's lines of later iterations, which will be written again. Later
    checkpoints, of a run that is not gone on with, are renamed so that `latest` is of this one.
    """
    for names in ("checkpoint/*.model.tmp", "sample/*.png.tmp", "log.jsonl.tmp"):
        for path in folder.glob(names):
            path.unlink()
    for path in checkpoints(folder):
        if iteration_of(path) > iteration:
            aside = path.with_name(path.name + ".later")
            os.replace(path, aside)
            print(f"{path} is later than iteration {iteration}: renamed to {aside.name}")
    log = folder / "log.jsonl"
    lines = log.read_bytes().splitlines(keepends=True) if log.exists() else []
    kept = [line for line in lines if belongs(line, iteration)]
    if kept != lines:
        with writing(log), replacing(log) as unfinished:
            unfinished.write_bytes(b"".join(kept))


def belongs(line: bytes, iteration: int) -> bool:
    """Whether a line of the log is of an iteration up to that one, or of a start before it."""
    try:
        entry = json.loads(line)
        by_then = entry["from"] < iteration if "from" in entry else entry["iteration"] <= iteration
    except (ValueError, TypeError, KeyError):  # cut off by a kill
        return False
    return by_then and line.endswith(b"\n")
