"""Tells what a checkpoint holds, ours or another's, exports it to PyTorch, makes it one of ours.

python convert.py checkpoint/train_step-6.model                      # what it holds
python convert.py checkpoint/train_step-6.model --export torch.pth   # for the original
python convert.py checkpoint/train_step-6.model --ema small.model    # what makes figures, alone
python convert.py karras2019stylegan-ffhq-1024x1024.pkl --out ffhq.model     # one of ours
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import dataclasses
import json
import os

from backend import terminal
from backend.begun import check_alone
from backend.disk import check_file
from backend.terminal import Parser, UsageError
from data.sizes import image_size, step_of
from figures.latents import write_arrays
from formats import files, nvidia, pytorch, rosinality
from formats.files import CheckpointError
from formats.rosinality import NETWORKS, OPTIMIZERS
from labels.table import listed
from training.checkpoint import AVERAGE_ALONE, check_parameters, config_of, read_checkpoint
from training.resume import take_optimizer
from training.schedule import NVIDIA_FIELDS


def describe(content: dict) -> str:
    """What a checkpoint holds, for people."""
    config = config_of(content)
    rows = {"written by": content["written_by"]}
    if content["written_by"] == "train.py":
        rows["counters"] = f"iteration {content['iteration']}, {content['images_seen']} images seen"
        rows["config"] = json.dumps(config.saved())
    if content["size"] is not None:
        rows["stage"] = f"{content['size']} px, alpha {content['alpha']:.3g}"
    nvidia_fields = [name for name in NVIDIA_FIELDS if name in config.saved()]
    names = ("code_size", "n_mlp", "channel_max", "from_rgb_activate", *nvidia_fields)
    rows["networks"] = ", ".join(f"{name} {getattr(config, name)}" for name in names)
    if config.labels:
        rows["labels"] = f"{len(config.label_names)}: {listed(config.label_names)}"
    for part in NETWORKS.values():
        arrays = content[part]
        if arrays is not None:
            count = sum(array.size for array in arrays.values())
            rows[part] = f"{count:,} parameters in {len(arrays)} arrays"
    for name in OPTIMIZERS:
        state = content[name]
        if state is not None:
            trained = (
                [s for s in state["step"].values() if s] if "step" in state else state["state"]
            )
            rows[name] = f"moments of {len(trained)} trained arrays"
    missing = [name for name in (*NETWORKS.values(), *OPTIMIZERS) if name not in rows]
    rows.update(dict.fromkeys(missing, "-"))
    return "\n".join(f"{name:15}{text}" for name, text in rows.items())


def export(content: dict, path, out) -> None:
    """Writes what the original's scripts load in PyTorch; parts that are missing stay so. Raises
    CheckpointError when what was read at `path` does not fit.
    """
    from training.parameters import take_parameters, to_arrays
    from training.run import new_discriminator, new_generator

    config = config_of(content)
    if config.saved().keys() & set(NVIDIA_FIELDS):
        raise CheckpointError(
            f"{path} holds networks of NVIDIA's kind, with another order of bias and blur: the "
            "PyTorch original cannot compute them"
        )
    if config.labels:
        raise CheckpointError(
            f"{path} holds networks with labels, which the PyTorch original cannot compute"
        )
    generator, discriminator = new_generator(config), new_discriminator(config)
    networks = {"generator": generator, "discriminator": discriminator, "g_running": generator}
    values = {}
    for part, network in networks.items():
        if content[part] is not None:
            take_parameters(network, content, part, path)
            arrays = to_arrays(network)
            constants = rosinality.blur_kernels({name: a.shape for name, a in arrays.items()})
            values[part] = {**arrays, **constants}
    for name, network in OPTIMIZERS.items():
        if network in values:
            parameters = dict(networks[network].named_parameters())
            try:
                state = rosinality.adam_state(content, name, parameters, path)
                if state is not None:
                    check_parameters(parameters, state["v"], path, name)
            except CheckpointError as e:
                print(f"convert.py: {e}: it starts afresh", file=sys.stderr)
                state = None
            groups = rosinality.parameter_groups(parameters, name)
            values[name] = rosinality.torch_adam(state, groups, config.lr, config.mapping_lr_mult)
    pytorch.write(out, values)


def keep_average(content: dict, path, size, out) -> None:
    """Writes the averaged generator of what was read at `path`, up to the level of its size: for
    the figures, a fraction of the checkpoint. Raises CheckpointError when it does not fit.
    """
    from training.parameters import level_of, take_parameters, to_arrays
    from training.run import new_generator, write

    config, size = config_of(content), size_of(content, path, size)
    generator = new_generator(config)
    take_parameters(generator, content, "g_running", path)
    arrays = {k: x for k, x in to_arrays(generator).items() if level_of(k) <= step_of(size)}
    kept = {k: content[k] for k in ("images_seen", "iteration", "mean_style")}
    alpha = 1.0 if content["alpha"] is None else content["alpha"]
    empty = dict.fromkeys((*NETWORKS.values(), *OPTIMIZERS))
    own = {"version": AVERAGE_ALONE, "config": config.saved(), "size": size, "alpha": alpha}
    write(out, {**own, **kept, **empty, "g_running": arrays})


def size_of(content: dict, path, size) -> int:
    """The size in pixels that a checkpoint tells, or that --size does. Raises UsageError."""
    if (content["size"] or size) != (size or content["size"]):
        raise UsageError(f"{path} is of {content['size']} px: leave --size out")
    size = content["size"] or size
    if size is None:
        raise UsageError(f"{path} does not tell its size in pixels: give it with --size")
    return size


def make_own(content: dict, path, size, out) -> None:
    """Writes what another program's checkpoint at `path` holds as one of train.py's, at iteration
    0. Raises CheckpointError when it lacks a network or one does not fit.
    """
    from training.run import TrainState  # imports Jittor

    if content["written_by"] == "train.py":
        raise UsageError(f"{path} is a checkpoint of train.py already: leave --out out")
    size = size_of(content, path, size)
    sizes = {"init_size": size, "max_size": size, **content["config"]}
    config = dataclasses.replace(config_of({"config": sizes}), fade_first=False)
    run = TrainState.with_networks(path, content, config)
    for name in OPTIMIZERS:
        take_optimizer(run, name, path, content, "convert.py")
    alpha = 1.0 if content["alpha"] is None else content["alpha"]
    run.save(out, alpha, size)


def save_noise(path, out) -> None:
    """Writes the noise maps that NVIDIA's snapshot keeps, as `noise_4` (1, 2, 4, 4) ... of a .npz;
    with z beside them generate.py --latents shows what NVIDIA's code does without randomize_noise.
    """
    values = files.read(path).values
    if not nvidia.networks_in(values):
        raise UsageError(f"{path} keeps no noise maps: NVIDIA's snapshots (.pkl) alone do")
    try:
        maps = {f"noise_{x.shape[-1]}": x for x in nvidia.noise_of(values)}
    except (KeyError, ValueError):
        raise CheckpointError(f"{path} is damaged: its noise maps are none") from None
    write_arrays(out, **maps)


def parser() -> Parser:
    p = Parser(__doc__)
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint")
    text = "write it as the original's generate.py and train.py --ckpt load it in PyTorch"
    p.add_argument("--export", metavar="OUT", help=text)
    p.add_argument("--out", metavar="OUT", help="write it as a checkpoint of train.py")
    text = "write its averaged generator alone, up to the level of its size: enough for figures"
    p.add_argument("--ema", metavar="OUT", help=text)
    text = "write the noise maps that NVIDIA's snapshot keeps for randomize_noise=False, a .npz"
    p.add_argument("--noise", metavar="OUT", help=text)
    text = "pixels, for --out and --ema of a checkpoint that does not tell"
    p.add_argument("--size", type=image_size, help=text)
    p.add_argument("--overwrite", action="store_true", help="replace OUT when it exists")
    return p


def check_place(out: str, args) -> None:
    """UsageError where OUT cannot be written, or what is there is not to be replaced."""
    check_file(out, "give another name")
    if os.path.lexists(out):
        if not args.overwrite:
            raise UsageError(f"{out} exists: give --overwrite to replace it")
        if os.path.exists(args.ckpt) and os.path.samefile(out, args.ckpt):
            raise UsageError(f"{out} is the checkpoint that is read: give another name")


def convert(args) -> None:
    """Does what the command line asks for."""
    check_alone("convert.py")
    given = [out for out in (args.export, args.out, args.ema, args.noise) if out is not None]
    for out in given:
        check_place(out, args)
    if len({os.path.realpath(out) for out in given}) < len(given):
        raise UsageError("--export, --out, --ema and --noise have to name different files")
    content = read_checkpoint(args.ckpt)
    print(describe(content))
    if args.export:
        export(content, args.ckpt, args.export)
        print(f"wrote {args.export}")
    if args.out:
        make_own(content, args.ckpt, args.size, args.out)
        print(f"wrote {args.out}")
    if args.ema:
        keep_average(content, args.ckpt, args.size, args.ema)
        print(f"wrote {args.ema}")
    if args.noise:
        save_noise(args.ckpt, args.noise)
        print(f"wrote {args.noise}")


def main(argv=None) -> int:
    return terminal.run("convert.py", convert, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
