"""Trains a StyleGAN on an LMDB of prepare_data.py, growing from small images to large ones.

    python train.py lmdb --mixing --loss r1 --sched --max_size 128
    python train.py lmdb --ckpt latest          # goes on where the newest checkpoint stopped
    mpirun -np 2 python train.py lmdb           # two processes, each with half of every batch

Writes log.jsonl, sample/{iteration}.png every 100 iterations and at the end, checkpoint/
{iteration}.model every 10,000, at the end and when a signal ends it (docs/resume.md), checkpoint/
train_step-{s}.model when a stage ends, and checkpoint/rolling.model when none of these was due for
30 minutes.

Under mpirun (OpenMPI) the processes follow the run of one, up to rounding and but for minibatch
stddev, which each takes over its own part of a batch. Only the first writes.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import contextlib
import dataclasses
import functools
import json
import signal
import traceback
from contextlib import closing
from typing import NamedTuple, Optional

import numpy as np

from backend import device, signals, terminal
from backend.begun import check_launcher
from backend.disk import locked
from backend.terminal import CompilerError, Parser, UsageError
from data.batches import batches
from data.heldout import divided
from data.store import DataError, open_pictures
from figures.grid import save_grid
from figures.rendering import map_latents, render
from labels.table import labels_of, names_for, one_hot
from quality.gap import EVERY, Gap
from quality.measuring import Measuring, add_measuring_options, requested
from quality.sets import HELDOUT, Data
from training import memory
from training.folder import (
    check_finite,
    check_places,
    check_vacant,
    make_folders,
    make_ready,
    remove_old,
    remove_rolling,
    writing,
)
from training.history import MARK, ROLLING, History
from training.options import run_parser
from training.progress import Clock, Progress, values_of
from training.resume import (
    check_growth,
    continued_run,
    find_checkpoints,
    is_complete,
    new_configuration,
)
from training.schedule import Config, ends_stage, phase_at

SAMPLE_EVERY = 100  # unless --sample_every says otherwise
SAMPLE_GRID = {512: (8, 4), 1024: (4, 2)}  # columns, rows; else 10 x 5
LABEL_ROWS = 20  # of a sample, at most
SAMPLE_STREAM = 3  # dataset.py has 1 and 2
MIXING_PROBABILITY = 0.9  # section 3.1


class Output(NamedTuple):
    """Where and how often a run writes."""

    folder: Path
    history: History  # what is the run's own there
    save_every: int  # iterations
    sample_every: int
    save_minutes: float  # from a checkpoint to the rolling one, 0 for never
    keep: Optional[int]  # how many checkpoints of those; None for all
    source: Optional[Path]  # the checkpoint gone on from, which stays
    measure: Optional[Measuring] = None
    gap: Optional[Gap] = None


def draw_noise(rng, n: int, step: int, maps: int = 1):
    """Noise maps of n images: step + 1 arrays (n, maps, 4 * 2^i, 4 * 2^i)."""
    return [
        rng.standard_normal((n, maps, 4 * 2**i, 4 * 2**i), dtype="float32") for i in range(step + 1)
    ]


def draw_latents(rng, config: Config, n: int, step: int, mix: bool):
    """([z] or [z, z2], crossover or None); z is (n, code_size)."""
    latents = [rng.standard_normal((n, config.code_size), dtype="float32") for _ in range(1 + mix)]
    return latents, (int(rng.integers(step)) if mix else None)


def own_part(arrays) -> list:
    """This process's part of arrays (n, ...) that were drawn for the whole batch."""
    return [np.ascontiguousarray(x[device.rank() :: device.ranks()]) for x in arrays]


def train_iteration(run, phase, real, labels=None):
    """One update of both networks and of the average.

    All random numbers come from (seed, images seen), so that a run can go on anywhere. real (n, 3,
    size, size), this process's part of the batch; labels: the set's, whose those are. The
    discriminator's fakes have those of the real images, as in NVIDIA's code, the generator's are
    drawn. Returns the losses of it as Vars: real, fake, penalty, generator.
    """
    config, n, step = run.config, len(real) * device.ranks(), phase.step
    rng = np.random.default_rng([config.seed, run.images_seen])
    mix = config.mixing and step > 0 and rng.random() < MIXING_PROBABILITY
    eps = rng.random((n, 1, 1, 1), dtype="float32")

    latents, d_crossover = draw_latents(rng, config, n, step, mix)
    d_noise = draw_noise(rng, n, step, config.noise_maps)
    g_latents, g_crossover = draw_latents(rng, config, n, step, mix)
    g_noise = draw_noise(rng, n, step, config.noise_maps)
    d_label, g_label = [], []
    if labels:
        d_label = own_part([labels.batch(config.seed, run.images_seen, n)])
        g_label = own_part([labels.drawn(rng, n)])
    with run.whole_iteration(phase, g_crossover):
        d_losses = run.discriminator_step(
            phase,
            real,
            own_part(latents),
            d_crossover,
            own_part(d_noise),
            *own_part([eps]),
            *d_label,
        )
        g_loss = run.generator_step(
            phase, own_part(g_latents), g_crossover, own_part(g_noise), *g_label
        )
        run.average_generator(n)
    run.finish_iteration(n)
    return (*d_losses, g_loss)


