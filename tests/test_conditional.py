"""Networks with labels: NVIDIA's G_mapping and D_basic in NumPy, what a label may change and what
not, derivatives of both orders.
"""

import numpy as np
import pytest
from test_fast import compare, fill
from test_parity import in_float64

from fast import accelerate
from model import Discriminator, StyledGenerator, jt
from training.parameters import frozen_parameters, used_parameters

CODE, LABELS, CHANNELS = 6, 3, 4
RNG_SEED = 7


def one_hot(*numbers, dtype="float32"):
    return np.eye(LABELS, dtype=dtype)[list(numbers)]


def arrays_of(network):
    return {name: p.numpy() for name, p in network.named_parameters()}


def generator():
    return fill(StyledGenerator(CODE, 2, CHANNELS, labels=LABELS), np.random.default_rng(0))


def discriminator():
    network = Discriminator(channel_max=CHANNELS, labels=LABELS)
    return fill(network, np.random.default_rng(1))


# In NumPy, as the paper's code: float64, weights times sqrt(2 / fan in)


def dense(x, p, name):
    w = p[f"{name}.weight_orig"]
    return x @ w.T * np.sqrt(2 / w.shape[1]) + p[f"{name}.bias"]


def conv(x, p, name, padding):
    w = p[f"{name}.weight_orig"]
    k = w.shape[2]
    x = np.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    h = x.shape[2] - k + 1
    y = sum(
        np.einsum("nchw,oc->nohw", x[:, :, i : i + h, j : j + h], w[:, :, i, j])
        for i in range(k)
        for j in range(k)
    )
    return y * np.sqrt(2 / w[0].size) + p[f"{name}.bias"].reshape(1, -1, 1, 1)


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x)


def pixel_norm(x):
    return x / np.sqrt((x**2).mean(1, keepdims=True) + 1e-8)


def numpy_mapping(p, z, label):
    x = np.concatenate([z, label @ p["label.weight"]], axis=1)
    x = pixel_norm(x)
    for i in (1, 3):
        x = lrelu(dense(x, p, f"style.{i}.linear"))
    return x


def numpy_image(p, w, noise):
    """At 4 px."""
    block = "generator.progression.0"
    x = np.repeat(p[f"{block}.conv1.input"], len(w), axis=0)
    for k in (1, 2):
        x = conv(x, p, f"{block}.conv2.conv", 1) if k == 2 else x
        x = x + p[f"{block}.noise{k}.weight_orig"] * np.sqrt(2 / CHANNELS) * noise
        x = lrelu(x)
        x = x - x.mean((2, 3), keepdims=True)
        x = x / np.sqrt((x**2).mean((2, 3), keepdims=True) + 1e-5)
        style = dense(w, p, f"{block}.adain{k}.style.linear").reshape(len(w), 2, CHANNELS, 1, 1)
        x = style[:, 0] * x + style[:, 1]
    return conv(x, p, "generator.to_rgb.0.conv", 0)


def numpy_score(p, image, label):
    """At 4 px: the last levels of the lists."""
    x = lrelu(conv(image, p, "from_rgb.8.0.conv", 0))
    deviation = np.sqrt(x.var(0) + 1e-8).mean()
    x = np.concatenate([x, np.full_like(x[:, :1], deviation)], axis=1)
    x = lrelu(conv(x, p, "progression.8.conv1.0.conv", 1))
    x = lrelu(conv(x, p, "progression.8.conv2.0.conv", 0)).reshape(len(x), -1)
    scores = dense(x, p, "linear.linear")
    return (scores * label).sum(1, keepdims=True)


def assert_within(ours, exact, bar=1e-6):
    assert ours.shape == exact.shape and ours.dtype == exact.dtype
    assert np.abs(ours - exact).max() <= bar * np.abs(exact).max()


def test_generator_in_float64_is_the_papers(float64):
    network, rng = in_float64(generator()), np.random.default_rng(RNG_SEED)
    z, label = rng.standard_normal((4, CODE)), one_hot(2, 0, 1, 2, dtype="float64")
    noise, p = rng.standard_normal((4, 1, 4, 4)), arrays_of(network)
    w = numpy_mapping(p, z, label)
    assert_within(network.mapping(jt.array(z), jt.array(label)).numpy(), w)
    image = network(jt.array(z), [jt.array(noise)], 0, label=jt.array(label)).numpy()
    assert_within(image, numpy_image(p, w, noise))


