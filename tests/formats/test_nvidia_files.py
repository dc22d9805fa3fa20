"""Snapshots of NVIDIA's code as files: what they hold, what is refused, what is broken."""

import os
import random
import time

import numpy as np
import pytest
from snapshots import NETWORK, dumps, network, network_class, snapshot

import convert
from figures.network import load_network
from formats.files import CheckpointError
from training.checkpoint import config_of, read_checkpoint
from training.run import TrainState


@pytest.fixture
def write(tmp_path):
    def to_file(values, *classes, **how):
        path = tmp_path / "snapshot.pkl"
        path.write_bytes(dumps(values, NETWORK, *classes, **how))
        return path

    return to_file


@pytest.mark.parametrize("protocol", range(2, 6))
def test_every_protocol(write, protocol):
    values = snapshot()
    content = read_checkpoint(write(values, protocol=protocol))
    assert (content["size"], content["config"]["channel_max"], content["version"]) == (8, 4, None)
    weight = dict(values[1].variables)["8x8/Conv0/weight"]
    ours = content["discriminator"]["progression.7.conv1.0.conv.weight_orig"]
    assert np.array_equal(ours, weight.transpose(3, 2, 0, 1))
    names = {k.split(".")[2] for k in content["generator"] if k.startswith("generator.progress")}
    assert names == {"0", "1"}


def test_levels_above_the_size_have_initial_values(write):
    path = write(snapshot())
    content = read_checkpoint(path)
    run = TrainState.with_networks(path, content, config_of(content))
    parameters = dict(run.discriminator.named_parameters())
    assert np.abs(parameters["progression.6.conv1.0.conv.weight_orig"].numpy()).std() > 0.3
    assert (parameters["progression.6.conv1.0.conv.bias"].numpy() == 0).all()
    del content["generator"]["generator.progression.1.noise1.weight_orig"]
    with pytest.raises(CheckpointError, match="progression.1.noise1.weight_orig is missing"):
        TrainState.with_networks(path, content, config_of(content))


def test_lod_tells_size_and_alpha(write):
    for lod, size, alpha in ((0.0, 16, 1.0), (0.25, 16, 0.75), (1.0, 8, 1.0), (1.5, 8, 0.5)):
        values = snapshot(16)
        values[2].variables[0] = ("lod", np.float32(lod))
        content = read_checkpoint(write(values))
        assert (content["size"], content["alpha"]) == (size, alpha)


def test_truncation_of_the_file(write):
    for options, psi, levels in (
        ({"truncation_psi": 0.5, "truncation_cutoff": 4}, 0.5, 1),
        ({"truncation_psi": None}, 1.0, 8),
        ({"truncation_cutoff": None}, 0.7, 8),
        ({"truncation_cutoff": 0}, 1.0, 8),
    ):
        config = config_of(read_checkpoint(write(snapshot(**options))))
        assert (config.psi, config.psi_levels) == (psi, levels), options


def conditional(values):
    for part in values:
        part.static_kwargs["label_size"] = 10
    return values


OTHERS = {
    "StyleGAN2": (
        [network("G_main", {}, {}), network("D_stylegan2", {}, {})],
        "StyleGAN2 or later",
    ),
    "one network": (snapshot()[2], "single network, made by G_style"),
    "one of three": ([snapshot()[1]], "single network, made by D_basic"),
    "two": (list(snapshot()[:2]), "other networks than G, D"),
    "metrics": (network("inception_v3_features", {}, {}), "'inception_v3_features', as NVIDIA's m"),
    "labels": (conditional(snapshot()), "conditional on labels, made with label_size 10"),
    "grey": (snapshot(num_channels=1), "num_channels 1, and not 3"),
    "use_noise": (snapshot(use_noise=False), "use_noise False, and not True"),
    "use_styles": (snapshot(use_styles=False), "use_styles False"),
    "blur_filter": (snapshot(blur_filter=None), "blur_filter None"),
    "pixel norm": (snapshot(use_pixel_norm=True), "use_pixel_norm True"),
    "widths": (snapshot(fmap_base=4096), "fmap_base 4096"),
    "mapping": (snapshot(mapping_fmaps=16), "different widths, .'16', '8'."),
    "no group": (snapshot(mbstd_group_size=1), "without the deviation"),
    "size": (snapshot(resolution=2048), "2048 px"),
    "nothing": (network("G_style", {}, None), "single network"),
}


