"""Adam and the running average against their closed forms."""

import math

import numpy as np

from operators.convolution import jt
from training.optimizer import Adam, average


def loss_of(parameters, gradients):
    """A loss with the given gradient for each parameter."""
    return sum((parameters[k] * jt.array(g)).sum() for k, g in gradients.items())


def test_constant_gradient_moves_by_the_learning_rate():
    """g constant: v = (1 - b^t) g^2, so every step is lr * sign(g), up to eps / |g|."""
    p = {"a": jt.array(np.array([1.0, -2.0], "float32"))}
    adam = Adam(p)
    for _ in range(5):
        adam.step([[loss_of(p, {"a": np.array([3.0, -0.5], "float32")})]], ["a"], lr=0.01)
    np.testing.assert_allclose(p["a"].numpy(), [1 - 0.05, -2 + 0.05], rtol=1e-6)


def test_follows_the_recursion_for_changing_gradients():
    rng = np.random.RandomState(0)
    p = {"a": jt.zeros((4,))}
    adam, expected, v = Adam(p), np.zeros(4), np.zeros(4)
    for t in range(1, 21):
        g = rng.standard_normal(4)
        adam.step([[loss_of(p, {"a": g.astype("float32")})]], ["a"], lr=0.01)
        v = 0.99 * v + 0.01 * g * g
        expected -= 0.01 * g / (np.sqrt(v) / math.sqrt(1 - 0.99**t) + 1e-8)
    np.testing.assert_allclose(p["a"].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_parameter_that_joins_at_iteration_100_starts_afresh():
    """Its first step is lr * sign(g); one count for all would make it ten times that."""
    p = {"old": jt.ones((3,)), "new": jt.ones((3,))}
    adam = Adam(p)
    g = np.array([0.1, 2.0, -5.0], "float32")
    for _ in range(99):
        adam.step([[loss_of(p, {"old": g})]], ["old"], lr=0.001)
        jt.sync_all()
    assert (p["new"].numpy() == 1).all() and adam.steps == {"old": 99, "new": 0}
    assert (adam.state_dict()["v"]["new"] == 0).all()
    adam.step([[loss_of(p, {"old": g, "new": g})]], ["old", "new"], lr=0.001)
    np.testing.assert_allclose(p["new"].numpy(), 1 - 0.001 * np.sign(g), rtol=1e-6)
    np.testing.assert_allclose(p["old"].numpy(), 1 - 0.1 * np.sign(g), rtol=1e-4)
    assert adam.steps == {"old": 100, "new": 1}


def test_learning_rate_factor_applies_to_its_prefix_alone():
    p = {"style.1": jt.ones((2,)), "generator.1": jt.ones((2,))}
    adam = Adam(p, lr_mult={"style.": 0.01})
    g = np.ones(2, "float32")
    adam.step([[loss_of(p, {"style.1": g, "generator.1": g})]], list(p), lr=0.1)
    np.testing.assert_allclose(p["style.1"].numpy(), 0.999, rtol=1e-6)
    np.testing.assert_allclose(p["generator.1"].numpy(), 0.9, rtol=1e-6)


def test_state_goes_out_and_in():
    p = {"a": jt.ones((2,)), "b": jt.ones((1,))}
    adam = Adam(p)
    adam.step([[loss_of(p, {"a": np.array([1.0, 2.0], "float32")})]], ["a"], lr=0.1)
    other = Adam({"a": jt.ones((2,)), "b": jt.ones((1,))})
    other.load_state_dict(adam.state_dict())
    assert other.steps == {"a": 1, "b": 0}
    np.testing.assert_allclose(other.v["a"].numpy(), [0.01, 0.04], rtol=1e-6)


def test_average():
    """After k iterations of a constant p: r = p + decay^k (r0 - p)."""
    running, p = (
        {"a": jt.array(np.array([5.0], "float32"))},
        {"a": jt.array(np.array([1.0], "float32"))},
    )
    for _ in range(10):
        average(running, p, ["a"], 0.9)
    np.testing.assert_allclose(running["a"].numpy(), [1 + 0.9**10 * 4], rtol=1e-6)


def test_what_shared_a_parameters_numbers_keeps_them():
    """As the average does with what has never been trained; updates happen in place."""
    p = {"a": jt.array(np.array([1.0, 2.0], "float32"))}
    shared = jt.zeros(2)
    shared.update(p["a"].detach())
    shared.sync()
    adam, g = Adam(p), np.array([3.0, -0.5], "float32")
    for _ in range(2):
        adam.step([[loss_of(p, {"a": g})]], ["a"], lr=0.25)
    np.testing.assert_allclose(p["a"].numpy(), [0.5, 2.5], rtol=1e-6)
    assert (shared.numpy() == [1, 2]).all()
    average({"a": shared}, p, ["a"], 0.5)
    np.testing.assert_allclose(shared.numpy(), [0.75, 2.25], rtol=1e-6)
    np.testing.assert_allclose(p["a"].numpy(), [0.5, 2.5], rtol=1e-6)
