"""The three maps of a convolution in NumPy, in the precision of their arguments: what computes when
that is not float32, which is all that the kernels know. Exact to that precision, and slow.

x (n, c, h, w), w (o, c, k, k'), y (n, o, h', w'); padding: one number, or (rows, columns).
"""

import itertools

import numpy as np

from backend import device

jt = device.load()


def to_var(array):
    """A Var of an array's own precision: jt.array alone makes float32 of float64."""
    with jt.flag_scope(auto_convert_64_to_32=0):
        return jt.array(np.ascontiguousarray(array))


def pair(padding):
    return padding if isinstance(padding, tuple) else (padding, padding)


def windows(x, kernel, stride: int, padding, size):
    """For each tap (i, j) of a kernel: the tap, where the outputs (size) meet it in x with zeros
    around, and that x.
    """
    x = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in pair(padding))))
    for i, j in itertools.product(range(kernel[0]), range(kernel[1])):
        rows = slice(i, i + stride * size[0], stride)
        columns = slice(j, j + stride * size[1], stride)
        yield i, j, (slice(None), slice(None), rows, columns), x


def conv(x, w, stride: int, padding):
    """(x, w) -> y"""
    lengths = zip(x.shape[2:], pair(padding), w.shape[2:])
    size = [(s + 2 * p - k) // stride + 1 for s, p, k in lengths]
    y = np.zeros((len(x), len(w), *size), x.dtype)
    for i, j, place, padded in windows(x, w.shape[2:], stride, padding, size):
        y += np.moveaxis(np.tensordot(w[:, :, i, j], padded[place], (1, 1)), 0, 1)
    return y


def conv_data(w, dy, stride: int, padding, size):
    """(w, dy) -> dx, of size (h, w)"""
    (above, left), kernel = pair(padding), w.shape[2:]
    dx = np.zeros((len(dy), w.shape[1], size[0] + 2 * above, size[1] + 2 * left), dy.dtype)
    for i, j, place, _ in windows(dx[:, :, :1, :1], kernel, stride, 0, dy.shape[2:]):
        dx[place] += np.moveaxis(np.tensordot(w[:, :, i, j], dy, (0, 1)), 0, 1)
    return dx[:, :, above : above + size[0], left : left + size[1]]


def conv_weight(x, dy, stride: int, padding, kernel):
    """(x, dy) -> dw, with kernels (k, k')"""
    dw = np.zeros((dy.shape[1], x.shape[1], *kernel), x.dtype)
    for i, j, place, padded in windows(x, kernel, stride, padding, dy.shape[2:]):
        dw[:, :, i, j] = np.tensordot(dy, padded[place], ((0, 2, 3), (0, 2, 3)))
    return dw
