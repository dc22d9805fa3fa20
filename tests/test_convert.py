"""convert.py, what it exports, and programs that take it up."""

import hashlib
import json
import os
import pickle
import random

import numpy as np
import pytest
from PIL import Image
from saved import DATA, TINY, exported, parts, run, saved  # noqa: F401

import convert
import generate
import train
from backend.terminal import UsageError
from formats import files, rosinality
from formats.files import CheckpointError
from formats.jittor import TRAILER
from operators.convolution import jt
from training.checkpoint import config_of, read_checkpoint
from training.run import TrainState
from training.schedule import phase_at


def test_exported_names_and_shapes_are_the_originals(exported):
    """All parameters, in the order in which PyTorch's Adam numbers them, and the blur kernels."""
    lists = json.loads((DATA / "state_dict_keys.json").read_text())
    values, kind, _ = files.read(exported)
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
    shapes = {}
    for part, name in (("generator", "StyledGenerator"), ("discriminator", "Discriminator")):
        constants = rosinality.blur_kernels(lists[name]["parameters"])
        shapes[part] = {k: list(a.shape) for k, a in constants.items()}
    assert shapes["generator"] == lists["StyledGenerator"]["buffers"]
    assert shapes["discriminator"] == lists["Discriminator"]["buffers"]


def test_exported_optimisers(run, exported):
    values = files.read(exported).values
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
    assert convert.main([str(tmp_path / "a.model"), "--export", str(tmp_path / "b.pth")]) == 0
    assert list(files.read(tmp_path / "b.pth").values) == ["g_running"]


def test_the_tool_tells_what_is_in_a_file(saved, exported, capsys):
    assert convert.main([str(saved)]) == 0
    text = capsys.readouterr().out
    for words in ("train.py", "iteration 4, 128 images", "16 px, alpha 0.25", "code_size 8, n_mlp"):
        assert words in text
    assert convert.main([str(exported)]) == 0
    text = capsys.readouterr().out
    assert "another program (PyTorch, zip)" in text and "iteration" not in text
    assert convert.main([str(DATA / "torch_legacy_ema.model")]) == 0
    assert "discriminator  -" in capsys.readouterr().out


def test_the_tool_overwrites_only_when_told(saved, exported, capsys):
    argv = [str(saved), "--export", str(exported)]
    before = exported.read_bytes()
    assert convert.main(argv) == 2 and "--overwrite" in capsys.readouterr().err
    assert convert.main([*argv, "--overwrite"]) == 0 and exported.read_bytes() == before


