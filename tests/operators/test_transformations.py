"""Moved and recoloured images against NumPy, and their derivatives to second order in float64."""

import itertools

import numpy as np
import pytest
from oracle import RNG, assert_close, float64  # noqa: F401

from operators.convolution import jt
from operators.transformations import colour_changes, inverted, moved, recoloured

EXACT = 1e-13


def moved_by_numpy(x, flip, turn, shift):
    """One image (c, size, size)."""
    x = np.rot90(x[:, :, ::-1] if flip else x, turn, (1, 2))
    down, right = shift
    size, room = x.shape[1], x.shape[1] - 1
    padded = np.pad(x, ((0, 0), (room, room), (room, room)), "reflect")
    rows, columns = (slice(room - s, room - s + size) for s in (down, right))
    return padded[:, rows, columns]


def all_moves(size):
    """Every flip and turn, with shifts of all signs: (flips, turns, shifts)."""
    shifts = [(0, 0), (1, 0), (0, -2), (-1, 2), (size - 1, 1 - size)]
    moves = list(itertools.product((False, True), range(4), shifts))
    return tuple(np.array(x) for x in zip(*moves))


@pytest.mark.parametrize("size", [2, 4, 7])
def test_images_are_moved(size):
    moves = all_moves(size) if size > 2 else tuple(x[::5] for x in all_moves(size))
    x = RNG.standard_normal((len(moves[0]), 3, size, size)).astype("float32")
    expected = np.stack([moved_by_numpy(*each) for each in zip(x, *moves)])
    assert moved(jt.array(x), *moves).numpy().tobytes() == expected.tobytes()


def test_what_a_shift_shows_and_leaves_out():
    """Of a line of 5 shifted by 2: 2 1 0 1 2; 0 stands once, 1 and 2 twice, 3 and 4 nowhere."""
    line = np.arange(5, dtype="float32")
    x = jt.array(np.broadcast_to(line, (1, 1, 5, 5)).copy())
    assert (moved(x, [False], [0], [[0, 2]]).numpy()[0, 0] == [2, 1, 0, 1, 2]).all()
    found = inverted(np.array([[2, 1, 0, 1, 2]]))
    assert found.tolist() == [[[2, 1, 0, -10, -10]], [[-10, 3, 4, -10, -10]]]


def matrix_of(size, *moves):
    """(size^2, size^2): the pixels of an image moved, by those of the image."""
    units = np.eye(size * size).reshape(-1, size, size)
    return moved_by_numpy(units, *moves).reshape(size * size, -1).T


def test_moving_differentiates_twice(float64):
    """y = M x. Of sum(a y^2) / 2 the gradient is g = M'(a y), of sum(b g^2) / 2 it is M'(a M(b
    g)).
    """
    size, moves = 4, all_moves(4)
    n = len(moves[0])
    matrices = np.stack([matrix_of(size, *each) for each in zip(*moves)])[:, None]
    x, a, b = RNG.standard_normal((3, n, 2, size * size))

    def times(m, v):
        return (m @ v[..., None])[..., 0]

    back = matrices.transpose(0, 1, 3, 2)
    first = times(back, a * times(matrices, x))
    second = times(back, a * times(matrices, b * first))

    def images(v):
        return v.reshape(n, 2, size, size)

    vx, va, vb = (jt.array(images(v)) for v in (x, a, b))
    g = jt.grad((va * moved(vx, *moves) ** 2).sum() / 2, vx)
    assert_close(g, images(first), EXACT)
    assert_close(jt.grad((vb * g * g).sum() / 2, vx), images(second), EXACT)


NOTHING = {"brightness": 0, "contrast": 1, "luma_flips": False, "hue": 0, "saturation": 1}


def changes(n, **given):
    return colour_changes(**{k: np.full(n, v) for k, v in {**NOTHING, **given}.items()})


def recoloured_by_numpy(x, brightness, contrast, luma_flips, hue, saturation):
    """Step by step; x (3, h, w)."""
    x = contrast * (x + brightness)
    grey = x.mean(0, keepdims=True)
    if luma_flips:
        x, grey = x - 2 * grey, -grey
    axis = np.full(3, 1 / np.sqrt(3))
    colour = x - grey
    across = np.cross(axis, np.moveaxis(colour, 0, -1))
    colour = np.cos(hue) * colour + np.sin(hue) * np.moveaxis(across, -1, 0)
    return grey + saturation * colour


