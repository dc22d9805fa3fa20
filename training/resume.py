"""May this checkpoint go on, here, with these options, on this data, and from where? Checked before
anything is written.
"""

import dataclasses
import sys
from pathlib import Path

from backend import device
from backend.disk import check_readable
from backend.terminal import UsageError
from data.heldout import divided
from data.sizes import SIZES, step_of
from formats.files import CheckpointError
from formats.rosinality import OPTIMIZERS
from training.checkpoint import config_of, read_checkpoint
from training.folder import check_no_checkpoints, checkpoints
from training.history import History, header_of, iteration_of
from training.options import configuration
from training.schedule import (
    LEARNING_RATES,
    START_FIELDS,
    TUNE_FIELDS,
    Config,
    batch_advice,
    batch_at,
    continued,
    phase_at,
    restarted,
)

LATEST = ("latest", "auto")  # of --ckpt: no file's name
GROWTH = "phase", "batch_default", "batch_at", "sched", "init_size", "max_size"  # of `phase_at`


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
    if not same_place(was, now, images_seen):
        place = phase_at(was, images_seen)
        raise UsageError(
            f"--max_size {now.max_size} does not go with this checkpoint, trained at {place.size} "
            f"px up to {was.max_size}: go on from checkpoint/train_step-{step_of(was.max_size) + 1}"
            ".model, saved when its last size was due to end, or add --override"
        )


def same_place(was: Config, now: Config, images_seen: int) -> bool:
    """Whether the run goes on under `now` where it stopped, or with the size that was due next."""
    before, after = phase_at(was, images_seen), phase_at(now, images_seen)
    next_stage = after.size == 2 * before.size and after.used == 0
    return after[:2] + after[5:] == before[:2] + before[5:] or next_stage


def overridden(was: Config, now: Config, content: dict) -> Config:
    """`now` as --override goes on: at the place reached, whatever options have changed."""
    seen, iteration = content["images_seen"], content["iteration"]
    changed = {name for name in GROWTH if getattr(was, name) != getattr(now, name)}
    if not changed or (changed == {"max_size"} and same_place(was, now, seen)):
        return now
    before, by_options = phase_at(was, seen), phase_at(now, seen)
    if by_options[:3] != before[:3]:
        print(
            f"--override: goes on from {before.size} px, alpha {before.alpha:.3g} (by the new "
            f"options alone it would be {by_options.size} px, alpha {by_options.alpha:.3g}); "
            "--restart_at SIZE begins a stage of another size"
        )
    return continued(was, now, seen, iteration)


def restart(was: Config, now: Config, size: int, content: dict, path) -> Config:
    """`now` with its growth beginning anew at a size, that the checkpoint has learned or that is
    the next. What it has not grown fully fades in.
    """
    smallest, reached = was.init_size, content["size"]
    if size > now.max_size:
        raise UsageError(f"--restart_at {size} is above --max_size {now.max_size}: raise that")
    if not smallest <= size <= 2 * reached:
        raise UsageError(
            f"{path} has learned {smallest} to {reached} px: --restart_at can be {smallest} to "
            f"{2 * reached}"
        )
    fades = size > reached or (size == reached and content["alpha"] < 1)
    print(f"begins a stage of {size} px, {'fading in' if fades else 'fully grown'}")
    now = dataclasses.replace(now, init_size=smallest)
    return restarted(now, size, fades, content["images_seen"], content["iteration"])


def check_networks(has: dict, now: Config, path) -> None:
    """UsageError if `now` asks for other networks than those in another program's checkpoint."""
    for name, value in has.items():
        if name not in ("init_size", "max_size") and value != getattr(now, name):
            raise UsageError(
                f"{path} holds networks with {name} {value}, not {getattr(now, name)}: "
                "leave that option out"
            )


