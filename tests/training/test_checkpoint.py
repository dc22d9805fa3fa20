"""Our checkpoints: complete, readable with Jittor alone, safe to read."""

import os
import pickle

import numpy as np
import pytest
from saved import TINY, run, saved  # noqa: F401

from figures.network import load_network
from formats.files import CheckpointError
from operators.convolution import jt
from training.checkpoint import ENTRIES, config_of, read_checkpoint
from training.run import TrainState


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
    network = load_network(saved)
    assert (network.size, network.alpha, network.config) == (16, 0.5, TINY)
    assert (dict(network.generator.named_parameters())[key].numpy() == [1, 2, 3]).all()


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
    with pytest.raises(CheckpointError, match="x.model: no such file"):
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
@pytest.mark.parametrize("name", ENTRIES)
def test_entries_that_train_does_not_write(saved, name, value):
    content = jt.load(str(saved))
    content[name] = value
    jt.save(content, str(saved))
    with pytest.raises(CheckpointError, match=name):
        read_checkpoint(saved)


# Other people's