def save_sample(run, phase, path) -> None:
    """Grid of the averaged generator's images, always of the same latents and noise; with labels a
    row for each, of the same ones.
    """
    n_col, n_row = SAMPLE_GRID.get(phase.size, (10, 5))
    count = len(run.config.label_names)
    n, n_row = n_col * (1 if count else n_row), min(count, LABEL_ROWS) or n_row
    rng = np.random.default_rng([run.config.seed, 0, SAMPLE_STREAM])
    z = rng.standard_normal((n, run.config.code_size), dtype="float32")
    noise = draw_noise(rng, n, phase.step, run.config.noise_maps)
    labels = None
    if count:
        z, *noise = (np.tile(x, (n_row, *[1] * (x.ndim - 1))) for x in (z, *noise))
        labels = one_hot(np.repeat(range(n_row), n_col), count)
    w = map_latents(run.running, z, labels)
    images = render(run.running, w, noise, phase.step, phase.alpha)
    check_finite({path.name: images}, run.iteration)
    with writing(path):
        save_grid(images, path, n_col, MARK)


def save(run, phase, losses, output: Output, names) -> list:
    """Writes checkpoints after an iteration of `phase`, unless it has diverged. Returns the paths;
    only the first process writes.
    """
    values_of(run, losses)
    if device.rank():
        return []
    paths = [output.history.place(output.folder / "checkpoint" / name) for name in names]
    for path in paths:
        run.save(path, phase.alpha, phase.size)
    if names != [ROLLING]:
        remove_rolling(output.history)
    if output.keep:
        remove_old(output.history, output.keep, output.source)
    return paths


def keep(run, phase, losses, output: Output, last: bool) -> list:
    """Samples and checkpoints that are due after an iteration of `phase`. Returns the latter."""
    if last or run.iteration % output.sample_every == 0:
        values_of(run, losses)
        if device.rank() == 0:
            path = output.folder / f"sample/{run.iteration:06d}.png"
            save_sample(run, phase, output.history.place(path))
    # After the sample: who goes on from a checkpoint does not come by here again.
    names = []
    if ends_stage(run.config, phase, phase_at(run.config, run.images_seen)):
        names.append(f"train_step-{phase.step + 1}.model")
    if last or run.iteration % output.save_every == 0:
        names.append(f"{run.iteration:06d}.model")
    return save(run, phase, losses, output, names) if names else []


def fetched(data):
    """(the next batch, None), or (None, the error) where a picture is broken."""
    try:
        return next(data), None
    except DataError as e:
        return None, e


@contextlib.contextmanager
def saved_if_not_compiled(run, phase, trained, output: Output):
    """For an iteration of `phase` after one of `trained`, None before the first. Where a compiler
    fails or is killed the run is saved as it was after the last iteration that is whole. Raises
    CompilerError.
    """
    before = run.iteration
    try:
        with terminal.compiling():
            yield
    except CompilerError as e:
        trained = trained if run.iteration == before else phase
        if trained is None or device.rank():
            raise
        path = output.history.place(output.folder / f"checkpoint/{run.iteration:06d}.model")
        run.save(path, trained.alpha, trained.size)
        raise CompilerError(f"{e}; saved {path}") from None


def follow_gap(run, phase, output: Output, progress) -> None:
    """Where pictures are held out: looks at them now and then, and lets augmentation follow."""
    gap = output.gap(run, phase, progress.report_gap) if output.gap else None
    if run.config.augment and run.config.heldout and run.iteration % EVERY == 0:
        run.augmentation.note_gap(gap)


def train(run, pictures, output: Output, max_iters: int, caught: list) -> int:
    """Iterates up to `max_iters` from where the run is, or until a signal is in `caught`. Returns
    it, or 0.
    """
    from operators.processes import any_process

    config, ending = run.config, signals.numbers()
    labels = labels_of(pictures, config.label_names)
    phase, losses, stopped, saved = None, None, 0, []
    clock = Clock(0 if device.rank() else output.save_minutes)  # the first one's counts
    data = batches(
        pictures,
        lambda seen: phase_at(config, seen),
        config.seed,
        run.images_seen,
        config.flip,
        device.rank(),
        device.ranks(),
    )
    print("the first iterations of each size compile kernels, which is done only once")
    with closing(data), Progress(run, output, max_iters) as progress:
        while run.iteration < max_iters:
            real, error = fetched(data)
            signs = error is not None, clock.is_due(), *(s in caught for s in ending)
            broken, due, *heard = any_process(*signs)
            stopped = next((s for s, is_heard in zip(ending, heard) if is_heard), 0)
            if broken or (stopped and phase):
                break
            with signals.held_back():
                if due and phase:
                    clock.restart(save(run, phase, losses, output, [ROLLING]))
            phase, trained = phase_at(config, run.images_seen), phase
            with signals.held_back(), saved_if_not_compiled(run, phase, trained, output):
                losses = train_iteration(run, phase, real, labels)
                progress.report(run, phase, losses)
                follow_gap(run, phase, output, progress)
                if output.measure:
                    output.measure(run, phase, progress.write)
                saved = keep(run, phase, losses, output, last=run.iteration == max_iters)
                clock.restart(saved)
        if phase and (broken or stopped):
            saved = save(run, phase, losses, output, [f"{run.iteration:06d}.model"])
    if saved:
        why = f"stopped by {signal.Signals(stopped).name}, " if stopped else ""
        print(f"{why}saved {saved[-1]}")
    any_process(False)  # mpirun ends all when one has ended: the others wait until all is saved
    if broken:
        raise error or DataError("stopped, for another process cannot read a picture")
    return stopped


