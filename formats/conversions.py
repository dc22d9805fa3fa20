"""NVIDIA's StyleGAN (v1) as others converted it to PyTorch: the averaged generator's variables
under other names, `g_mapping.*` and `g_synthesis.*`.

Convolutions are stored as (out, in, h, w), dense layers as (out, in), without the factors of their
layers, as NVIDIA's. The mean of w and all layers to RGB but the last were left out.
"""

import re

import numpy as np

from formats import nvidia
from formats.files import CheckpointError

PREFIXED = re.compile(r"(?:\w+\.){0,9}?(g_(?:mapping|synthesis)\.[\w.]{1,200})", re.ASCII)
BLUR = re.compile(r"g_synthesis\.blocks\.\w+\.conv0_up\.intermediate\.kernel")
BLOCK = r"g_synthesis\.blocks\.(\d+x\d+)"
NAMES = (  # NVIDIA's, by patterns of those here; epi1 and epi2 are what follows the convolutions
    (r"g_mapping\.dense(\d+)\.(weight|bias)", r"Dense\1/\2"),
    (r"g_synthesis\.torgb\.(weight|bias)", r"ToRGB_lod0/\1"),
    (r"g_synthesis\.blocks\.4x4\.(const|bias)", r"4x4/Const/\1"),
    (rf"{BLOCK}\.conv0_up\.(weight|bias)", r"\1/Conv0_up/\2"),
    (rf"{BLOCK}\.conv1?\.(weight|bias)", r"\1/Conv1/\2"),
    (rf"{BLOCK}\.epi1\.(?:top_epi\.)?noise\.weight", r"\1/Conv0_up/Noise/weight"),
    (rf"{BLOCK}\.epi2\.(?:top_epi\.)?noise\.weight", r"\1/Conv1/Noise/weight"),
    (rf"{BLOCK}\.epi1\.style_mod\.lin\.(weight|bias)", r"\1/Conv0_up/StyleMod/\2"),
    (rf"{BLOCK}\.epi2\.style_mod\.lin\.(weight|bias)", r"\1/Conv1/StyleMod/\2"),
)


def variables_in(values) -> dict:
    """The arrays of a converted generator by name, without prefixes, from a file's values or a
    dictionary among them; {} where there is none.
    """
    if not isinstance(values, dict):
        return {}
    for named in (values, *(v for v in values.values() if isinstance(v, dict))):
        matches = ((PREFIXED.fullmatch(str(name)), array) for name, array in named.items())
        arrays = {m[1]: a for m, a in matches if m and isinstance(a, np.ndarray)}
        if any(name.startswith("g_synthesis.blocks.") for name in arrays):
            return arrays
    return {}


def as_nvidia_stores(array):
    """(out, in, h, w) -> (h, w, in, out), (out, in) -> (in, out)"""
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array.T


def renamed(arrays: dict, path) -> dict:
    """The arrays under NVIDIA's names and as NVIDIA stores them. Raises CheckpointError."""
    variables = {}
    for name, array in arrays.items():
        if BLUR.fullmatch(name):
            continue
        matches = ((re.fullmatch(pattern, name), theirs) for pattern, theirs in NAMES)
        match, theirs = next((pair for pair in matches if pair[0]), (None, ""))
        if match is None:
            raise CheckpointError(
                f"{path} holds another network than NVIDIA's StyleGAN (v1): its {name} is unknown"
            )
        keep = name.endswith(".const")
        variables[match.expand(theirs)] = array if keep else as_nvidia_stores(array)
    return variables


def with_all_to_rgb(named: dict, last: int) -> dict:
    """Zeros for the layers to RGB of smaller sizes, which no image of the full size depends on."""
    complete = dict(named)
    for step in range(last):
        conv = named.get(f"generator.progression.{step}.conv2.conv.weight_orig")
        if conv is not None:  # else told as missing later
            layer = f"generator.to_rgb.{step}.conv"
            complete[f"{layer}.weight_orig"] = np.zeros((3, len(conv), 1, 1), "float32")
            complete[f"{layer}.bias"] = np.zeros(3, "float32")
    return complete


def recognised(values, path) -> dict:
    """`g_running`, `size`, `alpha` and `config` as in `nvidia.recognised`, of what `variables_in`
    found something in. Raises CheckpointError.
    """
    variables = renamed(variables_in(values), path)
    sizes = [int(name.split("x")[0]) for name in variables if name[0].isdigit()]
    size = max(sizes, default=0)
    if size not in [4 * 2**step for step in range(nvidia.LAST_STEP + 1)]:
        raise CheckpointError(f"{path} holds a network of {size} px: 4 to 1024 are known")
    last = size.bit_length() - 3
    mapping = {name: a for name, a in variables.items() if name.startswith("Dense")}
    synthesis = {name: a for name, a in variables.items() if name not in mapping}
    named = nvidia.synthesis_parameters(synthesis, last, path)
    return {
        "g_running": {
            **nvidia.mapping_parameters(mapping, nvidia.LR_MULTIPLIER, path),
            **with_all_to_rgb(named, last),
        },
        "size": size,
        "alpha": 1.0,
        "config": nvidia.generator_config({}, size, path),
    }
