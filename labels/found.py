"""The labels of pictures that are to be prepared: names of folders, NVIDIA's dataset.json, a CSV,
MNIST's own.
"""

import argparse
import csv
import gzip
import hashlib
import json
import os
import posixpath
import sys
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from backend.terminal import UsageError, given, printable
from data.archives import Tar, Zip, followed, tar_index
from data.choice import Choice, error_text, extension, formats
from data.reading import LargeEnough
from data.sources import Digits, Folder
from data.store import DataError
from labels.table import counts

DATASET = "dataset.json"  # NVIDIA's: {"labels": [["00000/img00000000.png", 6], ...]}
FOLDERS = "folders"
NAMED = 3  # pictures, in a sentence
ADVICE = {FOLDERS: "put them below folders that are named after their labels, or give a CSV"}


def option(text: str) -> str:
    """Parser type of --labels: a CSV's name."""
    if not given(text).lower().endswith(".csv"):
        wrong = f"{text[:40]!r} does not end in .csv; without a file --labels comes after PATH"
        raise argparse.ArgumentTypeError(wrong)
    return text


def add_option(add) -> None:
    """--labels, by an `add_argument`: None without it, () for what the pictures tell themselves."""
    text = (
        "keep what each picture is of: the first folder below PATH, NVIDIA's dataset.json there, "
    )
    text += "a CSV of names and labels, or mnist's own (after PATH)"
    add("--labels", nargs="?", const=(), type=option, metavar="FILE.csv", help=text)


def check_file(path) -> None:
    """UsageError for a CSV that is not there."""
    if path and not os.path.isfile(path):
        raise UsageError(f"--labels {path}: there is no such file")


def named(names) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(map(printable, names[:NAMED])) + more


# What there is


def paths_of(source) -> list:
    """Where each picture lies below what was named, with slashes; its name where that is all."""
    if isinstance(source, Folder):
        return [os.path.relpath(name, source.folder) for name in source.names]
    return [posixpath.normpath(name.replace("\\", "/")) for name in source.names]


def dataset_of(source):
    """The bytes of NVIDIA's dataset.json in a folder, zip or tar, or None."""
    if isinstance(source, Folder):
        path = Path(source.folder, DATASET)
        return path.read_bytes() if path.is_file() else None
    if isinstance(source, Zip):
        with zipfile.ZipFile(source.path) as archive:
            return archive.read(DATASET) if DATASET in archive.namelist() else None
    if isinstance(source, Tar):
        source.file.seek(0)
        entry = followed(tar_index(source.file, Choice()), DATASET)
        return entry and os.pread(source.file.fileno(), entry.size, entry.offset)
    return None


def of_dataset(raw: bytes) -> list:
    """[(picture, label)] of a dataset.json."""
    try:
        pairs = json.loads(raw)["labels"]
        told = [(name, label) for name, label in pairs or ()]
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{DATASET} holds no labels as NVIDIA's dataset_tool.py writes") from None
    wrong = [label for name, label in told if type(label) is not int or type(name) is not str]
    if wrong or not told:
        what = f"{str(wrong[0])[:40]}, and no number, for a label" if wrong else "no label at all"
        raise DataError(f"{DATASET} has {what}: give --labels FILE.csv, or leave it away")
    return [(name, str(label)) for name, label in told]


