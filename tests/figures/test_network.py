"""A network as figures need it: read once, shown at a size, and options that it settles."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from backend.terminal import UsageError
from figures import search
from figures.artist import Artist, many_styles
from figures.network import load_network
from figures.options import figure_parser
from figures.search import projector_parser, with_paths
from figures.settling import open_artist, settle, with_network
from formats.files import CheckpointError
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=1, channel_max=4, init_size=8, max_size=32, psi_levels=2)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = TrainState(TINY)
    run.images_seen = 640
    path = tmp_path_factory.mktemp("run") / "a.model"
    run.save(path, alpha=0.25, size=32)
    return path


@pytest.fixture
def reads(monkeypatch):
    """Paths, each time that a file is read."""
    paths, read_bytes = [], Path.read_bytes

    def noted(path):
        paths.append(path)
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", noted)
    return paths


def test_what_a_checkpoint_tells(checkpoint, reads):
    network = load_network(checkpoint)
    assert reads == [checkpoint]
    assert (network.size, network.step, network.alpha) == (32, 3, 0.25)
    assert (network.name, network.images_seen, network.mean_style) == ("a.model", 640, None)
    assert network.checksum == hashlib.sha1(checkpoint.read_bytes()).hexdigest()
    assert network.config == TINY and network.generator.code_dim == 8


@pytest.mark.parametrize("size, alpha", [(8, 1.0), (16, 1.0), (32, 0.25)])
def test_a_smaller_size_is_fully_grown(checkpoint, size, alpha):
    network = load_network(checkpoint, size)
    assert (network.size, network.step, network.alpha) == (size, size.bit_length() - 3, alpha)


@pytest.mark.parametrize("size", [4, 64])
def test_a_size_that_was_never_learned(checkpoint, size):
    with pytest.raises(CheckpointError, match=f"has not learned {size} px: --size 8,16,32"):
        load_network(checkpoint, size)


def test_the_centre_of_truncation(checkpoint):
    network = load_network(checkpoint)
    mean = many_styles(network.generator).mean(axis=0, keepdims=True)
    assert np.array_equal(Artist.of(network, 0.7, 8).mean_style, mean)
    told = network._replace(mean_style=mean + 1)
    assert np.array_equal(Artist.of(told, 0.7, 8).mean_style, mean + 1)


def test_options_are_settled_beside_what_was_typed(checkpoint, reads):
    args = figure_parser().parse_args([str(checkpoint), "--images", "2", "--device", "cpu"])
    typed = dict(vars(args))
    artist, opened = open_artist(args)
    assert reads == [checkpoint]
    before = dict(vars(opened))
    options = settle(opened, artist)
    assert vars(args) == typed and vars(opened) == before
    changed = {k: v for k, v in vars(options).items() if typed.get(k) != v}
    assert changed == {
        "size": 32,
        "alpha": 0.25,
        "checksum": hashlib.sha1(checkpoint.read_bytes()).hexdigest(),
        "psi": 0.7,
        "psi_levels": 2,
        "mixing_levels": (0, 1),
        "space": "z",
        "n_mixing": 20,
        "only": "sample interpolation mixing noise noise_levels truncation animation".split(),
        "out": "results/images",
    }


def test_which_paths_are_meant(checkpoint):
    picture = str(Path(__file__))
    typed = [["a.model", picture], ["--ckpt", "a.model", picture], ["a.model", "--files", picture]]
    for argv in typed:
        args = projector_parser().parse_args([*argv, "--mse", "1", "--no_lpips"])
        before = dict(vars(args))
        options = with_paths(args)
        assert (options.ckpt, options.paths) == ("a.model", [picture])
        search.check_usage(options)
        network = load_network(checkpoint)
        assert with_network(options, network).checksum == network.checksum
        assert vars(args) == before
    with pytest.raises(UsageError, match="name pictures"):
        with_paths(projector_parser().parse_args(["a.model"]))
