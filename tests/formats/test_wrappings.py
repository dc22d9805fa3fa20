"""Networks in other people's containers and under their prefixes; optimisers that are not the
original's.
"""

import argparse
import pickle

import numpy as np
import pytest
from saved import parts, run  # noqa: F401

import train
from formats.files import CheckpointError
from formats.wrappings import words
from training.checkpoint import config_of, read_checkpoint
from training.run import TrainState

NETWORKS = ("generator", "discriminator", "g_running")


@pytest.fixture
def arrays(parts):
    return {name: {k: p.numpy() for k, p in part.items()} for name, part in parts.items()}


@pytest.fixture
def read(tmp_path):
    def write_and_read(values):
        path = tmp_path / "a.pth"
        path.write_bytes(pickle.dumps(values, 2))
        return read_checkpoint(path)

    return write_and_read


def prefixed(prefix, named):
    return {prefix + name: array for name, array in named.items()}


def assert_networks(content, arrays, names=NETWORKS):
    for name in NETWORKS:
        if name not in names:
            assert content[name] is None
            continue
        assert content[name].keys() == arrays[name].keys()
        assert all((content[name][k] == a).all() for k, a in arrays[name].items()), name


@pytest.mark.parametrize(
    "prefix", ["module.", "_orig_mod.", "module._orig_mod.", "netG.", "a.b.model.module.x1."]
)
def test_prefixes(arrays, read, prefix):
    assert_networks(read({n: prefixed(prefix, arrays[n]) for n in NETWORKS}), arrays)


def test_wrapped_parts_of_a_network(arrays, read):
    """As of DataParallel or torch.compile around the synthesis, or each layer."""
    for old, new in (
        ("generator.", "generator.module."),
        ("progression.", "progression._orig_mod."),
        ("linear.", "linear._fsdp_wrapped_module."),
    ):
        wrapped = {n: {k.replace(old, new): a for k, a in arrays[n].items()} for n in NETWORKS}
        assert_networks(read(wrapped), arrays)


def test_the_counter_of_an_averaged_model_is_no_parameter(arrays, read):
    average = {"n_averaged": np.array(3), **prefixed("module.", arrays["g_running"])}
    assert_networks(read({**arrays, "g_running": average}), arrays)


CONTAINERS = {
    "nested": lambda a: {"model": a, "epoch": 3},
    "twice": lambda a: {"state": {"state_dict": {k: {"params": v} for k, v in a.items()}}},
    "short names": lambda a: {
        "g": a["generator"],
        "d": a["discriminator"],
        "g_ema": a["g_running"],
    },
    "long names": lambda a: {
        "netG_state_dict": a["generator"],
        "netD_state_dict": a["discriminator"],
        "generator_ema": a["g_running"],
    },
    "one dictionary": lambda a: {
        "state_dict": {
            **prefixed("generator.", a["generator"]),
            **prefixed("discriminator.", a["discriminator"]),
            **prefixed("ema_model.module.", a["g_running"]),
        }
    },
    "a list": lambda a: [a["generator"], a["discriminator"], {"ema": a["g_running"]}],
    "options": lambda a: {**a, "args": argparse.Namespace(size=8), "d_scheduler": {"step": 1}},
}


@pytest.mark.parametrize("make", CONTAINERS.values(), ids=CONTAINERS)
def test_containers(arrays, read, make):
    assert_networks(read(make(arrays)), arrays)


@pytest.mark.parametrize("key", ["state_dict", "g_ema", "ema", "model", "params_ema"])
def test_an_average_alone(arrays, read, key):
    content = read({key: arrays["g_running"], "iteration": 3})
    assert_networks(content, arrays, ["g_running"])


def test_an_average_among_its_own_copies(arrays, read):
    """As ema-pytorch has it, with counters beside."""
    both = {
        "initted": np.array(True),
        **prefixed("online_model.", arrays["generator"]),
        **prefixed("ema_model.", arrays["g_running"]),
    }
    assert_networks(read(both), arrays, ["generator", "g_running"])


