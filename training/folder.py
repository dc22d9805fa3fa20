"""What a run writes: checkpoint/, sample/ and log.jsonl, side by side in one folder.

A kill or a full disk at any instant costs no more than what came after the last checkpoint.
"""

import contextlib
import os
from pathlib import Path

import numpy as np

from backend.disk import (
    UNFINISHED,
    check_file,
    check_folder,
    check_log,
    finished_name,
    replacing,
)
from backend.terminal import UsageError, UserError, reason
from training.history import (
    ROLLING,
    SAMPLE,
    History,
    cut_off,
    free,
    header_of,
    is_kept,
    is_periodic,
    iteration_of,
    named_as_ours,
    same_run,
)
from training.schedule import Config


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
            f"{path} cannot be written ({reason(e)}): what was saved before is intact, mend that, "
            "then repeat the command, where a run has checkpoints with --ckpt latest"
        ) from e


def checkpoints(folder: Path) -> list:
    """Paths of the checkpoints of the run in a folder, latest iteration first: those that it wrote,
    and what has their names but cannot be told from its first bytes.

    Dates do not count: a copied folder has new ones.
    """
    history = History(folder)
    found = [
        path
        for path in named_as_ours(folder / "checkpoint")
        if not header_of(path) or history.wrote(path)
    ]
    return sorted(found, key=lambda p: (iteration_of(p), is_periodic(p), p.name), reverse=True)


def check_no_checkpoints(folder: Path) -> None:
    """UsageError if a folder holds checkpoints of train.py, those of a power cut too."""
    if any(header_of(p) or not p.stat().st_size for p in named_as_ours(folder / "checkpoint")):
        raise UsageError(
            f"{folder / 'checkpoint'} holds a run: go on with --ckpt latest, or give another "
            "--expname"
        )


def check_vacant(folder: Path, config: Config, pictures: int) -> None:
    """UsageError if a folder holds another run, or what looks like it, so that none can begin here.

    The beginnings of the same one, killed before its first checkpoint, are none.
    """
    check_no_checkpoints(folder)
    elsewhere, history = "give another --expname", History(folder)
    if history.has_foreign_lines:
        raise UsageError(f"{history.log} has lines that train.py did not write: {elsewhere}")
    last = history.starts[-1] if history.starts else None
    now = {"config": config.saved(), "pictures": pictures}
    same = last and same_run(now["config"], last["config"], now, last)
    if history.has_iterations and not same:
        raise UsageError(
            f"{history.log} is of another run, without checkpoints here: move it, or {elsewhere}"
        )
    samples = named_as_ours(folder / "sample", SAMPLE)
    if samples and not same:
        raise UsageError(
            f"{min(samples)} is not of this run, which would write there: move it, or {elsewhere}"
        )


def check_places(folder: Path) -> None:
    """UserError where what a run writes into a folder cannot be written, for something else is in
    the place of a folder, of the log or of what is unfinished: to be told before it computes.
    """
    check_log(folder / "log.jsonl")
    for below in (folder / "checkpoint", folder / "sample"):
        check_folder(below)
        for path in below.iterdir() if below.is_dir() else ():
            if path.name.endswith(UNFINISHED):
                check_file(path.with_name(finished_name(path.name)))


def make_folders(folder: Path) -> None:
    """The folders, where they are missing."""
    for name in ("checkpoint", "sample"):
        (folder / name).mkdir(parents=True, exist_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Removes what a kill has left half written."""
    for path in (
        *named_as_ours(folder / "checkpoint", suffix=UNFINISHED),
        *named_as_ours(folder / "sample", SAMPLE, UNFINISHED),
        *folder.glob(f"log.jsonl{UNFINISHED}"),
    ):
        path.unlink()


def make_ready(folder: Path, iteration: int, source) -> None:
    """Leaves in a folder what belongs to the run that goes on from a checkpoint `source` of that
    iteration, or begins there when it is elsewhere or None.
    """
    remove_unfinished(folder)
    history = History(folder)
    if source is not None and history.holds(source):
        go_back(history, iteration, source)
    elif history.has_iterations:
        renamed = free(folder / "log.jsonl.later")
        os.replace(history.log, renamed)
        print(f"{history.log} is of a start that left no checkpoint: renamed to {renamed.name}")
    else:
        rewrite(history, lambda line: not cut_off(line))


def go_back(history: History, iteration: int, source: Path) -> None:
    """Takes the log's lines of later iterations, which will be written again. Later checkpoints of
    the run are renamed so that `latest` is of this one.
    """
    if not history.starts:  # a folder without its log: its run is the one gone on with
        header = header_of(source)
        history.starts = [{"config": header, "from": -1, "pictures": header.get("pictures")}]
    for path in named_as_ours(history.folder / "checkpoint"):
        if iteration_of(path) > iteration and history.wrote(path) and not path.samefile(source):
            renamed = free(path.with_name(path.name + ".later"))
            os.replace(path, renamed)
            print(f"{path} is later than iteration {iteration}: renamed to {renamed.name}")
    rewrite(history, lambda line: is_kept(line, iteration))


def rewrite(history: History, is_kept) -> None:
    """Leaves in a log the lines that are kept; the last one, too, ends there."""
    lines = history.lines()
    kept = [line if line.endswith(b"\n") else line + b"\n" for line in lines if is_kept(line)]
    if kept != lines:
        with writing(history.log), replacing(history.log) as unfinished:
            unfinished.write_bytes(b"".join(kept))


def remove_rolling(history: History) -> None:
    """Removes the run's rolling checkpoint, after a later one was written."""
    path = history.folder / "checkpoint" / ROLLING
    if path.is_file() and history.wrote(path):
        path.unlink()


def remove_old(history: History, count: int, source) -> None:
    """Removes the run's periodic checkpoints but the last `count` and `source`, where it began."""
    paths = named_as_ours(history.folder / "checkpoint")
    paths = [path for path in paths if is_periodic(path) and history.wrote(path)]
    for path in sorted(paths, key=lambda p: (iteration_of(p), p.name), reverse=True)[count:]:
        if source is None or path.resolve() != Path(source).resolve():
            path.unlink()
