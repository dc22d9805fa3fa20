"""Distances between sets of features, path lengths: against closed forms and recorded numbers."""

import numpy as np
import pytest
from networks import draw

from figures.artist import Artist
from operators.convolution import jt
from quality import distances
from quality.distances import frechet_distance, kernel_distance, moments, precision_recall
from quality.path_length import path_lengths, trimmed_mean


def recorded(key, n, m, d):
    """The features that the packages were run on."""
    a = draw(f"{key}.a", n, d).astype("float64") @ draw(f"{key}.mix", d, d) / 3
    b = draw(f"{key}.b", m, d).astype("float64") @ draw(f"{key}.other", d, d) / 3 + 0.25
    return a, b


# Frechet


def test_frechet_distance_is_that_of_pytorch_fid():
    a, b = map(moments, recorded("full", 200, 150, 12))
    assert frechet_distance(a, b) == pytest.approx(8.956991101290, abs=1e-9)


def test_frechet_distance_of_fewer_pictures_than_features():
    """The trace of the root is the sum of the singular values of A B' where C_a = A' A. Roots of
    what should be 0 cost pytorch-fid (265.0741555) and torchmetrics (265.0741548) some digits.
    """
    a, b = recorded("deficient", 20, 30, 48)
    found = frechet_distance(moments(a), moments(b))
    m, n = a.mean(axis=0), b.mean(axis=0)
    a, b = (a - m) / np.sqrt(19), (b - n) / np.sqrt(29)
    shared = np.linalg.svd(a @ b.T, compute_uv=False).sum()
    expected = ((m - n) ** 2).sum() + (a**2).sum() + (b**2).sum() - 2 * shared
    assert found == pytest.approx(expected, rel=1e-11)
    assert found == pytest.approx(265.0741555, abs=1e-4)


def test_frechet_distance_of_covariances_that_commute():
    """|m_a - m_b|^2 + the sum of (s_a - s_b)^2 over deviations s along common axes."""
    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    s, t = rng.random((2, 5)) * 3
    m, n = rng.standard_normal((2, 5))
    found = frechet_distance((m, axes * s**2 @ axes.T), (n, axes * t**2 @ axes.T))
    assert found == pytest.approx(((m - n) ** 2).sum() + ((s - t) ** 2).sum(), rel=1e-12)
    assert frechet_distance((m, axes * s**2 @ axes.T), (m, axes * s**2 @ axes.T)) < 1e-12


def test_moments_of_one_feature():
    mean, covariance = moments(np.array([[1.0], [2.0], [6.0]]))
    assert mean == [3] and covariance == [[7]]


# Kernel


def test_kernel_distance_is_that_of_torchmetrics():
    """One subset of everything."""
    a, b = recorded("full", 200, 150, 12)
    found = kernel_distance(a[:150], b, subsets=1, size=150)
    assert found == pytest.approx(0.9534429493228846, rel=1e-9)
    a, b = recorded("deficient", 20, 30, 48)
    found = kernel_distance(a, b[:20], subsets=1, size=1000)
    assert found == pytest.approx(2.7113369488735497, rel=1e-9)


def test_kernel_distance_sum_by_sum():
    x, y = np.array([[0.0, 1], [1, 1], [2, 0]]), np.array([[1.0, 0], [0, 0], [1, 3]])

    def k(a, b):
        return (a @ b / 2 + 1) ** 3

    pairs = [(i, j) for i in range(3) for j in range(3)]
    own = sum(k(f[i], f[j]) for f in (x, y) for i, j in pairs if i != j) / 6
    expected = own - 2 * sum(k(x[i], y[j]) for i, j in pairs) / 9
    assert kernel_distance(x, y, subsets=2) == pytest.approx(expected, rel=1e-12)


def test_kernel_distance_takes_subsets():
    x, y = draw("kid.x", 300, 4), draw("kid.y", 300, 4)
    whole = kernel_distance(x, y, subsets=1)
    found = kernel_distance(x, y, subsets=400, size=100)
    assert abs(found - whole) < 0.01 and found != whole
    assert found == kernel_distance(x, y, subsets=400, size=100)
    assert kernel_distance(x, y + 1) > 10 * abs(whole)


# Precision and recall


