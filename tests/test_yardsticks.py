"""benchmarks/yardsticks.py: the model's arithmetic, and its table beside what others published; and
what launches.py counts for it.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from tiny import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
import launches
import yardsticks
from yardsticks import LAUNCH, MEMORY_REACHED, REACHED, Gpu, Work

GPU = Gpu("a round one", memory=1000, float32=10, tf32=0)
WORK = Work(launches=500, flops=3e12, product_bytes=4e9, other_bytes=7e9, fixed_bytes=1e9)


def test_products_take_their_arithmetic_or_their_memory():
    others = 7e9 / (1e12 * MEMORY_REACHED) + 500 * LAUNCH
    by_arithmetic = 3e12 / (1e13 * REACHED["float32"])
    assert yardsticks.seconds(WORK, GPU, "float32") == pytest.approx(by_arithmetic + others)
    by_memory = 4e9 / (1e12 * MEMORY_REACHED)
    idle = WORK._replace(flops=0)
    assert yardsticks.seconds(idle, GPU, "float32") == pytest.approx(by_memory + others)
    assert yardsticks.seconds(WORK, GPU, "tf32") == float("inf")


def test_what_does_not_grow_with_the_batch():
    twice = WORK.of_batch(2)
    assert twice == Work(500, 6e12, 8e9, 13e9, 1e9) and twice.of_batch(0.5) == WORK


def test_the_table_says_that_it_is_a_model():
    said = yardsticks.table({(128, 32): WORK})
    assert "A model, not measured" in said[0] and len(said) == 4 + len(yardsticks.GPUS)
    assert "147 (StyleGAN2 in StyleGAN3's code, A100)" in said[4]
    seconds = yardsticks.seconds(WORK, yardsticks.GPUS[0], "tf32")
    assert f" {1e3 * seconds:.3g}, {32 / seconds:.3g} | 80 (" in said[4]
    assert said[-1].count("none") == 1  # the oldest has no TF32
    assert "| V100 |  |  |  |  |  | 19.4 | 11.6 | 7 |" in yardsticks.published_table()[2]


class Var(np.ndarray):
    """As much of Jittor's as is counted with."""

    def numel(self) -> int:
        return self.size


def test_operations_of_convolutions_and_products():
    """Of the 3x3 convolution of (2, 3, 8, 8) to (2, 5, 6, 6) and its gradients 2 * 9 * 3 for each
    of the 360 numbers of its output; of (4, 3) x (3, 7) 2 * 3 for each of 28.
    """
    x, w, y = (np.zeros(s).view(Var) for s in ((2, 3, 8, 8), (5, 3, 3, 3), (2, 5, 6, 6)))
    a, b, c = (np.zeros(s).view(Var) for s in ((4, 3), (3, 7), (4, 7)))
    cudnn = SimpleNamespace(
        cudnn_conv=lambda *_: y,
        cudnn_conv_backward_x=lambda *_: x,
        cudnn_conv_backward_w=lambda *_: w,
    )
    cublas = SimpleNamespace(cublas_matmul=lambda *_: c)
    before = {**vars(cudnn), **vars(cublas)}
    extern = SimpleNamespace(cudnn_ops=cudnn, cublas_ops=cublas)
    options = (1, 1, 0, 0, 1, 1, 1)
    with launches.noted_products(SimpleNamespace(compile_extern=extern)) as flops:
        assert cudnn.cudnn_conv(x, w, *options) is y
        assert cudnn.cudnn_conv_backward_x(w, y, 8, 8, *options) is x
        assert cudnn.cudnn_conv_backward_w(x, y, 3, 3, *options) is w
        cublas.cublas_matmul(a, b, False, False)
        cublas.cublas_matmul(a.T, b, True, False)
    assert flops == [360 * 54] * 3 + [28 * 6] * 2
    assert before == {**vars(cudnn), **vars(cublas)}
