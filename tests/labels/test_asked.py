"""Images of the labels that were asked for: every figure, single images, the notes in PNGs,
projections, numbers.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from labelled import NAMES, pictures_in, prepared
from networks import own_cache, vgg16  # noqa: F401
from PIL import Image
from trained import spread_out

import generate
import metrics
import projector
import style_mixing
from figures.artist import Artist, many_styles
from figures.grid import notes_of, to_bytes
from figures.network import load_network
from figures.projection import Settings, project
from figures.rendering import render
from labels.asked import Asked
from labels.table import of_seeds
from quality.path_length import ends_of_steps
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=2, channel_max=4, init_size=8, max_size=16)
KNOWING = dataclasses.replace(TINY, labels=",".join(NAMES))
QUICK = ["--device", "cpu", "--n_row", "2", "--n_col", "3", "--frames", "2", "--n_noise", "4"]


def save(path, config):
    """Untrained, but for the range of its images."""
    run = TrainState(config)
    spread_out(run.running, step=2)
    run.save(path, alpha=1.0, size=16)
    return path


@pytest.fixture(scope="module")
def knowing(tmp_path_factory):
    return save(tmp_path_factory.mktemp("knowing") / "a.model", KNOWING)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return save(tmp_path_factory.mktemp("plain") / "b.model", TINY)


@pytest.fixture
def artist(knowing):
    return Artist.of(load_network(knowing), 1.0, 8)


def made(path, folder, *options):
    command = [str(path), "--expname", str(folder), *QUICK, *map(str, options)]
    assert generate.main(command) == 0
    return folder / "results"


def cells(path, size=16):
    """[row][column] of a grid."""
    pixels = np.asarray(Image.open(path))
    n_row, n_col = ((length - 2) // (size + 2) for length in pixels.shape[:2])
    return [
        [pixels[2 + y * 18 : 18 + y * 18, 2 + x * 18 : 18 + x * 18] for x in range(n_col)]
        for y in range(n_row)
    ]


def image_of(artist, seed, number):
    """As bytes (16, 16, 3)."""
    artist.asked = artist.asked.alone(number)
    image = artist.draw(artist.styles([seed]), artist.noise([seed]))
    return to_bytes(image)[0].transpose(1, 2, 0).astype(int)


def alike(a, b):
    return np.abs(np.asarray(a, int) - b).max() <= 1


def test_labels_png_is_a_row_a_label_and_a_column_a_seed(artist, knowing, tmp_path):
    results = made(knowing, tmp_path, "--only", "labels", "--seeds", "5,9,2", "--psi", "1")
    found = cells(results / "labels.png")
    assert len(found) == 3 and len(found[0]) == 3
    for number, row in enumerate(found):
        for seed, cell in zip((5, 9, 2), row):
            assert alike(image_of(artist, seed, number), cell)
    assert not alike(found[0][0], found[1][0]) and not alike(found[0][0], found[0][1])
    text = notes_of(results / "labels.png")
    assert json.loads(text["labels"]) == NAMES and "label" not in json.loads(text["options"])
    results = made(knowing, tmp_path, "--only", "labels", "--label", "emu,0", "--psi", "1")
    rows = cells(results / "labels.png")
    assert len(rows) == 2 and alike(image_of(artist, 1, 2), rows[0][1])
    text = notes_of(results / "labels.png")
    assert json.loads(text["labels"]) == ["emu", "cat"]
    assert json.loads(text["options"])["label"] == ["emu", "0"]


def test_single_images_in_turn_and_drawn(artist, knowing, tmp_path):
    options = ["--images", "4", "--seed", "7", "--psi", "1", "--label", "dog,cat"]
    out = made(knowing, tmp_path, *options) / "images"
    for seed, name in zip(range(7, 11), ("dog", "cat", "dog", "cat")):
        path = out / f"{seed:06d}.png"
        assert alike(image_of(artist, seed, NAMES.index(name)), np.asarray(Image.open(path)))
        assert json.loads(notes_of(path)["labels"]) == {str(seed): name}
    fewer = ["--images", "3", *options[2:-2]]
    code = generate.main([str(knowing), "--expname", str(tmp_path), *QUICK, *fewer])
    assert code == 2  # of other options: they would lie among those
    shutil.rmtree(out)
    out = made(knowing, tmp_path, *options[:-2]) / "images"
    numbers = of_seeds(range(7, 11), 3)
    assert len(set(numbers)) > 1
    for seed, number in zip(range(7, 11), numbers):
        path = out / f"{seed:06d}.png"
        assert alike(image_of(artist, seed, number), np.asarray(Image.open(path)))
        assert json.loads(notes_of(path)["labels"]) == {str(seed): NAMES[number]}


def test_every_figure_of_one_label_and_the_same_again(artist, knowing, tmp_path):
    """Cells whose seed is known, in each."""
    options = ["--label", "2", "--psi", "1", "--n_mixing", "1"]
    results = made(knowing, tmp_path / "a", *options)
    emu = [image_of(artist, seed, 2) for seed in range(5)]
    assert alike(emu[4], cells(results / "sample.png")[1][1])
    assert alike(emu[0], cells(results / "interpolation.png")[0][0])
    assert alike(emu[0], cells(results / "truncation.png")[0][0])
    assert alike(emu[1], cells(results / "noise_levels.png")[1][0])
    names = {path.name for path in results.glob("*.*")}
    expected = "sample interpolation mixing_0 noise noise_levels truncation labels".split()
    assert names == {f"{name}.png" for name in expected} | {"animation.webp"}
    again = made(knowing, tmp_path / "b", *options)
    for name in names:
        assert (results / name).read_bytes() == (again / name).read_bytes()
    drawn = json.loads(notes_of(results / "sample.png")["labels"])
    assert drawn == {str(seed): "emu" for seed in range(6)}


def test_labels_blend_along_a_line_in_z(artist, knowing, tmp_path):
    """In the middle between two seeds of two labels: half of both."""
    options = ["--only", "interpolation", "--label", "0,1", "--psi", "1", "--n_row", "2"]
    path = made(knowing, tmp_path, *options) / "interpolation.png"
    z = artist.latents([0, 1])
    label = np.array([[0.5, 0.5, 0]], "float32")
    w = artist.mapping((z[:1] + z[1:]) / 2, label)
    image = to_bytes(artist.draw(artist.truncate(w), artist.noise([0])))[0].transpose(1, 2, 0)
    assert alike(image, cells(path)[0][1])


def test_styles_mix_between_labels(artist, knowing, tmp_path):
    """--mix, and style_mixing.py: sources of one label, targets of the other."""
    options = ["--images", "1", "--label", "0,1", "--mix", "middle:1", "--psi", "1"]
    out = made(knowing, tmp_path, *options) / "images/000000.png"
    artist.asked = Asked(3, NAMES, [0, 1])
    styles = artist.styles([0])
    styles[:, 2:] = artist.styles([1])[:, 2:]
    image = to_bytes(artist.draw(styles, artist.noise([0])))[0].transpose(1, 2, 0)
    assert alike(image, np.asarray(Image.open(out)))
    command = [str(knowing), "-e", str(tmp_path), "--label", "0,1", "--device", "cpu", "--psi", "1"]
    assert style_mixing.main([*command, "--cols", "2", "--rows", "1"]) == 0
    path = tmp_path / "style_mixing/style_mixing.png"
    artist.asked = Asked(3, NAMES, [0, 1])
    image = to_bytes(artist.draw(artist.styles([1]), artist.noise([0])))[0]  # one noise for all
    assert alike(image.transpose(1, 2, 0), cells(path)[0][2])
    shown = json.loads(notes_of(path)["labels"])
    assert shown == {"0": "cat", "1": "dog", "2": "cat", "3": "dog"}


def test_latents_of_seeds_keep_their_labels(artist, knowing, tmp_path):
    """--latents SEED shows z of it under the label asked for; what --save_latents wrote is w."""
    options = ["--images", "1", "--label", "emu", "--psi", "1", "--seed", "3"]
    first = made(knowing, tmp_path / "a", *options, "--save_latents", tmp_path / "w.npz")
    second = made(
        knowing, tmp_path / "b", *options[:4], "--psi", "1", "--latents", "3", tmp_path / "w.npz"
    )
    seen = np.asarray(Image.open(first / "images/000003.png"))
    assert alike(seen, np.asarray(Image.open(second / "images/000000.png")))
    more = ["--images", "2", "--psi", "1", "--latents", "3", tmp_path / "w.npz", "--seed", "1"]
    shown = made(knowing, tmp_path / "c", *more[:1], "1", *more[2:]) / "images/000001.png"
    assert alike(seen, np.asarray(Image.open(shown)))


# Without labels


def test_a_network_without_labels_has_no_such_figure(plain, tmp_path, capsys):
    results = made(plain, tmp_path, "--n_mixing", "1")
    assert not (results / "labels.png").exists()
    text = notes_of(results / "sample.png")
    assert "labels" not in text and "label" not in json.loads(text["options"])
    for options, words in (
        (["--label", "7"], "--label: {} knows no labels: leave it out"),
        (["--only", "labels"], "--only labels needs a network that was trained with labels"),
    ):
        command = [str(plain), "--expname", str(tmp_path), "--device", "cpu", *options]
        assert generate.main(command) == 2
        assert words.format(plain) in capsys.readouterr().err


def test_labels_that_a_network_does_not_know(knowing, tmp_path, capsys):
    for name in ("cow", "3", "-1"):
        command = [str(knowing), "--expname", str(tmp_path), "--device", "cpu", f"--label={name}"]
        assert generate.main(command) == 2
        words = f"--label {name}: {knowing} knows 3 labels, cat, dog, emu"
        assert words in capsys.readouterr().err


# The mean, projections


def test_the_mean_of_a_label_and_of_all(artist):
    generator = artist.generator
    of_all, means = many_styles(generator), [many_styles(generator, k).mean(0) for k in range(3)]
    assert np.abs(of_all.mean(0) - np.mean(means, axis=0)).max() < 0.1 * np.abs(of_all).max()
    assert np.abs(means[0] - means[1]).max() > 0.01 * np.abs(of_all).max()


def test_a_search_begins_with_the_nearest_mean(artist):
    """Of targets that are images of two labels' means, each finds its own."""
    generator, step = artist.generator, artist.step
    means = np.stack([many_styles(generator, number).mean(axis=0) for number in (2, 0)])
    settings = Settings(steps=1, mse=1.0, noise=0.0, lr=1e-9)
    noise = project(generator, np.zeros((2, 3, 16, 16), "float32"), settings, step).noise
    targets = render(generator, means, noise, step)
    found = project(generator, targets, settings, step, labels=[0, 1, 2])
    assert found.labels == (2, 0)
    np.testing.assert_allclose(found.w, means, atol=1e-5)
    found = project(generator, targets, settings._replace(w_plus=True), step, labels=[1])
    assert found.labels == (1, 1) and found.w.shape == (2, step + 1, 8)
    alone = many_styles(generator, 1).mean(axis=0)
    np.testing.assert_allclose(found.w[0], np.tile(alone, (step + 1, 1)), atol=1e-5)