def test_discriminator_in_float64_is_the_papers(float64):
    network, rng = in_float64(discriminator()), np.random.default_rng(RNG_SEED)
    image, label = rng.standard_normal((4, 3, 4, 4)), one_hot(2, 0, 1, 2, dtype="float64")
    score = network(jt.array(image), 0, label=jt.array(label)).numpy()
    assert_within(score, numpy_score(arrays_of(network), image, label))


def test_without_an_embedding_z_stands_beside_zeros():
    network, rng = generator(), np.random.default_rng(RNG_SEED)
    network.label.weight.update(jt.zeros((LABELS, CODE)))
    z = rng.standard_normal((3, CODE)).astype("float32")
    beside = jt.array(np.concatenate([z, np.zeros_like(z)], axis=1))
    unconditional = network.style(beside).numpy()
    for numbers in ((0, 1, 2), (2, 2, 2)):
        assert (
            network.mapping(jt.array(z), jt.array(one_hot(*numbers))).numpy() == unconditional
        ).all()


def test_two_latents_to_mix_share_their_label():
    network, rng = generator(), np.random.default_rng(RNG_SEED)
    z = [jt.array(rng.standard_normal((2, CODE)).astype("float32")) for _ in range(2)]
    noise = [jt.zeros((2, 1, size, size)) for size in (4, 8)]
    label = jt.array(one_hot(1, 2))
    mixed = network(z, noise, 1, crossover=0, label=label).numpy()
    styles = [network.mapping(x, label) for x in z]
    assert np.abs(mixed - network.synthesis(styles, noise, 1).numpy()).max() < 1e-5


def test_only_the_output_of_a_label_gets_a_gradient():
    network, rng = discriminator(), np.random.default_rng(RNG_SEED)
    image = jt.array(rng.standard_normal((3, 3, 8, 8)).astype("float32"))
    score = network(image, 1, label=jt.array(one_hot(2, 0, 2)))
    linear = network.linear.linear
    weight, bias = (g.numpy() for g in jt.grad(score.sum(), [linear.weight_orig, linear.bias]))
    assert (bias == [1, 0, 2]).all()
    assert (weight[1] == 0).all() and (np.abs(weight[[0, 2]]).max(axis=1) > 0).all()


def test_only_the_embedding_of_a_label_gets_a_gradient():
    network, rng = generator(), np.random.default_rng(RNG_SEED)
    z = jt.array(rng.standard_normal((3, CODE)).astype("float32"))
    w = network.mapping(z, jt.array(one_hot(2, 0, 2)))
    gradient = jt.grad(w.sum(), network.label.weight).numpy()
    assert (gradient[1] == 0).all() and (np.abs(gradient[[0, 2]]).max(axis=1) > 0).all()


def slope_along(function, parameters, directions, h=1e-5):
    """(f(p + h d) - f(p - h d)) / 2h, in float64."""
    start = [p.numpy().copy() for p in parameters]
    values = []
    for sign in (1, -1):
        for p, x, d in zip(parameters, start, directions):
            p.update(jt.array(x + sign * h * d))
        values.append(function().item())
    for p, x in zip(parameters, start):
        p.update(jt.array(x))
    return (values[0] - values[1]) / (2 * h)


def assert_slope(function, parameters):
    rng = np.random.default_rng(3)
    directions = [rng.standard_normal(p.shape) for p in parameters]
    gradients = [g.numpy() for g in jt.grad(function(), parameters)]
    ours = sum((g * d).sum() for g, d in zip(gradients, directions))
    exact = slope_along(function, parameters, directions)
    assert abs(ours - exact) <= 1e-5 * abs(exact) and abs(exact) > 1e-3


def test_second_derivatives_by_finite_differences(float64):
    """Of R1 with labels in all weights; of the images' change with z in the embedding."""
    label = jt.array(one_hot(1, 2, 1, dtype="float64"))
    rng = np.random.default_rng(RNG_SEED)
    score, image = in_float64(discriminator()), jt.array(rng.standard_normal((3, 3, 4, 4)))

    def penalty():
        gradient = jt.grad(score(image, 0, label=label).sum(), image)
        return (gradient * gradient).sum()

    used = used_parameters(score, 0)
    del used["linear.linear.bias"]  # no image's gradient depends on it
    assert_slope(penalty, list(used.values()))
    network = in_float64(generator())
    z, along = (jt.array(rng.standard_normal((3, CODE))) for _ in range(2))

    def change():
        gradient = jt.grad((network.mapping(z, label) * along).sum(), z)
        return (gradient * gradient).sum()

    assert_slope(change, [network.label.weight])


