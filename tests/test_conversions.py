"""NVIDIA's generators under the names of PyTorch conversions, against NVIDIA's own files."""

import lzma
from pathlib import Path

import numpy as np
import pytest

from backend.terminal import UserError
from figures.network import load_network
from figures.rendering import map_latents, render
from formats import files, nvidia, pytorch
from training.checkpoint import read_checkpoint

DATA = Path(__file__).parent / "recorded"
MAPPING, TOP = "g_mapping.dense1.weight", "g_synthesis.torgb.bias"


def official(folder, size):
    path = folder / f"official_{size}.pkl"
    path.write_bytes(lzma.decompress((DATA / f"nvidia_{size}.pkl.xz").read_bytes()))
    return path


def converted(path) -> dict:
    """What the usual conversion of an official file holds, by name."""
    average = nvidia.networks_in(files.read(path).values)[2]
    mapping, synthesis = (average.state["components"][k] for k in ("mapping", "synthesis"))
    named = {}
    for name, array in nvidia.variables_of(mapping, path).items():
        named["g_mapping." + name.lower().replace("/", ".")] = array
    for name, array in nvidia.variables_of(synthesis, path).items():
        block, *rest = name.lower().split("/")
        if block == "torgb_lod0":
            named[f"g_synthesis.torgb.{rest[0]}"] = array
        if block.startswith("torgb") or len(rest) == 0:
            continue
        if rest == ["const", "const"] or rest == ["const", "bias"]:
            rest = rest[1:]
        elif len(rest) > 2 or rest[1:2] == ["noise"] or rest[1:2] == ["stylemod"]:
            half = "epi1" if rest[0] in ("const", "conv0_up") else "epi2"
            inner = {"noise": "top_epi.noise", "stylemod": "style_mod.lin"}[rest[1]]
            rest = [half, inner, rest[2]]
        named[".".join(["g_synthesis.blocks", block, *rest])] = array
    result = {}
    for name, a in named.items():
        if a.ndim == 2:
            a = a.T
        elif a.ndim == 4 and not name.endswith("const"):
            a = a.transpose(3, 2, 0, 1)
        result[name] = np.ascontiguousarray(a)
    blur = np.outer([1, 2, 1], [1, 2, 1]).astype("float32")[None, None] / 16
    return {**result, "g_synthesis.blocks.8x8.conv0_up.intermediate.kernel": blur}


def image(path, seed):
    network = load_network(path)
    rng = np.random.default_rng(seed)
    z = rng.standard_normal((2, network.config.code_size)).astype("float32")
    noise = [
        rng.standard_normal((2, 2, 4 << i, 4 << i)).astype("float32")
        for i in range(network.step + 1)
    ]
    styles = map_latents(network.generator, z)
    return network, render(network.generator, styles, noise, network.step, network.alpha)


@pytest.mark.parametrize("size", [32, 256])
def test_the_same_image(tmp_path, size):
    theirs = official(tmp_path, size)
    renamed = tmp_path / "for_g_all.pt"
    arrays = converted(theirs)
    for expected in (
        f"{MAPPING} g_synthesis.blocks.4x4.const g_synthesis.blocks.4x4.bias {TOP} "
        "g_synthesis.blocks.4x4.epi1.top_epi.noise.weight g_synthesis.blocks.4x4.conv.weight "
        "g_synthesis.blocks.8x8.conv0_up.weight g_synthesis.blocks.8x8.epi1.style_mod.lin.weight"
    ).split():
        assert expected in arrays
    pytorch.write(renamed, arrays)
    network, expected = image(theirs, 0)
    other, found = image(renamed, 0)
    assert other.size == size and other.mean_style is None
    assert (other.config.psi, other.config.psi_levels, other.config.noise_maps) == (0.7, 3, 2)
    assert found.std() > 0.01 and np.array_equal(found, expected)
    content = read_checkpoint(renamed)
    assert "converts NVIDIA's" in content["written_by"] and content["generator"] is None
    own, g_running = read_checkpoint(theirs)["g_running"], content["g_running"]
    assert own.keys() == g_running.keys()
    different = {k for k in own if not np.array_equal(own[k], g_running[k])}
    assert different and all(".to_rgb." in k and not g_running[k].any() for k in different)


def test_prefixes_containers_and_another_place_of_the_noise(tmp_path):
    theirs = official(tmp_path, 32)
    arrays = converted(theirs)
    _, expected = image(theirs, 1)
    for i, values in enumerate(
        (
            {f"module.{k}": a for k, a in arrays.items()},
            {"state_dict": arrays},
            {k.replace(".top_epi.", "."): a for k, a in arrays.items()},
        )
    ):
        path = tmp_path / f"{i}.pt"
        pytorch.write(path, values)
        assert np.array_equal(image(path, 1)[1], expected)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda a: a.pop(TOP), "to_rgb.3.conv.bias is missing"),
        (lambda a: a.pop(MAPPING), "style.3.linear.weight_orig is missing"),
        (lambda a: a.pop("g_synthesis.blocks.4x4.bias"), "its constant has no bias"),
        (lambda a: a.update({"g_synthesis.blocks.8x8.gate": a[TOP]}), "8x8.gate is unknown"),
        (lambda a: a.update({"g_mapping.dense0.gain": a[TOP]}), "dense0.gain is unknown"),
        (lambda a: a.update({MAPPING: a[TOP]}), "is unknown|is \\(3,\\)"),
        (lambda a: a.update({"g_synthesis.blocks.48x48.conv1.bias": a[TOP]}), "48 px: 4 to 1024"),
    ],
)
def test_what_does_not_fit(tmp_path, change, message):
    arrays = converted(official(tmp_path, 32))
    change(arrays)
    path = tmp_path / "changed.pt"
    pytorch.write(path, arrays)
    with pytest.raises(UserError, match=message):
        load_network(path)
