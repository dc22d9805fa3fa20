"""Trains a StyleGAN on an LMDB of prepare_data.py, growing from small images to large ones.

    python train.py lmdb --mixing --loss r1 --sched --max_size 128
    python train.py lmdb --ckpt latest          # goes on where the newest checkpoint stopped

Writes sample/{iteration}.png every 100 iterations, checkpoint/{iteration}.model every 10,000 and at
the end, checkpoint/train_step-{s}.model when a stage ends, and log.jsonl.
"""

import argparse
import dataclasses
import json
import signal
import sys
import time
from pathlib import Path

import numpy as np
from tqdm import tqdm

import device
from dataset import SIZES, DataError, MultiResolutionDataset, batches
from grid import save_grid
from schedule import Config, images_at, phase_at

LOG_EVERY = 10
SAMPLE_EVERY = 100
SAVE_EVERY = 10_000
SAMPLE_GRID = {512: (8, 4), 1024: (4, 2)}  # columns, rows; else 10 x 5
MIXING_PROBABILITY = 0.9  # section 3.1


class UsageError(Exception):
    """Options that contradict each other or a checkpoint: one sentence."""


def draw_noise(rng, n: int, step: int):
    """Noise maps of n images: step + 1 arrays (n, 1, 4 * 2^i, 4 * 2^i)."""
    return [
        rng.standard_normal((n, 1, 4 * 2**i, 4 * 2**i), dtype="float32") for i in range(step + 1)
    ]


def draw_latents(rng, config: Config, n: int, step: int, mix: bool):
    """([z] or [z, z2], crossover or None); z is (n, code_size)."""
    latents = [rng.standard_normal((n, config.code_size), dtype="float32") for _ in range(1 + mix)]
    return latents, (int(rng.integers(step)) if mix else None)


def train_iteration(run, phase, real):
    """One update of both networks and of the average.

    All random numbers come from (seed, images seen), so that a run can go on anywhere. real (batch,
    3, size, size). Returns the losses as Vars: real, fake, penalty, generator.
    """
    config, n, step = run.config, len(real), phase.step
    rng = np.random.default_rng([config.seed, run.images_seen])
    mix = config.mixing and step > 0 and rng.random() < MIXING_PROBABILITY
    eps = rng.random((n, 1, 1, 1), dtype="float32")

    latents, crossover = draw_latents(rng, config, n, step, mix)
    d_losses = run.discriminator_step(
        phase, real, latents, crossover, draw_noise(rng, n, step), eps
    )
    latents, crossover = draw_latents(rng, config, n, step, mix)
    g_loss = run.generator_step(phase, latents, crossover, draw_noise(rng, n, step))
    run.average_generator()
    run.finish_iteration(n)
    return (*d_losses, g_loss)


def save_sample(run, phase, path) -> None:
    """Grid of the averaged generator's images, always of the same latents and noise."""
    n_col, n_row = SAMPLE_GRID.get(phase.size, (10, 5))
    n = n_col * n_row
    rng = np.random.default_rng([run.config.seed, 0, 1])
    z = rng.standard_normal((n, run.config.code_size), dtype="float32")
    w = run.running.map_latents(z)
    noise = draw_noise(rng, n, phase.step)
    save_grid(run.running.render(w, noise, phase.step, phase.alpha), path, n_col)


def log_line(run, phase, losses, seconds: float, speed: float) -> dict:
    """What log.jsonl records of an iteration."""
    real, fake, penalty, generator = (x.item() for x in losses)
    return {
        "iteration": run.iteration,
        "images": run.images_seen,
        "size": phase.size,
        "alpha": round(phase.alpha, 5),
        "lr": phase.lr,
        "batch": phase.batch,
        "d_real": real,
        "d_fake": fake,
        "penalty": penalty,
        "g": generator,
        "images_per_second": round(speed, 2),
        "seconds": round(seconds, 1),
    }


def stop_on_signals():
    """A list that a first Ctrl-C or SIGTERM fills; a second Ctrl-C interrupts at once."""
    caught = []

    def note(number, frame):
        caught.append(signal.Signals(number).name)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    signal.signal(signal.SIGINT, note)
    signal.signal(signal.SIGTERM, note)
    return caught


