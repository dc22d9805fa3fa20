"""Other people's checkpoints: the original's, its ports'."""

import os
import pickle

import numpy as np
import pytest
from saved import DATA, TINY, parts, run, saved  # noqa: F401

from backend.terminal import UsageError
from figures.network import load_network
from formats.files import CheckpointError
from operators.convolution import jt
from training.checkpoint import config_of, read_checkpoint
from training.run import TrainState
from training.schedule import Config, phase_at


def assert_holds(content, parts, names=("generator", "discriminator", "g_running")):
    assert config_of(content) == Config(code_size=8, n_mlp=1, channel_max=4, fade_first=True)
    assert (content["images_seen"], content["iteration"], content["size"]) == (0, 0, None)
    for name in ("generator", "discriminator", "g_running"):
        if name not in names:
            assert content[name] is None
            continue
        expected = {k: np.asarray(p.numpy()) for k, p in parts[name].items()}
        assert content[name].keys() == expected.keys()
        assert all((content[name][k] == a).all() for k, a in expected.items())


def test_a_dict_of_jittor(parts, tmp_path):
    path = tmp_path / "train_step-3.model"
    optimizer = jt.optim.Adam(list(parts["discriminator"].values()), 0.001)
    jt.save({**parts, "d_optimizer": optimizer.state_dict()}, str(path))
    content = read_checkpoint(path)
    assert_holds(content, parts)
    assert content["d_optimizer"] is None  # it has no count for each parameter
    run = TrainState.load(path, content, config_of(content))
    assert not any(run.d_optimizer.steps.values())
    del parts["g_running"]
    jt.save(parts, str(path))
    assert_holds(read_checkpoint(path), {**parts, "g_running": parts["generator"]})


def test_derived_entries_and_a_prefix_are_ignored(parts, tmp_path):
    """As of several GPUs, of hooks that leave the weight they made, and of blur buffers."""
    path = tmp_path / "a.pth"
    for part in parts.values():
        for name in [k for k in part if k.endswith("weight_orig")]:
            part[name[: -len("_orig")]] = part[name] * 2
        for name in ("generator.progression.1.conv1.2", "progression.2.conv2.0"):
            part[f"{name}.weight"] = part[f"{name}.weight_flip"] = jt.ones((4, 1, 3, 3))
        part["generator.progression.5.conv1.0.multiplier"] = jt.ones(1)
    extended = {n: {f"module.{k}": p.numpy() for k, p in part.items()} for n, part in parts.items()}
    path.write_bytes(pickle.dumps(extended))
    content = read_checkpoint(path)
    run = TrainState.load(path, content, config_of(content))
    name = "style.1.linear.weight_orig"
    assert (run.g_parameters[name].numpy() == parts["generator"][name].numpy()).all()


def test_scale_and_shift_of_an_instance_norm_become_style(parts, tmp_path):
    """Jittor's default, which some ports leave: gamma (a x + b) + beta."""
    rng = np.random.RandomState(0)
    a, b, w = rng.randn(4), rng.randn(4), rng.randn(5, 8)
    block = "generator.progression.2.adain1"
    path, bare = tmp_path / "a.model", {k: p.numpy() for k, p in parts["g_running"].items()}
    jt.save({**bare, f"{block}.norm.weight": a, f"{block}.norm.bias": b}, str(path))
    folded = read_checkpoint(path)["g_running"]
    assert folded.keys() == bare.keys()

    def style(named):
        weight, bias = (named[f"{block}.style.linear.{n}"] for n in ("weight_orig", "bias"))
        return np.split(w @ weight.T + bias, 2, axis=1)

    gamma, beta = style(bare)
    np.testing.assert_allclose(style(folded), [gamma * a, gamma * b + beta], rtol=1e-5)
    jt.save({**bare, f"{block}.norm.weight": a}, str(path))
    with pytest.raises(CheckpointError, match=f"{block}.norm.weight is unknown"):
        load_network(path)


def test_separate_files_of_jittor(run, parts, tmp_path):
    path = tmp_path / "train_step-3-g.pkl"
    run.generator.save(str(path))
    run.discriminator.save(str(tmp_path / "train_step-3-d.pkl"))
    jt.save(parts["g_running"], str(tmp_path / "train_step-3-r.pkl"))
    for letter in "gdr":
        assert_holds(read_checkpoint(tmp_path / f"train_step-3-{letter}.pkl"), parts)
    os.remove(tmp_path / "train_step-3-r.pkl")
    assert_holds(read_checkpoint(path), {**parts, "g_running": parts["generator"]})
    os.remove(path)
    with pytest.raises(CheckpointError, match="discriminator alone"):
        read_checkpoint(tmp_path / "train_step-3-d.pkl")


def test_bare_weights_make_figures_only(parts, tmp_path):
    path = tmp_path / "010000.model"
    jt.save(parts["g_running"], str(path))
    content = read_checkpoint(path)
    assert_holds(content, parts, ["g_running"])
    with pytest.raises(CheckpointError, match="no generator and no discriminator: it makes figure"):
        TrainState.load(path, content, config_of(content))
    with pytest.raises(UsageError, match="does not tell its size in pixels"):
        load_network(path)
    network = load_network(path, 16)
    parameters, name = dict(network.generator.named_parameters()), "style.1.linear.bias"
    assert (parameters[name].numpy() == parts["g_running"][name]).all()
    assert (network.size, network.step, network.alpha, network.images_seen) == (16, 2, 1.0, 0)


@pytest.mark.parametrize("name", ["torch_zip", "torch_legacy", "torch_legacy_ema"])
def test_files_of_pytorch(name):
    path = DATA / f"{name}.model"
    content = read_checkpoint(path)
    config = config_of(content)
    assert (config.code_size, config.n_mlp, config.channel_max) == (4, 1, 4)
    expected = np.load(DATA / "torch_expected.npz")
    for key, array in content["g_running"].items():
        assert (array == expected[f"g_running/{key}"]).all()
    with pytest.raises(CheckpointError, match="and 1[01][0-9] more"):
        load_network(path)


def test_widths_that_no_generator_has(parts, tmp_path):
    for name, shape in (
        ("style.1.linear.weight_orig", (10**9, 0)),
        ("generator.progression.0.conv1.input", (1, 513, 4, 4)),
    ):
        broken = {k: p.numpy() for k, p in parts["g_running"].items()}
        broken[name] = np.zeros(shape, "float32")
        path = tmp_path / "a.model"
        path.write_bytes(pickle.dumps(broken))
        with pytest.raises(CheckpointError, match="no generator of a StyleGAN"):
            read_checkpoint(path)
    path.write_bytes(pickle.dumps({"fc.weight": np.zeros(3)}))
    with pytest.raises(CheckpointError, match="not a checkpoint of a StyleGAN"):
        read_checkpoint(path)


def test_first_stage_of_another_run_fades_in():
    config = Config(fade_first=True, init_size=16, phase=100)
    assert [phase_at(config, seen).alpha for seen in (0, 49, 150)] == [0.01, 0.5, 1.0]


# Export
