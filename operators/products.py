"""Matrix products that differentiate to any order: our kernels and cuBLAS for float32, NumPy for
other precisions.
"""

import numpy as np

from backend import device
from operators import reference
from operators.checks import expect
from operators.native import call, is_float32

jt = device.load()


class _Matmul(jt.Function):
    """(a, b) -> scale op(a) @ op(b), where op transposes or not; its derivatives are such too."""

    def __init__(self, transpose_a: bool, transpose_b: bool, scale: float = 1.0):
        self.transpose, self.scale = (transpose_a, transpose_b), scale

    def __call__(self, a, b):
        self.saved = (a, b)
        return super().__call__(a, b)

    def execute(self, a, b):
        if not is_float32(a, b):
            return self.by_numpy(a, b)
        if jt.flags.use_cuda:
            y = jt.compile_extern.cublas_ops.cublas_matmul(a, b, *self.transpose)
            return y if self.scale == 1 else y * self.scale
        ta, tb = map(int, self.transpose)
        m, k, n = a.shape[ta], a.shape[1 - ta], b.shape[1 - tb]
        return call("matmul_", [a, b], [[m, n]], m, n, k, ta, tb, self.scale)[0]

    def by_numpy(self, a, b):
        """The product of arguments that are not both float32."""
        a, b = (x.numpy().T if t else x.numpy() for x, t in zip((a, b), self.transpose))
        return reference.to_var(self.scale * np.matmul(a, b))

    def grad(self, dc):
        (a, b), (ta, tb), scale = self.saved, self.transpose, self.scale
        da = _Matmul(tb, True, scale)(b, dc) if ta else _Matmul(False, not tb, scale)(dc, b)
        db = _Matmul(True, ta, scale)(dc, a) if tb else _Matmul(not ta, False, scale)(a, dc)
        return da, db


def linear(x, w, scale: float = 1.0):
    """x (n, c), w (o, c) -> scale * x @ w transposed (n, o)."""
    _, c = expect(x, "x", ("n", "c"))
    expect(w, "w", ("o", c))
    if jt.flags.use_cuda and scale != 1:  # outside, where Jittor fuses it with what follows
        return _Matmul(False, True)(x, w) * scale
    return _Matmul(False, True, scale)(x, w)
