"""What a network starts from: the seed alone, on any device."""

import numpy as np
import pytest

import train
from model import Discriminator, StyledGenerator
from training.parameters import is_drawn
from training.run import TrainState
from training.schedule import Config, phase_at

CONFIG = Config(
    loss="r1",
    code_size=8,
    n_mlp=2,
    channel_max=8,
    batch_default=4,
    init_size=8,
    max_size=16,
    seed=7,
)
FIRST_LOSSES = [
    [0.732228, 0.551871, 0.030986, 0.818812],
    [0.740786, 0.552615, 0.038987, 0.787500],
    [0.744110, 0.592158, 0.054327, 0.950595],
]


@pytest.mark.parametrize("network", [StyledGenerator(8, 1, 4), Discriminator(channel_max=4)])
def test_what_the_model_draws_is_drawn_from_the_seed(network):
    """All that a network by itself has from Jittor's generator, and no constants."""
    for name, p in network.named_parameters():
        assert is_drawn(name) == (len(np.unique(p.numpy())) > 2), name


def test_weights_are_those_of_numpys_generator():
    run, rng = TrainState(CONFIG), np.random.default_rng([7, 0, 4])
    for network in (run.generator, run.discriminator):
        for name, p in network.named_parameters():
            if is_drawn(name):
                expected = rng.standard_normal(p.shape, dtype="float32")
                np.testing.assert_array_equal(p.numpy(), expected)
    for name, p in run.running_parameters.items():
        np.testing.assert_array_equal(p.numpy(), run.g_parameters[name].numpy())


def test_the_first_losses_of_a_seed_are_the_same_everywhere():
    """Recorded on a CPU with AVX2: real, fake, penalty, generator of three iterations."""
    run, rng = TrainState(CONFIG), np.random.RandomState(0)
    found = []
    for _ in range(3):
        real = rng.standard_normal((4, 3, 8, 8)).astype("float32")
        losses = train.train_iteration(run, phase_at(CONFIG, 0), real)
        found.append([x.item() for x in losses])
    np.testing.assert_allclose(found, FIRST_LOSSES, rtol=2e-4)