def test_precision_and_recall_by_hand():
    """Radii with k = 1 are 1, 1, 1, 8 of the real ones and 2, 2, 0.5, 0.5 of the others: only 10 is
    not reached.
    """
    real = np.array([[0.0], [1], [2], [10]])
    generated = np.array([[0.5], [2.5], [5], [5.5]])
    assert precision_recall(real, generated, k=1) == (1.0, 0.75)
    assert precision_recall(generated, real, k=1) == (0.75, 1.0)


@pytest.mark.parametrize("block", [2**24, 700])
def test_precision_and_recall_distance_by_distance(monkeypatch, block):
    monkeypatch.setattr(distances, "BLOCK", block)
    real, generated = draw("pr.real", 60, 3), draw("pr.generated", 50, 3) * np.float32(0.5)

    def share(points, features):
        radii = [sorted(np.linalg.norm(features - f, axis=1))[3] for f in features]
        inside = [(np.linalg.norm(features - p, axis=1) <= radii).any() for p in points]
        return np.mean(inside)

    expected = share(generated, real), share(real, generated)
    assert precision_recall(real, generated) == pytest.approx(expected, abs=1e-12)
    assert expected[0] > expected[1] + 0.2  # as when truncated


def test_copies_of_the_data_have_precision_and_recall_1():
    features = draw("pr.same", 40, 8) * 100
    assert precision_recall(features, features.copy()) == (1.0, 1.0)


# Path length


class Linear:
    """w = M z, pixels = A w: a generator as far as `Artist` asks one."""

    code_dim, noise_maps, labels = 6, 1, 0

    def __init__(self, orthogonal=False):
        rng = np.random.default_rng(1)
        self.matrix, self.pixels = rng.standard_normal((6, 6)), rng.standard_normal((48, 6))
        if orthogonal:
            self.matrix = np.linalg.qr(self.matrix)[0]
            self.pixels = np.linalg.qr(self.pixels)[0]

    def mapping(self, z):
        return jt.array((z.numpy() @ self.matrix.T).astype("float32"))

    def synthesis(self, styles, noise, step, alpha):
        w = styles[0].numpy().astype("float64")
        return jt.array((w @ self.pixels.T).reshape(-1, 3, 4, 4))


def squared(a, b):
    return ((a - b) ** 2).sum(axis=(1, 2, 3))


SEEDS = np.arange(30, 50)


@pytest.mark.parametrize("whole", [True, False])
def test_path_length_of_a_linear_generator_in_w(whole):
    """|A M (z1 - z0)|^2, wherever on the path."""
    artist = Artist(Linear(), step=0, alpha=1.0, psi=1.0)
    found = path_lengths(artist, squared, "w", whole, SEEDS)
    a, b = (artist.latents(2 * SEEDS + i).astype("float64") for i in (0, 1))
    difference = (b - a) @ artist.generator.matrix.T @ artist.generator.pixels.T
    np.testing.assert_allclose(found, (difference**2).sum(axis=1), rtol=5e-3)


@pytest.mark.parametrize("whole", [True, False])
def test_path_length_of_an_isometry_in_z(whole):
    """The square of the angle between the latents: the arc is taken at one speed."""
    artist = Artist(Linear(orthogonal=True), step=0, alpha=1.0, psi=1.0)
    found = path_lengths(artist, squared, "z", whole, SEEDS)
    a, b = (artist.latents(2 * SEEDS + i).astype("float64") for i in (0, 1))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found, np.arccos(cosine) ** 2, rtol=5e-3)


def test_the_places_on_a_path_are_drawn():
    """Of a generator that bends, full and end differ, and each seed keeps its place."""
    artist = Artist(Linear(), step=0, alpha=1.0, psi=1.0)
    artist.generator.mapping = lambda z: z**3
    full, end = (path_lengths(artist, squared, "z", whole, SEEDS) for whole in (True, False))
    assert np.abs(full / end - 1).min() > 1e-3
    part = path_lengths(artist, squared, "z", True, SEEDS[5:8])
    np.testing.assert_allclose(part, full[5:8], rtol=1e-6)


def test_the_ends_of_the_lengths_are_dropped():
    lengths = np.arange(1000.0)
    lengths[-5:] = 1e9
    np.random.default_rng(0).shuffle(lengths)
    assert trimmed_mean(lengths) == np.arange(9, 991).mean()  # 1 % of 999 is 9.99, 99 % 989.01
    assert trimmed_mean(np.array([1.0, 2, 6])) == 3
