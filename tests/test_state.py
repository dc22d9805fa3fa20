"""Checkpoints: complete, readable with Jittor alone, safe to read; and other people's."""

import hashlib
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

import generate
from training import run as state
import train
from formats import unpickler as weights
from backend.ops import jt
from training.schedule import Config, phase_at
from training.run import (
    CheckpointError,
    TrainState,
    config_of,
    load_generator,
    read_checkpoint,
)

DATA = Path(__file__).parent / "data"

TINY = Config(loss="r1", code_size=8, n_mlp=1, channel_max=4, phase=64, max_size=16, seed=3)


@pytest.fixture(scope="module")
def run():
    run = TrainState(TINY)
    run.images_seen, run.iteration = 128, 4
    run.g_optimizer.steps["style.1.linear.bias"] = 4
    return run


@pytest.fixture
def saved(run, tmp_path):
    path = tmp_path / "a.model"
    run.save(path, alpha=0.25, size=16)
    return path


def test_everything_comes_back(run, saved):
    content = read_checkpoint(saved)
    assert config_of(content) == TINY
    again = TrainState.load(saved, content, TINY)
    for ours, theirs in (
        (run.generator, again.generator),
        (run.discriminator, again.discriminator),
        (run.running, again.running),
    ):
        theirs = dict(theirs.named_parameters())
        for name, p in ours.named_parameters():
            assert (p.numpy() == theirs[name].numpy()).all(), name
    assert again.g_optimizer.steps == run.g_optimizer.steps
    assert (again.images_seen, again.iteration) == (128, 4)
    assert os.listdir(saved.parent) == ["a.model"]  # no temporary file is left


def test_jittor_alone_opens_it(saved):
    content = jt.load(str(saved))
    assert set(content) >= {"generator", "discriminator", "g_running", "g_optimizer", "d_optimizer"}
    assert isinstance(content["generator"]["style.1.linear.weight_orig"], np.ndarray)


def test_generator_for_the_figures_is_the_average(run, saved):
    key = "generator.to_rgb.2.conv.bias"
    run.running_parameters[key].update(jt.array(np.array([1.0, 2.0, 3.0], "float32")))
    run.save(saved, alpha=0.5, size=16)
    generator, config, size, alpha = load_generator(saved)
    assert (size, alpha, config) == (16, 0.5, TINY)
    assert (dict(generator.named_parameters())[key].numpy() == [1, 2, 3]).all()


class Evil:
    def __reduce__(self):
        return os.system, ("touch evil",)


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda raw: raw[: len(raw) // 2], "damaged"),
        (lambda raw: b"", "damaged"),
        (lambda raw: b"\x89PNG\r\n\x1a\n" + raw, "damaged"),
        (lambda raw: pickle.dumps({"g_running": Evil()}), "system"),
        (lambda raw: pickle.dumps([1, 2]), "not a checkpoint"),
        (lambda raw: raw[:5000] + bytes([raw[5000] ^ 1]) + raw[5001:], "damaged"),
    ],
    ids=["truncated", "empty", "PNG", "code", "list", "bit"],
)
def test_what_is_no_checkpoint(saved, monkeypatch, make, words):
    monkeypatch.chdir(saved.parent)
    saved.write_bytes(make(saved.read_bytes()))
    with pytest.raises(CheckpointError, match=words) as e:
        read_checkpoint(saved)
    assert str(saved) in str(e.value)
    assert not os.path.exists("evil")


def test_no_such_file(tmp_path):
    with pytest.raises(CheckpointError, match="No such file"):
        read_checkpoint(tmp_path / "x.model")


def test_missing_and_misshapen_parameters_are_listed(saved):
    content = read_checkpoint(saved)
    del content["generator"]["style.1.linear.bias"]
    content["generator"]["generator.to_rgb.0.conv.bias"] = np.zeros(4)
    content["generator"]["extra"] = np.zeros(1)
    with pytest.raises(CheckpointError) as e:
        TrainState.load(saved, content, TINY)
    for words in ("style.1.linear.bias is missing", "extra is unknown", "(4,), not (3,)"):
        assert words in str(e.value)


def test_a_config_that_its_weights_contradict(saved):
    content = jt.load(str(saved))
    content["config"]["code_size"] = 10**6
    jt.save(content, str(saved))
    with pytest.raises(CheckpointError, match="code_size is 1000000 in its config and 8 in its we"):
        read_checkpoint(saved)


