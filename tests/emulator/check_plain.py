"""On the emulated GPU both networks as model.py has them, by Jittor's own kernels and by the
libraries' convolutions and products, are those of fast.py, fused layers and all: images and scores,
first derivatives, and those of a gradient penalty. (Smaller sizes: tests/test_fast.py.)

Each within 5e-6 of the largest number of its order: at these sizes what some biases get is a small
difference of large sums.
"""

import copy

import numpy as np
import pytest
import test_fast
from test_fast import BAR, away_from_kinks, drawn

from fast import accelerate
from model import Discriminator, StyledGenerator, jt
from operators.resampling import upsample2

# 128 px have so many activations that some always come nearer to a leaky ReLU's kink than 1e-4
CASES = [(3, 0.6, 1e-4), (5, 0.6, 1e-5)]


def derivatives(network, arrays, call):
    """Outputs; their derivatives along a direction; those of the square of the inputs' ones."""
    inputs = [jt.array(x) for x in arrays]
    y = call(network, *inputs)
    along = jt.array(drawn(np.random.default_rng(1), *y.shape))
    variables = inputs + [p for p in network.parameters() if not p.is_stop_grad()]
    first = jt.grad((along * y).sum(), variables)
    second = jt.grad((first[0] * first[0]).sum(), variables)
    return [[x.numpy() for x in order] for order in ([y], first, second)]


def compare(build, shapes, call):
    network, arrays = away_from_kinks(build, shapes, call)
    plain = derivatives(network, arrays, call)
    fast = derivatives(accelerate(copy.deepcopy(network)), arrays, call)
    for order, (ours, exact) in enumerate(zip(fast, plain)):
        largest = max(np.abs(x).max() for x in exact)
        assert largest > 0
        for x, y in zip(ours, exact):
            error = np.abs(x - y).max()
            assert error <= BAR * largest, (order, x.shape, error / largest)


@pytest.mark.parametrize("step, alpha, kink", CASES)
def test_plain_generator(monkeypatch, step, alpha, kink):
    monkeypatch.setattr(test_fast, "KINK", kink)
    shapes = [(2, 6), *((2, 1, 4 * 2**i, 4 * 2**i) for i in range(step + 1))]

    def call(network, z, *noise):
        return network(z, list(noise), step, alpha)

    compare(lambda: StyledGenerator(6, 2, 3), shapes, call)


@pytest.mark.parametrize("step, alpha, kink", CASES)
def test_plain_discriminator(monkeypatch, step, alpha, kink):
    """Of three images that differ at 4 px too: where they are alike their deviation has a kink."""
    monkeypatch.setattr(test_fast, "KINK", kink)

    def call(network, x, coarse):
        for _ in range(step):
            coarse = upsample2(coarse)
        return network(x + 4 * coarse, step, alpha)

    shapes = [(3, 3, 4 * 2**step, 4 * 2**step), (3, 3, 4, 4)]
    compare(lambda: Discriminator(channel_max=3), shapes, call)
