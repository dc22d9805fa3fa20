"""The parameters of a network by their names, which are the original's: what they start as, those
of a checkpoint, those that are trained at a size.
"""

import re
from typing import Dict

import numpy as np

from backend import device
from data.sizes import step_of
from model import MAX_STEP, is_fading
from training.checkpoint import AVERAGE_ALONE, CONVERTED, NVIDIA, check_parameters

jt = device.load()

WEIGHT_STREAM = 4  # dataset.py has 1 and 2, train.py 3


def level_of(name: str) -> int:
    """The step of a parameter's level; 0 where it has none."""
    place = re.match(r"(generator\.)?(?:progression|to_rgb|from_rgb)\.(\d)\.", name)
    return 0 if place is None else int(place[2]) if place[1] else MAX_STEP - int(place[2])


def used_parameters(network, step: int, alpha=None) -> Dict[str, "jt.Var"]:
    """Those that the generator's image or the discriminator's score depends on, by name."""
    rgb = (step - 1, step) if is_fading(step, alpha) else (step,)

    def is_used(name):
        level = level_of(name)
        return level in rgb if "_rgb." in name else level <= step

    return {name: p for name, p in network.named_parameters() if is_used(name)}


def frozen_parameters(network, parts) -> set:
    """Names of those that stay: parts are sizes in pixels, as text, for the layers of that size and
    its to_rgb or from_rgb, and "mapping" for the mapping network. The discriminator's last layer,
    which makes the score, has no size.
    """
    steps = {step_of(int(part)) for part in parts if part != "mapping"}

    def stays(name):
        if "progression." in name or "_rgb." in name:
            return level_of(name) in steps
        return name.startswith(("style.", "label.")) and "mapping" in parts

    return {name for name, _ in network.named_parameters() if stays(name)}


def draw_weights(networks, seed: int) -> None:
    """Gives what starts as N(0, 1) numbers that hang on the seed alone: Jittor's own generators
    differ between CPU and CUDA.
    """
    rng = np.random.default_rng([seed, 0, WEIGHT_STREAM])
    for network in networks:
        for name, p in network.named_parameters():
            if is_drawn(name):
                p.update(jt.array(rng.standard_normal(p.shape, dtype=str(p.dtype))))
    jt.sync_all()


def is_drawn(name: str) -> bool:
    """Whether a parameter starts as N(0, 1): all but biases and the strengths of noise."""
    return name.endswith(("weight_orig", "weight", "input")) and ".noise" not in name


def assign(parameters: dict, arrays: dict) -> None:
    """Gives each parameter the array of its name, as a copy."""
    for name, p in parameters.items():
        p.update(jt.array(np.array(arrays[name], dtype="float32")))
    jt.sync_all()  # a pending array of one element breaks the kernel that Jittor fuses it into


def take_parameters(module, content: dict, part: str, path) -> None:
    """Gives a network the arrays of a part of `read_checkpoint`'s content. NVIDIA's and lone
    averages lack the levels above their size: those keep their initial values. Raises
    CheckpointError.
    """
    expected, arrays = dict(module.named_parameters()), content[part]
    if content["written_by"] in (NVIDIA, CONVERTED) or content["version"] == AVERAGE_ALONE:
        step = step_of(content["size"])
        expected = {k: p for k, p in expected.items() if k in arrays or level_of(k) <= step}
    check_parameters(expected, arrays, path, part)
    assign(expected, arrays)


def to_arrays(module) -> dict:
    return {name: p.numpy() for name, p in module.named_parameters()}
