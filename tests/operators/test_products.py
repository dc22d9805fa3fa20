"""Products of matrices against NumPy, and their derivatives."""

import numpy as np
import pytest
from oracle import assert_close, draw

from operators import products
from operators.convolution import jt


@pytest.mark.parametrize("transpose", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_matmul_derivatives(transpose):
    ta, tb = map(bool, transpose)
    a, b = draw(*((4, 3) if ta else (3, 4))), draw(*((5, 4) if tb else (4, 5)))
    va, vb = jt.array(a), jt.array(b)
    c = products._Matmul(ta, tb, 0.5)(va, vb)
    ea, eb = a.T if ta else a, b.T / 2 if tb else b / 2
    assert_close(c, ea @ eb)
    g = jt.grad((c * c).sum() / 2, va)
    dc = ea @ eb
    expected = dc @ eb.T
    assert_close(g, expected.T if ta else expected)
    # second order: h = |g|^2 / 2 with g = a b b', so dh/db = (a'g + g'a) b
    h = jt.grad((g * g).sum() / 2, vb)
    ge = ea @ eb @ eb.T
    expected = (ea.T @ ge + ge.T @ ea) @ eb / 2  # b is twice eb
    assert_close(h, expected.T if tb else expected, 1e-5)


class Twice(jt.Function):
    def execute(self, x):
        return 2 * x

    def grad(self, dy):
        return 2 * dy


def test_a_single_number_keeps_its_precision(float64):
    """Jittor had one kernel for numbers of all types that a Function takes: that of the first."""
    for dtype in ("float32", "float64", "float16", "float64"):
        x = jt.array(np.array([np.pi], dtype))
        Twice()(x).sync()
        assert x.numpy().dtype == dtype
        assert x.item() == float(np.array(np.pi, dtype))
