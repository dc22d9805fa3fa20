"""Tells what a checkpoint holds, ours or another's, and exports it to PyTorch.

python convert.py checkpoint/train_step-6.model                      # what it holds
python convert.py checkpoint/train_step-6.model --export torch.pth   # for the original
"""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from backend import terminal
from backend.terminal import UsageError
from formats import original, pytorch
from formats.original import OPTIMIZERS, PARTS
from training.checkpoint import check_parameters, config_of, read_checkpoint


def describe(content: dict) -> str:
    """What a checkpoint holds, for people."""
    config = config_of(content)
    rows = {"written by": content["written_by"]}
    if content["size"] is not None:
        rows["counters"] = f"iteration {content['iteration']}, {content['images_seen']} images seen"
        rows["stage"] = f"{content['size']} px, alpha {content['alpha']:.3g}"
        rows["config"] = json.dumps(dataclasses.asdict(config))
    names = ("code_size", "n_mlp", "channel_max", "from_rgb_activate")
    rows["networks"] = ", ".join(f"{name} {getattr(config, name)}" for name in names)
    for part in PARTS.values():
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
    missing = [name for name in (*PARTS.values(), *OPTIMIZERS) if name not in rows]
    rows.update(dict.fromkeys(missing, "-"))
    return "\n".join(f"{name:15}{text}" for name, text in rows.items())


def export(content: dict, path, out) -> None:
    """Writes what the original's scripts load in PyTorch; parts that are missing stay so. Raises
    CheckpointError when what was read at `path` does not fit.
    """
    from training.run import new_discriminator, new_generator  # these import Jittor

    config = config_of(content)
    generator = dict(new_generator(config).named_parameters())
    discriminator = dict(new_discriminator(config).named_parameters())
    networks = {"generator": generator, "discriminator": discriminator, "g_running": generator}
    values = {}
    for part, expected in networks.items():
        if content[part] is not None:
            check_parameters(expected, content[part], path, part)
            arrays = {name: content[part][name].astype("float32") for name in expected}
            constants = original.blur_kernels({name: a.shape for name, a in arrays.items()})
            values[part] = {**arrays, **constants}
    for name, network in OPTIMIZERS.items():
        if network in values:
            parameters = networks[network]
            state = original.adam_state(content, name, parameters, path)
            if state is not None:
                check_parameters(parameters, state["v"], path, name)
            groups = original.parameter_groups(parameters, name)
            values[name] = original.torch_adam(state, groups, config.lr, config.mapping_lr_mult)
    pytorch.write(out, values)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint")
    text = "write it as the original's generate.py and train.py --ckpt load it in PyTorch"
    p.add_argument("--export", metavar="OUT", help=text)
    p.add_argument("--overwrite", action="store_true", help="replace OUT when it exists")
    return p


def convert(args) -> None:
    """Does what the command line asks for."""
    if args.export and os.path.exists(args.export) and not args.overwrite:
        raise UsageError(f"{args.export} exists: give --overwrite to replace it")
    content = read_checkpoint(args.ckpt)
    print(describe(content))
    if args.export:
        export(content, args.ckpt, args.export)
        print(f"wrote {args.export}")


def main(argv=None) -> int:
    return terminal.run("convert.py", convert, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
