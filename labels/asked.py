"""Which label has the image of a seed? Those that a command line asks for, in turn, else one that
the seed draws.
"""

import json

import numpy as np

from backend.terminal import UsageError, given
from labels.table import asked_for, of_seeds, one_hot

FIGURE = "labels"  # its rows are labels, whatever the seeds


class Asked:
    """count: labels that the network knows, 0 for none. names: theirs. numbers: of those asked for,
    which the images of `seeds`, and of those that follow by one, have in turn; none: each seed
    draws its own, in proportions `shares` (count,), alike without. `shown`: {seed: name} so far.
    """

    def __init__(self, count: int, names=(), numbers=(), seeds=(0,)):
        self.count, self.names, self.numbers, self.seeds = count, names, numbers, seeds
        self.places = {x: i for i, x in enumerate(seeds)} if len(numbers) > 1 else {}
        self.shares, self.shown = None, {}

    @classmethod
    def by(cls, options, network) -> "Asked":
        """By options --label and --seeds, with a `figures.network.Network`. Raises UsageError."""
        names = network.config.label_names
        numbers = asked_for(options.label, names, options.ckpt)
        return cls(len(names), names, numbers, options.seeds or [options.seed])

    def alone(self, number: int) -> "Asked":
        """One label for all."""
        return Asked(self.count, self.names, [number])

    def rows(self) -> list:
        """Numbers of the labels that a figure of labels shows."""
        return list(self.numbers) or list(range(self.count))

    def numbers_of(self, seeds) -> list:
        if not self.numbers:
            return of_seeds(seeds, self.count, self.shares)
        after = len(self.seeds) - self.seeds[-1] - 1
        places = (self.places.get(seed, seed + after) for seed in seeds)
        return [self.numbers[place % len(self.numbers)] for place in places]

    def of(self, seeds):
        """(n, count)"""
        if not self.count:
            return np.zeros((len(seeds), 0), "float32")
        numbers = self.numbers_of(seeds)
        if self.names:
            self.shown.update(zip(seeds, (self.names[number] for number in numbers)))
        return one_hot(numbers, self.count)

    def notes(self, figure: str, seeds=None) -> dict:
        """What a PNG says of its labels: each row's, else each seed's, of those shown or given; {}
        of a network without.
        """
        if not self.names:
            return {}
        if figure == FIGURE:
            return {"labels": json.dumps([self.names[number] for number in self.rows()])}
        shown = self.shown.items() if seeds is None else [(s, self.shown.get(s)) for s in seeds]
        return {"labels": json.dumps({str(seed): name for seed, name in shown if name})}


def label_list(text: str) -> list:
    """Parser type of --label."""
    return [given(name) for name in text.split(",")]


IN_TURN = "in turn where there are several, like 3,7 (default: each seed draws one)"


def add_option(p, use: str = IN_TURN) -> None:
    text = f"of a network that was trained with labels: theirs by name or number, {use}"
    p.add_argument("--label", type=label_list, metavar="NAME,..", help=text)


def figures_of(known, artist, options) -> list:
    """Names of the figures to make: --only, else all `known` that an `artist.Artist` can make.
    UsageError for one that it cannot make, or where --label says nothing of all --latents.
    """
    only = options.only
    if options.label and artist.given and all(latent.z is None for latent in artist.given):
        raise UsageError("--label needs z, but --latents holds w: leave it out")
    why = "" if artist.knows_z else "needs z, but --latents holds w"
    why = why if artist.asked.count else "needs a network that was trained with labels"
    if only and FIGURE in only and why:
        raise UsageError(f"--only {FIGURE} {why}")
    return only or [name for name in known if name != FIGURE or not why]


def nearest(labels, means, n: int, evaluate) -> tuple:
    """Of labels, for each of n targets the one whose mean is nearest: (means (n, d), spreads (n,
    1), numbers). means: (mean (1, d), spread) of each; evaluate(w) gives the distances (n,) of n
    images second.
    """
    best = np.argmin([evaluate(mean.repeat(n, axis=0))[1] for mean, _ in means], axis=0)
    spreads = np.array([means[i][1] for i in best], "float32")[:, None]
    return np.concatenate([means[i][0] for i in best]), spreads, tuple(labels[i] for i in best)
