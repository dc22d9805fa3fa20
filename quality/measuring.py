"""Measures a run while it trains, and keeps the best of it."""

import json
from contextlib import suppress

from backend import device
from backend.terminal import UsageError, number
from figures.artist import Artist
from quality.judge import HIGHER_IS_BETTER, METRICS, Judge, Request, Stopped, metric_list, settled
from quality.sets import Data
from training.folder import check_finite

BEST = "best.model"


def add_measuring_options(p) -> None:
    g = p.add_argument_group("measuring (see metrics.py)")
    count = number(int, 1)
    text = "every N iterations add numbers to log.jsonl and keep best.model by the first (default "
    text += "never)"
    g.add_argument("--metrics_every", metavar="N", type=count, help=text)
    text = f"which, comma-separated: {','.join(METRICS)} (default fid or fd_vgg16, kid, precision, "
    text += "recall)"
    g.add_argument("--metrics", type=metric_list, metavar="NAMES", help=text)
    text = "images and pictures of the data, from 4 (default 50000, or as many as the data has)"
    g.add_argument("--metrics_num", type=number(int, 4), metavar="N", help=text)


def requested(args) -> Request:
    """What the options of train.py ask for; UsageError for options that do not go together."""
    if not args.metrics_every and (args.metrics or args.metrics_num):
        raise UsageError("--metrics and --metrics_num go with --metrics_every only")
    return settled(Request(metrics=args.metrics or (), num=args.metrics_num))


class Measuring:
    """Every `every` iterations: a line of numbers in log.jsonl, and best.model, the run at its best
    by the first metric. Numbers of one size do not compare with those of another: when images grow,
    the best begins anew.

    data: what to compare with, open. history: the run's. stop(): whether a signal has come, for
    which measuring is given up.
    """

    def __init__(self, data: Data, request: Request, every: int, history, stop):
        self.every, self.history = every, history
        self.judge = Judge(data, request, stop) if device.rank() == 0 else None

    def __call__(self, run, phase, write) -> None:
        """After an iteration of `phase`; write(line) adds to the log."""
        if self.judge is None or run.iteration % self.every:
            return
        artist = Artist(run.running, phase.step, phase.alpha, psi=1.0)
        artist.asked.names = run.config.label_names
        try:
            results = self.judge.measure_artist(artist)
        except Stopped:
            return
        check_finite(results, run.iteration)
        best = self.best(phase.size, results)
        metrics = {name: value for named in results.values() for name, value in named.items()}
        line = {"iteration": run.iteration, "images": run.images_seen, "size": phase.size}
        write({**line, "metrics": metrics})
        if best:
            path = self.history.folder / "checkpoint" / BEST
            run.save(self.history.place(path), phase.alpha, phase.size)

    def best(self, size: int, results: dict) -> bool:
        """Whether the first metric is better than all that the log has of it at this size."""
        metric = self.judge.metrics[0]
        ((name, value), *_) = results[metric].items()
        earlier = []
        for line in self.history.lines():
            with suppress(ValueError, KeyError, TypeError):
                entry = json.loads(line)
                earlier += [entry["metrics"][name]] if entry["size"] == size else []
        if metric in HIGHER_IS_BETTER:
            return value > max(earlier, default=-1)
        return value < min(earlier, default=float("inf"))
