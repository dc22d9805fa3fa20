"""Images moved by whole pixels and recoloured, each in its own way: what StyleGAN2-ADA (Karras et
al. 2020, appendix B) does to them without interpolation.

Linear in the image, written beside their adjoints, so that they differentiate to any order; their
sums have a fixed order. Images are (n, c, size, size).
"""

import numpy as np

from backend import device
from operators.checks import IMAGES, expect
from operators.reference import to_var

jt = device.load()

GREY = np.full((3, 3), 1 / 3)  # a colour times it is its grey
CROSS = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)  # (1, 1, 1) / sqrt 3 cross it


class _Moved(jt.Function):
    """Sums of gathered pixels, nothing where a place is outside of x:

        y[:, :, i, j] = sum over k, m of x[:, :, a[k, :, i] + b[m, :, j], c[k, :, i] + d[m, :, j]]

    places: a, b, c, d, each (k, n, size) int32; adjoint: those of the adjoint.
    """

    def __init__(self, places, adjoint):
        self.places, self.adjoint = places, adjoint

    def execute(self, x):
        a, b, *_ = extras = [jt.array(place) for place in self.places]
        terms = [
            x.reindex(
                x.shape,
                ["i0", "i1", f"@e0({k},i0,i2)+@e1({m},i0,i3)", f"@e2({k},i0,i2)+@e3({m},i0,i3)"],
                extras=extras,
            )
            for k in range(a.shape[0])
            for m in range(b.shape[0])
        ]
        return sum(terms[1:], terms[0])

    def grad(self, dy):
        return _Moved(self.adjoint, self.places)(dy)


def reflected(shifts, size: int):
    """(n, size): the pixel that each of a line shows after shifts (n,), mirrored at the ends."""
    places = np.abs(np.arange(size) - shifts[:, None])
    return np.where(places >= size, 2 * (size - 1) - places, places)


def reversed_where(chosen, places):
    """Places (n, size) counted from the other end where chosen (n,)."""
    return np.where(chosen[:, None], places.shape[1] - 1 - places, places)


def inverted(places):
    """(2, n, size): where each number stands in lines of places (n, size), which have it twice at
    most; far outside where nowhere, or nowhere else.
    """
    size = places.shape[1]
    equal = places[:, None, :] == np.arange(size)[:, None]
    first, last = equal.argmax(2), size - 1 - equal[:, :, ::-1].argmax(2)
    once = equal.any(2)
    return np.where([once, once & (last > first)], [first, last], -2 * size)


def places_of(lying, a, b, c, d):
    """Those of _Moved: rows by i and columns by j (a, d) of images that stand, rows by j and
    columns by i (b, c) of those that lie (n,).
    """
    found = zip((a, b, c, d), (~lying, lying, lying, ~lying))
    return [np.where(chosen[:, None], x, 0).astype("int32") for x, chosen in found]


def moved(x, flips, turns, shifts):
    """Each image mirrored or not, then turned, then shifted, what comes in from beyond its border
    being its mirror image.

    x (n, c, size, size); flips (n,) bool; turns (n,): quarters counterclockwise, 0 to 3; shifts (n,
    2): pixels down and to the right, fewer than size.
    """
    n, _, size, _ = expect(x, "x", IMAGES)
    expect(x, "x", ("n", "c", size, size))
    flips, turns, shifts = np.asarray(flips, bool), np.asarray(turns), np.asarray(shifts)
    if (flips.shape, turns.shape, shifts.shape) != ((n,), (n,), (n, 2)):
        raise ValueError(f"a flip, a turn and two shifts are due for each of {n} images")
    if np.abs(shifts).max() >= size or not np.isin(turns, range(4)).all():
        raise ValueError(f"turns from 0 to 3 and shifts of less than {size} are due")
    lying = turns % 2 == 1
    down, right = (reflected(shift, size) for shift in shifts.T)
    rows = reversed_where(turns >= 2, np.where(lying[:, None], right, down))
    columns = np.where(lying[:, None], down, right)
    columns = reversed_where(np.isin(turns, (1, 2)) ^ flips, columns)
    places = places_of(lying, rows[None], rows[None], columns[None], columns[None])
    row, column = inverted(rows), inverted(columns)
    return _Moved(places, places_of(lying, row, column, row, column))(x)


class _Recoloured(jt.Function):
    """Offsets (n, 3), or None, added to each image's channels, then a matrix (n, 3, 3) times that.
    Where that is diagonal and channels are equal, they stay so, bit by bit.
    """

    def __init__(self, matrices, offsets=None):
        self.matrices, self.offsets = matrices, offsets

    def execute(self, x):
        def of_channels(numbers):
            return to_var(numbers.reshape(-1, 3, 1, 1).astype(str(x.dtype)))

        if self.offsets is not None:
            x = x + of_channels(self.offsets)
        terms = [of_channels(self.matrices[:, :, d]) * x[:, d : d + 1] for d in range(3)]
        return sum(terms[1:], terms[0])

    def grad(self, dy):
        return _Recoloured(self.matrices.transpose(0, 2, 1))(dy)


def recoloured(x, matrices, offsets):
    """Offsets of its image added to each colour, then a matrix times that: x (n, 3, h, w), matrices
    (n, 3, 3), offsets (n, 3).
    """
    n = expect(x, "x", ("n", 3, "h", "w"))[0]
    if (matrices.shape, offsets.shape) != ((n, 3, 3), (n, 3)):
        raise ValueError(f"a matrix and offsets of three channels are due for each of {n} images")
    return _Recoloured(matrices, offsets)(x)


def colour_changes(brightness, contrast, luma_flips, hue, saturation):
    """(matrices (n, 3, 3), offsets (n, 3)) that first add to all channels, then multiply them, then
    mirror colours at the plane across the grey axis (light is dark then, red stays red), then turn
    them about that axis by radians, then multiply their distance from it. Arguments: (n,).
    """

    def each(numbers):
        return np.asarray(numbers, "float64")[:, None, None]

    cos, sin = np.cos(each(hue)), np.sin(each(hue))
    colours = np.eye(3) - GREY  # a colour times it has no grey
    turn = GREY + cos * colours + sin * CROSS
    stretch = GREY + each(saturation) * colours
    mirror = np.eye(3) - 2 * each(luma_flips) * GREY
    matrices = stretch @ turn @ mirror * each(contrast)
    return matrices, each(brightness)[:, :, 0].repeat(3, 1)
