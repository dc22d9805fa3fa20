"""On the emulated GPU both networks as model.py has them, by Jittor's own kernels and by the
libraries' convolutions and products, are those of fast.py, fused layers and all: images and scores,
first and second derivatives. (Smaller sizes: tests/test_fast.py.)

Each within 5e-6 of the largest number of its order: at these sizes what some biases get is a small
difference of large sums.
"""

import copy

import numpy as np
import pytest
import test_fast
from test_fast import BAR, away_from_kinks, derivatives

from fast import accelerate
from model import Discriminator, StyledGenerator

# 128 px have so many activations that some always come nearer to a leaky ReLU's kink than 1e-4
CASES = [(3, 0.6, 1e-4), (5, 0.6, 1e-5)]


def compare(build, shapes, call):
    network, arrays = away_from_kinks(build, shapes, call)
    plain = derivatives(network, arrays, call)
    fast = derivatives(accelerate(copy.deepcopy(network)), arrays, call)
    for ours, exact in zip(fast, plain):
        largest = max(np.abs(x).max() for x in exact)
        assert all(np.isfinite(x).all() for x in exact) and largest > 0
        for x, y in zip(ours, exact):
            assert np.abs(x - y).max() <= BAR * largest, x.shape


@pytest.mark.parametrize("step, alpha, kink", CASES, ids="{}".format)
def test_plain_generator(monkeypatch, step, alpha, kink):
    monkeypatch.setattr(test_fast, "KINK", kink)
    shapes = [(2, 6), *((2, 1, 4 * 2**i, 4 * 2**i) for i in range(step + 1))]

    def call(network, z, *noise):
        return network(z, list(noise), step, alpha)

    compare(lambda: StyledGenerator(6, 2, 3), shapes, call)


@pytest.mark.parametrize("step, alpha, kink", CASES, ids="{}".format)
def test_plain_discriminator(monkeypatch, step, alpha, kink):
    """Of three images: of two that are alike at some pixel the batch's deviation has a kink, too."""
    monkeypatch.setattr(test_fast, "KINK", kink)

    def call(network, x):
        return network(x, step, alpha)

    compare(lambda: Discriminator(channel_max=3), [(3, 3, 4 * 2**step, 4 * 2**step)], call)