def train(run, dataset, folder: Path, max_iters: int) -> None:
    """Iterates until `max_iters`, from wherever the run is."""
    config, checkpoints = run.config, folder / "checkpoint"
    checkpoints.mkdir(parents=True, exist_ok=True)
    stop = stop_on_signals()
    data = batches(
        dataset, lambda seen: phase_at(config, seen), config.seed, run.images_seen, config.flip
    )
    started = marked = time.time()
    marked_images = run.images_seen
    total = images_at(config, max_iters)
    bar = tqdm(total=total, initial=run.images_seen, unit="img", smoothing=0.1, mininterval=1)
    with bar, open(folder / "log.jsonl", "a", encoding="utf-8") as log:
        log.write(json.dumps({"config": dataclasses.asdict(config), "from": run.iteration}) + "\n")
        while run.iteration < max_iters and not stop:
            phase = phase_at(config, run.images_seen)
            losses = train_iteration(run, phase, next(data))
            following = phase_at(config, run.images_seen)
            bar.update(phase.batch)

            if run.iteration % LOG_EVERY == 0:
                now = time.time()
                speed = (run.images_seen - marked_images) / (now - marked)
                marked, marked_images = now, run.images_seen
                line = log_line(run, phase, losses, now - started, speed)
                log.write(json.dumps(line) + "\n")
                log.flush()
                bar.set_description(describe(line))
            if run.iteration % SAMPLE_EVERY == 0:
                save_sample(run, phase, folder / f"sample/{run.iteration:06d}.png")
            if run.iteration % SAVE_EVERY == 0:
                run.save(checkpoints / f"{run.iteration:06d}.model", phase.alpha, phase.size)
            if ends_stage(config, phase, following):
                path = checkpoints / f"train_step-{phase.step + 1}.model"
                run.save(path, phase.alpha, phase.size)
        data.close()
    path = checkpoints / f"{run.iteration:06d}.model"
    phase = phase_at(config, max(run.images_seen - 1, 0))
    run.save(path, phase.alpha, phase.size)
    save_sample(run, phase, folder / f"sample/{run.iteration:06d}.png")
    print(f"{'stopped by ' + stop[0] + ', ' if stop else ''}saved {path}")


def ends_stage(config: Config, phase, following) -> bool:
    """Whether the iteration of `phase` was the last of its stage; the last stage ends where another
    would begin.
    """
    if following.size > phase.size:
        return True
    length = 2 * config.phase
    return phase.size == config.max_size and phase.used <= length < following.used


def describe(line: dict) -> str:
    """The progress bar's text, as the original words it."""
    d = line["d_real"] + line["d_fake"]
    return (
        f"Size: {line['size']}; G: {line['g']:.3f}; D: {d:.3f}; Grad: {line['penalty']:.3f}; "
        f"Alpha: {line['alpha']:.3f}"
    )


def configuration(args, base: Config, fixed: bool) -> Config:
    """The options given, over `base`. With `fixed` (a checkpoint's), only max_size may differ."""
    given = {
        f.name: getattr(args, f.name)
        for f in dataclasses.fields(Config)
        if getattr(args, f.name, None) is not None
    }
    if fixed:
        for name, value in given.items():
            if value != getattr(base, name) and name != "max_size":
                was = getattr(base, name)
                raise UsageError(
                    f"--ckpt was trained with {name} {was}, not {value}: leave that option out"
                )
    config = dataclasses.replace(base, **given)
    if config.init_size > config.max_size:
        raise UsageError(
            f"--init_size {config.init_size} is above --max_size {config.max_size}: images grow"
        )
    return config


def new_or_continued(args, folder: Path):
    """The run that the arguments describe, checked against the data. Loads Jittor."""
    device.load(args.device, say=print)
    from state import TrainState, config_of, newest_checkpoint, read_checkpoint

    path = args.ckpt
    if path == "latest":
        path = newest_checkpoint(folder / "checkpoint")
        if path is None:
            raise UsageError(f"--ckpt latest: there is no checkpoint in {folder / 'checkpoint'}")
    if path is None:
        return TrainState(configuration(args, Config(), fixed=False))
    content = read_checkpoint(path)
    config = configuration(args, config_of(content), fixed=True)
    run = TrainState.load(path, content, config)
    print(f"going on from {path}: iteration {run.iteration}, {run.images_seen} images")
    return run