def check_order_of_sums(args, cuda: bool) -> None:
    """UsageError for --deterministic where the layers as written add up in an order of chance."""
    if args.deterministic and args.plain and cuda:
        raise UsageError(
            "--deterministic --plain: on CUDA the plain layers add up in an order of chance, leave "
            "one of the two out or give --device cpu"
        )


def load_jittor(args, folder: Path):
    """Jittor for the device chosen. Makes the run's folders, before Jittor compiles itself if no
    device could forbid the run.
    """
    if not (args.deterministic and args.plain):
        make_folders(folder)
    jt = device.load(args.device, print, args.precision, args.threads)
    check_order_of_sums(args, jt.flags.use_cuda)
    make_folders(folder)
    if args.deterministic:
        device.repeat_exactly(jt)
    return jt


def new_run(args, folder: Path, pictures):
    """(run, the checkpoint that it goes on from or None), when all has been checked."""
    check_order_of_sums(args, args.device == "cuda")
    paths = find_checkpoints(args, folder)
    if not paths:  # what can be checked before Jittor loads
        config = new_configuration(args)
        if args.by_labels:
            config = dataclasses.replace(config, labels=names_for(pictures))
        check_growth(pictures, config)
        check_vacant(folder, config, pictures.length)
    jt = load_jittor(args, folder)
    from model import widths  # imports Jittor, for the device chosen above
    from training.run import TrainState

    if not paths:
        if not jt.flags.use_cuda:
            print(memory.check(config, widths(config.channel_max)))
        return TrainState(config, args.plain), None
    run, source = continued_run(args, paths, pictures.length)
    if args.by_labels and not run.config.labels:
        raise UsageError(
            f"--labels: {source} was trained without, leave that out or begin a run without --ckpt"
        )
    labels_of(pictures, run.config.label_names)  # raises where they do not fit
    if args.tune or not History(folder).holds(source):
        check_vacant(folder, run.config, pictures.length)
    check_growth(pictures, run.config, run.images_seen)
    if not jt.flags.use_cuda:
        print(memory.check(run.config, widths(run.config.channel_max)))
    return run, source


def run_in(args, folder: Path) -> int:
    """Trains in a folder that no other process has. Returns the exit code."""
    if is_complete(args, folder):
        return 0
    request = requested(args)
    with closing(open_pictures(args.path)) as pictures:
        run, source = new_run(args, folder, pictures)
        print(json.dumps(run.config.saved()))
        run.pictures = pictures.length
        seen, unseen = divided(pictures, run.config.heldout)
        if device.rank() == 0:
            make_ready(folder, run.iteration, source)
        often = args.save_every, args.sample_every or SAMPLE_EVERY, args.save_minutes
        output = Output(folder, History(folder), *often, args.keep, source)
        if unseen and device.rank() == 0:
            output = output._replace(gap=Gap(seen, unseen))
        with signals.noted() as caught:
            if args.metrics_every:
                stop = functools.partial(signals.heard, caught)
                every, history = args.metrics_every, output.history
                data = Data(unseen, HELDOUT) if unseen else Data(pictures)
                measure = Measuring(data, request, every, history, stop)
                output = output._replace(measure=measure)
            stopped_by = train(run, seen, output, args.max_iters, caught)
            return 128 + stopped_by if stopped_by else 0


def start(args) -> int:
    """Checks what can be checked before Jittor loads, then trains. Returns the exit code."""
    folder = Path(args.expname or ".")
    check_launcher()
    check_places(folder)
    if device.rank():  # only the first writes and speaks
        with contextlib.redirect_stdout(None):
            return run_in(args, folder)
    busy = UsageError(f"{folder} is in use by a train.py that is running: give another --expname")
    with locked(folder, busy):
        return run_in(args, folder)


def parser() -> Parser:
    p = run_parser(__doc__)
    text = "train on the set's labels too, so that images of each can be asked for (docs/labels.md)"
    p.add_argument("--labels", action="store_true", dest="by_labels", help=text)
    add_measuring_options(p)
    return p


def main(argv=None) -> int:
    return terminal.run("train.py", start, parser, argv)


if __name__ == "__main__":
    try:
        status = main()
    except Exception:
        if not device.under_mpirun():
            raise
        traceback.print_exc()
        status = 1
    # Under mpirun Jittor's clean-up would wait for the other processes
    terminal.leave(status, at_once=status and device.under_mpirun())
