"""The figures of a tiny, untrained network: which cell shows what, files, and the same again."""

import json
from argparse import Namespace

import numpy as np
import pytest
from PIL import Image

import generate
import style_mixing
from convert import export
from figures import figures
from figures.artist import Artist, blend
from figures.grid import make_grid, stack
from figures.options import figure_parser, seed_list
from figures.rendering import map_latents
from figures.settling import open_artist
from model import StyledGenerator
from operators.convolution import jt
from training.checkpoint import read_checkpoint
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=2, channel_max=4, init_size=8, max_size=32)


def set_noise_strength(generator, value):
    for name, p in generator.named_parameters():
        if ".noise" in name:
            p.update(jt.full(p.shape, value))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = TrainState(TINY)
    set_noise_strength(run.running, 0.5)
    path = tmp_path_factory.mktemp("run") / "a.model"
    run.save(path, alpha=1.0, size=32)
    return path


@pytest.fixture
def artist():
    jt.set_global_seed(0)
    generator = StyledGenerator(8, 2, 4)
    set_noise_strength(generator, 0.5)
    return Artist(generator, step=3, alpha=1.0, psi=0.7)


def options(**changed):
    """What the command line gives, by default two rows of three."""
    argv = ["x.model", "--n_row", "2", "--n_col", "3", "--n_noise", "8"]
    args = figure_parser().parse_args(argv)
    args.mixing_levels = (0, 1)
    return Namespace(**{**vars(args), **changed})


def rows(figure):
    """Cells [row, column] of a figure."""
    return [list(row) for row in figure]


def alike(a, b):
    """Equal up to what float32 sums depend on the batch they are taken in."""
    return np.abs(a - b).max() < 1e-4 * max(1, np.abs(b).max())


def plain(artist, seed, noise_seed=None):
    """The image of one seed, as it is."""
    noise = artist.noise([seed if noise_seed is None else noise_seed])
    return artist.draw(artist.styles([seed]), noise)[0]


# Before anything is computed


@pytest.mark.parametrize(
    "words",
    [
        ["--only", "sample"],
        ["--images", "2", "--out", "results/images"],
        ["--expname", "results"],
        ["--expname", "free", "--save_latents", "results/a.npz"],
    ],
)
def test_a_file_in_the_place_of_a_folder_is_told_first(tmp_path, monkeypatch, capsys, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").write_text("of last year")
    assert generate.main(["not_even_looked_at.model", *words]) == 1
    assert "results is no folder, but files are to be written into" in capsys.readouterr().err
    assert (tmp_path / "results").read_text() == "of last year"


# Seeds


def test_seed_lists():
    assert seed_list("3,7,20-23") == [3, 7, 20, 21, 22, 23]
    assert figures.seeds_of(options(seed=5), 3) == [5, 6, 7]
    assert figures.seeds_of(options(seeds=[9, 2]), 4, skip=1) == [2, 3, 4, 5]


def test_a_seed_is_the_same_image_everywhere(artist):
    cells = rows(figures.sample(artist, options(seed=4)))
    assert len(cells) == 2 and len(cells[0]) == 3
    assert alike(cells[1][2], plain(artist, 9))
    cells = rows(figures.sample(artist, options(seeds=[9, 4, 30, 31])))
    assert [len(row) for row in cells] == [3, 1] and alike(cells[0][0], plain(artist, 9))
    assert not alike(plain(artist, 9), plain(artist, 9, noise_seed=4))


def test_batches_do_not_change_the_images(artist):
    whole = np.concatenate(list(figures.sample(artist, options())))
    artist.batch = 2
    assert alike(np.concatenate(list(figures.sample(artist, options()))), whole)


# Truncation


def test_truncation_moves_towards_the_mean(artist):
    w = map_latents(artist.generator, artist.latents(range(5)))
    for psi, expected in (
        (0, artist.mean_style + 0 * w),
        (1, w),
        (0.5, (w + artist.mean_style) / 2),
    ):
        for level in range(4):
            np.testing.assert_allclose(artist.truncate(w, psi)[:, level], expected, atol=1e-6)
    artist.psi_level = 1
    styles = artist.truncate(w, 0)
    assert alike(styles[:, 1], artist.mean_style + 0 * w) and alike(styles[:, 2], w)


def test_the_mean_is_that_of_10240_latents(artist):
    z = np.random.default_rng([0, 3]).standard_normal((10240, 8), dtype="float32")
    expected = artist.generator.mean_style(jt.array(z)).numpy()
    np.testing.assert_allclose(artist.mean_style, expected, atol=1e-5)


def test_truncation_figure(artist):
    set_noise_strength(artist.generator, 0.0)
    cells = rows(figures.truncation(artist, options()))
    assert len(cells) == 2 and len(cells[0]) == 6
    assert alike(cells[0][3], cells[1][3])  # psi 0: the mean image in every row
    assert not alike(cells[0][0], cells[1][0])
    artist.psi = -0.5
    assert alike(cells[1][4], plain(artist, 1))


# Interpolation


@pytest.mark.parametrize("changed", [{}, {"space": "w"}, {"slerp": True}])
def test_interpolation_has_its_latents_in_the_corners(artist, changed):
    cells = rows(figures.interpolation(artist, options(n_row=3, n_col=4, **changed)))
    corners = [cells[0][0], cells[0][3], cells[2][0], cells[2][3]]
    for seed, corner in enumerate(corners):
        assert alike(corner, plain(artist, seed, noise_seed=0))
    if changed.get("space") == "w":
        styles = artist.styles(range(4))
        middle = (styles[0] + styles[2]) / 2
        assert alike(cells[1][0], artist.draw(middle[None], artist.noise([0]))[0])


def test_spherical_blend():
    a, b = np.array([2.0, 0, 0]), np.array([0, 2.0, 0])
    for t in (0, 0.25, 0.5, 1):
        expected = 2 * np.array([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2), 0])
        np.testing.assert_allclose(blend(a, b, t, spherical=True), expected, atol=1e-12)
    np.testing.assert_allclose(blend(a, a, 0.3, spherical=True), a)
    np.testing.assert_allclose(blend(a, b, 0.25), [1.5, 0.5, 0])


