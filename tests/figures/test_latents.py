"""Latents in files: what is written and read, every figure with them, and mistakes."""

import hashlib
import json
import os

import numpy as np
import pytest
from PIL import Image
from test_generate import (  # noqa: F401
    SMALL,
    alike,
    artist,
    checkpoint,
    contents,
    options,
    plain,
    rows,
    set_noise_strength,
)

import generate
import style_mixing
from backend.terminal import UsageError
from figures import figures, latents
from figures.artist import Artist
from figures.grid import to_bytes
from figures.latents import LatentsError
from figures.options import figure_parser
from figures.rendering import map_latents
from figures.settling import open_artist
from formats import pytorch
from training.run import TrainState
from training.schedule import Config

STEP, CODE = 3, 8  # of those fixtures' network


def some(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, "float32")


def maps(n, seed=0, levels=STEP + 1):
    return [some(n, 1, 4 * 2**i, 4 * 2**i, seed=seed) for i in range(levels)]


def with_files(artist, *files):
    """The same network, showing the latents of those files."""
    more = (artist.step, artist.alpha, artist.psi, artist.psi_level, artist.batch)
    return Artist(artist.generator, *more, [latents.read(f, CODE, STEP, "z") for f in files])


# Files


def test_what_is_written_is_read(tmp_path):
    w, noise = some(3, 4, CODE), maps(3)
    path = tmp_path / "new" / "a.npz"
    latents.save(path, w, noise, checkpoint="x.model", checkpoint_sha1="abc")
    raw = path.read_bytes()
    latents.save(path, w, noise, checkpoint="x.model", checkpoint_sha1="abc")
    assert path.read_bytes() == raw and os.listdir(path.parent) == ["a.npz"]
    file = latents.read(path, CODE, STEP)
    assert file.sha1 == hashlib.sha1(raw).hexdigest() and file.checkpoint_sha1 == "abc"
    assert file.path == path and len(file.latents) == 3
    for i, latent in enumerate(file.latents):
        assert latent.z is None and np.array_equal(latent.w, w[i])
        assert list(latent.noise) == [4, 8, 16, 32]
        assert all(np.array_equal(latent.noise[x.shape[-1]], x[i]) for x in noise)


def test_a_smaller_image_takes_the_maps_it_has(tmp_path):
    latents.save(tmp_path / "a.npz", some(1, CODE), maps(1))
    assert list(latents.read(tmp_path / "a.npz", CODE, 1).latents[0].noise) == [4, 8]
    larger = latents.read(tmp_path / "a.npz", CODE, 5)
    assert list(larger.latents[0].noise) == [4, 8, 16, 32]  # the others are drawn


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4"])
def test_plain_arrays(tmp_path, kind):
    z, styles = some(2, CODE).astype(kind), some(2, 4, CODE).astype(kind)
    np.save(tmp_path / "z.npy", z)
    np.save(tmp_path / "styles.npy", styles)
    np.savez_compressed(tmp_path / "z.npz", z=z, other=np.arange(3))
    for path, plain_are in (("z.npy", "z"), ("z.npz", None)):
        found = latents.read(tmp_path / path, CODE, STEP, plain_are).latents
        assert [x.w for x in found] == [None, None] and found[1].noise == {}
        assert found[1].z.dtype == "float32" and np.array_equal(found[1].z, z[1].astype("float32"))
    found = latents.read(tmp_path / "z.npy", CODE, STEP, "w").latents
    assert found[0].z is None and np.array_equal(found[0].w, z[0].astype("float32"))
    found = latents.read(tmp_path / "styles.npy", CODE, STEP).latents
    assert np.array_equal(found[1].w, styles[1].astype("float32"))


def test_a_plain_array_of_codes_has_to_be_named(tmp_path):
    np.save(tmp_path / "a.npy", some(2, CODE))
    with pytest.raises(UsageError, match="--latents_are"):
        latents.read(tmp_path / "a.npy", CODE, STEP)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_the_styles_of_one_picture(tmp_path, capsys, kind):
    styles = some(4, CODE)
    arrays = {
        "levels": (styles, "w+"),
        "layers": (styles.repeat(2, 0), "w+"),
        "whole": (styles[None], None),
        "whole_layers": (styles.repeat(2, 0)[None], None),
    }
    for name, (array, plain_are) in arrays.items():
        path = tmp_path / f"{name}.{kind}"
        np.save(path, array) if kind == "npy" else np.savez(path, w=array)
        (latent,) = latents.read(path, CODE, STEP, plain_are).latents
        assert latent.z is None and np.array_equal(latent.w, styles)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("n", [4, 8])