def test_what_cannot_be_decided(arrays, read):
    with pytest.raises(CheckpointError, match="several networks of a kind, [ab] and [ab]: save"):
        read({"a": arrays["generator"], "b": arrays["generator"].copy()})
    with pytest.raises(CheckpointError, match="not a checkpoint of a StyleGAN$"):
        read({"model": {"fc.weight": np.zeros(3)}})
    whole = {"model": argparse.Namespace(weight=arrays["generator"])}
    with pytest.raises(CheckpointError, match=r"its model is an object of argparse.Namespace, w"):
        read(whole)


def test_an_unknown_parameter_is_still_told(arrays, read, tmp_path):
    arrays["generator"]["extra"] = np.zeros(1)
    content = read(arrays)
    with pytest.raises(CheckpointError, match="extra is unknown"):
        TrainState.load(tmp_path / "a.pth", content, config_of(content))


def test_words():
    assert words("netG_ema/module") == {"net", "g", "ema", "module"}
    assert words("Gs") == {"gs"} and words("optimizerD2") == {"optimizer", "d"}


# Optimisers


def adam(shapes, groups, **options):
    """torch.optim.Adam's state of parameters with these shapes, in groups of so many."""
    numbers = iter(range(len(shapes)))
    entries = {
        i: {"step": 5, "exp_avg": np.ones(s, "f4"), "exp_avg_sq": np.full(s, 2, "f4")}
        for i, s in enumerate(shapes)
    }
    given = {"lr": 0.001, "betas": (0.0, 0.99), "weight_decay": 0, **options}
    param_groups = [{**given, "params": [next(numbers) for _ in range(n)]} for n in groups]
    return {"state": entries, "param_groups": param_groups}


def started(tmp_path, values, capsys):
    """What train.py makes of a file, and what it says."""
    path = tmp_path / "theirs.pth"
    path.write_bytes(pickle.dumps(values, 2))
    argv = ["data", "--ckpt", str(path), "--init_size", "16"]
    run, _ = train.continued_run(train.parser().parse_args(argv), [path], 10)
    captured = capsys.readouterr()
    return run, captured.out, captured.err


def test_the_originals_adam_goes_on_under_other_names(arrays, run, tmp_path, capsys):
    names = [*run.g_parameters]
    split = sum(n.startswith("generator.") for n in names)
    shapes = [p.shape for p in run.g_parameters.values()]
    g = adam(shapes, [split, len(names) - split])
    d = adam([p.shape for p in run.d_optimizer.parameters.values()], [len(arrays["discriminator"])])
    for keys in (("g_optim", "d_optim"), ("optG", "optD"), ("optimizer_G", "optimizer_D")):
        ours, said, errors = started(tmp_path, {**arrays, **dict(zip(keys, (g, d)))}, capsys)
        assert "with its optimiser states" in said and not errors
        assert set(ours.g_optimizer.steps.values()) == set(ours.d_optimizer.steps.values()) == {5}
    ours, said, errors = started(tmp_path, {**arrays, "g_optim": g}, capsys)
    assert "one new and one of its" in said and not any(ours.d_optimizer.steps.values())


def test_other_optimisers_start_afresh(arrays, run, tmp_path, capsys):
    shapes = [p.shape for p in run.g_parameters.values()]
    split = sum(n.startswith("generator.") for n in run.g_parameters)
    groups = [split, len(shapes) - split]
    sgd = {"state": {}, "param_groups": [{"lr": 0.1, "momentum": 0, "params": [*range(9)]}]}
    momentum = adam(shapes, groups)
    momentum["state"] = {i: {"momentum_buffer": np.zeros(s)} for i, s in enumerate(shapes)}
    other = {
        "sgd": sgd,
        "momentum": momentum,
        "one group": adam(shapes, [len(shapes)]),
        "AdamW": adam(shapes, groups, weight_decay=0.01),
        "beta2": adam(shapes, groups, betas=(0.9, 0.999)),
        "other shapes": adam(shapes[::-1], groups),
        "no groups": {"state": {}, "param_groups": argparse.Namespace()},
    }
    for name, state in other.items():
        values = {**arrays, "g_optimizer": state}
        ours, said, errors = started(tmp_path, values, capsys)
        assert "with new optimiser states" in said, name
        assert errors.count("\n") == 1 and "g_optimizer" in errors and "afresh" in errors, name
        assert not any(ours.g_optimizer.steps.values()), name
        assert (ours.g_parameters["style.1.linear.bias"].numpy() == 0).all()
