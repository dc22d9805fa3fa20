"""The command that finds the latents of pictures: files, and mistakes."""

import json

import numpy as np
import pytest
from PIL import Image
from trained import spread_out

import generate
import projector
from backend.terminal import UserError
from figures import projection, search
from figures.search import output_names
from training.run import TrainState
from training.schedule import Config

CONFIG = Config(code_size=16, n_mlp=8, channel_max=16, init_size=8, max_size=32)


def test_names_do_not_collide():
    paths = ["a/x.png", "b/x.png", "x.jpg", "x-2.png", "c.d/y.tar.png"]
    assert output_names(paths) == ["x", "x-2", "x-3", "x-2-2", "y.tar"]
    paths = ["x-2.png", "x.png", "a/x.png", "x.png"]
    assert output_names(paths) == ["x-2", "x", "x-3", "x-4"]


# The command


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = TrainState(CONFIG)
    spread_out(run.running)
    path = tmp_path_factory.mktemp("run") / "a.model"
    run.save(path, alpha=0.5, size=8)
    return path


@pytest.fixture
def pictures(tmp_path):
    """a/x.png and b/x.png"""
    paths = []
    for i, folder in enumerate("ab"):
        pixels = np.random.default_rng(i).integers(0, 256, (20, 24, 3), dtype="uint8")
        (tmp_path / folder).mkdir()
        paths.append(str(tmp_path / folder / "x.png"))
        Image.fromarray(pixels).save(paths[-1])
    return paths


