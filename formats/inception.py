"""The weights of the FID Inception: TensorFlow's network of 2015-12-05 as pytorch-fid ports it."""

import os
from pathlib import Path
from typing import Optional

import numpy as np

from backend.disk import user_cache
from formats import files
from formats.files import CheckpointError

NAME = "pt_inception-2015-12-05-6726825d.pth"
EPSILON = 0.001  # of its batch norms


def _mixed_5(c: int, pool: int) -> dict:
    """Layers of a block of 35 x 35: name -> (channels in, out, kernel)."""
    return {
        "branch1x1": (c, 64, (1, 1)),
        "branch5x5_1": (c, 48, (1, 1)),
        "branch5x5_2": (48, 64, (5, 5)),
        "branch3x3dbl_1": (c, 64, (1, 1)),
        "branch3x3dbl_2": (64, 96, (3, 3)),
        "branch3x3dbl_3": (96, 96, (3, 3)),
        "branch_pool": (c, pool, (1, 1)),
    }


def _mixed_6(c7: int) -> dict:
    """The same of 17 x 17."""
    return {
        "branch1x1": (768, 192, (1, 1)),
        "branch7x7_1": (768, c7, (1, 1)),
        "branch7x7_2": (c7, c7, (1, 7)),
        "branch7x7_3": (c7, 192, (7, 1)),
        "branch7x7dbl_1": (768, c7, (1, 1)),
        "branch7x7dbl_2": (c7, c7, (7, 1)),
        "branch7x7dbl_3": (c7, c7, (1, 7)),
        "branch7x7dbl_4": (c7, c7, (7, 1)),
        "branch7x7dbl_5": (c7, 192, (1, 7)),
        "branch_pool": (768, 192, (1, 1)),
    }


def _mixed_7(c: int) -> dict:
    """The same of 8 x 8."""
    return {
        "branch1x1": (c, 320, (1, 1)),
        "branch3x3_1": (c, 384, (1, 1)),
        "branch3x3_2a": (384, 384, (1, 3)),
        "branch3x3_2b": (384, 384, (3, 1)),
        "branch3x3dbl_1": (c, 448, (1, 1)),
        "branch3x3dbl_2": (448, 384, (3, 3)),
        "branch3x3dbl_3a": (384, 384, (1, 3)),
        "branch3x3dbl_3b": (384, 384, (3, 1)),
        "branch_pool": (c, 192, (1, 1)),
    }


def layers() -> dict:
    """All of its convolutions: name -> (channels in, out, kernel)."""
    blocks = {
        "Mixed_5b": _mixed_5(192, 32),
        "Mixed_5c": _mixed_5(256, 64),
        "Mixed_5d": _mixed_5(288, 64),
        "Mixed_6a": {
            "branch3x3": (288, 384, (3, 3)),
            "branch3x3dbl_1": (288, 64, (1, 1)),
            "branch3x3dbl_2": (64, 96, (3, 3)),
            "branch3x3dbl_3": (96, 96, (3, 3)),
        },
        "Mixed_6b": _mixed_6(128),
        "Mixed_6c": _mixed_6(160),
        "Mixed_6d": _mixed_6(160),
        "Mixed_6e": _mixed_6(192),
        "Mixed_7a": {
            "branch3x3_1": (768, 192, (1, 1)),
            "branch3x3_2": (192, 320, (3, 3)),
            "branch7x7x3_1": (768, 192, (1, 1)),
            "branch7x7x3_2": (192, 192, (1, 7)),
            "branch7x7x3_3": (192, 192, (7, 1)),
            "branch7x7x3_4": (192, 192, (3, 3)),
        },
        "Mixed_7b": _mixed_7(1280),
        "Mixed_7c": _mixed_7(2048),
    }
    return {
        "Conv2d_1a_3x3": (3, 32, (3, 3)),
        "Conv2d_2a_3x3": (32, 32, (3, 3)),
        "Conv2d_2b_3x3": (32, 64, (3, 3)),
        "Conv2d_3b_1x1": (64, 80, (1, 1)),
        "Conv2d_4a_3x3": (80, 192, (3, 3)),
        **{f"{name}.{branch}": v for name, block in blocks.items() for branch, v in block.items()},
    }


def cached_file() -> Optional[Path]:
    """The file where torch.hub keeps it, once pytorch-fid has run; None where it is not."""
    home = Path(os.environ.get("TORCH_HOME") or user_cache() / "torch")
    path = home / "hub" / "checkpoints" / NAME
    return path if path.is_file() else None


def read_inception(path) -> dict:
    """name -> (kernel (o, c, h, w), bias (o,)) with the batch norm after it multiplied in.

    Raises CheckpointError for a file that is not this network's.
    """
    values = files.read(path).values
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no weights: it holds no dictionary")

    def array(name, shape):
        found = values.get(name)
        if not isinstance(found, np.ndarray) or found.shape != shape:
            raise CheckpointError(f"{path} is not {NAME}: {name} is missing or of another shape")
        return found.astype("float64")

    weights = {}
    for name, (c, o, kernel) in layers().items():
        norms = ("weight", "bias", "running_mean", "running_var")
        gamma, beta, mean, variance = (array(f"{name}.bn.{norm}", (o,)) for norm in norms)
        gain = gamma / np.sqrt(variance + EPSILON)
        scaled = array(f"{name}.conv.weight", (o, c, *kernel)) * gain[:, None, None, None]
        weights[name] = (scaled.astype("float32"), (beta - mean * gain).astype("float32"))
    return weights
