"""Our own checkpoints, and those of others in their shape.

A dictionary of plain values and NumPy arrays, under the names of ENTRIES. Reading needs no Jittor.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np

from backend.terminal import LARGEST_SEED
from data.sizes import SIZES
from formats import conversions, files, nvidia, rosinality
from formats.files import CheckpointError
from formats.rosinality import NETWORKS, OPTIMIZERS, is_arrays, is_count
from training.schedule import LISTS, LOSS_NAMES, Config, batches_of, names_in

VERSION = 2  # 1 where nothing is used that version 1 did not know
AVERAGE_ALONE = 3  # the averaged generator alone, up to the level of its size: `convert.py --ema`
NVIDIA = "NVIDIA's StyleGAN for TensorFlow"
CONVERTED = "a program that converts NVIDIA's StyleGAN to PyTorch"
ENTRIES = (  # and, where there is one, mean_style, augmentation
    "version config images_seen iteration size alpha "
    "generator discriminator g_running g_optimizer d_optimizer"
).split()


def check_parameters(expected: dict, found: dict, path, part: str) -> None:
    """Raises CheckpointError, listing what is missing, unknown or of another shape."""
    wrong = [f"{k} is missing" for k in expected if k not in found]
    wrong += [f"{k} is unknown" for k in found if k not in expected]
    for k in expected:
        if k in found and tuple(found[k].shape) != tuple(expected[k].shape):
            wrong.append(f"{k} is {tuple(found[k].shape)}, not {tuple(expected[k].shape)}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{path}: {part} does not fit: {'; '.join(wrong[:5])}{more}")


def read_checkpoint(path) -> dict:
    """The content of a checkpoint: plain values and NumPy arrays under the names of ENTRIES, and
    `written_by` and `sha1`, the checksum of the file, which is read once. Raises CheckpointError.

    In another's, `written_by` is not "train.py"; `config` holds what the shapes tell; the counters
    are 0; version, size, alpha and the parts that it lacks are None; an optimiser is as PyTorch's
    Adam gives it. Without an average, `g_running` is the generator. NVIDIA's, converted or not,
    tell size and alpha, but hold no levels above their size, nor does a lone average of ours.
    `mean_style` (code_size,) is None where it is not known.
    """
    path = Path(path)
    values, file_format, sha1 = files.read(path)
    if nvidia.networks_in(values):
        content = {**foreign_entries(), **nvidia.recognised(values, path)}
        content["written_by"] = NVIDIA
    elif conversions.variables_in(values):
        content = {**foreign_entries(), **conversions.recognised(values, path)}
        content["written_by"] = CONVERTED
    elif isinstance(values, dict) and values.keys() >= {"version", "config"}:
        content = {"mean_style": None, "augmentation": None, **values, "written_by": "train.py"}
        check_own(content, path)
    else:
        content = foreign_content(values, path)
        content["written_by"] = f"another program ({file_format})"
    content["sha1"] = sha1
    for name, width in rosinality.infer_widths(content["g_running"], path).items():
        if content["config"].setdefault(name, width) != width:
            raise CheckpointError(
                f"{path} contradicts itself: {name} is {content['config'][name]} in its config and "
                f"{width} in its weights"
            )
    mean, width = content["mean_style"], content["config"]["code_size"]
    if mean is not None and mean.shape != (width,):
        raise CheckpointError(
            f"{path} contradicts itself: its mean_style is none of {width} numbers"
        )
    return content


def foreign_entries() -> dict:
    """ENTRIES without what another program's checkpoint cannot tell."""
    return {**dict.fromkeys((*ENTRIES, "mean_style")), "images_seen": 0, "iteration": 0}


def foreign_content(values, path: Path) -> dict:
    """What `read_checkpoint` returns of another program's checkpoint, but for its widths."""
    content = {**foreign_entries(), **rosinality.recognised(values, path)}
    content["config"] = {"fade_first": True}
    if content["discriminator"] is not None:
        activated = "from_rgb.0.conv.bias" not in content["discriminator"]
        content["config"]["from_rgb_activate"] = activated
    return content


def check_own(content: dict, path) -> None:
    """Raises CheckpointError for what train.py does not write."""
    missing = [name for name in ENTRIES if name not in content]
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of train.py: {missing[0]} is missing")
    expected = {"version": is_count, "images_seen": is_count, "iteration": is_count}
    expected["size"] = lambda size: type(size) is int and size in SIZES
    expected["alpha"] = lambda alpha: type(alpha) is float and 0 <= alpha <= 1
    expected["config"] = is_config
    expected["mean_style"] = is_style
    expected["augmentation"] = is_augmentation
    expected.update(dict.fromkeys(NETWORKS.values(), is_arrays))
    expected.update(dict.fromkeys(OPTIMIZERS, is_adam))
    if is_count(content["version"]) and content["version"] == AVERAGE_ALONE:
        others = (name for name in (*NETWORKS.values(), *OPTIMIZERS) if name != "g_running")
        expected.update(dict.fromkeys(others, is_none))
    for name, holds in expected.items():
        if not holds(content[name]):
            raise CheckpointError(f"{path} is damaged: its {name} is not one of train.py")
    if content["version"] > AVERAGE_ALONE:
        raise CheckpointError(f"{path} was written by a newer version of this project")


def is_none(value) -> bool:
    return value is None


def is_style(value) -> bool:
    """Whether it is a style, or None."""
    return value is None or (isinstance(value, np.ndarray) and value.ndim == 1)


def is_augmentation(state) -> bool:
    """Whether it is what `Augmentation.state_dict` gives, or None."""
    types = {"p": float, "signs": float, "images": int}
    return state is None or (
        isinstance(state, dict)
        and {name: type(value) for name, value in state.items()} == types
        and 0 <= state["p"] <= 1
        and abs(state["signs"]) <= state["images"]
    )


def is_adam(state) -> bool:
    """Whether it is what `Adam.state_dict` gives."""
    if not isinstance(state, dict) or not is_arrays(state.get("v")):
        return False
    steps = state.get("step")
    return (
        isinstance(steps, dict)
        and steps.keys() == state["v"].keys()
        and all(map(is_count, steps.values()))
    )


def is_batches(text: str) -> bool:
    """Whether it is a `batch_at` that Config can have."""
    try:
        return all(images < 2**63 for images in batches_of(text).values())
    except ValueError:
        return False


def is_config(values) -> bool:
    """Whether the fields that are known have values that Config can have."""
    if not isinstance(values, dict):
        return False
    config = {**dataclasses.asdict(Config()), **values}
    for f in dataclasses.fields(Config):
        value, types = config[f.name], (type(f.default), int)[: 1 + (type(f.default) is float)]
        if type(value) not in types:
            return False
        if type(value) is int and not 0 <= value <= LARGEST_SEED:
            return False
        if type(value) is float and not (math.isfinite(value) and value >= 0):
            return False
    positive = "phase batch_default code_size n_mlp channel_max norm_eps r1_every augment_images"
    return (
        all(config[name] for name in positive.split())
        and config["noise_maps"] in (1, 2)
        and config["psi_levels"] in range(len(SIZES))
        and config["loss"] in LOSS_NAMES
        and config["init_size"] in SIZES
        and config["max_size"] in SIZES
        and config["start_size"] in (0, *SIZES)
        and is_batches(config["batch_at"])
        and all(set(names_in(config[k])) <= set(names) for k, names in LISTS.items())
    )


def config_of(content: dict) -> Config:
    """The configuration in a checkpoint; fields it does not know yet keep their defaults."""
    known = {f.name for f in dataclasses.fields(Config)}
    return Config(**{k: v for k, v in content["config"].items() if k in known})
