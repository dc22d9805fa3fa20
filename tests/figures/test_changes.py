"""What may be changed of all images: noise, levels of other seeds, steps along directions."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_generate import alike, artist, checkpoint, plain, set_noise_strength  # noqa: F401

import generate
from figures import directions, latents
from figures.artist import Artist
from figures.changes import direction_list, mix_list
from figures.directions import Move

STEP, CODE = 3, 8


def image(artist, seed):
    return artist.draw(artist.styles([seed]), artist.noise([seed]))[0]


# In an artist


def test_the_noise_of_another_seed(artist):
    own, other = plain(artist, 5), plain(artist, 5, noise_seed=9)
    artist.noise_seed = 9
    assert alike(image(artist, 5), other) and not alike(own, other)
    maps = artist.noise([1, 2])
    assert maps[2][0].tobytes() == maps[2][1].tobytes() == artist.drawn_noise([9])[2][0].tobytes()


def test_the_strength_of_noise(artist):
    styles, maps = artist.styles([5]), artist.noise([5])
    expected = artist.draw(styles, [3 * x for x in maps])[0]
    none = artist.draw(styles, [0 * x for x in maps])[0]
    artist.noise_strength = 3.0
    assert alike(image(artist, 5), expected)
    artist.noise_strength = 0.0
    assert alike(image(artist, 5), none) and not alike(none, expected)


def test_levels_of_other_seeds(artist):
    one, two, three = (artist.styles([seed])[0] for seed in (1, 2, 3))
    artist.mixed = [((1, 1), 2), ((3, 8), 3)]
    first, second = artist.styles([1, 4])
    np.testing.assert_allclose(first, [one[0], two[1], one[2], three[3]], atol=1e-5)
    np.testing.assert_allclose(second[[1, 3]], first[[1, 3]], atol=1e-5)
    noise = artist.noise([1])
    assert noise[3].tobytes() == artist.drawn_noise([1])[3].tobytes()  # as in mixing figures


def test_given_noise_goes_with_its_levels(artist):
    files = [latents.of_seed(seed, CODE, STEP) for seed in (7, 9)]
    more = (artist.step, artist.alpha, artist.psi)
    shown = Artist(artist.generator, *more, files=files)
    shown.mixed = [((2, 3), 1)]
    maps = shown.noise([0])
    for level, seed in enumerate((7, 7, 9, 9)):
        assert maps[level].tobytes() == artist.drawn_noise([seed])[level].tobytes()


def test_an_offset_is_added_after_truncation(artist):
    before, codes = artist.styles([1]), artist.codes([1])
    artist.offset = np.arange(4 * CODE, dtype="float32").reshape(4, CODE)
    np.testing.assert_allclose(artist.styles([1]), before + artist.offset, atol=1e-5)
    moved = artist.truncate(codes, psi=0.0)
    np.testing.assert_allclose(moved[0], artist.mean_style + artist.offset, atol=1e-5)


def test_a_seed_among_latents_is_that_seed(artist):
    file = latents.of_seed(9, CODE, STEP)
    shown = Artist(artist.generator, artist.step, artist.alpha, artist.psi, files=[file])
    assert alike(image(shown, 0), plain(artist, 9))


# The command


def run(checkpoint, *options):
    """The image and text of what the command writes."""
    argv = [str(checkpoint), "--device", "cpu", "--images", "1", "--seed", "5", *options]
    assert generate.main(argv) == 0
    with Image.open("results/images/000005.png") as picture:
        return np.asarray(picture).astype(int), picture.text


def test_every_change_shows_and_is_noted(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    usual, text = run(checkpoint)
    assert not {"mix", "directions", "noise_seed"} & set(json.loads(text["options"]))
    noted = {
        ("--noise_seed", "9"): ("noise_seed", 9),
        ("--noise_strength", "0"): ("noise_strength", 0.0),
        ("--mix", "middle:7,0:3"): ("mix", [[[2, 3], 7], [[0, 0], 3]]),
        ("--directions", "0:3,1:-1:2-3"): ("directions", [[0, 3.0, [0, 8]], [1, -1.0, [2, 3]]]),
    }
    for options, (name, value) in noted.items():
        changed, text = run(checkpoint, *options)
        assert np.abs(changed - usual).max() > 0, options
        assert json.loads(text["options"])[name] == value
        assert (run(checkpoint, *options)[0] == changed).all()
    assert [p.suffix for p in Path("results/directions").iterdir()] == [".npz"]


def test_directions_of_the_command_are_those_of_w(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seen = []
    monkeypatch.setattr(Artist, "draw", lambda self, styles, noise: seen.append(styles) or 1 / 0)
    for options in ([], ["--directions", "1:2:1-3"]):
        with pytest.raises(ZeroDivisionError):
            run(checkpoint, *options)
    (path,) = Path("results/directions").iterdir()
    kept = directions.kept(path.parent, path.stem, CODE)
    step = 2 * kept.deviations[1] * kept.vectors[1]
    np.testing.assert_allclose(seen[1] - seen[0], [[0 * step, step, step, step]], atol=1e-5)


def test_seeds_among_latents(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (usual, _), argv = run(checkpoint), [str(checkpoint), "--device", "cpu", "--psi", "0.7"]
    assert generate.main([*argv, "--images", "2", "--out", "two", "--latents", "3", "5"]) == 0
    with Image.open("two/000001.png") as picture:
        assert np.abs(np.asarray(picture) - usual).max() <= 1
        assert picture.text["latents"] == "3, 5"
    save = ["--seed", "5", "--images", "1", "--save_latents", "five.npz", "--out", "five"]
    assert generate.main([*argv, *save]) == 0
    more = ["--latents", "3", "five.npz", "--only", "animation", "--frames", "2", "--n_walk", "2"]
    assert generate.main([*argv, *more, "--walk_rows", "1", "--walk_cols", "1"]) == 0
    with Image.open("results/animation.webp") as film:
        film.seek(1)
        cell = np.asarray(film.convert("RGB"))[2:-2, 2:-2].astype(int)
    assert np.abs(cell - usual).max() <= 1


@pytest.mark.parametrize(
    "options, words",
    [
        (["--mix", "middle"], "no list of LEVELS:SEED"),
        (["--mix", "middle:x"], "no list of LEVELS:SEED"),
        (["--mix", "huge:1"], "'huge' is none of"),
        (["--mix", "0-1:99999999999999999999"], "out of range"),
        (["--mix", "fine:1", "--only", "truncation"], "--mix goes with"),
        (["--mix", "fine:1", "--images", "1"], "--mix begins at 64 px, but the images have 32"),
        (
            ["--mix", "0:2", "--images", "1", "--latents", "1", "2"],
            "--mix 2: --latents holds 0 to 1",
        ),
        (["--directions", "x:1"], "no list of NUMBER:DEVIATIONS"),
        (["--directions", "1"], "no list of NUMBER:DEVIATIONS"),
        (["--directions", "1:"], "no list of NUMBER:DEVIATIONS"),
        (["--directions", "1:nan"], "out of range"),
        (["--directions", "1:2:3-1"], "'3-1' is none of"),
        (["--directions", "8:1", "--images", "1"], "--directions 8: this network has 0 to 7"),
        (["--noise_strength", "-1"], "out of range"),
        (["--noise_seed", "-1"], "out of range"),
        (["--latents", "99999999999999999999"], "out of range"),
    ],
)
def test_wrong_changes(checkpoint, options, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    try:
        status = generate.main([str(checkpoint), "--device", "cpu", *options])
    except SystemExit as e:
        status = e.code
    assert status == 2 and words in capfd.readouterr().err
    assert not Path("results/images").exists()


def test_lists():
    assert mix_list("coarse:1,2-3:7") == [((0, 1), 1), ((2, 3), 7)]
    moves = [Move(0, 2.5, (0, 8)), Move(4, -1.0, (0, 3)), Move(1, 1.0, (4, 8))]
    assert direction_list("0:2.5,4:-1:0-3,1:1:fine") == moves