@pytest.mark.parametrize(
    "value", ["3", -1, 7.5, None, [8], np.zeros(3), {"v": {"x": 1}, "loss": 3}], ids=str
)
@pytest.mark.parametrize("name", state.ENTRIES)
def test_entries_that_train_does_not_write(saved, name, value):
    content = jt.load(str(saved))
    content[name] = value
    jt.save(content, str(saved))
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(saved)


# Other people's


@pytest.fixture
def parts(run):
    """State dicts of Jittor Vars, as the ports save them, the average not being the generator."""
    average = {k: jt.array(p.numpy() + 1) for k, p in run.running.state_dict().items()}
    return {
        "generator": run.generator.state_dict(),
        "discriminator": run.discriminator.state_dict(),
        "g_running": average,
    }


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
        load_generator(path)


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
    generator, _, size, alpha = load_generator(path)
    name = "style.1.linear.bias"
    assert (dict(generator.named_parameters())[name].numpy() == parts["g_running"][name]).all()
    assert size is None


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
        load_generator(path)


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


@pytest.fixture
def exported(run, saved, tmp_path, capsys):
    run.d_optimizer.steps["linear.linear.bias"] = 7
    run.d_optimizer.v["linear.linear.bias"] = jt.array(np.array([0.25], "float32"))
    run.save(saved, alpha=0.25, size=16)
    path = tmp_path / "out.pth"
    assert state.main([str(saved), "--export", str(path)]) == 0
    return path


def test_exported_names_and_shapes_are_the_originals(exported):
    """All parameters, in the order in which PyTorch's Adam numbers them, and the blur kernels."""
    lists = json.loads((DATA / "state_dict_keys.json").read_text())
    values, kind = weights.read(exported)
    assert kind == "PyTorch, zip"
    for part, name in (
        ("generator", "StyledGenerator"),
        ("g_running", "StyledGenerator"),
        ("discriminator", "Discriminator"),
    ):
        names = [k for k in lists[name]["parameters"] if not k.startswith("style.")]
        style = [k for k in lists[name]["parameters"] if k.startswith("style.1.")]
        kernels = lists[name]["buffers"]
        found = list(values[part])
        assert found[: len(names) + len(style)] == names + style
        assert sorted(found[len(names) + len(style) :]) == sorted(kernels)
        for k in kernels:
            assert values[part][k].shape == (4, 1, 3, 3) and values[part][k].sum() == 4
            assert (values[part][k][2, 0] * 16 == [[1, 2, 1], [2, 4, 2], [1, 2, 1]]).all()
    config = Config()
    shapes = {
        part: {k: list(a.shape) for k, a in state.blur_kernels(config, part).items()}
        for part in ("generator", "discriminator")
    }
    assert shapes["generator"] == lists["StyledGenerator"]["buffers"]
    assert shapes["discriminator"] == lists["Discriminator"]["buffers"]


def test_exported_optimisers(run, exported):
    values, _ = weights.read(exported)
    names = list(run.g_parameters)
    first, second = values["g_optimizer"]["param_groups"]
    assert first["params"] + second["params"] == list(range(len(names)))
    assert [names[i] for i in second["params"]] == ["style.1.linear.bias", names[-1]]
    assert (first["lr"], second["lr"], second["mult"]) == (0.001, 0.001 * 0.01, 0.01)
    states = values["g_optimizer"]["state"]
    assert list(states) == [names.index("style.1.linear.bias")] and second["params"][0] in states
    assert list(values["d_optimizer"]["state"]) == [54]  # linear.linear.bias of 56


def test_what_was_exported_goes_on(run, exported):
    content = read_checkpoint(exported)
    again = TrainState.load(exported, content, config_of(content))
    for name, p in run.generator.named_parameters():
        assert (again.g_parameters[name].numpy() == p.numpy()).all()
    for optimizer in ("g_optimizer", "d_optimizer"):
        ours, theirs = getattr(run, optimizer), getattr(again, optimizer)
        assert ours.steps == theirs.steps
        assert all((v.numpy() == theirs.v[k].numpy()).all() for k, v in ours.v.items())
    assert again.d_optimizer.v["linear.linear.bias"].numpy() == 0.25
    name = "linear.linear.bias"
    content["d_optimizer"]["state"][54]["exp_avg_sq"] = np.zeros(2)
    with pytest.raises(CheckpointError, match=f"d_optimizer does not fit: {name} is "):
        TrainState.load(exported, content, config_of(content))
    content["d_optimizer"]["param_groups"][0]["params"].pop()
    with pytest.raises(CheckpointError, match="d_optimizer is one of other networks"):
        TrainState.load(exported, content, config_of(content))