def test_a_line_says_what_rows_are_taken_for(tmp_path, capsys, n):
    np.save(tmp_path / "a.npy", some(n, CODE))
    assert len(latents.read(tmp_path / "a.npy", CODE, STEP, "w").latents) == n
    assert f"taken as {n} pictures, as one with --latents_are w+" in capsys.readouterr().out
    np.save(tmp_path / "b.npy", some(n + 1, CODE))
    assert len(latents.read(tmp_path / "b.npy", CODE, STEP, "w").latents) == n + 1
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("shape", [(8, CODE), (1, 8, CODE), (3, 8, CODE)])
def test_two_styles_on_a_level_are_refused(tmp_path, shape):
    np.save(tmp_path / "a.npy", some(*shape))
    with pytest.raises(LatentsError, match="a.npy gives the two layers of a level different"):
        latents.read(tmp_path / "a.npy", CODE, STEP, "w+")


def test_a_file_of_the_originals_projector(tmp_path):
    z, noise = some(2, CODE), maps(2)
    pictures = {
        name: {"img": some(3, 8, 8), "latent": z[i], "noise": [x[i : i + 1] for x in noise]}
        for i, name in enumerate(("me.jpg", "you.jpg"))
    }
    pytorch.write(tmp_path / "me.pt", pictures)
    found = latents.read(tmp_path / "me.pt", CODE, STEP).latents
    for i, latent in enumerate(found):
        assert latent.w is None and np.array_equal(latent.z, z[i])
        assert all(np.array_equal(latent.noise[x.shape[-1]], x[i]) for x in noise)
    for values in ({"latent": z}, {"a": {"latent": None}}, {"a": {"latent": z}, "b": z}):
        pytorch.write(tmp_path / "other.pt", values)
        with pytest.raises(LatentsError, match="other.pt"):
            latents.read(tmp_path / "other.pt", CODE + 1, STEP)


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"w": some(2, 9)}, r"w has the shape \(2, 9\), not \(n, 8\) or \(n, 4, 8\)"),
        ({"w": some(2, 18, CODE)}, r"\(2, 18, 8\), not"),
        ({"w": some(CODE)}, r"\(8,\), not"),
        ({"w": some(0, CODE)}, r"\(0, 8\), not"),
        ({"w": np.float32(1)}, r"\(\), not"),
        ({"z": some(2, 4, CODE)}, r"z has the shape \(2, 4, 8\), not \(n, 8\)$"),
        ({"w": np.ones((2, CODE), int)}, "holds int64"),
        ({"w": np.full((2, CODE), "x")}, "holds <U1"),
        ({"w": np.ones((2, CODE), complex)}, "holds complex128"),
        ({"w": np.full((2, CODE), np.nan)}, "NaN"),
        ({"w": np.full((2, CODE), 1e300)}, "infinite"),
        ({"x": some(2, CODE)}, "neither w nor z, but x"),
        ({}, "neither w nor z, but nothing"),
        ({"w": some(2, CODE), "noise_8": some(2, 1, 4, 4)}, r"noise_8 has the shape \(2, 1, 4, 4"),
        ({"w": some(2, CODE), "noise_4": some(1, 1, 4, 4)}, r"not \(2, 1, 4, 4\)"),
        ({"w": some(2, CODE), "noise_4": np.full((2, 1, 4, 4), np.inf)}, "noise_4 holds NaN"),
        ({"w": np.array([{}, []], object)}, "no .npz or .npy"),  # would be unpickled
    ],
)
def test_wrong_arrays_are_named(tmp_path, arrays, words):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(LatentsError, match=words) as error:
        latents.read(tmp_path / "a.npz", CODE, STEP)
    assert "a.npz" in str(error.value)


