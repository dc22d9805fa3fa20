"""May this checkpoint go on, here, with these options, on this data, and from where? Checked before
anything is written.
"""

import dataclasses
import sys
from pathlib import Path

from backend import device
from backend.terminal import UsageError
from formats.files import CheckpointError
from formats.original import OPTIMIZERS
from pictures.sizes import SIZES, step_of
from training.checkpoint import config_of, read_checkpoint
from training.folder import checkpoints
from training.options import configuration
from training.schedule import Config, batch_at, phase_at


def check_continuation(was: Config, now: Config, images_seen: int) -> None:
    """UsageError if `now` asks for another run than the checkpoint's.

    max_size may change as long as the growth up to here would have been the same.
    """
    for name, value in dataclasses.asdict(was).items():
        if name != "max_size" and value != getattr(now, name):
            raise UsageError(
                f"--ckpt was trained with {name} {value}, not {getattr(now, name)}: "
                "leave that option out, or add --override to change it"
            )
    before, after = phase_at(was, images_seen), phase_at(now, images_seen)
    next_stage = after.size == 2 * before.size and after.used == 0
    if after[:2] + after[5:] != before[:2] + before[5:] and not next_stage:
        raise UsageError(
            f"--max_size {now.max_size} does not go with this checkpoint, trained at {before.size} "
            f"px up to {was.max_size}: go on from checkpoint/train_step-{step_of(was.max_size) + 1}"
            ".model, saved when its last size was due to end"
        )


def check_networks(has: dict, now: Config, path) -> None:
    """UsageError if `now` asks for other networks than those in another program's checkpoint."""
    for name, value in has.items():
        if name not in ("init_size", "max_size") and value != getattr(now, name):
            raise UsageError(
                f"{path} holds networks with {name} {value}, not {getattr(now, name)}: "
                "leave that option out"
            )


def find_checkpoints(args, folder: Path) -> list:
    """Paths to try to go on from, one after the other; none for a fresh run."""
    found = checkpoints(folder)
    if args.ckpt == "latest":
        if not found:
            raise UsageError(
                f"--ckpt latest: there is no checkpoint in {folder / 'checkpoint'}, "
                "leave it out to begin"
            )
        return found
    if args.ckpt is None and found:
        raise UsageError(
            f"{folder / 'checkpoint'} holds a run: go on with --ckpt latest, or give an --expname"
        )
    if args.ckpt is not None and not Path(args.ckpt).is_file():
        raise UsageError(f"--ckpt {args.ckpt}: there is no such file")
    return [Path(args.ckpt)] if args.ckpt else []


def read_first(paths):
    """(path, content) of the first checkpoint that is not damaged. CheckpointError if all are."""
    for path in paths[:-1]:
        try:
            return path, read_checkpoint(path)
        except CheckpointError as e:
            print(f"train.py: warning: {e}; trying the one before", file=sys.stderr)
    return paths[-1], read_checkpoint(paths[-1])


def take_optimizer(run, part: str, path, content: dict, script: str = "train.py") -> bool:
    """Whether another program's "g_optimizer" or "d_optimizer" goes on; else it starts afresh."""
    try:
        return run.load_optimizer(part, path, content)
    except CheckpointError as e:
        print(f"{script}: {e}: it starts afresh", file=sys.stderr)
        return False


def continued_run(args, paths, length: int):
    """(run, path) of the first readable checkpoint, on a set of `length` pictures; another
    program's starts at its beginning.
    """
    from training.run import TrainState  # imports Jittor, for the device chosen

    path, content = read_first(paths)
    was = config_of(content)
    config = configuration(args, was)
    if content["written_by"] != "train.py":
        check_networks(content["config"], config, path)
        run = TrainState.with_networks(path, content, config)
        taken = [take_optimizer(run, part, path, content) for part in OPTIMIZERS]
        steps = "its" if all(taken) else "one new and one of its" if any(taken) else "new"
        print(f"starting from the networks in {path}, with {steps} optimiser states")
        return run, path
    if not args.override:
        check_continuation(was, config, content["images_seen"])
        if content.get("pictures") not in (None, length):
            raise UsageError(
                f"--ckpt was trained on {content['pictures']} pictures, {args.path} holds {length}:"
                " give the set it was trained on, or add --override to change it"
            )
    if content["iteration"] >= args.max_iters:
        raise UsageError(
            f"{path} is at iteration {content['iteration']} already: raise --max_iters"
        )
    run = TrainState.load(path, content, config)
    print(f"going on from {path}: iteration {run.iteration}, {run.images_seen} images")
    return run, path


def check_growth(pictures, config: Config) -> None:
    """Every size has to be in the data, and its batch to be divisible among the processes."""
    sizes = [s for s in SIZES if config.init_size <= s <= config.max_size]
    pictures.require(sizes)
    for size in sizes:
        batch, group = batch_at(config, size), config.stddev_group
        if batch % device.ranks():
            raise UsageError(
                f"{device.ranks()} processes cannot share the batch of {batch} at "
                f"{size} px evenly: give mpirun another -np, or change --batch_default"
            )
        part = batch // device.ranks()
        if group and part > group and part % group:
            raise UsageError(
                f"the batch of {part} at {size} px is no groups of {group}, in which these "
                "networks compare images: change --batch_default"
            )