def test_projector_says_which_label(knowing, plain, tmp_path, capfd):
    path = tmp_path / "x.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), "uint8")).save(path)
    quick = "--mse 1 --no_lpips --step 2 --device cpu".split()
    command = [str(knowing), str(path), "--expname", str(tmp_path), *quick]
    assert projector.main([*command, "--label", "dog"]) == 0
    said = capfd.readouterr()
    assert ", label dog)" in said.out + said.err
    assert projector.main(command) == 0
    said = capfd.readouterr()
    assert any(f", label {name})" in said.out + said.err for name in NAMES)
    command[0] = str(plain)
    assert projector.main([*command, "--label", "dog"]) == 2
    assert "knows no labels" in capfd.readouterr().err


# Numbers


def test_a_path_is_of_one_label(artist):
    """That of the seed at its beginning."""
    artist.asked = Asked(3, NAMES, [0, 2], range(10))
    before, after = ends_of_steps(artist, "w", True, [0, 1])
    exact = artist.truncate(artist.mapping(artist.latents([0]), artist.asked.of([0])))
    begin, _ = ends_of_steps(artist, "w", False, [0, 1])
    np.testing.assert_allclose(begin[:1], exact, atol=1e-5)
    assert np.abs(before - after).max() < 1e-2


def measured(folder):
    found = {}
    for path in (folder / "results").glob("metric-*.jsonl"):
        found.update(json.loads(path.read_text().splitlines()[-1])["results"])
    return found