def test_files_that_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", w=some(2, CODE))
    raw = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(raw[:-30])
    damaged = bytearray(raw)
    damaged[150] ^= 255  # in the array: the checksum of the zip tells
    (tmp_path / "damaged.npz").write_bytes(damaged)
    (tmp_path / "text.npz").write_text("w = 3")
    (tmp_path / "empty.npz").touch()
    huge = (
        b"\x93NUMPY\1\0" + b"\x60\0" + b"{'descr':'<f4','fortran_order':False,'shape':(10**18,8)}"
    )
    (tmp_path / "huge.npy").write_bytes(huge.replace(b"10**18", b"9" * 17).ljust(106) + b"\n")
    Image.fromarray(np.zeros((4, 4), "uint8")).save(tmp_path / "picture.png")
    os.mkfifo(tmp_path / "pipe")
    for path in tmp_path.iterdir():
        if path.name != "a.npz":
            with pytest.raises(LatentsError, match=path.name):
                latents.read(path, CODE, STEP, "w")
    for path in (tmp_path, tmp_path / "missing.npz", "/dev/zero"):
        with pytest.raises(LatentsError, match=str(path)):
            latents.read(path, CODE, STEP)


# Figures


@pytest.fixture
def two(artist, tmp_path):
    """The artist with seed 3's w and noise from one file, and a w for each level from another."""
    latents.save(tmp_path / "a.npz", artist.codes([3]), artist.noise([3]))
    latents.save(tmp_path / "b.npz", some(1, 4, CODE), maps(1, seed=9))
    return with_files(artist, tmp_path / "a.npz", tmp_path / "b.npz")


CHOSEN = {"latents": ["a.npz", "b.npz"], "seeds": [0, 1], "space": "w"}


def own(two, i):
    return two.draw(two.styles([i]), two.noise([i]))[0]


def test_sample_shows_each_once(artist, two):
    cells = rows(figures.sample(two, options(**CHOSEN)))
    assert [len(row) for row in cells] == [2]
    assert alike(cells[0][0], plain(artist, 3)) and alike(cells[0][1], own(two, 1))
    mean = two.mean_style
    styles = mean + 0.7 * (some(1, 4, CODE) - mean)
    assert alike(cells[0][1], artist.draw(styles.astype("float32"), maps(1, seed=9))[0])


def test_interpolation_goes_from_one_picture_to_the_other(two):
    cells = rows(figures.interpolation(two, options(**CHOSEN, n_row=1, n_col=5)))
    assert alike(cells[0][0], own(two, 0)) and alike(cells[0][4], own(two, 1))
    # In the middle: the mean of both w, and noise between whose variance is kept
    styles = two.styles([0, 1]).mean(axis=0, keepdims=True)
    maps = []
    for x in two.noise([0, 1]):
        a, b = x.reshape(2, -1).astype("float64")
        length = np.sqrt(2 + 2 * a @ b / np.sqrt(a @ a * (b @ b)))
        maps.append(((a + b) / length).reshape(1, *x.shape[1:]).astype("float32"))
    assert alike(cells[0][2], two.draw(styles, maps)[0])


def test_mixing_takes_the_noise_with_the_styles(two):
    opts = options(**CHOSEN, n_row=1, n_col=1)
    cells = rows(figures.mixing(two, opts))
    assert alike(cells[0][1], own(two, 0)) and alike(cells[1][0], own(two, 1))
    styles, noise = two.styles([1]), two.noise([1])
    styles[:, :2] = two.styles([0])[:, :2]
    noise[:2] = two.noise([0])[:2]
    assert alike(cells[1][1], two.draw(styles, noise)[0])


def test_rows_of_one_latent_come_once(two):
    opts = options(**CHOSEN, n_row=5)
    cells = rows(figures.truncation(two, opts))
    assert len(cells) == 2 and alike(cells[1][1], own(two, 1))  # psi 0.7
    levels = rows(figures.noise_levels(two, opts))
    assert len(levels) == 2 and alike(levels[0][0], own(two, 0))
    noisy = rows(figures.noise(two, opts))  # other noise than the given
    assert len(noisy) == 2
    expected = two.draw(two.styles([1]), two.drawn_noise([2]))[0]
    assert alike(noisy[1][2], expected)


def test_the_walk_passes_what_is_given(two):
    opts = options(**CHOSEN, walk_rows=1, walk_cols=1, n_walk=2, frames=4)
    frames = rows(figures.animation(two, opts))
    assert alike(frames[0][0], own(two, 0)) and alike(frames[2][0], own(two, 1))