def test_the_tool_never_replaces_what_it_reads_or_what_is_no_file(saved, tmp_path, capsys):
    link, pipe, gone = (tmp_path / name for name in ("link.model", "pipe", "gone"))
    link.symlink_to(saved)
    os.mkfifo(pipe)
    gone.symlink_to(tmp_path / "nowhere")
    before = saved.read_bytes()
    for option in ("--ema", "--out", "--export"):
        for out, words in (
            (saved, "is the checkpoint that is read"),
            (link, "is the checkpoint that is read"),
            (pipe, "pipe is a pipe, where a file is to be written"),
            (gone, "gone is a link to nothing, where a file"),
            (tmp_path, f"{tmp_path} is a folder, where a file"),
        ):
            assert convert.main([str(saved), option, str(out), "--overwrite"]) == 2
            assert words in capsys.readouterr().err
        (tmp_path / "x.stylegan-tmp").mkdir(exist_ok=True)
        assert convert.main([str(saved), option, str(tmp_path / "x")]) == 2
        assert "x.stylegan-tmp is a folder, where a file" in capsys.readouterr().err
    assert saved.read_bytes() == before and pipe.is_fifo() and link.is_symlink()
    assert convert.main([str(DATA / "state_dict_keys.json")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("convert.py: ") and error.count("\n") == 1


def test_theirs_becomes_ours(run, exported, tmp_path, capsys):
    out = tmp_path / "ours.model"
    assert convert.main([str(exported), "--out", str(out)]) == 2
    assert "give it with --size" in capsys.readouterr().err
    assert convert.main([str(exported), "--out", str(out), "--size", "16"]) == 0
    content = read_checkpoint(out)
    config = config_of(content)
    assert (content["written_by"], content["size"], content["alpha"]) == ("train.py", 16, 1.0)
    assert (config.init_size, config.max_size, config.fade_first) == (16, 16, False)
    assert (content["version"], content["mean_style"]) == (1, None)
    for name, p in run.generator.named_parameters():
        assert (content["generator"][name] == p.numpy()).all()
    assert content["d_optimizer"]["step"]["linear.linear.bias"] == 7
    values = files.read(exported).values
    values["d_optimizer"]["param_groups"] = [{"params": [0, 1]}]
    exported.write_bytes(pickle.dumps(values))
    assert convert.main([str(exported), "--out", str(out), "--size", "16", "--overwrite"]) == 0
    assert "d_optimizer is one of other networks: it starts afresh" in capsys.readouterr().err
    assert not any(read_checkpoint(out)["d_optimizer"]["step"].values())
    assert convert.main([str(exported), "--export", str(tmp_path / "again.pth")]) == 0
    assert "it starts afresh" in capsys.readouterr().err


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
        with pytest.raises(UsageError, match=words):
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
    theirs = files.read(exported).values
    small = {k: dict(list(theirs[k].items())[-30:]) for k in ("generator", "g_running")}
    for raw in (saved.read_bytes()[:-28], pickle.dumps({**theirs, **small}, 4)):
        text = [i for i in range(len(raw)) if raw[i] in b"(}]\x94KMXqru"]  # opcodes among others
        for _ in range(150):
            broken = bytearray(raw)
            for _ in range(rng.choice((1, 3))):
                broken[rng.choice(text)] = rng.randrange(256)
            broken += hashlib.sha1(broken).digest() + TRAILER
            path.write_bytes(broken)
            try:
                content = read_checkpoint(path)
                convert.describe(content)
                read += 1
            except CheckpointError as e:
                assert str(path) in str(e) and "\n" not in str(e)
    assert 0 < read < 300


def test_the_average_alone_makes_the_same_figures(run, saved, exported, tmp_path, capsys):
    """Of 16 px: a third of the arrays; the PyTorch original takes it, training does not."""
    alone = tmp_path / "alone.model"
    assert convert.main([str(saved), "--ema", str(alone)]) == 0
    content, whole = read_checkpoint(alone), read_checkpoint(saved)
    assert (content["size"], content["alpha"], content["images_seen"]) == (16, 0.25, 128)
    assert content["config"] == whole["config"] and content["mean_style"] is None
    levels = {f"progression.{i}" for i in range(3)} | {f"to_rgb.{i}" for i in range(3)} | {"style"}
    found = {".".join(k.split(".")[1:3]) if k[0] == "g" else "style" for k in content["g_running"]}
    assert found == levels
    for name, x in content["g_running"].items():
        assert x.tobytes() == whole["g_running"][name].tobytes()
    for path in (saved, alone):
        argv = [str(path), "--device", "cpu", "--expname", str(tmp_path / path.stem)]
        assert generate.main([*argv, "--only", "sample"]) == 0
    a, b = (Image.open(tmp_path / x.stem / "results/sample.png") for x in (saved, alone))
    assert a.tobytes() == b.tobytes() and a.getextrema()[0][0] < a.getextrema()[0][1]
    capsys.readouterr()
    assert train.main(["data", "--ckpt", str(alone)]) != 0
    assert convert.main([str(alone)]) == 0
    text = capsys.readouterr().out
    assert "discriminator  -" in text and "iteration 4, 128 images" in text
    assert convert.main([str(alone), "--export", str(tmp_path / "torch.pth")]) == 0
    values = files.read(tmp_path / "torch.pth").values
    assert list(values) == ["g_running"]
    assert values["g_running"].keys() == files.read(exported).values["g_running"].keys()


def test_training_cannot_go_on_from_an_average_alone(lmdb, saved, tmp_path, capsys):
    alone = tmp_path / "alone.model"
    assert convert.main([str(saved), "--ema", str(alone)]) == 0
    options = ["--override", "--init_size", "8", "--expname", str(tmp_path / "run")]
    assert train.main([lmdb, "--ckpt", str(alone), *options]) == 1
    error = capsys.readouterr().err
    assert "holds no generator and no discriminator: it makes figures, but training" in error


def test_a_lone_average_of_theirs_has_the_size_given(exported, tmp_path, capsys):
    out = tmp_path / "alone.model"
    assert convert.main([str(exported), "--ema", str(out)]) == 2
    assert "give it with --size" in capsys.readouterr().err
    assert convert.main([str(exported), "--ema", str(out), "--size", "8"]) == 0
    content = read_checkpoint(out)
    assert (content["size"], content["alpha"]) == (8, 1.0)
    assert content["g_running"].keys() >= {"generator.to_rgb.1.conv.bias"}
    assert not [k for k in content["g_running"] if ".2." in k]
