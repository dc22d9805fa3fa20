"""The figures of a tiny, untrained network: layout, truncation, noise, and the same again."""

import numpy as np
import pytest
from PIL import Image

import generate
from model import StyledGenerator
from ops import jt
from schedule import Config
from state import TrainState


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = TrainState(Config(code_size=8, n_mlp=2, channel_max=4, init_size=8, max_size=16))
    path = tmp_path_factory.mktemp("run") / "a.model"
    run.save(path, alpha=1.0, size=16)
    return path


@pytest.fixture
def artist():
    jt.set_global_seed(0)
    generator = StyledGenerator(8, 2, 4)
    return generate.Artist(generator, step=2, alpha=1.0, psi=0.7, seed=0)


def set_noise_strength(generator, value):
    for name, p in generator.named_parameters():
        if ".noise" in name:
            p.update(jt.full(p.shape, value))


def test_files_and_sizes(checkpoint, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), "--n_row", "2", "--n_col", "3", "--device", "cpu"]
    assert generate.main(argv) == 0
    sizes = {}
    for path in (tmp_path / "results").iterdir():
        with Image.open(path) as picture:
            sizes[path.name] = picture.size
    cell = 16 + 2
    plain = (3 * cell + 2, 2 * cell + 2)
    assert sizes == {
        "sample.png": plain,
        "interpolation.png": plain,
        "noise.png": plain,
        "mixing.png": (4 * cell + 2, 3 * cell + 2),
    }
    before = {p.name: p.read_bytes() for p in (tmp_path / "results").iterdir()}
    assert generate.main(argv) == 0
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "results").iterdir()}
    assert generate.main([*argv, "--seed", "1"]) == 0
    assert before["sample.png"] != (tmp_path / "results/sample.png").read_bytes()


def test_smaller_size(checkpoint, tmp_path):
    argv = [str(checkpoint), "--size", "8", "--expname", str(tmp_path / "x"), "--device", "cpu"]
    assert generate.main([*argv, "--n_row", "1", "--n_col", "1"]) == 0
    with Image.open(tmp_path / "x" / "results" / "sample.png") as picture:
        assert picture.size == (12, 12)


def test_interpolation_has_its_latents_in_the_corners(artist):
    images, n_col = generate.interpolation(artist, 3, 4)
    corners = artist.draw(artist.styles(artist.latents("interpolation", 4)))
    for cell, corner in zip((0, 3, 8, 11), corners):
        np.testing.assert_allclose(images[cell], corner, atol=1e-5)


def test_mixing_cells(artist):
    set_noise_strength(artist.generator, 0.5)
    images, n_col = generate.mixing(artist, 2, 3)
    assert n_col == 4 and (images[0] == -1).all()
    everything, _ = generate.mixing(artist, 2, 3, levels=(0, artist.step))
    nothing, _ = generate.mixing(artist, 2, 3, levels=(1, 0))
    for row in range(2):
        for column in range(3):
            cell = (row + 1) * 4 + column + 1
            np.testing.assert_allclose(everything[cell], images[1 + column], atol=1e-5)
            np.testing.assert_allclose(nothing[cell], images[(row + 1) * 4], atol=1e-5)
            assert np.abs(images[cell] - everything[cell]).max() > 1e-3


def test_noise_columns_differ_only_by_noise(artist):
    set_noise_strength(artist.generator, 0.0)
    images, _ = generate.noise(artist, 2, 3)
    assert np.abs(images.reshape(2, 3, -1).std(1)).max() < 1e-6
    set_noise_strength(artist.generator, 0.5)
    images, _ = generate.noise(artist, 2, 3)
    assert (images.reshape(2, 3, -1).std(1).max(1) > 1e-3).all()


def test_truncation(artist):
    z = artist.latents("sample", 5)
    w = artist.generator.map_latents(z)
    artist.psi = 0.0
    np.testing.assert_allclose(artist.styles(z), np.repeat(artist.mean_style, 5, 0))
    artist.psi = 1.0
    np.testing.assert_allclose(artist.styles(z), w, atol=1e-6)
    artist.psi = 0.5
    np.testing.assert_allclose(artist.styles(z), (w + artist.mean_style) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["missing.model"], 1, "no such file"),
        (["CKPT", "--size", "32"], 1, "8,16"),
        (["CKPT", "--n_row", "0"], 2, "at least 1"),
        (["CKPT", "--seed", "-1"], 2, "at least 0"),
        (["CKPT", "--size", "7"], 2, "power of two"),
        (["CKPT", "--psi", "nan"], 2, "out of range"),
    ],
)
def test_mistakes_get_one_sentence(checkpoint, tmp_path, monkeypatch, capfd, options, code, words):
    monkeypatch.chdir(tmp_path)
    try:
        result = generate.main([str(checkpoint) if o == "CKPT" else o for o in options])
    except SystemExit as e:
        result = e.code
    error = capfd.readouterr().err
    assert result == code and words in error and "Traceback" not in error
    assert not any(tmp_path.iterdir())