def test_noise_that_a_file_lacks_is_drawn(artist, tmp_path):
    np.savez(tmp_path / "a.npz", w=artist.codes([3, 4]), noise_8=maps(2)[1])
    mine = with_files(artist, tmp_path / "a.npz")
    found, drawn = mine.noise([1]), artist.noise([1])
    assert np.array_equal(found[1], maps(2)[1][1:])
    assert all(np.array_equal(found[i], drawn[i]) for i in (0, 2, 3))


def test_z_is_mapped_once(artist, tmp_path):
    z = artist.latents([5, 6])
    np.save(tmp_path / "z.npy", z)
    mine = with_files(artist, tmp_path / "z.npy")
    assert alike(mine.styles([1]), artist.styles([6])) and np.array_equal(mine.latents([0]), z[:1])
    opts = options(latents=["z.npy"], seeds=[0, 1], space="z", n_row=1, n_col=3)
    middle = rows(figures.interpolation(mine, opts))[0][1]
    styles = artist.truncate(map_latents(artist.generator, (z[:1] + z[1:]) / 2))
    assert alike(middle, artist.draw(styles, mine.noise([0]))[0])


def test_the_cells_of_figure_3(two):
    args = style_mixing.parser().parse_args(["x.model", "--rows", "1", "--cols", "1"])
    args.latents, args.seeds = CHOSEN["latents"], [0, 1]
    cells = rows(style_mixing.figure(two, args))
    assert alike(cells[0][1], own(two, 0)) and alike(cells[1][0], own(two, 1))


# The command


def pixels(path):
    return np.asarray(Image.open(path)).astype(int)


def test_saved_seeds_are_shown_again(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), "--only", "sample", "--device", "cpu", "--n_row", "1", "--n_col", "3"]
    saving = [*argv, "--seeds", "5,9,2", "--save_latents", "new/three.npz", "--psi", "1"]
    assert generate.main(saving) == 0
    expected = pixels("results/sample.png")
    with np.load("new/three.npz") as arrays:
        assert arrays["w"].shape == (3, 8) and arrays["noise_32"].shape == (3, 1, 32, 32)
    assert generate.main([*argv, "--latents", "new/three.npz"]) == 0  # as they are: psi 1
    assert np.abs(pixels("results/sample.png") - expected).max() <= 1
    with Image.open("results/sample.png") as picture:
        text = picture.text
    assert text["latents"] == "three.npz" and json.loads(text["psi"]) == 1
    raw = (tmp_path / "new" / "three.npz").read_bytes()
    assert text["latents-sha1"] == hashlib.sha1(raw).hexdigest()
    assert json.loads(text["seeds"]) == [0, 1, 2]
    assert generate.main([*argv, "--latents", "new/three.npz", "--seeds", "2,0"]) == 0
    cell = expected[:, 2 + 2 * 34 : 34 + 2 * 34]
    assert np.abs(pixels("results/sample.png")[:, 2:34] - cell).max() <= 1
    single = [str(checkpoint), "--images", "2", "--latents", "new/three.npz", "--seed", "1"]
    assert generate.main([*single, "--out", "out", "--device", "cpu"]) == 0
    assert sorted(os.listdir("out")) == ["000001.png", "000002.png"]
    assert np.abs(pixels("out/000002.png") - cell[2:-2]).max() <= 1


def test_what_is_saved_without_seeds(checkpoint, tmp_path, monkeypatch):
    """The grid's, those of --images, and what --latents brought, as w."""
    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), "--device", "cpu", "--save_latents"]
    grid = ["--only", "sample", "--n_row", "2", "--n_col", "2"]
    assert generate.main([*argv, "grid.npz", *grid, "--seed", "3"]) == 0
    assert generate.main([*argv, "images.npz", "--images", "3", "--out", "out"]) == 0
    assert [len(np.load(f"{name}.npz")["w"]) for name in ("grid", "images")] == [4, 3]
    np.save("z.npy", some(2, CODE))
    theirs = ["--latents", "z.npy", "--latents_are", "z", "--only", "sample"]
    assert generate.main([*argv, "w.npz", *theirs]) == 0
    artist, _ = open_artist(figure_parser().parse_args([str(checkpoint)]))
    expected = map_latents(artist.generator, some(2, CODE))
    np.testing.assert_allclose(np.load("w.npz")["w"], expected, atol=1e-5)


