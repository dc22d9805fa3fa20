"""How far a run is: the bar, log.jsonl, and when a checkpoint is due by the clock."""

import json
import os
import time

from backend import device
from backend.bar import Bar
from training.folder import check_finite, writing
from training.schedule import images_at

LOG_EVERY = 10  # iterations
MEANS = 5  # gaps that are averaged: of 64 images each, one alone is off by 0.1 and more
LARGE_GAP = 0.3


def values_of(run, losses) -> dict:
    """The losses of train_iteration as numbers, means over all processes. Raises DivergedError."""
    from operators.processes import averaged  # imports Jittor

    names = ("d_real", "d_fake", "penalty", "g")
    values = {name: x.item() for name, x in zip(names, averaged(losses))}
    check_finite(values, run.iteration)
    return values


def log_line(run, phase, losses, seconds: float, speed: float) -> dict:
    """What log.jsonl records of an iteration. Raises DivergedError."""
    return {
        "iteration": run.iteration,
        "images": run.images_seen,
        "size": phase.size,
        "alpha": round(phase.alpha, 5),
        "lr": phase.lr,
        "batch": phase.batch,
        **values_of(run, losses),
        **({"augment_p": round(run.augmentation.p, 5)} if run.config.augment else {}),
        "images_per_second": round(speed, 2),
        "seconds": round(seconds, 1),
    }


class Progress:
    """The bar on the terminal and log.jsonl. A context manager."""

    def __init__(self, run, output, max_iters: int):
        first = device.rank() == 0
        self.path = output.folder / "log.jsonl" if first else os.devnull
        self.log = open(self.path, "a", encoding="utf-8")
        start = {"config": run.config.saved(), "from": run.iteration}
        output.history.starts.append({**start, "pictures": run.pictures})
        self.write(output.history.starts[-1])
        self.started = self.marked = time.time()
        self.marked_images = run.images_seen
        total = images_at(run.config, max_iters)
        self.gaps, self.gap_text, self.warned = [], "", False
        self.bar = Bar(
            total=total,
            initial=run.images_seen,
            unit="img",
            smoothing=0.1,
            mininterval=1,
            disable=None if first else True,
        )

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.bar.close()
        self.log.close()

    def write(self, line: dict) -> None:
        with writing(self.path):
            self.log.write(json.dumps(line) + "\n")
            self.log.flush()

    def report(self, run, phase, losses) -> None:
        """After an iteration: its images, and its losses every LOG_EVERY iterations."""
        if run.iteration % LOG_EVERY == 0:
            now = time.time()
            speed = (run.images_seen - self.marked_images) / (now - self.marked)
            self.marked, self.marked_images = now, run.images_seen
            line = log_line(run, phase, losses, now - self.started, speed)
            self.write(line)
            self.bar.set_description(describe(line) + self.gap_text, refresh=False)
        self.bar.update(phase.batch)

    def report_gap(self, line: dict) -> None:
        """What quality/gap.py found: into the log and the bar; a sentence, once, when the mean of
        the last gaps is large.
        """
        self.write(line)
        if line["gap"] is None:
            return
        self.gaps = [*self.gaps, line["gap"]][-MEANS:]
        mean = sum(self.gaps) / len(self.gaps)
        scores = "/".join(f"{line[name]:.2f}" for name in ("d_train", "d_heldout", "d_fake"))
        self.gap_text = f"; Gap: {mean:.2f} ({scores})"
        if mean > LARGE_GAP and len(self.gaps) == MEANS and not self.warned:
            self.warned = True
            self.bar.write(
                f"gap {mean:.2f}: the discriminator learns its training pictures by heart, others "
                "look false to it, and images may become copies (metrics.py --neighbours shows "
                "them): more pictures, a lower --channel_max or --tune from another network help; "
                "--metrics_every keeps the best of a run in best.model"
            )


class Clock:
    """How long the last checkpoint is ago. minutes: until `is_due`, 0 for never."""

    def __init__(self, minutes: float):
        self.seconds, self.started = 60 * minutes, time.monotonic()

    def is_due(self) -> bool:
        return 0 < self.seconds <= time.monotonic() - self.started

    def restart(self, saved) -> None:
        """Where a checkpoint was saved."""
        self.started = time.monotonic() if saved else self.started


def describe(line: dict) -> str:
    """The progress bar's text, as the original words it."""
    d = line["d_real"] + line["d_fake"]
    augment = f"; Augment: {line['augment_p']:.3f}" if "augment_p" in line else ""
    return (
        f"Size: {line['size']}; G: {line['g']:.3f}; D: {d:.3f}; Grad: {line['penalty']:.3f}; "
        f"Alpha: {line['alpha']:.3f}{augment}"
    )
