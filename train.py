"""Trains a StyleGAN on an LMDB of prepare_data.py, growing from small images to large ones.

    python train.py lmdb --mixing --loss r1 --sched --max_size 128
    python train.py lmdb --ckpt latest          # goes on where the newest checkpoint stopped
    mpirun -np 2 python train.py lmdb           # two processes, each with half of every batch

Writes log.jsonl, sample/{iteration}.png every 100 iterations and at the end, checkpoint/
{iteration}.model every 10,000, at the end and on Ctrl-C or SIGTERM, checkpoint/train_step-{s}.model
when a stage ends.

Under mpirun (OpenMPI) the processes follow the run of one, up to rounding and but for minibatch
stddev, which each takes over its own part of a batch. Only the first writes.
"""

import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import contextlib
import json
import os
import signal
import sys
import time
import traceback
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np
from tqdm import tqdm

from backend import device, terminal
from dataset import batches
from pictures.grid import save_grid
from pictures.store import DataError, open_pictures
from training.continuation import check_growth, continued_run, find_checkpoints
from training.folder import check_finite, go_back, make_folders, remove_old, writing
from training.options import configuration, parser
from training.schedule import Config, ends_stage, images_at, phase_at

LOG_EVERY = 10
SAMPLE_EVERY = 100
SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAMPLE_GRID = {512: (8, 4), 1024: (4, 2)}  # columns, rows; else 10 x 5
SAMPLE_STREAM = 3  # dataset.py has 1 and 2
MIXING_PROBABILITY = 0.9  # section 3.1


class Output(NamedTuple):
    """Where and how often a run writes."""

    folder: Path
    save_every: int  # iterations
    keep: Optional[int]  # how many checkpoints of those; None for all
    source: Optional[Path]  # the checkpoint gone on from, which stays


def draw_noise(rng, n: int, step: int, maps: int = 1):
    """Noise maps of n images: step + 1 arrays (n, maps, 4 * 2^i, 4 * 2^i)."""
    return [
        rng.standard_normal((n, maps, 4 * 2**i, 4 * 2**i), dtype="float32") for i in range(step + 1)
    ]


def draw_latents(rng, config: Config, n: int, step: int, mix: bool):
    """([z] or [z, z2], crossover or None); z is (n, code_size)."""
    latents = [rng.standard_normal((n, config.code_size), dtype="float32") for _ in range(1 + mix)]
    return latents, (int(rng.integers(step)) if mix else None)


def mine(arrays) -> list:
    """This process's part of arrays (n, ...) that were drawn for the whole batch."""
    return [np.ascontiguousarray(x[device.rank() :: device.ranks()]) for x in arrays]


def train_iteration(run, phase, real):
    """One update of both networks and of the average.

    All random numbers come from (seed, images seen), so that a run can go on anywhere. real (n, 3,
    size, size), this process's part of the batch. Returns the losses of it as Vars: real, fake,
    penalty, generator.
    """
    config, n, step = run.config, len(real) * device.ranks(), phase.step
    rng = np.random.default_rng([config.seed, run.images_seen])
    mix = config.mixing and step > 0 and rng.random() < MIXING_PROBABILITY
    eps = rng.random((n, 1, 1, 1), dtype="float32")

    latents, crossover = draw_latents(rng, config, n, step, mix)
    noise = draw_noise(rng, n, step, config.noise_maps)
    d_losses = run.discriminator_step(
        phase, real, mine(latents), crossover, mine(noise), *mine([eps])
    )
    latents, crossover = draw_latents(rng, config, n, step, mix)
    noise = draw_noise(rng, n, step, config.noise_maps)
    g_loss = run.generator_step(phase, mine(latents), crossover, mine(noise))
    run.average_generator()
    run.finish_iteration(n)
    return (*d_losses, g_loss)


def save_sample(run, phase, path) -> None:
    """Grid of the averaged generator's images, always of the same latents and noise."""
    n_col, n_row = SAMPLE_GRID.get(phase.size, (10, 5))
    n = n_col * n_row
    rng = np.random.default_rng([run.config.seed, 0, SAMPLE_STREAM])
    z = rng.standard_normal((n, run.config.code_size), dtype="float32")
    w = run.running.map_latents(z)
    noise = draw_noise(rng, n, phase.step, run.config.noise_maps)
    images = run.running.render(w, noise, phase.step, phase.alpha)
    check_finite({path.name: images}, run.iteration)
    with writing(path):
        save_grid(images, path, n_col)


def values_of(run, losses) -> dict:
    """The losses of train_iteration as numbers, means over all processes. Raises DivergedError."""
    from backend.processes import averaged  # imports Jittor

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
        "images_per_second": round(speed, 2),
        "seconds": round(seconds, 1),
    }


@contextlib.contextmanager
def noted_signals():
    """A list of the signals (Ctrl-C, SIGTERM) that arrive meanwhile."""
    caught, owner = [], os.getpid()

    def note(number, frame):
        if os.getpid() != owner:  # a worker that Jittor has started meanwhile: let it go
            os._exit(128 + number)
        caught.append(number)

    previous = {s: signal.signal(s, note) for s in SIGNALS}
    try:
        yield caught
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