def check_tuning(args) -> None:
    """UsageError for options of --tune that do not go together."""
    if args.tune and (args.ckpt is None or args.ckpt in LATEST):
        raise UsageError("--tune begins with the networks of a file: name that with --ckpt FILE")
    if args.tune and (args.override or args.restart_at):
        raise UsageError(
            "--tune takes the place of --override and --restart_at: leave them out, --init_size is "
            "where it begins"
        )
    if args.new_discriminator and not args.tune:
        raise UsageError("--new_discriminator goes with --tune only")
    if args.new_discriminator and args.freeze_d:
        raise UsageError(
            "--freeze_d keeps what a discriminator has learned, --new_discriminator begins without "
            "that: leave one out"
        )


def new_configuration(args) -> Config:
    """The configuration of a run that begins with networks of its own."""
    if args.freeze_d or args.freeze_g:
        name = "--freeze_d" if args.freeze_d else "--freeze_g"
        raise UsageError(f"{name} keeps what a network has learned: name that with --ckpt")
    return configuration(args, Config())


def find_checkpoints(args, folder: Path) -> list:
    """Paths to try to go on from, one after the other; none for a fresh run."""
    check_tuning(args)
    if args.restart_at and not args.ckpt:
        raise UsageError("--restart_at goes with --ckpt only: --init_size is where a run begins")
    if args.ckpt == "auto":
        return [path for path in checkpoints(folder) if header_of(path)]
    if args.ckpt == "latest":
        found = checkpoints(folder)
        if not found:
            raise UsageError(
                f"--ckpt latest: there is no checkpoint in {folder / 'checkpoint'}, "
                "leave it out to begin"
            )
        return found
    if args.ckpt is None:
        return []
    check_readable(args.ckpt, UsageError, ": --ckpt takes a checkpoint, latest or auto")
    if args.tune or not History(folder).holds(Path(args.ckpt)):
        check_no_checkpoints(folder)
    return [Path(args.ckpt)]


def is_complete(args, folder: Path) -> bool:
    """Whether the run that `--ckpt auto` finds is at its end. Says so, or that there is none."""
    if args.ckpt != "auto":
        return False
    newest = find_checkpoints(args, folder)[:1]
    if not newest:
        print(f"no run in {folder} to go on with: beginning one")
        return False
    reached = iteration_of(newest[0])
    if reached >= args.max_iters:
        print(f"{newest[0]} is at iteration {reached} already: nothing to train")
    return reached >= args.max_iters


def read_own(path) -> dict:
    """A checkpoint that has to be of train.py."""
    content = read_checkpoint(path)
    if content["written_by"] != "train.py":
        raise CheckpointError(
            f"{path} is of {content['written_by']}: to start from it name it with --ckpt"
        )
    return content


def read_first(paths):
    """(path, content) of the first checkpoint of train.py that is not damaged. CheckpointError if
    there is none.
    """
    for path in paths[:-1]:
        try:
            return path, read_own(path)
        except CheckpointError as e:
            print(f"train.py: warning: {e}; trying the one before", file=sys.stderr)
    return paths[-1], read_own(paths[-1])


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

    latest = args.ckpt in LATEST
    path, content = read_first(paths) if latest else (paths[0], read_checkpoint(paths[0]))
    if args.tune:
        return tuned_run(args, path, content), path
    if content["written_by"] != "train.py":
        config = foreign_started(args, path, content)
        run = TrainState.with_networks(path, content, config, args.plain)
        loaded = [take_optimizer(run, part, path, content) for part in OPTIMIZERS]
        steps = "its" if all(loaded) else "one new and one of its" if any(loaded) else "new"
        print(f"starting from the networks in {path}, with {steps} optimiser states")
        return run, path
    config = own_continued(args, path, content, length)
    run = TrainState.load(path, content, config, args.plain)
    print(f"going on from {path}: iteration {run.iteration}, {run.images_seen} images")
    return run, path


