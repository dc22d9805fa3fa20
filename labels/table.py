"""The labels that a network knows: names, whose order gives their numbers, those of a set's
pictures, those asked for, those drawn. To networks a label is a row of 0 with one 1, (labels,).
"""

from collections import Counter
from typing import Optional

import numpy as np

from backend.terminal import UsageError, printable
from data.batches import image_order

LABEL_STREAM = 8  # second word of the seeds, after those of figures/ and training/heldout.py
LISTED = 20  # names, in a sentence


def in_order(names) -> list:
    """Each name once: by their values where all are numbers, else by their letters."""
    names = sorted(set(names))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def listed(names) -> str:
    """Names for people, not too many of them."""
    more = f" and {len(names) - LISTED:,} more" if len(names) > LISTED else ""
    return ", ".join(map(printable, names[:LISTED])) + more


def counts(labels) -> str:
    """How many of each, for people."""
    found = Counter(labels)
    return listed([f"{name} ({found[name]:,})" for name in in_order(found)])


def one_hot(numbers, count: int):
    """(n,) -> (n, count) float32"""
    return np.eye(count, dtype="float32")[np.asarray(numbers, int)]


def asked_for(texts, names, path) -> list:
    """Numbers of the labels that a command line names, by name or else by number. UsageError for
    one that the network of the file at `path`, which has those names, does not know.
    """
    if texts and not names:
        raise UsageError(f"--label: {path} knows no labels: leave it out")
    for text in texts or ():
        if text not in names and not (text.isdecimal() and int(text) < len(names)):
            raise UsageError(
                f"--label {printable(text[:40])}: {path} knows {len(names)} labels, {listed(names)}"
            )
    return [names.index(text) if text in names else int(text) for text in texts or ()]


def drawn(rng, count: int, n: int, shares=None):
    """n labels (n, count), as often as their `shares` say, alike without; of none, count 0, (n, 0)
    without a number of the generator's.
    """
    if not count:
        return np.zeros((n, 0), "float32")
    return one_hot(rng.choice(count, n, p=shares), count)


def of_seeds(seeds, count: int, shares=None) -> list:
    """The number that is drawn for each seed."""
    rngs = (np.random.default_rng([seed, LABEL_STREAM]) for seed in seeds)
    return [int(rng.choice(count, p=shares)) for rng in rngs]


class Labels:
    """Those of a set: `numbers` (length,) of its pictures among the names that a network knows, and
    their `shares` (labels,).
    """

    def __init__(self, pictures, names):
        """UsageError where the set has none, or others."""
        if not pictures.labels:
            raise UsageError(
                f"{pictures.path} has no labels, which this run was asked for: prepare it with "
                "prepare_data.py --labels, or begin a run without"
            )
        unknown = in_order(set(pictures.labels) - set(names))
        if unknown:
            raise UsageError(
                f"{pictures.path} has {len(unknown)} labels that the networks do not know, "
                f"{listed(unknown)}: they know {listed(names)}"
            )
        places = {name: number for number, name in enumerate(names)}
        self.numbers = np.array([places[name] for name in pictures.labels])
        self.count = len(names)
        self.shares = np.bincount(self.numbers, minlength=self.count) / len(self.numbers)

    def batch(self, seed: int, images_seen: int, n: int):
        """Of the batch that `data.batches.load_batch` loads: (n, labels)"""
        return self.of(image_order(seed, len(self.numbers), images_seen, n))

    def of(self, indices):
        """Of pictures: (n, labels)"""
        return one_hot(self.numbers[indices], self.count)

    def drawn(self, rng, n: int):
        """(n, labels), in the set's proportions."""
        return drawn(rng, self.count, n, self.shares)


def labels_of(pictures, names) -> Optional[Labels]:
    """None for a network without. Raises UsageError."""
    return Labels(pictures, names) if names else None


def names_for(pictures) -> str:
    """The names of a set's labels as a new run notes them. UsageError where it has none."""
    if not pictures.labels:
        raise UsageError(
            f"--labels: {pictures.path} has none: prepare it with prepare_data.py --labels"
        )
    return ",".join(in_order(pictures.labels))
