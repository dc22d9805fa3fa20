"""The networks that come with the clone: small, as their cards say, and in nobody's way."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from tiny import ROOT, TINY, run_train

import generate
from training.checkpoint import AVERAGE_ALONE, read_checkpoint

MODELS = sorted((ROOT / "checkpoint").glob("*-[0-9]*.model"))
NAMES = ["emoji-32", "emoji-64", "mnist-32", "symbols-32", "symbols-64"]
LARGEST = 3e6  # bytes


def test_all_are_there_and_small():
    assert [path.stem for path in MODELS] == NAMES
    sizes = [path.stat().st_size for path in MODELS]
    assert max(sizes) <= LARGEST and sum(sizes) <= 10e6


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_a_card_tells_what_the_file_does(path):
    """Images seen, and every option of the command that is not train.py's default."""
    content, config = read_checkpoint(path), read_checkpoint(path)["config"]
    assert (content["version"], content["alpha"]) == (AVERAGE_ALONE, 1.0)
    assert content["size"] == int(path.stem.split("-")[1])
    cards = (ROOT / "checkpoint" / "README.md").read_text(encoding="utf-8")
    card = re.split(r"\n## ", cards)[1 + NAMES.index(path.stem)]
    assert card.startswith(path.stem + "\n") and f"{content['images_seen']:,} images" in card
    for name in ("phase", "channel_max", "code_size", "n_mlp", "batch_default", "lr", "gp_weight"):
        assert f"--{name} {config[name]:g}" in card, name


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_their_images_are_on_a_plain_ground(path, tmp_path):
    """White around symbols and emoji, black around digits, where something else is drawn."""
    folder, ground = tmp_path / "pictures", 0 if path.stem.startswith("mnist") else 255
    argv = [str(path), "--images", "24", "--out", str(folder), "--device", "cpu"]
    assert generate.main(argv) == 0
    pixels = np.stack([np.asarray(Image.open(file)) for file in sorted(folder.iterdir())])
    size = int(path.stem.split("-")[1])
    assert pixels.shape == (24, size, size, 3)
    corners = pixels[:, [1, 1, -2, -2], [1, -2, 1, -2]].astype(int)
    assert np.median(np.abs(corners - ground)) < 12
    inside = np.abs(pixels[:, size // 4 : -size // 4, size // 4 : -size // 4].astype(int) - ground)
    assert (inside.max(axis=(1, 2, 3)) > 100).mean() > 0.7
    coloured = (pixels.max(axis=3) - pixels.min(axis=3)).max() > 100
    assert coloured == (ground == 255)


def test_they_are_not_a_run_in_the_way(lmdb, tmp_path):
    """A run begins beside them, and leaves them there."""
    (tmp_path / "checkpoint").mkdir()
    for path in MODELS:
        shutil.copy(path, tmp_path / "checkpoint")
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "2", "--keep", "1", "--save_every", "1")
    run_train(lmdb, tmp_path, "--ckpt", "latest", "--max_iters", "3", "--device", "cpu")
    found = {path.stem for path in (tmp_path / "checkpoint").iterdir()}
    assert found >= {*NAMES, "000003"}
