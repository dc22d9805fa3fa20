"""What lies beside the weights in people's checkpoints, and what each Python makes of it.

python tests/beside.py: adds this Python's pickles to tests/recorded/beside.json.xz
"""

import argparse
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import json
import logging
import lzma
import pickle
import platform
import random
import re
import types
import uuid
from pathlib import Path
from typing import NamedTuple

import numpy as np

RECORDED = Path(__file__).resolve().parent / "recorded" / "beside.json.xz"


class Colour(enum.Enum):
    RED = 1
    blue = "b"


class Level(enum.IntEnum):
    LOW = 1


class Parts(enum.Flag):
    G, D, AVERAGE = 1, 2, 4


class Bits(enum.IntFlag):
    ONE, TWO, FOUR = 1, 2, 4


class Outer:
    class Inner:
        def __init__(self):
            self.size = 8

        class Mode(enum.Enum):
            FAST = "fast"

        class Bits(enum.Flag):
            ONE, TWO, FOUR = 1, 2, 4

        class Options(dict):
            pass


class Point(NamedTuple):
    x: int
    y: int


class Options(dict):
    """As packages for options have it: attributes and entries."""

    def __init__(self, **options):
        super().__init__(options)
        self.__dict__.update(options)


@dataclasses.dataclass
class Settings:
    where: Path = Path("x")
    when: datetime.datetime = datetime.datetime(2024, 1, 1)
    colour: Colour = Colour.RED


ENUMS = {
    "Enum": [Colour.RED, Colour.blue, Colour.RED, Level.LOW, Colour],
    "Flag": [Parts.G, Parts.G | Parts.D, Parts(7), Parts(0), ~Parts.G, {Parts(7): 1}],
    "IntFlag": [Bits.ONE, Bits(3), Bits(7), Bits(8), Bits(9), Bits(0)],
    "of Python": [re.I, re.I | re.M, re.I | re.M | re.S],
    "nested": [Outer.Inner.Mode.FAST, Outer.Inner.Bits.ONE, Outer.Inner.Bits(7), Outer.Inner.Mode],
    "keys": {Colour.RED: 3, (1, Colour.blue): 4, Level.LOW: 5, Outer.Inner.Mode.FAST: 6},
    "set": {Colour.RED},
}
BESIDE = {
    **{f"enums: {name}": value for name, value in ENUMS.items()},
    "Namespace": argparse.Namespace(size=8, at=datetime.timedelta(3), colour=Colour.RED),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "dataclass": Settings(),
    "nested classes": [Outer.Inner(), Outer.Inner, Outer.Inner.Options(a=1)],
    "NamedTuple": Point(1, 2),
    "options": Options(a=1),
    "class": Settings,
    "partial": functools.partial(Outer.Inner, 1),
    "set": {1, (2, 3)},
    "frozenset": frozenset({2}),
    "deque": collections.deque([1], 3),
    "Decimal": decimal.Decimal("1.5"),
    "UUID": uuid.UUID(int=3),
    "complex": [1j, range(3), slice(2), ..., NotImplemented, bytearray(b"a"), type(None)],
    "keys": {1.5: 0, (8, (4, None)): 1, True: 2, Path("x"): 4},
    "NumPy": [np.random.default_rng(0), np.random.RandomState(0), np.str_("x"), np.complex64(1)],
    "exception": [ValueError("x"), random.Random(0), re.compile("x"), logging.getLogger("x")],
}


def pickles():
    """(name, protocol, bytes) of all that lies beside, as this Python writes it. Before protocol 2
    objects of classes go by way of a function of Python's own, which is refused.
    """
    for name, value in BESIDE.items():
        for protocol in range(0 if name.startswith("enums") else 2, pickle.HIGHEST_PROTOCOL + 1):
            everything = {"w": np.ones(2), "beside": value, "after": 3}
            yield name, protocol, pickle.dumps(everything, protocol)


def recorded():
    """Those of other Pythons: [name, protocol, "3.8.18 3.9.18", bytes as Latin-1]."""
    return json.loads(lzma.decompress(RECORDED.read_bytes())) if RECORDED.exists() else []


def record():
    version, found = platform.python_version(), {}
    for name, protocol, versions, text in recorded():
        found[name, protocol, text] = {*versions.split()} - {version}
    for name, protocol, raw in pickles():
        found.setdefault((name, protocol, raw.decode("latin1")), set()).add(version)
    rows = [
        [name, protocol, " ".join(sorted(versions, key=lambda v: [*map(int, v.split("."))])), text]
        for (name, protocol, text), versions in sorted(found.items())
        if versions
    ]
    RECORDED.write_bytes(lzma.compress(json.dumps(rows).encode(), preset=9))


if __name__ == "__main__":
    record()