# Mixing


def test_mixing_cells(artist):
    opts = options()
    cells = rows(figures.mixing(artist, opts))
    assert len(cells) == 3 and all(len(row) == 4 for row in cells)
    assert (cells[0][0] == -1).all()
    for j in range(3):
        assert alike(cells[0][1 + j], plain(artist, j, noise_seed=0))
    everything = rows(figures.mixing(artist, options(mixing_levels=(0, 8))))
    for i in range(2):
        assert alike(cells[1 + i][0], plain(artist, 3 + i, noise_seed=0))
        for j in range(3):
            assert alike(everything[1 + i][1 + j], cells[0][1 + j])  # all levels from the source
            assert not alike(cells[1 + i][1 + j], cells[0][1 + j])
            assert not alike(cells[1 + i][1 + j], cells[1 + i][0])
    # Levels 0 and 1 of the source, 2 and 3 of the target
    styles = artist.styles([3])
    styles[:, :2] = artist.styles([1])[:, :2]
    assert alike(cells[1][2], artist.draw(styles, artist.noise([0]))[0])
    assert alike(next(figures.mixing(artist, opts, k=2))[1], plain(artist, 10, noise_seed=10))


def test_style_mixing_bands(artist):
    args = style_mixing.parser().parse_args(["x.model", "--rows", "2", "--cols", "3"])
    cells = rows(style_mixing.figure(artist, args))
    assert len(cells) == 5  # at 32 px there is no fine band
    source, target = artist.styles([1]), artist.styles([5])  # column 1, first row of the middle
    target[:, 2:4] = source[:, 2:4]
    assert alike(cells[3][2], artist.draw(target, artist.noise([0]))[0])
    coarse = artist.styles([4])
    coarse[:, 0:2] = artist.styles([2])[:, 0:2]
    assert alike(cells[2][3], artist.draw(coarse, artist.noise([0]))[0])


# Noise


def test_noise_columns_and_deviation(artist):
    artist.batch = 3
    cells = rows(figures.noise(artist, options()))
    assert len(cells) == 2 and all(len(row) == 4 for row in cells)
    assert alike(cells[1][2], plain(artist, 1, noise_seed=2))
    deviations = []
    for seed in range(2):
        images = np.stack([plain(artist, seed, noise_seed=i) for i in range(8)])
        deviations.append(np.sqrt(images.var(axis=0).mean(axis=0)))
    for row, deviation in zip(cells, deviations):
        shown = (row[3] + 1) / 2 * np.max(deviations)
        np.testing.assert_allclose(shown, np.repeat(deviation[None], 3, 0), atol=1e-5)


def test_without_strength_noise_has_no_effect(artist):
    set_noise_strength(artist.generator, 0.0)
    for row in rows(figures.noise(artist, options())):
        assert (row[3] < -0.98).all() and alike(row[0], row[2])


def test_noise_levels(artist):
    cells = rows(figures.noise_levels(artist, options()))
    assert len(cells) == 2 and all(len(row) == 4 for row in cells)
    maps = artist.noise([1])
    for column, kept in enumerate(((0, 1, 2, 3), (), (2, 3), (0, 1))):
        noise = [x * (i in kept) for i, x in enumerate(maps)]
        assert alike(cells[1][column], artist.draw(artist.styles([1]), noise)[0])
    assert not alike(cells[1][0], cells[1][1])


# Animation