@contextlib.contextmanager
def held_back_signals():
    """They wait until the end, for the compilers too that Jittor starts: a Ctrl-C in the terminal
    would end a compiler, and Jittor with it, unsaved.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Progress:
    """The bar on the terminal and log.jsonl. A context manager."""

    def __init__(self, run, folder: Path, max_iters: int):
        first = device.rank() == 0
        self.path = folder / "log.jsonl" if first else os.devnull
        self.log = open(self.path, "a", encoding="utf-8")
        self.write({"config": run.config.saved(), "from": run.iteration})
        self.started = self.marked = time.time()
        self.marked_images = run.images_seen
        total = images_at(run.config, max_iters)
        self.bar = tqdm(
            total=total,
            initial=run.images_seen,
            unit="img",
            smoothing=0.1,
            mininterval=1,
            disable=not first,
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
        self.bar.update(phase.batch)
        if run.iteration % LOG_EVERY:
            return
        now = time.time()
        speed = (run.images_seen - self.marked_images) / (now - self.marked)
        self.marked, self.marked_images = now, run.images_seen
        line = log_line(run, phase, losses, now - self.started, speed)
        self.write(line)
        self.bar.set_description(describe(line))


def save(run, phase, losses, output: Output, names) -> None:
    """Writes checkpoints after an iteration of `phase`, unless it has diverged."""
    values_of(run, losses)
    if device.rank():
        return
    for name in names:
        run.save(output.folder / "checkpoint" / name, phase.alpha, phase.size)
    if output.keep:
        remove_old(output.folder, output.keep, output.source)


def keep(run, phase, losses, output: Output, last: bool) -> None:
    """Samples and checkpoints that are due after an iteration of `phase`."""
    if last or run.iteration % SAMPLE_EVERY == 0:
        values_of(run, losses)
        if device.rank() == 0:
            save_sample(run, phase, output.folder / f"sample/{run.iteration:06d}.png")
    # After the sample: who goes on from a checkpoint does not come by here again.
    names = []
    if ends_stage(run.config, phase, phase_at(run.config, run.images_seen)):
        names.append(f"train_step-{phase.step + 1}.model")
    if last or run.iteration % output.save_every == 0:
        names.append(f"{run.iteration:06d}.model")
    if names:
        save(run, phase, losses, output, names)


def fetched(data):
    """(the next batch, None), or (None, the error) where a picture is broken."""
    try:
        return next(data), None
    except DataError as e:
        return None, e


def train(run, pictures, output: Output, max_iters: int) -> int:
    """Iterates up to `max_iters` from where the run is. Returns the signal that ended it, or 0."""
    from backend.processes import any_process

    config, folder, phase, losses, stopped = run.config, output.folder, None, None, 0
    data = batches(
        pictures,
        lambda seen: phase_at(config, seen),
        config.seed,
        run.images_seen,
        config.flip,
        device.rank(),
        device.ranks(),
    )
    print("compiling kernels: the first iterations of each size take minutes, but only once")
    with closing(data), Progress(run, folder, max_iters) as progress, noted_signals() as caught:
        while run.iteration < max_iters:
            real, error = fetched(data)
            broken, *signals = any_process(error is not None, *(s in caught for s in SIGNALS))
            stopped = next((s for s, heard in zip(SIGNALS, signals) if heard), 0)
            if broken or (stopped and phase):
                break
            phase = phase_at(config, run.images_seen)
            with held_back_signals():
                losses = train_iteration(run, phase, real)
                progress.report(run, phase, losses)
                keep(run, phase, losses, output, last=run.iteration == max_iters)
        if phase and (broken or stopped):
            save(run, phase, losses, output, [f"{run.iteration:06d}.model"])
    if phase:
        why = f"stopped by {signal.Signals(stopped).name}, " if stopped else ""
        print(f"{why}saved {folder / 'checkpoint' / f'{run.iteration:06d}.model'}")
    any_process(False)  # mpirun ends all when one has ended: the others wait until all is saved
    if broken:
        raise error or DataError("stopped, for another process cannot read a picture")
    return stopped


def describe(line: dict) -> str:
    """The progress bar's text, as the original words it."""
    d = line["d_real"] + line["d_fake"]
    return (
        f"Size: {line['size']}; G: {line['g']:.3f}; D: {d:.3f}; Grad: {line['penalty']:.3f}; "
        f"Alpha: {line['alpha']:.3f}"
    )


def start(args) -> int:
    """Checks what can be checked before Jittor loads, then trains. Returns the exit code."""
    folder, source = Path(args.expname or "."), None
    with closing(open_pictures(args.path)) as pictures:
        paths = find_checkpoints(args, folder)
        if not paths:
            check_growth(pictures, configuration(args, Config()))
        make_folders(folder)
        device.load(args.device, say=print, precision=args.precision)
        from training.run import TrainState  # imports Jittor, for the device chosen above

        if paths:
            run, source = continued_run(args, paths, pictures.length)
        else:
            run = TrainState(configuration(args, Config()))
        check_growth(pictures, run.config)
        print(json.dumps(run.config.saved()))
        run.pictures = pictures.length
        if device.rank() == 0:
            go_back(folder, run.iteration)
        output = Output(folder, args.save_every, args.keep, source)
        stopped_by = train(run, pictures, output, args.max_iters)
        return 128 + stopped_by if stopped_by else 0


def main(argv=None) -> int:
    args = parser(__doc__).parse_args(argv)
    with contextlib.redirect_stdout(None if device.rank() else sys.stdout):
        return terminal.run("train.py", start, args)


def leave(status: int) -> None:
    """Ends the program. After a signal, which Jittor's workers got too, and when one process of
    mpirun fails, Jittor's own clean-up would fail or wait for ever.
    """
    if status > 128 or (status and device.under_mpirun()):
        sys.stdout.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    try:
        status = main()
    except Exception:
        if not device.under_mpirun():
            raise
        traceback.print_exc()
        status = 1
    leave(status)