QUICK = "--mse 1 --no_lpips --step 8 --device cpu".split()


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_files_and_the_same_again(checkpoint, pictures, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert projector.main([str(checkpoint), *QUICK, *pictures]) == 0
    first = contents(tmp_path / "results")
    assert set(first) == {"x-project.png", "x.npz", "x-2-project.png", "x-2.npz"}
    said = capfd.readouterr()
    assert f"{pictures[1]}: results/x-2-project.png, PSNR" in said.out + said.err
    again = ["--ckpt", str(checkpoint), "--files", *pictures, *QUICK, "--expname", "again"]
    assert projector.main(again) == 0  # the original's way to say it
    assert contents(tmp_path / "again" / "results") == first
    with np.load("results/x-2.npz", allow_pickle=False) as arrays:
        assert arrays["w"].shape == (1, 16) and arrays["w"].dtype == "float32"
        assert [arrays[f"noise_{s}"].shape for s in (4, 8)] == [(1, 1, 4, 4), (1, 1, 8, 8)]
        assert "noise_16" not in arrays and str(arrays["target"]) == pictures[1]
    with Image.open("results/x-2-project.png") as picture:
        assert picture.size == (8, 8) and picture.text["target"] == "x.png"
        options = json.loads(picture.text["options"])
        assert options["mse"] == 1 and options["step"] == 8 and options["size"] == 8
        assert len(picture.text["checkpoint-sha1"]) == 40


def test_generate_shows_what_was_found(checkpoint, pictures, tmp_path, monkeypatch):
    """In the middle of a fade, with and without a w for each level."""
    monkeypatch.chdir(tmp_path)
    assert projector.main([str(checkpoint), pictures[0], *QUICK, "--w_plus"]) == 0
    assert projector.main([str(checkpoint), pictures[1], *QUICK, "--expname", "b"]) == 0
    found = ["results/x.npz", "b/results/x.npz"]
    argv = [str(checkpoint), "--only", "sample", "--latents", *found, "--device", "cpu"]
    assert generate.main(argv) == 0
    grid = np.asarray(Image.open("results/sample.png")).astype(int)
    assert grid.shape == (12, 22, 3)
    for i, folder in enumerate((".", "b")):
        image = np.asarray(Image.open(f"{folder}/results/x-project.png")).astype(int)
        assert np.abs(grid[2:10, 2 + 10 * i : 10 + 10 * i] - image).max() <= 1


def test_compare_and_animation(checkpoint, pictures, tmp_path):
    more = ["--expname", str(tmp_path), "--compare", "--animation", "webp", "--step", "70"]
    argv = [str(checkpoint), pictures[0], *QUICK, *more, "--size", "8"]
    assert projector.main(argv) == 0
    with Image.open(tmp_path / "results" / "x-project.png") as picture:
        assert picture.size == (32, 12)
        shown = np.asarray(picture)[2:10, 2:10]
    target = projection.read_target(pictures[0], 8)
    np.testing.assert_allclose((target + 1) * 127.5, shown.transpose(2, 0, 1), atol=1e-4)
    with Image.open(tmp_path / "results" / "x-project.webp") as film:
        assert film.size == (22, 12)
        lasts = []
        for i in range(film.n_frames):  # two that are equal are one that lasts twice as long
            film.seek(i)
            film.load()
            lasts.append(film.info["duration"])
        assert sum(lasts) == 36 * min(lasts)  # every second of 70, and the last


def test_batches_do_not_change_what_is_found(checkpoint, pictures, tmp_path):
    for batch in ("1", "2"):
        out = ["--expname", str(tmp_path / batch), "--batch", batch]
        assert projector.main([str(checkpoint), *pictures, *QUICK, *out]) == 0
    for name in ("x.npz", "x-2.npz"):
        a, b = (np.load(tmp_path / batch / "results" / name)["w"] for batch in "12")
        np.testing.assert_allclose(a, b, atol=2e-3)


def no_weights(*_):
    raise UserError("LPIPS needs weights: install them")


def test_without_weights_of_lpips(checkpoint, pictures, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(search, "find_weights", no_weights)
    argv = [str(checkpoint), pictures[0], "--step", "2", "--device", "cpu"]
    assert projector.main(argv) == 2
    error = capfd.readouterr().err
    assert "install them" in error and "--mse" in error and not (tmp_path / "results").exists()
    assert projector.main([*argv, "--mse", "1"]) == 0
    assert "install them; pixels alone" in capfd.readouterr().out
    assert (tmp_path / "results" / "x.npz").exists()


@pytest.mark.parametrize(
    "options, code, words",
    [
        ([], 2, "name a checkpoint"),
        (["CKPT"], 2, "name pictures"),
        (["--files", "PICTURE"], 2, "name a checkpoint"),
        (["missing.model", "PICTURE"], 1, "missing.model: no such file"),
        (["CKPT", "missing.png"], 1, "missing.png"),
        (["CKPT", "."], 1, ". holds no pictures"),
        (["CKPT", "PICTURE", "CKPT"], 1, "a.model cannot be read as a picture"),
        (["PICTURE", "PICTURE"], 1, "is not a checkpoint"),
        (["CKPT", "PICTURE", "--step", "0"], 2, "at least 1"),
        (["CKPT", "PICTURE", "--lr", "-1"], 2, "at least 0"),
        (["CKPT", "PICTURE", "--lr", "nan"], 2, "out of range"),
        (["CKPT", "PICTURE", "--lr_rampup", "2"], 2, "at most 1"),
        (["CKPT", "PICTURE", "--noise_ramp", "-0.1"], 2, "at least 0"),
        (["CKPT", "PICTURE", "--size", "64"], 1, "has not learned 64 px"),
        (["CKPT", "PICTURE", "--mse", "0"], 2, "--no_lpips leaves nothing"),
        (["CKPT", "PICTURE", "--lpips", "vgg.pth"], 2, "contradicts"),
        (["CKPT", "PICTURE", "--lr", "1e38", "--step", "20"], 1, "smaller --lr"),
        (["CKPT", "PICTURE", "--expname", "/dev/null/x"], 1, "/dev/null/x"),
    ],
)
def test_mistakes_get_one_sentence(
    checkpoint, pictures, tmp_path, monkeypatch, capfd, options, code, words
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    names = {"CKPT": str(checkpoint), "PICTURE": pictures[0]}
    try:
        result = projector.main([*QUICK, *(names.get(o, o) for o in options)])
    except SystemExit as e:
        result = e.code
    error = capfd.readouterr().err
    assert result == code and words in error and "Traceback" not in error
    assert not any((tmp_path / "here").iterdir())
