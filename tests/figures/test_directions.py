"""The principal components of w: closed forms, what is kept of them, and steps along them."""

import argparse
import os

import numpy as np
import pytest

from backend.terminal import UsageError, UserError
from figures import directions
from figures.changes import direction_list
from figures.directions import Move
from operators.convolution import jt


class Linear:
    """A mapping whose w has known principal components: w = mean + sum of z_i length_i axis_i."""

    labels = 0

    def __init__(self, lengths, seed=0):
        d = len(lengths)
        axes, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))
        self.axes = (axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(d)])).T
        self.lengths, self.code_dim, self.calls = np.array(lengths), d, 0
        self.mean = np.full(d, 100.0)  # far from 0: nothing is lost by it

    def mapping(self, z):
        self.calls += 1
        return jt.array((self.mean + (z.numpy() * self.lengths) @ self.axes).astype("float32"))


def test_known_components_are_found():
    generator = Linear([5.0, 3.0, 2.0, 0.5])
    found = directions.find(generator)
    np.testing.assert_allclose(found.deviations, generator.lengths, rtol=0.02)
    np.testing.assert_allclose(found.shares, generator.lengths**2 / 38.25, rtol=0.03)
    np.testing.assert_allclose(found.vectors, generator.axes, atol=0.03)
    np.testing.assert_allclose(found.vectors @ found.vectors.T, np.eye(4), atol=1e-6)


def test_principal_in_closed_form():
    """Of four points: (3, 0), (-3, 0), (0, 1), (0, -1) around (7, -2)."""
    points = np.array([[3, 0], [-3, 0], [0, 1], [0, -1]]) + [7.0, -2.0]
    found = directions.principal(4, points.sum(axis=0), points.T @ points)
    np.testing.assert_allclose(found.vectors, np.eye(2), atol=1e-6)
    np.testing.assert_allclose(found.deviations, np.sqrt([4.5, 0.5]), rtol=1e-6)
    np.testing.assert_allclose(found.shares, [0.9, 0.1], rtol=1e-6)


def test_w_that_never_varies():
    found = directions.principal(10, np.full(3, 10.0), np.full((3, 3), 10.0))
    assert found.deviations.tolist() == [0, 0, 0] and np.isfinite(found.vectors).all()
    assert found.shares.tolist() == [0, 0, 0]


def test_most_are_left_out_of_many():
    lengths = np.linspace(2, 1, 80)
    found = directions.find(Linear(lengths))
    assert [x.shape for x in found] == [(64, 80), (64,), (64,)]
    assert (np.diff(found.deviations) <= 0).all() and 0 < found.shares.sum() < 1


def test_they_are_found_once_and_kept(tmp_path):
    generator = Linear([3.0, 1.0])
    first = directions.of(generator, "abc", tmp_path / "new")
    calls = generator.calls
    again = directions.of(generator, "abc", tmp_path / "new")
    assert generator.calls == calls and os.listdir(tmp_path / "new") == ["abc.npz"]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again))
    directions.of(generator, "other", tmp_path / "new")
    assert generator.calls == 2 * calls


@pytest.mark.parametrize("fault", ["cut", "other", "nan", "pickle", "name"])
def test_what_is_damaged_is_found_anew(tmp_path, fault):
    generator = Linear([3.0, 1.0])
    first = directions.of(generator, "abc", tmp_path)
    path = tmp_path / "abc.npz"
    if fault == "cut":
        path.write_bytes(path.read_bytes()[:100])
    elif fault == "other":
        directions.of(Linear([1.0, 2.0, 3.0]), "abc", tmp_path / "three")
        os.replace(tmp_path / "three" / "abc.npz", path)
    else:
        arrays = dict(zip(directions.KEYS, first))
        if fault == "nan":
            arrays["parts"] = arrays["parts"] * np.nan
        elif fault == "pickle":
            arrays["parts"] = np.array([None, {}])
        else:
            arrays["part"] = arrays.pop("parts")
        np.savez(path, **arrays)
    again = directions.of(generator, "abc", tmp_path)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first, again))
    assert directions.kept(tmp_path, "abc", 2) is not None


def test_the_search_can_be_stopped(tmp_path):
    generator = Linear([3.0, 1.0])
    assert directions.of(generator, "abc", tmp_path, lambda: generator.calls == 2) is None
    assert generator.calls == 2 and os.listdir(tmp_path) == []


def test_offsets():
    found = directions.Directions(np.eye(3, dtype="float32"), np.array([4.0, 2, 1]), np.ones(3))
    moves = [Move(0, 0.5, (0, 8)), Move(2, -3.0, (1, 1)), Move(0, 0.25, (2, 3))]
    expected = [[2, 0, 0], [2, 0, -3], [3, 0, 0]]
    np.testing.assert_array_equal(directions.offset(found, moves, 2, 3), expected)
    with pytest.raises(UsageError, match="3: this network has 0 to 2"):
        directions.offset(found, [Move(3, 1.0, (0, 8))], 2, 3)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (3, 3), (1, 3, 3), (6, 3)])
def test_directions_of_others(tmp_path, shape):
    direction = np.random.default_rng(0).standard_normal(shape, "float32")
    if shape == (6, 3):
        direction = direction[::2].repeat(2, 0)
    np.save(tmp_path / "smile.npy", direction)
    expected = np.zeros((3, 3), "float32")
    rows = direction[::2] if shape == (6, 3) else direction.reshape(-1, 3)
    expected[1:] = 2 * np.broadcast_to(rows, (3, 3))[1:]
    moves = direction_list(f"{tmp_path / 'smile.npy'}:2:1-8")
    np.testing.assert_array_equal(directions.offset(None, moves, 2, 3), expected)


def test_lists_with_files():
    assert direction_list("smile.npy:2:0-3,4:-1,a:b/age.npy:-0.5") == [
        Move("smile.npy", 2.0, (0, 3)),
        Move(4, -1.0, (0, 8)),
        Move("a:b/age.npy", -0.5, (0, 8)),
    ]
    for text in ("smile.npy", "smile.npy:", "smile.png:2", "1:2:", "x:1", "smile.npy:a"):
        with pytest.raises(argparse.ArgumentTypeError):
            direction_list(text)


@pytest.mark.parametrize("shape", [(4,), (2, 3), (5, 3, 3), ()])
def test_directions_that_do_not_fit_name_their_file(tmp_path, shape):
    np.save(tmp_path / "smile.npy", np.ones(shape))
    with pytest.raises(UserError, match="smile.npy"):
        directions.offset(None, [Move(str(tmp_path / "smile.npy"), 1.0, (0, 8))], 2, 3)
    with pytest.raises(UserError, match="none.npy: no such file"):
        directions.offset(None, [Move(str(tmp_path / "none.npy"), 1.0, (0, 8))], 2, 3)