def tuned_run(args, path, content: dict):
    """A run that begins with the networks of a checkpoint. Of a lone average both generators do."""
    from training.run import TrainState  # imports Jittor, for the device chosen

    config, new = tuned_config(args, path, content), bool(args.new_discriminator)
    if content["discriminator"] is None and not new:
        raise UsageError(
            f"{path} holds no discriminator: add --new_discriminator K, the iterations that train "
            "a new one before both are trained"
        )
    both = {**content, "generator": content["generator"] or content["g_running"]}
    run = TrainState.with_networks(path, both, config, args.plain, new)
    fresh = "new optimiser states" + (" and a new discriminator" if new else "")
    print(f"tuning the networks in {path} at {config.init_size} px, with {fresh}")
    if not config.flip and args.flip is None:
        print("pictures are not mirrored, as in the run before: --flip mirrors them at random")
    return run


def tuned_config(args, path, content: dict) -> Config:
    """The configuration of a run that begins with the networks of a checkpoint: its options, at the
    size that it has learned. Rates that it does not tell are the paper's for that size.
    """
    was, reached = config_of(content), content["size"]
    ours = content["written_by"] == "train.py"
    size, smallest = args.init_size or reached, was.init_size if ours else SIZES[0]
    if size is None:
        raise UsageError(f"{path} does not tell its size in pixels: give it with --init_size")
    if reached and not smallest <= size <= reached:
        raise UsageError(
            f"{path} has learned {smallest} to {reached} px: --init_size can be one of these, and "
            "grows to --max_size"
        )
    fades = size == reached and content["alpha"] < 1
    defaults = {name: getattr(Config, name) for name in (*START_FIELDS, *TUNE_FIELDS)}
    lr = was.lr if ours else LEARNING_RATES.get(size, was.lr)
    growth = {"init_size": size, "max_size": size, "fade_first": fades, "lr": lr}
    config = configuration(args, dataclasses.replace(was, **defaults, **growth))
    widths = "code_size", "n_mlp", "channel_max", "from_rgb_activate"
    kept = widths[:3] if args.new_discriminator else widths
    check_networks({name: getattr(was, name) for name in kept}, config, path)
    return config


def foreign_started(args, path, content: dict) -> Config:
    """The configuration of a run that starts from another program's networks."""
    if args.restart_at:
        raise UsageError(f"{path} is not of train.py: --init_size is where its training begins")
    config = configuration(args, config_of(content))
    check_networks(content["config"], config, path)
    return config


def own_continued(args, path, content: dict, length: int) -> Config:
    """The configuration of a run that goes on from a checkpoint of train.py."""
    was, seen = config_of(content), content["images_seen"]
    config = configuration(args, was)
    if not args.override:
        growth = dataclasses.replace(config, max_size=was.max_size) if args.restart_at else config
        check_continuation(was, growth, seen)
        if content.get("pictures") not in (None, length):
            raise UsageError(
                f"--ckpt was trained on {content['pictures']} pictures, {args.path} holds "
                f"{length}: give the set it was trained on, or add --override to change it"
            )
    if content["iteration"] >= args.max_iters:
        raise UsageError(
            f"{path} is at iteration {content['iteration']} already: raise --max_iters"
        )
    if args.restart_at:
        return restart(was, config, args.restart_at, content, path)
    return overridden(was, config, content) if args.override else config


def check_growth(pictures, config: Config, images_seen: int = 0) -> None:
    """Every size that is still to come has to be in the data, and its batch to be divisible among
    the processes; and some pictures held out, if any are to be, but not all.
    """
    first = phase_at(config, images_seen).size
    sizes = [s for s in SIZES if first <= s <= config.max_size]
    pictures.require(sizes)
    divided(pictures, config.heldout)
    for size in sizes:
        batch, group = batch_at(config, size), config.stddev_group
        if batch % device.ranks():
            raise UsageError(
                f"{device.ranks()} processes cannot share the batch of {batch} at "
                f"{size} px evenly: give mpirun another -np, or {batch_advice(config, size)}"
            )
        part = batch // device.ranks()
        if group and part > group and part % group:
            raise UsageError(
                f"the batch of {part} at {size} px is no groups of {group}, in which these "
                f"networks compare images: {batch_advice(config, size)}"
            )