# By fewer operators


@pytest.mark.parametrize("step, alpha", [(0, None), (1, 0.3)])
def test_fast_generator(step, alpha):
    shapes = [(2, CODE), *((2, 1, 4 * 2**i, 4 * 2**i) for i in range(step + 1))]

    def call(network, z, *noise):
        return network(z, list(noise), step, alpha, label=jt.array(one_hot(2, 0)))

    compare(lambda: StyledGenerator(CODE, 2, 3, labels=LABELS), shapes, call)


@pytest.mark.parametrize("step, alpha", [(0, None), (1, 0.3)])
def test_fast_discriminator(step, alpha):
    def call(network, x):
        return network(x, step, alpha, jt.array(one_hot(2, 0, 2)))

    shapes = [(3, 3, 4 * 2**step, 4 * 2**step)]
    compare(lambda: Discriminator(channel_max=3, labels=LABELS), shapes, call)


# Names, and what is refused


def test_parameters_without_labels_have_the_names_that_they_had():
    for build in (StyledGenerator, Discriminator):
        without, none = build(channel_max=4), build(channel_max=4, labels=0)
        assert arrays_of(without).keys() == arrays_of(none).keys()
    conditional = StyledGenerator(CODE, 2, CHANNELS, labels=LABELS)
    more = arrays_of(conditional).keys() - arrays_of(StyledGenerator(CODE, 2, CHANNELS)).keys()
    assert more == {"label.weight"}
    assert conditional.label.weight.shape == [LABELS, CODE]
    assert conditional.style[1].linear.weight_orig.shape == [CODE, 2 * CODE]
    assert "label.weight" in frozen_parameters(conditional, ["mapping"])
    assert discriminator().linear.linear.weight_orig.shape == [LABELS, CHANNELS]


MADE = pytest.mark.parametrize("made", [lambda network: network, accelerate], ids=["plain", "fast"])


@pytest.mark.parametrize("labels", [0, LABELS])
@pytest.mark.parametrize("n_mlp", [0, 1, 3])
def test_as_many_layers_as_asked_for(labels, n_mlp):
    """The first alone takes what is beside z."""
    network = StyledGenerator(CODE, n_mlp, 4, labels=labels)
    shapes = [p.shape for name, p in network.named_parameters() if "style" in name[:5]]
    wide = [CODE, 2 * CODE if labels else CODE]
    expected = [wide, *[[CODE, CODE]] * n_mlp][:n_mlp]
    assert [shape for shape in shapes if len(shape) == 2] == expected


@MADE
@pytest.mark.parametrize("shape", [(2, LABELS + 1), (3, LABELS), (2,)])
def test_labels_of_another_shape(made, shape):
    g, d, label = made(generator()), made(discriminator()), jt.zeros(shape)
    z, image = jt.zeros((2, CODE)), jt.zeros((2, 3, 4, 4))
    calls = (
        lambda: g.mapping(z, label),
        lambda: g(z, label=label),
        lambda: d(image, 0, label=label),
    )
    for call in calls:
        with pytest.raises(ValueError, match=r"label: .* \(2, 3\) is due"):
            call()


@MADE
def test_labels_that_are_missing_or_too_much(made):
    g, d = made(generator()), made(discriminator())
    z, image = jt.zeros((2, CODE)), jt.zeros((2, 3, 4, 4))
    for call in (lambda: g.mapping(z), lambda: g(z), lambda: g([z, z], step=1), lambda: d(image)):
        with pytest.raises(TypeError, match="label: no jittor.Var but .*NoneType"):
            call()
    label = jt.zeros((2, LABELS))
    without = made(StyledGenerator(CODE, 1, 4)), made(Discriminator(channel_max=4))
    for call in (lambda: without[0](z, label=label), lambda: without[1](image, 0, label=label)):
        with pytest.raises(ValueError, match="label: .* to a network without labels"):
            call()
