"""NVIDIA's own networks: the numbers of the official code, the files, what is refused."""

import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny import assert_same_checkpoint

import convert
import generate
import prepare_data
import style_mixing
import train
from figures import latents
from figures.artist import Artist
from figures.network import load_network
from figures.rendering import map_latents, render
from formats import files, nvidia
from model import Discriminator
from operators.convolution import jt
from training.checkpoint import config_of, read_checkpoint
from training.losses import LOSSES
from training.run import TrainState, new_discriminator, new_generator
from training.schedule import Config, phase_at

DATA = Path(__file__).parent / "recorded"
EXPECTED = np.load(DATA / "nvidia_expected.npz")
SIZES = (32, 256)
IMAGE_BARS = {32: 4e-5, 256: 1e-4}  # of the largest value, in float32
LODS = (0.0, 0.5, 1.0, 1.5)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """Paths by size of files that the official code wrote."""
    folder, paths = tmp_path_factory.mktemp("nvidia"), {}
    for size in SIZES:
        paths[size] = folder / f"official_{size}.pkl"
        with lzma.open(DATA / f"nvidia_{size}.pkl.xz") as packed, open(paths[size], "wb") as f:
            shutil.copyfileobj(packed, f)
    return paths


def images_in(size: int):
    """The recording's eight images, -1 to 1."""
    n, c, y, x = np.indices((8, 3, size, size))
    base = 97 * (x * 4 // size + 1) * (y * 4 // size + n + 1) + 61 * c * (n + 1)
    return ((base + 64 * x // size + 32 * y // size) % 256 / 128 - 1).astype("float32")


def exact(module, arrays: dict) -> None:
    """Gives a network the arrays in float64; the rest of its parameters stay."""
    for name, p in module.named_parameters():
        p.update(jt.array(arrays[name].astype("float64")) if name in arrays else p.float64())


def images_of(model, w, noise, size: int, lod: float = 0.0):
    """Two images at full size, at the recorded places: w (n, code) or (n, levels, code)."""
    step = size.bit_length() - 3 - int(lod)
    maps = [np.repeat(x, 2, axis=0) for x in noise[: step + 1]]
    levels = w[:2] if w.ndim == 2 else w[:2, : step + 1]
    if str(w.dtype) == "float64":
        maps = [x.astype("float64") for x in maps]
    images = render(model, levels, maps, step, 1 - lod % 1)
    rows, larger = EXPECTED[f"{size}.rows"], 2 ** int(lod)
    return images.repeat(larger, 2).repeat(larger, 3)[:, :, rows][..., rows]


def compare_images(model, artist, noise, size: int, average: bool, bar: float):
    w = map_latents(model, EXPECTED[f"{size}.z"].astype(str(model_dtype(model))))
    kind = "Gs" if average else "G"
    expected = EXPECTED[f"{size}.dlatents_{kind}"]
    assert np.abs(w - expected).max() <= min(2e-6, bar) * max(1, np.abs(expected).max())
    cases = {f"psi1_lod{lod}" if lod else "psi1": (w, lod) for lod in LODS}
    if artist:
        cases["psi0.7"] = (artist.truncate(w), 0.0)
    compared = 0
    for name, (styles, lod) in cases.items():
        key = f"{size}.images_{kind}_{name}"
        if key in EXPECTED.files:
            expected = EXPECTED[key]
            error = np.abs(images_of(model, styles, noise, size, lod) - expected).max()
            assert error <= bar * np.abs(expected).max(), key
            compared += 1
    return compared


def compare_scores(model, size: int, bar: float):
    images = images_in(size).astype(str(model_dtype(model)))
    step = size.bit_length() - 3
    cases = {f"scores_{n}": (n, 0.0) for n in (1, 4, 8)}
    cases.update({f"scores_4_lod{lod}": (4, lod) for lod in LODS[1:]})
    for name, (n, lod) in cases.items():
        k = 2 ** int(lod)
        x = images[:n].reshape(n, 3, size // k, k, size // k, k).mean((3, 5))
        with jt.no_grad():
            scores = model(jt.array(x), step - int(lod), 1 - lod % 1).numpy()
        assert np.abs(scores - EXPECTED[f"{size}.{name}"]).max() <= bar, name


def model_dtype(model):
    return next(iter(model.parameters())).dtype


@pytest.mark.parametrize("size", SIZES)
def test_official_numbers(official, size):
    path = official[size]
    network = load_network(path)
    average, config = network.generator, network.config
    assert (network.size, network.step) == (size, size.bit_length() - 3)
    assert (network.alpha, config.psi, config.psi_levels) == (1.0, 0.7, 3)
    noise = nvidia.noise_of(files.read(path).values)
    artist = Artist.of(network, config.psi, config.psi_levels)
    assert compare_images(average, artist, noise, size, True, IMAGE_BARS[size]) >= 3
    run = TrainState.with_networks(path, read_checkpoint(path), config)
    if size == 32:  # in the file of 256 px G is its average
        assert compare_images(run.generator, None, noise_of_g(path), size, False, 4e-5) == 1
    compare_scores(run.discriminator, size, 2e-6)


def test_noise_of_nvidias_own(official, tmp_path, capsys):
    """The maps that NVIDIA's code uses without randomize_noise, as generate.py --latents takes them
    beside z.
    """
    path, maps_file = official[32], tmp_path / "maps.npz"
    assert convert.main([str(path), "--noise", str(maps_file)]) == 0
    noise = nvidia.noise_of(files.read(path).values)
    with np.load(maps_file) as file:
        found = {name: file[name] for name in file.files}
    assert found.keys() == {f"noise_{x.shape[-1]}" for x in noise}
    assert all(np.array_equal(found[f"noise_{x.shape[-1]}"], x) for x in noise)
    network = load_network(path)
    z = np.random.RandomState(5).randn(1, network.config.code_size)
    np.savez(tmp_path / "5.npz", z=z, **found)
    file = latents.read(tmp_path / "5.npz", network.config.code_size, network.step, maps=2)
    assert file.latents[0].z.dtype == "float32" and file.latents[0].noise.keys() == {4, 8, 16, 32}
    assert convert.main([str(path), "--noise", str(maps_file)]) == 2
    ours = tmp_path / "ours.model"
    assert convert.main([str(path), "--out", str(ours)]) == 0
    assert convert.main([str(ours), "--noise", str(tmp_path / "b.npz")]) == 2
    assert "keeps no noise maps" in capsys.readouterr().err


def noise_of_g(path):
    g, *_ = files.read(path).values
    return nvidia.noise_of((g, g, g))


@pytest.mark.parametrize("size", SIZES)
def test_official_numbers_in_float64(float64, official, size):
    content = read_checkpoint(official[size])
    config = config_of(content)
    noise = nvidia.noise_of(files.read(official[size]).values)
    average, score = new_generator(config), new_discriminator(config)
    exact(average, content["g_running"])
    exact(score, content["discriminator"])
    step, mean = size.bit_length() - 3, content["mean_style"].astype("float64")[None]
    artist = Artist(average, step, 1.0, config.psi, config.psi_levels, mean_style=mean)
    assert compare_images(average, artist, noise, size, True, 1e-9) >= 3
    compare_scores(score, size, 1e-9)


# What the official networks do otherwise, each alone


def test_a_checkpoint_of_the_originals_way_is_as_before():
    config = Config(seed=3)
    assert "norm_eps" not in config.saved() and config.saved()["seed"] == 3
    ways = Config(noise_maps=2, psi_levels=3).saved()
    assert {k: v for k, v in ways.items() if k not in config.saved()} == {
        "noise_maps": 2,
        "psi_levels": 3,
    }
    assert config_of({"config": ways}) == Config(noise_maps=2, psi_levels=3)


def test_two_noise_maps_a_level():
    jt.set_global_seed(0)
    model = new_generator(Config(code_size=8, n_mlp=1, channel_max=4, noise_maps=2))
    for name, p in model.named_parameters():
        if ".noise1." in name:
            p.update(jt.full(p.shape, 0.5))
    z = np.ones((1, 8), "float32")
    w = map_latents(model, z)
    noise = [x.numpy() for x in model.draw_noise(1, 2)]
    assert [x.shape for x in noise] == [(1, 2, 4, 4), (1, 2, 8, 8), (1, 2, 16, 16)]
    image = render(model, w, noise, 2)
    keeps = [np.array(keep, "float32").reshape(1, 2, 1, 1) for keep in ([1, 0], [0, 1])]
    first, second = ([x * keep for x in noise] for keep in keeps)
    assert np.array_equal(image, render(model, w, first, 2))  # the second layers have no strength
    assert not np.allclose(image, render(model, w, second, 2))
    one = [x[:, :1] for x in noise]  # a map for both layers
    assert np.array_equal(image, render(model, w, one, 2))


def test_groups_of_four():
    jt.set_global_seed(0)
    score = Discriminator(channel_max=4, stddev_group=4)
    images = np.random.default_rng(0).standard_normal((8, 3, 8, 8)).astype("float32")
    with jt.no_grad():
        together = score(jt.array(images), 1).numpy()
        for part in (slice(0, 8, 2), slice(1, 8, 2)):
            alone = score(jt.array(np.ascontiguousarray(images[part])), 1).numpy()
            np.testing.assert_allclose(together[part], alone, atol=1e-6)
        score.stddev.group = 0
        assert np.abs(score(jt.array(images), 1).numpy() - together).max() > 1e-4
        score.stddev.group = 4
        score(jt.array(images[:3]), 1).sync()  # fewer than a group
        with pytest.raises(ValueError, match="6 images are no groups of 4"):
            score(jt.array(images[:6]), 1)


def test_truncation_around_the_stored_mean_on_the_first_levels(official):
    network = load_network(official[32])
    artist = Artist.of(network, 0.5, 1)
    variables = nvidia.variables_of(nvidia.networks_in(files.read(official[32]).values)[2], "x")
    mean = variables["dlatent_avg"]
    assert np.array_equal(artist.mean_style, mean[None])
    w = map_latents(network.generator, artist.latents([0, 1]))
    styles = artist.truncate(w)
    np.testing.assert_allclose(styles[:, 1], (w + mean) / 2, atol=1e-6)
    assert np.array_equal(styles[:, 2], w)


# The scripts


def pixels(folder, name):
    with Image.open(folder / name) as picture:
        return np.asarray(picture), picture.text


def test_figures_and_a_checkpoint_of_ours(official, tmp_path, capsys):
    """A file of convert.py --out gives the same bytes."""
    own = tmp_path / "own.model"
    assert convert.main([str(official[32]), "--out", str(own)]) == 0
    said = capsys.readouterr().out
    assert "NVIDIA's StyleGAN" in said and "32 px, alpha 1" in said and "noise_maps 2" in said
    assert "g_optimizer    -" in said
    for path, name in ((official[32], "theirs"), (own, "ours")):
        argv = [str(path), "--expname", str(tmp_path / name), "--device", "cpu"]
        options = ["--only", "sample,truncation", "--n_row", "1", "--n_col", "3"]
        assert generate.main([*argv, *options]) == 0
    for figure in ("sample.png", "truncation.png"):
        theirs, text = pixels(tmp_path / "theirs" / "results", figure)
        ours, _ = pixels(tmp_path / "ours" / "results", figure)
        assert np.array_equal(theirs, ours) and theirs.std() > 10
    assert '"psi_levels": 3' in text["options"]
    assert style_mixing.main([*argv, "--rows", "1", "--cols", "2"]) == 0
    assert generate.main([*argv, *options, "--size", "64"]) == 1
    assert "has not learned 64 px" in capsys.readouterr().err
    first, second = read_checkpoint(official[32]), read_checkpoint(own)
    assert second["version"] == 2 and np.array_equal(first["mean_style"], second["mean_style"])
    assert config_of(first) == config_of(second)


def test_what_convert_refuses(official, tmp_path, capsys):
    own = tmp_path / "own.model"
    argv = [str(official[32]), "--out", str(own)]
    assert convert.main([*argv, "--size", "64"]) == 2 and not own.exists()
    assert convert.main(argv) == 0 and convert.main(argv) == 2
    assert convert.main([str(own), "--out", str(tmp_path / "b.model")]) == 2
    assert "train.py already" in capsys.readouterr().err
    assert convert.main([str(official[32]), "--export", str(tmp_path / "b.pth")]) == 1
    assert "PyTorch original cannot compute them" in capsys.readouterr().err


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "png"
    folder.mkdir()
    rng = np.random.RandomState(0)
    for i in range(8):
        Image.fromarray(rng.randint(0, 256, (32, 32, 3), "uint8")).save(folder / f"{i}.png")
    out = folder.parent / "lmdb"
    assert prepare_data.main([str(folder), "--out", str(out), "--sizes", "32"]) == 0
    return str(out)


def test_fine_tuning_goes_on_exactly(official, pictures, tmp_path, capsys):
    options = "--loss r1 --mixing --batch_default 4 --device cpu".split()
    start = [pictures, "--ckpt", str(official[32]), *options, "--max_iters"]
    assert train.main([*start, "20", "--expname", str(tmp_path / "a")]) == 0
    assert "with new optimiser states" in capsys.readouterr().out
    assert train.main([*start, "10", "--expname", str(tmp_path / "b")]) == 0
    resumed = [pictures, "--ckpt", "latest", "--expname", str(tmp_path / "b"), "--device", "cpu"]
    assert train.main([*resumed, "--max_iters", "20"]) == 0
    names = [tmp_path / name / "checkpoint" / "000020.model" for name in "ab"]
    assert_same_checkpoint(*names)
    content = read_checkpoint(names[0])
    assert (content["size"], content["alpha"], content["version"]) == (32, 1.0, 2)
    assert content["mean_style"] is None  # the mapping is another by now
    before = read_checkpoint(official[32])["generator"]
    name = "generator.progression.3.conv2.conv.weight_orig"
    assert 0 < np.abs(content["generator"][name] - before[name]).max() < 0.1
    network = load_network(names[0])
    assert (network.config.norm_eps, network.config.noise_maps) == (1e-8, 2)
    assert network.generator.noise_maps == 2 and network.mean_style is None


def test_batches_that_are_no_groups(official, pictures, tmp_path, capsys):
    argv = [pictures, "--ckpt", str(official[32]), "--batch_default", "6", "--device", "cpu"]
    assert train.main([*argv, "--expname", str(tmp_path / "a")]) == 2
    assert "no groups of 4" in capsys.readouterr().err


def test_the_first_penalty(official, request):
    """As train.py takes it in float32, and in float64."""
    content = read_checkpoint(official[32])
    config = config_of({"config": {**content["config"], "loss": "r1", "batch_default": 8}})
    run = TrainState.with_networks(official[32], content, config)
    real, phase = images_in(32), phase_at(config, 0)
    assert (phase.step, phase.alpha) == (3, 1.0)
    ours = float(train.train_iteration(run, phase, real)[2].item())
    request.getfixturevalue("float64")
    score = new_discriminator(config)
    exact(score, content["discriminator"])
    loss, _ = LOSSES["r1"]
    x = jt.array(real.astype("float64"))
    expected = loss(lambda images, _: score(images, 3, 1.0), x, x, config.gp_weight)[2].item()
    assert expected > 0 and abs(ours - expected) <= 1e-4 * expected