def check_sizes(dataset, config: Config) -> None:
    """Every size of the growth has to be in the data."""
    dataset.require([s for s in SIZES if config.init_size <= s <= config.max_size])


def main(argv=None) -> int:
    args = parser().parse_args(argv)
    folder = Path(args.expname or ".")
    try:
        dataset = MultiResolutionDataset(args.path)
        if args.ckpt is None:  # mistakes show before Jittor loads
            check_sizes(dataset, configuration(args, Config(), fixed=False))
        run = new_or_continued(args, folder)
        check_sizes(dataset, run.config)
        print(json.dumps(dataclasses.asdict(run.config)))
        train(run, dataset, folder, args.max_iters)
    except (UsageError, device.DeviceError) as e:
        print(f"train.py: {e}", file=sys.stderr)
        return 2
    except DataError as e:
        print(f"train.py: {e}", file=sys.stderr)
        return 1
    return 0


def number(kind, low, high=None):
    """Parser type: an int or float from `low` to `high`, both included."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is no number") from None
        if not value >= low or (high is not None and value > high):
            upper = "" if high is None else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: at least {low}{upper}")
        return value

    return parse


def image_size(text) -> int:
    """Parser type: a power of two from 4 to 1024."""
    if text not in map(str, SIZES):
        raise argparse.ArgumentTypeError(f"{text} is no size: a power of two from 4 to 1024")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """Options that make up the Config default to None, so that a checkpoint's can be told from
    given ones.
    """
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("path", help="LMDB made by prepare_data.py")

    def option(group, flag, text, **kwargs):
        name = kwargs.get("dest", flag.lstrip("-"))
        if "action" in kwargs:
            kwargs["default"] = None
        else:
            text += f" (default {getattr(Config, name)})"
        group.add_argument(flag, help=text, **kwargs)

    def switch(group, flag, text, dest=None):
        on = "store_true" if dest is None else "store_false"
        option(group, flag, text, action=on, dest=dest or flag.lstrip("-"))

    count, rate = number(int, 1), number(float, 0.0)
    g = p.add_argument_group("growth")
    option(g, "--init_size", "size in pixels to start with, 4 to 1024", type=image_size)
    option(g, "--max_size", "size to grow to, 4 to 1024", type=image_size)
    option(g, "--phase", "images to fade a size in; a stage lasts twice that, from 1", type=count)
    g.add_argument(
        "--max_iters",
        type=count,
        default=3_000_000,
        help="stop after this many iterations in all, from 1 (default 3000000)",
    )

    g = p.add_argument_group("networks")
    option(g, "--code_size", "size of z and w, from 1", type=count)
    option(g, "--n_mlp", "layers of the mapping network, from 1", type=count)
    option(
        g, "--channel_max", "widest level; fewer train faster, 1 to 512", type=number(int, 1, 512)
    )
    switch(
        g,
        "--no_from_rgb_activate",
        "no activation after from_rgb, as the original's first version",
        "from_rgb_activate",
    )

    g = p.add_argument_group("optimisation")
    option(g, "--loss", "GAN loss", choices=["wgan-gp", "r1"])
    option(g, "--gp_weight", "weight of the gradient penalty of either loss, from 0", type=rate)
    switch(g, "--mixing", "mixing regularisation: two styles in nine of ten iterations")
    option(g, "--lr", "learning rate, from 0", type=rate)
    option(g, "--mapping_lr_mult", "factor on it for the mapping network, from 0", type=rate)
    option(
        g,
        "--batch_default",
        "images per iteration, from 1; --sched has its own up to 256 px",
        type=count,
    )
    switch(g, "--sched", "the original's learning rates and batches by size")
    option(
        g,
        "--ema",
        "decay of the generator's running average per iteration, 0 to 1",
        type=number(float, 0.0, 1.0),
    )
    switch(g, "--no_flip", "do not mirror images at random", "flip")
    option(g, "--seed", "everything random follows from it, from 0", type=number(int, 0))

    g = p.add_argument_group("run")
    g.add_argument("--ckpt", metavar="FILE|latest", help="checkpoint to go on from")
    g.add_argument("--expname", metavar="NAME", help="write below the folder NAME instead of here")
    g.add_argument(
        "--device",
        choices=device.CHOICES,
        default="auto",
        help="default auto: CUDA if it works, else the CPU",
    )
    return p


if __name__ == "__main__":
    sys.exit(main())