def test_fakes_have_the_proportions_of_the_data(
    knowing, labelled, lmdb, tmp_path, vgg16, monkeypatch
):
    """And without labels in the data all alike."""
    seen = []
    of = Asked.of

    def noted(self, seeds):
        seen.append((list(seeds), self.shares, of(self, seeds)))
        return seen[-1][2]

    monkeypatch.setattr(Asked, "of", noted)
    options = ["--metrics", "fd_vgg16", "--num", "8", "--device", "cpu", "--expname", str(tmp_path)]
    assert metrics.main([str(knowing), "--data", labelled, *options, *vgg16]) == 0
    (seeds, shares, labels) = seen[-1]
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1])
    assert labels.argmax(axis=1).tolist() == of_seeds(seeds, 3, [0.6, 0.3, 0.1])
    assert metrics.main([str(knowing), "--data", lmdb, *options, *vgg16]) == 0
    assert seen[-1][1] is None


def test_a_number_for_each_label(knowing, plain, tmp_path, vgg16, lmdb, capsys):
    counts = {"cat": 6, "dog": 5, "emu": 7}
    data = prepared(pictures_in(tmp_path / "pictures", counts), tmp_path / "lmdb", "--labels")
    command = [str(knowing), "--data", data, "--metrics", "fd_vgg16", "--device", "cpu"]
    command += ["--expname", str(tmp_path), *vgg16]
    assert metrics.main([*command, "--per_label"]) == 0
    found = measured(tmp_path)
    names = {f"fd_vgg16_{count}_full_{name}" for name, count in counts.items()}
    assert found.keys() == {"fd_vgg16_18_full", *names}
    assert len(set(found.values())) == 4 and all(x > 0 for x in found.values())
    capsys.readouterr()
    for words, options in (
        ("has no labels", ["--data", lmdb]),
        ("--per_label divides fid", ["--metrics", "ppl_w"]),
    ):
        assert metrics.main([*command, "--per_label", *options]) == 2
        assert words in capsys.readouterr().err
    command[0] = str(plain)
    assert metrics.main([*command, "--per_label"]) == 2
    assert "knows no labels" in capsys.readouterr().err
