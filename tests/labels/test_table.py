"""Names and numbers of labels, which are asked for and which are drawn."""

from types import SimpleNamespace

import numpy as np
import pytest

from backend.terminal import UsageError
from data import store
from data.batches import image_order
from labels.asked import Asked, figures_of, nearest
from labels.table import (
    Labels,
    asked_for,
    counts,
    drawn,
    in_order,
    labels_of,
    names_for,
    of_seeds,
    one_hot,
)


class Set(store.Pictures):
    path = "lmdb"

    def __init__(self, labels):
        self.labels, self.length = labels, len(labels or "12")


def test_order_and_numbers():
    assert in_order(["10", "9", "9", "1"]) == ["1", "9", "10"]
    assert in_order(["b", "10", "a"]) == ["10", "a", "b"]
    assert counts(["b", "a", "b"]) == "a (1), b (2)"
    assert one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    assert names_for(Set(["dog", "cat", "dog"])) == "cat,dog"


def test_names_come_before_numbers():
    assert asked_for(["2", "1"], ["0", "1", "2"], "a.model") == [2, 1]
    assert asked_for(["2", "0"], ["2", "4", "6"], "a.model") == [0, 0]
    assert asked_for(["dog", "0"], ["cat", "dog"], "a.model") == [1, 0]
    assert asked_for(None, ["cat"], "a.model") == asked_for(None, [], "a.model") == []


@pytest.mark.parametrize(
    "names, words",
    [
        ([], "--label: a.model knows no labels: leave it out"),
        (["cat", "dog"], "--label 2: a.model knows 2 labels, cat, dog"),
    ],
)
def test_what_is_not_known(names, words):
    with pytest.raises(UsageError, match=words):
        asked_for(["2"], names, "a.model")


def test_labels_of_a_set():
    labels = Labels(Set(["dog", "cat", "dog", "dog"]), ["ant", "cat", "dog"])
    assert labels.numbers.tolist() == [2, 1, 2, 2] and labels.shares.tolist() == [0, 0.25, 0.75]
    order = image_order(5, 4, 6, 7)
    assert (labels.batch(5, 6, 7).argmax(axis=1) == labels.numbers[order]).all()
    assert labels.of([1, 0]).tolist() == [[0, 1, 0], [0, 0, 1]]
    assert labels_of(Set(None), []) is None and labels_of(Set(["a"]), []) is None


def test_sets_that_do_not_fit():
    with pytest.raises(UsageError, match="lmdb has no labels, which this run was asked for"):
        labels_of(Set(None), ["cat"])
    words = "lmdb has 2 labels that the networks do not know, cow, emu: they know cat, dog"
    with pytest.raises(UsageError, match=words):
        labels_of(Set(["cat", "emu", "cow"]), ["cat", "dog"])
    with pytest.raises(UsageError, match="--labels: lmdb has none: prepare it with"):
        names_for(Set(None))


def test_draws_follow_the_proportions():
    """Within four standard deviations of a share of 5,000."""
    labels = Labels(Set(["a"] * 7 + ["b"] * 2 + ["c"]), ["a", "b", "c", "d"])
    for found in (
        labels.drawn(np.random.default_rng(0), 5000),
        one_hot(of_seeds(range(5000), 4, labels.shares), 4),
    ):
        share = found.mean(axis=0)
        deviation = np.sqrt(labels.shares * (1 - labels.shares) / 5000)
        assert (np.abs(share - labels.shares) <= 4 * deviation).all() and share[3] == 0
    alike = one_hot(of_seeds(range(5000), 4), 4).mean(axis=0)
    assert (np.abs(alike - 0.25) < 4 * np.sqrt(0.1875 / 5000)).all()


def test_without_labels_no_number_is_drawn():
    one, other = np.random.default_rng(3), np.random.default_rng(3)
    assert drawn(one, 0, 5).shape == (5, 0)
    assert one.random() == other.random()


def test_in_turn_by_place():
    """In the order of the seeds that were given, and on from the last."""
    asked = Asked(3, ["x", "y", "z"], [2, 0], [30, 4, 7])
    assert asked.numbers_of([30, 4, 7, 8, 9]) == [2, 0, 2, 0, 2]
    assert asked.of([4]).tolist() == [[1, 0, 0]] and asked.shown == {4: "x"}
    assert asked.alone(1).numbers_of([4, 30, 5]) == [1, 1, 1]
    assert asked.rows() == [2, 0] and Asked(3).rows() == [0, 1, 2] and Asked(0).rows() == []


def test_a_seed_draws_its_own():
    asked = Asked(50)
    numbers = asked.numbers_of([5, 6, 2**64 - 1])
    assert numbers == asked.numbers_of([5, 6, 2**64 - 1]) and asked.numbers_of([6]) == numbers[1:2]
    assert len(set(asked.numbers_of(range(200)))) > 40
    assert Asked(0).of([1, 2]).shape == (2, 0) and Asked(0).notes("sample") == {}


def test_notes():
    asked = Asked(2, ["x", "y"], [1])
    asked.of([3, 4])
    assert asked.notes("sample") == {"labels": '{"3": "y", "4": "y"}'}
    assert asked.notes("image", [4]) == {"labels": '{"4": "y"}'}
    assert asked.notes("labels") == {"labels": '["y"]'}


def test_figures_that_a_network_has():
    known = ["sample", "labels", "animation"]
    with_labels, without, w = (
        SimpleNamespace(asked=Asked(count), knows_z=not given, given=given)
        for count, given in ((2, []), (0, []), (2, [SimpleNamespace(z=None)]))
    )

    def found(artist, only=None, label=None):
        return figures_of(known, artist, SimpleNamespace(only=only, label=label))

    assert found(with_labels) == found(with_labels, label=["x"]) == known
    for artist, words in ((without, "trained with labels"), (w, "needs z")):
        assert found(artist) == ["sample", "animation"]
        assert found(artist, ["sample"]) == ["sample"]
        with pytest.raises(UsageError, match=f"--only labels .*{words}"):
            found(artist, ["labels"])
    with pytest.raises(UsageError, match="--label needs z, but --latents holds w"):
        found(w, label=["x"])


def test_the_nearest_mean():
    means = [(np.full((1, 2), x), spread) for x, spread in ((0.0, 1), (5.0, 2), (9.0, 3))]
    targets = np.array([6.0, 1.0, 8.5])

    def evaluate(w):
        return None, np.abs(w[:, 0] - targets), None

    w, spread, numbers = nearest([4, 5, 6], means, 3, evaluate)
    assert w.tolist() == [[5, 5], [0, 0], [9, 9]] and spread.tolist() == [[2], [1], [3]]
    assert numbers == (5, 4, 6)