@pytest.mark.parametrize(
    "name, value",
    [
        ("brightness", -0.3),
        ("contrast", 1.7),
        ("luma_flips", True),
        ("hue", 2.1),
        ("hue", -3.0),
        ("saturation", 0.4),
    ],
)
def test_each_change_of_colours(float64, name, value):
    x = RNG.standard_normal((2, 3, 2, 3))
    found = recoloured(jt.array(x), *changes(2, **{name: value}))
    expected = [recoloured_by_numpy(each, **{**NOTHING, name: value}) for each in x]
    assert_close(found, np.stack(expected), EXACT)
    assert np.abs(found.numpy() - x).max() > 0.1


def test_no_change_is_none_at_all():
    x = RNG.standard_normal((2, 3, 2, 3)).astype("float32")
    assert recoloured(jt.array(x), *changes(2)).numpy().tobytes() == x.tobytes()


def test_colours_that_everybody_knows():
    """A third of a turn makes green of red; turned to black and white it is grey; the negative of
    its lightness keeps a grey's distance from 0.
    """
    red = np.array([1, 0, 0], "float32").reshape(1, 3, 1, 1)
    for given, expected in (
        ({"hue": 2 * np.pi / 3}, [0, 1, 0]),
        ({"hue": -2 * np.pi / 3}, [0, 0, 1]),
        ({"saturation": 0}, [1 / 3, 1 / 3, 1 / 3]),
        ({"luma_flips": True}, [1 / 3, -2 / 3, -2 / 3]),
        ({"brightness": 0.5, "contrast": 2}, [3, 1, 1]),
    ):
        found = recoloured(jt.array(red), *changes(1, **given)).numpy().reshape(3)
        np.testing.assert_allclose(found, expected, atol=1e-7)


def drawn_changes(n):
    named = {name: RNG.standard_normal(n) for name in NOTHING}
    return {**named, "luma_flips": np.arange(n) % 2 == 0}


def test_colours_differentiate_twice(float64):
    """As above, all changes at once: y = M x + m."""
    n = 4
    named = drawn_changes(n)
    matrices, offsets = colour_changes(**named)
    x, a, b = RNG.standard_normal((3, n, 3, 2, 2))
    each = [{name: v[i] for name, v in named.items()} for i in range(n)]
    y = np.stack([recoloured_by_numpy(x[i], **each[i]) for i in range(n)])
    zero = np.zeros((3, 1, 1))
    columns = [
        np.stack([recoloured_by_numpy(e.reshape(3, 1, 1), **c) for e in np.eye(3)]) for c in each
    ]
    origin = [recoloured_by_numpy(zero, **c) for c in each]
    m = np.stack([(c - o)[:, :, 0, 0].T for c, o in zip(columns, origin)])
    first = np.einsum("ndc,ndhw->nchw", m, a * y)
    second = np.einsum("ndc,ndhw->nchw", m, a * np.einsum("ncd,ndhw->nchw", m, b * first))
    vx, va, vb = (jt.array(v) for v in (x, a, b))
    found = recoloured(vx, matrices, offsets)
    assert_close(found, y, EXACT)
    g = jt.grad((va * found**2).sum() / 2, vx)
    assert_close(g, first, EXACT)
    assert_close(jt.grad((vb * g * g).sum() / 2, vx), second, EXACT)


@pytest.mark.parametrize(
    "flips, turns, shifts, words",
    [
        ([False], [0], [[0, 0]], "for each of 2 images"),
        ([False] * 2, [0, 4], [[0, 0]] * 2, "turns from 0 to 3"),
        ([False] * 2, [0, 0], [[0, 0], [0, -4]], "shifts of less than 4"),
    ],
)
def test_wrong_arguments(flips, turns, shifts, words):
    x = jt.zeros((2, 3, 4, 4))
    with pytest.raises(ValueError, match=words):
        moved(x, flips, turns, shifts)
    with pytest.raises(ValueError, match="x: float32"):
        moved(jt.zeros((2, 3, 4, 5)), flips, turns, shifts)
    with pytest.raises(ValueError, match="a matrix and offsets"):
        recoloured(x, np.zeros((1, 3, 3)), np.zeros((2, 3)))