@pytest.mark.parametrize("values, words", OTHERS.values(), ids=OTHERS)
def test_others_are_refused_by_what_they_are(write, values, words):
    path = write(values)
    with pytest.raises(CheckpointError, match=words) as e:
        read_checkpoint(path)
    assert str(path) in str(e.value) and "\n" not in str(e.value)


def test_files_of_other_codes_are_refused_by_what_they_are(write):
    progan = network_class("tfutil")
    with pytest.raises(CheckpointError, match="Progressive GAN"):
        read_checkpoint(write([network("G_paper", {}, {}, cls=progan)] * 3, progan))
    options = network_class("dnnlib.submission.submit", "SubmitConfig")
    with pytest.raises(CheckpointError, match="the options of a run"):
        read_checkpoint(write(options(), options))
    path = write({})
    path.write_bytes(b"ctorch_utils.persistence\n_reconstruct_persistent_obj\n(}tR.")
    with pytest.raises(CheckpointError, match="StyleGAN2-ADA or later for PyTorch"):
        read_checkpoint(path)


def broken(values, name, change):
    """A snapshot with one variable of Gs's synthesis changed."""
    variables = values[2].components["synthesis"].variables
    place = [i for i, pair in enumerate(variables) if pair[0] == name][0]
    variables[place] = change(*variables[place])
    return values


@pytest.mark.parametrize(
    "name, change, words",
    [
        ("8x8/Conv1/weight", lambda n, a: (n, a[0]), "its variable 8x8/Conv1/weight is"),
        ("8x8/Conv1/weight", lambda n, a: ("x" * 200, a), "its variable 'x+ is unknown"),
        ("8x8/Conv1/weight", lambda n, a: (n, "text"), "no array"),
        ("8x8/Conv1/weight", lambda n, a: n, "no names"),
        ("4x4/Const/bias", lambda n, a: (n, a[1:]), "constant has no bias"),
        ("8x8/Conv1/weight", lambda n, a: (n, a[:, :, 1:]), r"\(4, 3, 3, 3\), not \(4, 4, 3, 3\)"),
        ("ToRGB_lod0/bias", lambda n, a: ("ToRGB_lod9/bias", a), "does not fit|unknown"),
    ],
)
def test_variables_of_another_shape(write, name, change, words):
    path = write(broken(snapshot(), name, change))
    with pytest.raises(CheckpointError, match=words):
        load_network(path)


def test_mutated_snapshots(tmp_path, monkeypatch):
    """Nothing runs, hangs or ends in a traceback."""
    monkeypatch.chdir(tmp_path)
    path, rng, read = tmp_path / "a.pkl", random.Random(0), 0
    raws = [dumps(snapshot(), NETWORK, protocol=p) for p in (2, 4, 5)]
    started = time.time()
    for i in range(500):
        mutated = bytearray(raws[i % 3])
        for _ in range(rng.choice((1, 2, 8))):
            place, n = rng.randrange(len(mutated)), rng.randrange(1, 9)
            if rng.random() < 0.5:
                mutated[place] = rng.randrange(256)
            elif rng.random() < 0.5:
                del mutated[place : place + n]
            else:
                mutated[place:place] = mutated[place : place + n]
        path.write_bytes(mutated)
        try:
            convert.describe(read_checkpoint(path))
            read += 1
        except CheckpointError as e:
            assert str(path) in str(e) and "\n" not in str(e)
    assert 0 < read < 500 and os.listdir(tmp_path) == ["a.pkl"]
    assert time.time() - started < 60