def test_all_figures_of_two_files(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    latents.save("a.npz", some(1, CODE), maps(1))
    np.save("b.npy", some(3, 4, CODE))
    argv = [str(checkpoint), *SMALL[:4], *SMALL[6:]]  # without --n_mixing
    argv += ["--latents", "a.npz", "--latents", "b.npy"]
    assert generate.main(argv) == 0
    first = contents(tmp_path / "results")
    assert len(first) == 8 and "mixing_1.png" in first and "mixing_2.png" not in first
    with Image.open("results/mixing_1.png") as picture:
        assert picture.text["latents"] == "a.npz, b.npy"
    assert generate.main(argv) == 0 and contents(tmp_path / "results") == first
    assert style_mixing.main([str(checkpoint), "--latents", "a.npz", "b.npy"]) == 0
    with Image.open("results/style_mixing.png") as picture:
        assert "latents-sha1" in picture.text


def test_latents_of_another_checkpoint_are_noted(checkpoint, tmp_path, capfd):
    latents.save(tmp_path / "a.npz", some(1, CODE), maps(1), checkpoint_sha1="0" * 40)
    argv = [str(checkpoint), "--only", "sample", "--device", "cpu", "--expname", str(tmp_path)]
    assert generate.main([*argv, "--latents", str(tmp_path / "a.npz")]) == 0
    assert "another checkpoint" in capfd.readouterr().out


def test_a_smaller_size_needs_its_own_levels(tmp_path, capfd):
    run = TrainState(Config(code_size=CODE, n_mlp=2, channel_max=4, init_size=8, max_size=16))
    set_noise_strength(run.running, 0.5)
    path = tmp_path / "a.model"
    run.save(path, alpha=1.0, size=16)
    latents.save(tmp_path / "w.npz", some(1, CODE), maps(1))
    latents.save(tmp_path / "levels.npz", some(1, 3, CODE), maps(1, levels=3))
    argv = [str(path), "--only", "sample", "--device", "cpu", "--size", "8"]
    argv += ["--expname", str(tmp_path), "--latents"]
    assert generate.main([*argv, str(tmp_path / "w.npz")]) == 0
    artist = Artist(run.running, 1, 1.0)
    expected = artist.draw(np.repeat(some(1, 1, CODE), 2, axis=1), maps(1, levels=2))
    shown = pixels(tmp_path / "results" / "sample.png")[2:-2, 2:-2]
    assert np.abs(shown - to_bytes(expected)[0].transpose(1, 2, 0)).max() <= 1
    assert generate.main([*argv, str(tmp_path / "levels.npz")]) == 1
    assert "(n, 2, 8), which this network takes at 8 px" in capfd.readouterr().err


@pytest.mark.parametrize(
    "given, code, words",
    [
        (["--latents", "missing.npz"], 1, "missing.npz: no such file"),
        (["--latents", "codes.npy"], 2, "--latents_are z or w"),
        (["--latents", "w.npz", "--seeds", "0,2"], 2, "2 is no place of a latent"),
        (["--latents", "w.npz", "--seed", "7"], 2, "7 is no place of a latent"),
        (["--latents", "w.npz", "--images", "3"], 2, "--latents has 2"),
        (["--latents", "w.npz", "--space", "z"], 2, "--space z needs z"),
        (["--latents", "w.npz", "--slerp"], 2, "--slerp needs z"),
        (["--latents", "w.npz", "CKPT"], 1, "no .npz or .npy"),
        (["--save_latents", "a.model"], 2, "ends in .npz"),
        (["--save_latents", "/dev/null/a.npz"], 1, "/dev/null"),
    ],
)
def test_mistakes_get_one_sentence(checkpoint, tmp_path, monkeypatch, capfd, given, code, words):
    monkeypatch.chdir(tmp_path)
    np.save("codes.npy", some(2, CODE))
    np.savez("w.npz", w=some(2, CODE))
    given = [str(checkpoint) if o == "CKPT" else o for o in given]
    assert generate.main([str(checkpoint), "--device", "cpu", *given]) == code
    error = capfd.readouterr().err
    assert words in error and "Traceback" not in error
    assert sorted(os.listdir()) == ["codes.npy", "w.npz"]