def of_csv(path: str) -> list:
    """[(picture, label)] of a CSV, whose first line may be a heading."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if row]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"--labels {path} cannot be read ({error_text(error)})") from error
    short = [i for i, row in enumerate(rows, 1) if len(row) < 2 or not row[1].strip()]
    if short or not rows:
        raise DataError(f"--labels {path}: line {(short or [1])[0]} is no name and label")
    if extension(rows[0][0].strip()) not in formats() and len(rows) > 1:
        beside = [extension(row[0].strip()) in formats() for row in rows[1:]]
        rows = rows[1:] if any(beside) else rows
    return [(row[0].strip(), row[1].strip()) for row in rows]


def of_digits(digits: Digits) -> list:
    with gzip.open(digits.labels_path) as file:
        file.read(8)  # the magic number and the count
        return [str(label) for label in np.frombuffer(file.read(), np.uint8)]


def of_folders(paths) -> list:
    """The first folder in which not all lie; None for a picture beside such folders."""
    parts, depth = [path.split("/") for path in paths], 0
    while all(len(p) > depth + 2 for p in parts) and len({p[depth] for p in parts}) == 1:
        depth += 1
    return [p[depth] if len(p) > depth + 1 else None for p in parts]


# Which is whose


def by_name(paths) -> dict:
    """{name: place} of pictures, by path or, where only one has it, by less of it: without folders,
    without the ending, without either.
    """
    known = {}
    for shorten in (
        lambda path: path,
        posixpath.basename,
        lambda path: posixpath.splitext(path)[0],
        lambda path: posixpath.splitext(posixpath.basename(path))[0],
    ):
        places = defaultdict(list)
        for i, path in enumerate(paths):
            places[shorten(path)].append(i)
        for name, found in places.items():
            if len(found) == 1:
                known.setdefault(name, found[0])
    return known


def assigned(pairs, paths, origin: str) -> list:
    """The label of each of the paths, or None, from [(picture, label)]. Says which pictures are not
    there; DataError for two labels of one.
    """
    known, found, unknown = by_name(paths), defaultdict(list), []
    for name, label in pairs:
        place = known.get(posixpath.normpath(name.replace("\\", "/")))
        if place is None:
            unknown.append(name)
        elif label not in found[place]:
            found[place].append(label)
    twice = [f"{paths[i]} ({', '.join(found[i])})" for i in sorted(found) if len(found[i]) > 1]
    if twice:
        raise DataError(f"{origin} gives {len(twice):,} pictures two labels: {named(twice)}")
    if unknown:
        there = f"{len(unknown):,} pictures that are not there: {named(unknown)}"
        print(f"{origin} names {there}", file=sys.stderr)
    return [found[i][0] if i in found else None for i in range(len(paths))]


def check(labels, paths, origin: str) -> None:
    """DataError unless every picture has a label that can be written down, and there are two."""
    without = [path for path, label in zip(paths, labels) if label is None]
    if without:
        advice = ADVICE.get(origin, f"name them in {origin}")
        raise DataError(
            f"--labels: {len(without):,} of {len(paths):,} pictures have no label: {named(without)}"
            f"; {advice}"
        )
    kinds = set(labels)
    wrong = sorted(name for name in kinds if "," in name or not name.isprintable())
    if wrong:
        raise DataError(
            f"--labels: {len(wrong)} labels have a comma or what cannot be printed in their names: "
            f"{named(wrong)}; rename them"
        )
    if len(kinds) < 2:
        raise DataError(f"--labels: all pictures have the label {labels[0]}: two are needed")


def find(source, file, count: int) -> list:
    """The labels of the first `count` pictures of a source. file: the CSV that tells them, or ()
    for what the source itself tells. Says how many of each there are. Raises DataError.
    """
    inner = source.source if isinstance(source, LargeEnough) else source
    chosen = source.chosen if isinstance(source, LargeEnough) else range(len(source.names))
    paths, raw = paths_of(inner), None if file else dataset_of(inner)
    if file:
        labels, origin = assigned(of_csv(file), paths, file), file
    elif raw is not None:
        labels, origin = assigned(of_dataset(raw), paths, DATASET), DATASET
    elif isinstance(inner, Digits):
        labels, origin = of_digits(inner), "mnist"
    else:
        labels, origin = of_folders(paths), FOLDERS
    labels, paths = ([x[i] for i in chosen[:count]] for x in (labels, paths))
    check(labels, paths, origin)
    print(f"labels of {printable(origin)}: {counts(labels)}")
    return labels


def note(labels) -> str:
    """What a set notes of its labels, to tell a resumed run's from those it began with."""
    digest = hashlib.sha1("\n".join(labels).encode("utf-8", "backslashreplace")).hexdigest()
    return f"{len(set(labels))} kinds, {digest[:12]}"
