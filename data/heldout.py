"""Pictures that are kept out of training, so that one sees whether others look as good to it.

Which ones hangs on the number of pictures alone, neither on the seed nor on the options: the same
in every run on a set, and of two numbers the smaller one's are among the larger one's.
"""

import argparse

import numpy as np

from backend.terminal import UsageError, number
from data.store import Pictures

HELDOUT_STREAM = 7  # second word of the seed, after those of figures/ and quality/


def heldout_amount(text: str) -> float:
    """Parser type: a number of pictures, or below 1 a share of them; 0 for none."""
    value = number(float, 0.0)(text)
    if value > 1 and value != int(value):
        raise argparse.ArgumentTypeError(f"{text[:40]} is neither a whole number nor a share")
    return value


def divide(length: int, amount: float, path) -> tuple:
    """Indices (n,) of the pictures to train on and (m,) of those held out, ascending. amount: of
    `heldout_amount`. UsageError where either would be none.
    """
    count = round(amount * length) if amount < 1 else int(amount)
    if not 0 < count < length:
        none = "none to train on" if count else "none held out"
        raise UsageError(f"--heldout {amount:g} of the {length} pictures in {path}: {none}")
    order = np.random.default_rng([0, HELDOUT_STREAM]).permutation(length)
    return np.sort(order[count:]), np.sort(order[:count])


class Part(Pictures):
    """Some pictures of a set, which stays open as long as they are read."""

    def __init__(self, pictures, indices):
        self.pictures, self.indices, self.length = pictures, indices, len(indices)
        self.path, self.sizes, self.about = pictures.path, pictures.sizes, pictures.about
        self.labels = pictures.labels and [pictures.labels[i] for i in indices]

    def record(self, index, size):
        return self.pictures.record(int(self.indices[index]), size)

    def name(self, index, size):
        return self.pictures.name(int(self.indices[index]), size)


def divided(pictures, amount: float) -> tuple:
    """(the pictures to train on, those held out or None). UsageError as of `divide`."""
    if not amount:
        return pictures, None
    parts = divide(pictures.length, amount, pictures.path)
    return tuple(Part(pictures, indices) for indices in parts)