def test_the_walk_is_closed_and_passes_its_latents(artist):
    opts = options(walk_rows=1, walk_cols=2, n_walk=3, frames=12)
    frames = rows(figures.animation(artist, opts))
    assert len(frames) == 12 and all(len(frame) == 2 for frame in frames)
    for walk in range(2):
        for stop in range(3):
            seed = walk * 3 + stop
            assert alike(frames[4 * stop][walk], plain(artist, seed, noise_seed=walk))
    steps = [
        np.abs(a[0] - b[0]).mean() for a, b in zip(frames, [*frames[1:], frames[0]])
    ]  # the last frame leads back to the first
    assert steps[-1] < 2 * max(steps[:-1])


# Files

SMALL = "--n_row 1 --n_col 2 --n_mixing 2 --n_noise 3 --frames 4 --n_walk 2 --walk_cols 1"
SMALL = [*SMALL.split(), "--walk_rows", "1", "--device", "cpu"]


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_and_the_same_again(checkpoint, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), *SMALL]
    assert generate.main(argv) == 0
    first = contents(tmp_path / "results")
    assert set(first) == {
        "sample.png",
        "interpolation.png",
        "mixing_0.png",
        "mixing_1.png",
        "noise.png",
        "noise_levels.png",
        "truncation.png",
        "animation.webp",
    }
    cell = 32 + 2
    for name, columns, n_row in (
        ("sample", 2, 1),
        ("mixing_0", 3, 2),
        ("noise", 3, 1),
        ("noise_levels", 4, 1),
        ("truncation", 6, 1),
    ):
        with Image.open(tmp_path / "results" / f"{name}.png") as picture:
            assert picture.size == (columns * cell + 2, n_row * cell + 2), name
    assert first["mixing_0.png"] != first["mixing_1.png"]
    assert generate.main(argv) == 0
    assert contents(tmp_path / "results") == first
    assert generate.main([*argv, "--seed", "1", "--only", "sample"]) == 0
    assert contents(tmp_path / "results")["sample.png"] != first["sample.png"]


def test_a_picture_says_how_it_was_made(checkpoint, tmp_path, monkeypatch):
    import hashlib

    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), *SMALL, "--only", "sample", "--seeds", "4,9", "--psi", "0.5"]
    assert generate.main(argv) == 0
    with Image.open(tmp_path / "results" / "sample.png") as picture:
        text = picture.text
    assert json.loads(text["seeds"]) == [4, 9] and json.loads(text["psi"]) == 0.5
    assert text["checkpoint-sha1"] == hashlib.sha1(checkpoint.read_bytes()).hexdigest()
    assert json.loads(text["options"])["size"] == 32


def test_single_images(checkpoint, artist, tmp_path):
    out = tmp_path / "many"
    argv = [str(checkpoint), "--images", "5", "--out", str(out), "--seed", "7", "--batch", "2"]
    assert generate.main([*argv, "--device", "cpu"]) == 0
    assert sorted(p.name for p in out.iterdir()) == [f"{seed:06d}.png" for seed in range(7, 12)]
    with Image.open(out / "000008.png") as picture:
        assert picture.size == (32, 32) and json.loads(picture.text["seeds"]) == [8]
        pixels = np.asarray(picture).astype(int)
    argv = [str(checkpoint), "--only", "sample", "--seeds", "8", "--device", "cpu"]
    assert generate.main([*argv, "--expname", str(tmp_path / "x")]) == 0
    grid = np.asarray(Image.open(tmp_path / "x" / "results" / "sample.png")).astype(int)
    assert grid.shape == (36, 36, 3) and np.abs(grid[2:-2, 2:-2] - pixels).max() <= 1


@pytest.mark.parametrize("kind", ["webp", "gif"])
def test_animation_files(checkpoint, tmp_path, kind):
    argv = [str(checkpoint), *SMALL, "--only", "animation", "--animation", kind, "--fps", "10"]
    frames = tmp_path / "frames"
    assert generate.main([*argv, "--expname", str(tmp_path), "--frames_dir", str(frames)]) == 0
    assert sorted(p.name for p in frames.iterdir()) == [f"0000{i}.png" for i in range(4)]
    assert [p.name for p in (tmp_path / "results").iterdir()] == [f"animation.{kind}"]
    with Image.open(tmp_path / "results" / f"animation.{kind}") as film:
        assert film.n_frames == 4 and film.size == (36, 36)
        film.seek(2)
        film.load()  # webp tells the duration only then
        assert film.info["duration"] == 100
        shown = np.asarray(film.convert("RGB")).astype(int)
    expected = np.asarray(Image.open(frames / "00002.png")).astype(int)
    assert np.abs(shown - expected).mean() < (1e-9 if kind == "webp" else 6)