def test_bare_weights_are_exported_too(parts, tmp_path, capsys):
    jt.save(parts["g_running"], str(tmp_path / "a.model"))
    assert state.main([str(tmp_path / "a.model"), "--export", str(tmp_path / "b.pth")]) == 0
    assert list(weights.read(tmp_path / "b.pth")[0]) == ["g_running"]


def test_the_tool_tells_what_is_in_a_file(saved, exported, capsys):
    assert state.main([str(saved)]) == 0
    text = capsys.readouterr().out
    for words in ("train.py", "iteration 4, 128 images", "16 px, alpha 0.25", "code_size 8, n_mlp"):
        assert words in text
    assert state.main([str(exported)]) == 0
    text = capsys.readouterr().out
    assert "another program (PyTorch, zip)" in text and "iteration" not in text
    assert state.main([str(DATA / "torch_legacy_ema.model")]) == 0
    assert "discriminator  -" in capsys.readouterr().out


def test_the_tool_overwrites_only_when_told(saved, exported, capsys):
    argv = [str(saved), "--export", str(exported)]
    before = exported.read_bytes()
    assert state.main(argv) == 2 and "--overwrite" in capsys.readouterr().err
    assert state.main([*argv, "--overwrite"]) == 0 and exported.read_bytes() == before
    assert state.main([str(DATA / "state_dict_keys.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("state.py: ") and error.count("\n") == 1


# The scripts


def test_training_starts_from_another_programs_networks(exported, capsys):
    def args(*options):
        return train.parser().parse_args(["data", "--ckpt", str(exported), *options])

    run, path = train.continued_run(args("--init_size", "16", "--loss", "r1"), [exported], 10)
    assert path == exported
    assert "with its optimiser states" in capsys.readouterr().out
    assert (run.config.init_size, run.config.code_size, run.iteration) == (16, 8, 0)
    assert phase_at(run.config, 0).alpha < 0.01 and run.d_optimizer.steps["linear.linear.bias"] == 7
    for option, value, words in (
        ("--code_size", "16", "code_size 8, not 16"),
        ("--n_mlp", "8", "n_mlp 1, not 8"),
        ("--channel_max", "512", "channel_max 4, not 512"),
    ):
        with pytest.raises(train.UsageError, match=words):
            train.continued_run(args(option, value), [exported], 10)


def test_figures_of_another_programs_networks(exported, tmp_path, capsys):
    argv = [str(exported), "--device", "cpu", "--expname", str(tmp_path)]
    assert generate.main(argv) == 2
    assert "give it with --size" in capsys.readouterr().err
    assert generate.main([*argv, "--size", "8", "--only", "sample"]) == 0
    assert (tmp_path / "results" / "sample.png").exists()


def test_broken_values(saved, exported, tmp_path):
    """Pickles changed and given a right checksum: an error in one sentence, or a checkpoint."""
    path, rng, read = tmp_path / "broken.model", random.Random(0), 0
    theirs, _ = weights.read(exported)
    small = {k: dict(list(theirs[k].items())[-30:]) for k in ("generator", "g_running")}
    for raw in (saved.read_bytes()[:-28], pickle.dumps({**theirs, **small}, 4)):
        text = [i for i in range(len(raw)) if raw[i] in b"(}]\x94KMXqru"]  # opcodes among others
        for _ in range(150):
            broken = bytearray(raw)
            for _ in range(rng.choice((1, 3))):
                broken[rng.choice(text)] = rng.randrange(256)
            broken += hashlib.sha1(broken).digest() + weights.JITTOR_TRAILER
            path.write_bytes(broken)
            try:
                content = read_checkpoint(path)
                state.describe(content)
                read += 1
            except CheckpointError as e:
                assert str(path) in str(e) and "\n" not in str(e)
    assert 0 < read < 300
