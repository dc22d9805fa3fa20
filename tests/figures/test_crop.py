"""--crop: the middle of every image alone, in figures, single images and animations."""

import argparse
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import generate
import style_mixing
from backend.terminal import UsageError
from figures import grid
from figures.animation import check_side
from figures.artist import middle
from figures.figures import FIGURES
from figures.grid import is_grid, save_grid
from figures.options import crop_size
from training.run import TrainState
from training.schedule import Config

TINY = Config(code_size=8, n_mlp=1, channel_max=4, init_size=8, max_size=16)
SIZE, WIDTH, HEIGHT = 16, 12, 6
CROP = ["--crop", f"{WIDTH}x{HEIGHT}"]
INSIDE = slice(5, 11), slice(2, 14)  # rows and columns of those 12 x 6 px
SMALL = "--n_row 2 --n_col 2 --n_mixing 1 --n_noise 4 --device cpu".split()
WALK = "--only animation --frames 3 --n_walk 3 --walk_rows 2 --walk_cols 1 --device cpu".split()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    run = TrainState(TINY)
    for name, p in run.running.named_parameters():
        if ".noise" in name:
            p.update(p + 0.5)
    path = tmp_path_factory.mktemp("run") / "a.model"
    run.save(path, alpha=1.0, size=SIZE)
    return str(path)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def cells(pixels, width, height):
    """The images of a grid, row by row: (n, height, width, 3)"""
    columns, rows = (n // (side + 2) for n, side in zip(pixels.shape[1::-1], (width, height)))
    assert pixels.shape == (rows * (height + 2) + 2, columns * (width + 2) + 2, 3)
    tops, lefts = 2 + np.arange(rows) * (height + 2), 2 + np.arange(columns) * (width + 2)
    return np.stack([pixels[y : y + height, x : x + width] for y in tops for x in lefts])


def shown(path):
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB")), json.loads(picture.info.get("options", "{}"))


def test_the_middle():
    images = np.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8)
    assert middle(images, None) is images
    assert np.array_equal(middle(images, (6, 4)), images[:, :, 2:6, 1:7])
    assert np.array_equal(middle(images, (3, 8)), images[:, :, :, 2:5])
    assert np.array_equal(middle(images, (8, 8)), images)
    rows = np.broadcast_to(np.arange(512)[:, None], (1, 3, 512, 512))
    cars = middle(rows, (512, 384))  # NVIDIA's own figure of cars begins at row 64
    assert cars.shape == (1, 3, 384, 512) and (cars[0, 0, 0, 0], cars[0, 0, -1, 0]) == (64, 447)


@pytest.mark.parametrize("text", ["", "512", "x384", "512x", "0x4", "4x1025", "4x4x4", "-4x4"])
def test_sizes_to_crop(text):
    assert crop_size("512x384") == (512, 384) and crop_size("1x1024") == (1, 1024)
    for wrong in (text, text + " ", "9" * 5000 + "x4"):
        with pytest.raises(argparse.ArgumentTypeError, match="no WIDTHxHEIGHT like 512x384"):
            crop_size(wrong)


def test_every_figure_shows_the_middle_of_its_images(checkpoint):
    figures = [name for name in FIGURES if name != "labels"]  # of which this network has none
    argv = [checkpoint, *SMALL, "--only", ",".join(figures)]
    assert generate.main([*argv, "--expname", "whole"]) == 0
    assert generate.main([*argv, "--expname", "cropped", *CROP]) == 0
    names = sorted(os.listdir("whole/results"))
    assert sorted(os.listdir("cropped/results")) == names and len(names) == len(figures)
    for name in names:
        whole, told = shown(f"whole/results/{name}")
        cropped, noted = shown(f"cropped/results/{name}")
        whole, cropped = cells(whole, SIZE, SIZE), cells(cropped, WIDTH, HEIGHT)
        assert "crop" not in told and noted == {**told, "crop": [WIDTH, HEIGHT]}
        if name == "noise.png":  # the last of 3 columns is white where what is shown varies most
            assert cropped[2::3].max() == 255 and whole[2::3].max() == 255
            whole, cropped = (np.delete(x, [2, 5], axis=0) for x in (whole, cropped))
        assert np.array_equal(cropped, whole[(slice(None), *INSIDE)]) and cropped.std() > 1, name


def test_single_images(checkpoint, capfd):
    argv = [checkpoint, "--images", "3", "--batch", "2", "--device", "cpu", "--out"]
    assert generate.main([*argv, "whole"]) == 0
    assert generate.main([*argv, "cropped", *CROP]) == 0
    for name in ("000000.png", "000001.png", "000002.png"):
        (whole, told), (cropped, noted) = shown(f"whole/{name}"), shown(f"cropped/{name}")
        assert np.array_equal(cropped, whole[INSIDE]) and cropped.std() > 1
        assert "crop" not in told and noted["crop"] == [WIDTH, HEIGHT]
    before = Path("whole/000002.png").read_bytes()
    assert generate.main([checkpoint, "--images", "2", "--out", "whole", *CROP]) == 2
    assert "000002.png is of another checkpoint or of other options" in capfd.readouterr().err
    assert Path("whole/000002.png").read_bytes() == before


