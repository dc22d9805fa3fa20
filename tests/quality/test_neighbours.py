"""The training picture nearest to an image: of copies the one that was copied."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from networks import own_cache, random_weights, vgg16  # noqa: F401
from PIL import Image
from tqdm import tqdm

import metrics
import prepare_data
from backend.terminal import UserError
from data.heldout import divide, divided
from data.store import open_pictures
from quality import neighbours
from quality.judge import Judge, Request
from quality.lpips import LPIPS
from quality.neighbours import Nearest, nearest, pixel_space, share_near, squared_distances
from quality.sets import Data, Folder, open_data

BAR = tqdm(disable=True)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 12 pictures of 16 px, and the set that is made of it without a loss."""
    folder = tmp_path_factory.mktemp("pictures")
    for i in range(12):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{i:02d}.png")
    out = str(tmp_path_factory.mktemp("set") / "lmdb")
    argv = [str(folder), "--out", out, "--format", "png", "--sizes", "16"]
    assert prepare_data.main(argv) == 0
    return folder, out


def copies(pictures, indices, folder):
    """A folder with those pictures alone."""
    folder.mkdir()
    for i in indices:
        shutil.copy(pictures[0] / f"{i:02d}.png", folder)
    return str(folder)


def test_distances():
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((3, 5)), rng.standard_normal((4, 5))
    expected = [[((x - y) ** 2).sum() for y in b] for x in a]
    np.testing.assert_allclose(squared_distances(a, b), expected, rtol=1e-12)


def test_pixels_are_apart_by_their_mean_square():
    x = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 4)).astype("uint8")
    a, b = pixel_space().embed(x)
    expected = ((x[0] / 127.5 - x[1] / 127.5) ** 2).mean()
    np.testing.assert_allclose(((a - b) ** 2).sum(), expected, rtol=1e-5)


def test_the_embedding_has_the_distances_of_lpips():
    distance = LPIPS(random_weights("vgg16"))
    rng = np.random.default_rng(0)
    x, y = rng.uniform(-1, 1, (2, 3, 3, 16, 24)).astype("float32")
    a, b = distance.embedding(x).numpy(), distance.embedding(y).numpy()
    np.testing.assert_allclose(((a - b) ** 2).sum(axis=1), distance(x, y).numpy(), rtol=1e-4)


@pytest.mark.parametrize("batch, enough", [(5, 2**20), (12, 16 * 16 * 2), (1, 1)])
def test_the_nearest_of_copies_with_a_little_noise(pictures, monkeypatch, batch, enough):
    monkeypatch.setattr(neighbours, "ENOUGH", enough)
    folder, order = Folder(pictures[0]), [7, 0, 11, 3, 7]
    exact = folder.read_all(order)
    noise = np.random.default_rng(1).integers(-3, 4, exact.shape)
    noisy = np.clip(exact.astype(int) + noise, 0, 255).astype("uint8")
    found = nearest(noisy, folder, pixel_space(), batch, BAR)
    assert list(found.index) == order
    expected = ((noisy / 127.5 - exact / 127.5) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(found.distance, expected, atol=2e-6)


def test_the_share():
    near = Nearest(np.zeros(4, int), np.array([0.1, 0.5, 0.2, 0.3]))
    assert share_near(near, near._replace(distance=np.array([0.2, 0.4, 0.3, 0.3]))) == 0.5


@pytest.mark.parametrize("by", ["pixels", "LPIPS"])
def test_copies_are_shown_and_counted(pictures, vgg16, tmp_path, monkeypatch, capsys, by):
    """Of five pictures that were trained on three, of seven held-out ones two."""

    def missing(*_):
        raise UserError("the weights of vgg16 are missing")

    seen, unseen = divide(12, 7, "")
    chosen = [*seen[:3], *unseen[:2]]
    folder = copies(pictures, chosen, tmp_path / "images")
    argv = [folder, "--data", pictures[1], "--heldout", "7", "--neighbours"]
    if by == "pixels":
        monkeypatch.setattr(neighbours, "find_weights", missing)
    weights = vgg16 if by == "LPIPS" else []
    assert metrics.main([*argv, *weights, "--expname", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    words = "0.600 of 5 images are nearer to one of 5 training pictures than to any of 7 held-out"
    assert f"{words} ones, by {by}: about 0.417 if none is a copy" in out
    assert not list((tmp_path / "results").glob("*.jsonl"))
    sheet = np.asarray(Image.open(tmp_path / "results" / "neighbours.png"))
    assert sheet.shape == (20, 10 * 18 + 2, 3)
    cells = [sheet[2:18, 2 + 18 * i : 18 + 18 * i] for i in range(10)]
    same = [(a == b).all() for a, b in zip(cells[::2], cells[1::2])]
    assert same == [True] * 3 + [False] * 2  # the nearest first
    trained = [np.asarray(Image.open(pictures[0] / f"{i:02d}.png")) for i in seen]
    assert all(any((cell == x).all() for x in trained) for cell in cells[1::2])


def test_without_held_out_pictures_only_the_sheet(pictures, vgg16, tmp_path, capsys):
    folder = copies(pictures, range(4), tmp_path / "images")
    argv = [folder, "--data", str(pictures[0]), "--neighbours", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "neighbours.png" in out and "nearer" not in out


def test_measured_against_both_sets(pictures, vgg16, tmp_path):
    """Each number is that of the same images against that part alone."""
    folder = copies(pictures, range(5), tmp_path / "images")
    argv = [folder, "--data", pictures[1], "--heldout", "5", "--metrics", "fd_vgg16,kid", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    lines = [(tmp_path / "results" / f"metric-{m}.jsonl").read_text() for m in ("fd_vgg16", "kid")]
    found = {k: x for line in lines for k, x in json.loads(line)["results"].items()}
    assert all(json.loads(line)["heldout"] == 5 for line in lines)
    expected = {}
    with closing(open_pictures(pictures[1])) as whole:
        for part, ending in zip(divided(whole, 5), ("", "_full_heldout")):
            request = Request(("fd_vgg16", "kid"), num=5, vgg16=vgg16[1])
            results = Judge(Data(part), request).measure_folder(Folder(folder))
            for metric, name in (("fd_vgg16", "fd_vgg16_5"), ("kid", "kid_vgg16_5")):
                expected[name + ending] = next(iter(results[metric].values()))
    assert found == pytest.approx(expected, rel=1e-6)
    assert list(found)[0] == "fd_vgg16_5_full_heldout"


@pytest.mark.parametrize(
    "options, code, words",
    [
        (["SET", "--neighbours"], 2, "--neighbours shows the images of one checkpoint or folder"),
        (["--heldout", "12"], 2, "--heldout 12 of the 12 pictures"),
    ],
)
def test_mistakes(pictures, vgg16, tmp_path, capsys, options, code, words):
    folder = copies(pictures, range(5), tmp_path / "images")
    options = [folder if word == "SET" else word for word in options]
    argv = [folder, *options, "--data", pictures[1], "--expname", str(tmp_path), *vgg16]
    assert metrics.main(argv) == code
    assert words in capsys.readouterr().err


def test_a_folder_is_not_divided(pictures, tmp_path, capsys):
    argv = [str(pictures[0]), "--data", str(pictures[0]), "--heldout", "4"]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 2
    assert "is a folder of pictures" in capsys.readouterr().err
    with closing(open_data(pictures[1])) as data:
        unseen, seen = data.divided(4)
        assert (unseen.length, seen.length) == (4, 8) and Path(seen.path).name == "lmdb"
