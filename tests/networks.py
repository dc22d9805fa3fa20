"""Feature networks with weights that are drawn, and files of them: tests/recorded/README.md."""

import zlib

import numpy as np
import pytest

from formats import pytorch
from formats.features import BLOCKS, Weights
from formats.inception import layers

VGG16_NUMBERS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # of its convolutions
ALEXNET_NUMBERS = (0, 3, 6, 8, 10)


def draw(name, *shape):
    """As tests/recorded/README.md says."""
    rng = np.random.RandomState(zlib.crc32(name.encode()) % 2**32)
    return rng.standard_normal(shape).astype("float32")


def random_weights(network) -> Weights:
    convolutions, c_in = [], 3
    for i, (c_out, k) in enumerate(layer for block in BLOCKS[network] for layer in block):
        gain = np.float32(np.sqrt(2 / (c_in * k * k)))
        kernel = draw(f"{network}.{i}.weight", c_out, c_in, k, k) * gain
        convolutions.append((kernel, draw(f"{network}.{i}.bias", c_out) * np.float32(0.1)))
        c_in = c_out
    channels = [block[-1][0] for block in BLOCKS[network]]
    linear = [np.abs(draw(f"{network}.{i}.linear", c)) for i, c in enumerate(channels)]
    return Weights(network, convolutions, linear)


def torchvision_file(path, weights, numbers):
    names = {}
    for i, (kernel, bias) in zip(numbers, weights.convolutions):
        names.update({f"features.{i}.weight": kernel, f"features.{i}.bias": bias})
    pytorch.write(path, {**names, "classifier.0.bias": np.zeros(3, "float32")})


def lpips_file(path, weights):
    pytorch.write(
        path,
        {f"lin{i}.model.1.weight": x.reshape(1, -1, 1, 1) for i, x in enumerate(weights.linear)},
    )


def random_inception() -> dict:
    """As pytorch-fid's file has them."""
    values = {}
    for name, (c, o, kernel) in layers().items():
        gain = np.float32(np.sqrt(2 / (c * np.prod(kernel))))
        values[f"{name}.conv.weight"] = draw(f"{name}.conv.weight", o, c, *kernel) * gain
        for norm, centre in (("weight", 1), ("bias", 0), ("running_mean", 0)):
            key = f"{name}.bn.{norm}"
            values[key] = centre + draw(key, o) * np.float32(0.1)
        key = f"{name}.bn.running_var"
        values[key] = 1 + np.abs(draw(key, o)) * np.float32(0.1)
    return values


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    """No weights or features of the user's: for a module that imports it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCH_HOME", raising=False)


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    """Files of random weights, as the options that name them."""
    folder, weights = tmp_path_factory.mktemp("weights"), random_weights("vgg16")
    torchvision_file(folder / "vgg16.pth", weights, VGG16_NUMBERS)
    lpips_file(folder / "vgg.pth", weights)
    return ["--vgg16", str(folder / "vgg16.pth"), "--lpips", str(folder / "vgg.pth")]