def test_an_animation_and_its_frames(checkpoint, capfd):
    assert generate.main([checkpoint, *WALK, "--frames_dir", "whole"]) == 0
    argv = [checkpoint, *WALK, "--expname", "x", "--frames_dir", "cropped"]
    assert generate.main([*argv, *CROP]) == 0
    film = Path("x/results/animation.webp").read_bytes()
    with Image.open("x/results/animation.webp") as picture:
        for i in range(3):
            whole, cropped = (shown(f"{folder}/0000{i}.png")[0] for folder in ("whole", "cropped"))
            picture.seek(i)
            assert np.array_equal(np.asarray(picture.convert("RGB")), cropped)
            whole, cropped = cells(whole, SIZE, SIZE), cells(cropped, WIDTH, HEIGHT)
            assert np.array_equal(cropped, whole[(slice(None), *INSIDE)]) and cropped.std() > 1
    assert generate.main([*argv, *CROP]) == 0  # its own are replaced
    assert Path("x/results/animation.webp").read_bytes() == film
    assert generate.main(argv) == 2
    assert "animation.webp would be replaced" in capfd.readouterr().err
    assert generate.main([*argv, *CROP, "--frames", "2"]) == 2
    assert "cropped/00002.png is of another animation" in capfd.readouterr().err


def test_style_mixing(checkpoint):
    argv = [checkpoint, "--rows", "1", "--cols", "2", "--device", "cpu"]
    assert style_mixing.main([*argv, "-e", "whole"]) == 0
    assert style_mixing.main([*argv, "-e", "cropped", *CROP]) == 0
    whole, told = shown("whole/style_mixing/style_mixing.png")
    cropped, noted = shown("cropped/style_mixing/style_mixing.png")
    whole, cropped = cells(whole, SIZE, SIZE), cells(cropped, WIDTH, HEIGHT)
    assert np.array_equal(cropped, whole[(slice(None), *INSIDE)]) and len(cropped) == 9
    assert "crop" not in told and noted["crop"] == [WIDTH, HEIGHT]


@pytest.mark.parametrize(
    "given, words",
    [
        ("17x4", "--crop 17x4 is larger than the images, which are 16x16: give at most that"),
        ("4x32", "--crop 4x32 is larger than the images, which are 16x16: give at most that"),
        ("4", "argument --crop: '4' is no WIDTHxHEIGHT like 512x384, each 1 to 1024"),
        ("0x4", "argument --crop: '0x4' is no WIDTHxHEIGHT like 512x384, each 1 to 1024"),
    ],
)
@pytest.mark.parametrize("script", [generate, style_mixing])
def test_what_cannot_be_cropped_is_told_in_one_sentence(checkpoint, script, given, words, capfd):
    try:
        code = script.main([checkpoint, "--crop", given, "--device", "cpu"])
    except SystemExit as e:
        code = e.code
    error = capfd.readouterr().err
    assert code == 2 and error.endswith(f"{words}\n") and "Traceback" not in error
    assert os.listdir() == []


def test_grids_of_rectangles_are_ours_where_that_is_told():
    images = np.random.default_rng(0).uniform(-1, 1, (4, 3, HEIGHT, WIDTH)).astype("float32")
    save_grid(images, "a.png", 2)
    assert is_grid("a.png", (WIDTH, HEIGHT))
    assert not is_grid("a.png") and not is_grid("a.png", (HEIGHT, WIDTH))


def test_the_side_of_an_animation_is_that_of_what_is_shown(monkeypatch):
    monkeypatch.setattr(grid.machine, "memory", lambda: None)
    check_side("webp", (29, 32), rows=400, cols=512, frames=2)
    check_side("mp4", (32, 32), rows=5000, cols=1, frames=10_000)
    with pytest.raises(UsageError, match="512 images of 30 px side by side are 16386 pixels"):
        check_side("webp", (30, 4), rows=1, cols=512, frames=1)
    with pytest.raises(UsageError, match="600 images of 32 px side by side are 20402 pixels"):
        check_side("webp", (29, 32), rows=600, cols=1, frames=1)
    for form, frames in (("webp", 60), ("gif", 61), ("mp4", 60)):
        monkeypatch.setattr(grid.machine, "memory", lambda: 6 * 60 * 68 * 36 + 24 * 68 * 32)
        if form == "gif":
            with pytest.raises(UsageError, match="61 pictures of 1 rows of 2 images, 68 x 36 pi"):
                check_side(form, (31, 32), 1, 2, frames)
        else:
            check_side(form, (31, 32), 1, 2, frames)
