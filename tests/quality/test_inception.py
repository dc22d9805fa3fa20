"""The FID Inception against features recorded from pytorch-fid, and its file."""

from pathlib import Path

import numpy as np
import pytest
from networks import draw, random_inception

from formats import pytorch
from formats.files import CheckpointError
from formats.inception import NAME, cached_file, read_inception
from operators.convolution import jt
from quality.inception import Inception, bilinear, resize

EXPECTED = np.load(Path(__file__).parent.parent / "recorded" / "inception.npz")


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / NAME
    pytorch.write(path, {**random_inception(), "fc.bias": np.zeros(1008, "float32")})
    return path


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (320, 300)])
def test_features_are_those_of_pytorch_fid(file, size):
    key = "x".join(map(str, size))
    pixels = np.clip(128 + 64 * draw(f"inception.{key}", 2, 3, *size), 0, 255).astype("uint8")
    with jt.no_grad():
        found = Inception(read_inception(file)).pooled(pixels / np.float32(127.5) - 1).numpy()
    np.testing.assert_allclose(found, EXPECTED[key], rtol=0, atol=1e-5)


def test_resizing_puts_centres_onto_each_other():
    np.testing.assert_allclose(bilinear(2, 4) @ [0, 1], [0, 0.25, 0.75, 1])
    np.testing.assert_allclose(bilinear(4, 2) @ [0, 1, 2, 3], [0.5, 2.5])
    np.testing.assert_allclose(bilinear(7, 299).sum(axis=1), 1)
    x, a = draw("resize.x", 2, 3, 5, 8), draw("resize.a", 2, 3, 6, 6)
    rows, columns = bilinear(5, 6), bilinear(8, 6)
    vx = jt.array(x)
    y = resize(vx, 6)
    np.testing.assert_allclose(y.numpy(), rows @ x @ columns.T, atol=1e-5)
    gradient = jt.grad((y * jt.array(a)).sum(), vx).numpy()
    np.testing.assert_allclose(gradient, rows.T @ a @ columns, atol=1e-5)


def test_a_file_of_another_network(file, tmp_path):
    values = random_inception()
    values["Mixed_6c.branch7x7_2.conv.weight"] = np.zeros((160, 160, 7, 1), "float32")
    pytorch.write(tmp_path / "turned.pth", values)
    with pytest.raises(CheckpointError, match=r"turned\.pth is not pt_inception.*Mixed_6c"):
        read_inception(tmp_path / "turned.pth")
    pytorch.write(tmp_path / "other.pth", {"features.0.weight": np.zeros(3, "float32")})
    with pytest.raises(CheckpointError, match=r"other\.pth is not pt_inception"):
        read_inception(tmp_path / "other.pth")
    pytorch.write(tmp_path / "list.pth", [1.0])
    with pytest.raises(CheckpointError, match=r"list\.pth holds no weights"):
        read_inception(tmp_path / "list.pth")


def test_the_file_is_found_where_torch_hub_keeps_it(monkeypatch, tmp_path):
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cached_file() is None
    path = tmp_path / "torch" / "hub" / "checkpoints" / NAME
    path.parent.mkdir(parents=True)
    path.touch()
    assert cached_file() == path
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "elsewhere"))
    assert cached_file() is None