def test_smaller_size_and_fade(checkpoint, tmp_path):
    argv = [str(checkpoint), *SMALL, "--only", "sample", "--expname", str(tmp_path / "x")]
    assert generate.main([*argv, "--size", "8"]) == 0
    with Image.open(tmp_path / "x" / "results" / "sample.png") as picture:
        assert picture.size == (22, 12)
    run = TrainState(TINY)
    path = tmp_path / "fading.model"
    run.save(path, alpha=0.25, size=16)
    args = figure_parser().parse_args([str(path), "--device", "cpu"])
    artist, _ = open_artist(args)
    assert (artist.step, artist.alpha) == (2, 0.25)
    z, noise = artist.latents([0]), artist.noise([0])
    with jt.no_grad():
        mean = jt.array(artist.mean_style)
        maps = [jt.array(x) for x in noise]
        image = run.running(
            jt.array(z), maps, step=2, alpha=0.25, mean_style=mean, style_weight=0.7
        ).numpy()
    assert alike(artist.draw(artist.styles([0]), noise), image)


def test_a_checkpoint_of_the_original_gives_the_same_figures(checkpoint, tmp_path):
    """In PyTorch's format, as the original saves it: nothing in it tells the size."""
    theirs = tmp_path / "their checkpoint"
    export(read_checkpoint(checkpoint), checkpoint, theirs)
    assert theirs.read_bytes()[:2] == b"PK"
    options = ["--size", "32", "--only", "sample,mixing", "--n_mixing", "1", "--device", "cpu"]
    for path, name in ((checkpoint, "ours"), (theirs, "theirs")):
        argv = [str(path), *options, "--n_row", "2", "--n_col", "2"]
        assert generate.main([*argv, "--expname", str(tmp_path / name)]) == 0
    for figure in ("sample", "mixing_0"):
        ours, found = (
            np.asarray(Image.open(tmp_path / name / "results" / f"{figure}.png"))
            for name in ("ours", "theirs")
        )
        assert np.array_equal(ours, found)
    assert generate.main([str(theirs), "--device", "cpu"]) == 2  # --size is needed


def test_style_mixing_file(checkpoint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    argv = [str(checkpoint), "--rows", "1", "--cols", "2", "--device", "cpu"]
    assert style_mixing.main(argv) == 0
    assert style_mixing.main(["-e", "name", *argv]) == 0
    with Image.open(tmp_path / "results" / "style_mixing.png") as picture:
        assert picture.size == (3 * 34 + 2, 3 * 34 + 2) and "checkpoint-sha1" in picture.text
    assert (tmp_path / "name" / "style_mixing" / "style_mixing.png").exists()


def test_stack_and_make_grid_agree():
    images = np.random.default_rng(0).uniform(-1.2, 1.2, (6, 3, 4, 5)).astype("float32")
    grid = make_grid(images, 3)
    assert np.array_equal(stack(images.reshape(2, 3, 3, 4, 5)), grid)
    assert grid.shape == (2 * 6 + 2, 3 * 7 + 2, 3)
    expected = np.clip(np.floor((images[4] + 1) * 127.5 + 0.5), 0, 255).transpose(1, 2, 0)
    assert np.array_equal(grid[8:12, 9:14], expected)
    short = stack([images[:3], images[3:4]])  # as 4 seeds in 3 columns give
    assert short.shape == grid.shape and np.array_equal(short[:, :9], grid[:, :9])
    assert (short[8:12, 9:] == 0).all()
    grid[2:6, 2:7] = grid[2:6, 9:14] = grid[2:6, 16:21] = 0
    grid[8:12, 2:7] = grid[8:12, 9:14] = grid[8:12, 16:21] = 0
    assert (grid == 0).all()  # the lines


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["missing.model"], 1, "no such file"),
        (["CKPT", "--size", "64"], 1, "--size 8,16,32"),
        (["CKPT", "--n_row", "0"], 2, "at least 1"),
        (["CKPT", "--seed", "-1"], 2, "at least 0"),
        (["CKPT", "--seeds", "5-3"], 2, "no list like"),
        (["CKPT", "--seeds", "1", "--seed", "2"], 2, "not allowed with"),
        (["CKPT", "--size", "7"], 2, "power of two"),
        (["CKPT", "--psi", "nan"], 2, "out of range"),
        (["CKPT", "--psi_levels", "9"], 2, "out of range"),
        (["CKPT", "--only", "sample,movie"], 2, "'movie' is none of"),
        (["CKPT", "--slerp", "--space", "w"], 2, "--slerp"),
        (["CKPT", "--mixing_levels", "3-1"], 2, "none of coarse, middle, fine"),
        (["CKPT", "--mixing_levels", "fine"], 2, "begins at 64 px, but the images have 32"),
        (["CKPT", "--out", "x"], 2, "--images"),
        (["CKPT", "--images", "3", "--only", "sample"], 2, "--only"),
        (["CKPT", "--expname", "/dev/null/x", "--only", "sample"], 1, "/dev/null/x"),
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
