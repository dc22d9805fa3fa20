"""What goes into the networks, plain and fast, and what does not."""

import numpy as np
import pytest

from fast import accelerate
from model import Blur, Discriminator, EqualConv2d, FusedUpsample, StyledGenerator, Upsample, jt, nn

CODE = 8


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


@pytest.mark.parametrize("made", [lambda x: x, accelerate], ids=["plain", "fast"])
@pytest.mark.parametrize(
    "layers",
    [
        lambda: [Upsample(), EqualConv2d(3, 5, 3, blur=Blur())],
        lambda: [FusedUpsample(3, 5, blur=Blur())],
    ],
    ids=["up", "fused up"],
)
def test_a_bias_after_the_blur(layers, made):
    """The whole bias everywhere, the borders too; derivatives, the second by the product rule."""
    layers = made(nn.Sequential(*layers()))
    bias = next(p for name, p in layers.named_parameters() if name.endswith("bias"))
    bias.update(jt.array(draw(5)))
    x = jt.array(draw(2, 3, 4, 6))
    y = layers(x)
    kept = bias.clone()
    bias.update(jt.zeros(5))
    np.testing.assert_allclose(
        y.numpy(), layers(x).numpy() + kept.numpy().reshape(1, 5, 1, 1), atol=1e-5
    )
    a = draw(*y.shape)
    u = jt.grad((jt.array(a) * layers(x) ** 2).sum() / 2, bias)  # sum of a y, linear in the bias
    np.testing.assert_allclose(u.numpy(), (a * layers(x).numpy()).sum((0, 2, 3)), rtol=1e-4)
    second = jt.grad((u * u).sum() / 2, bias).numpy()
    np.testing.assert_allclose(second, u.numpy() * a.sum((0, 2, 3)), rtol=1e-4)


# What goes in


@pytest.fixture(scope="module", params=["plain", "fast"])
def networks(request):
    """A generator and a discriminator that raise if a level of theirs is reached."""
    made = accelerate if request.param == "fast" else lambda network: network
    return made(StyledGenerator(CODE, 1, 4)), made(Discriminator(channel_max=4))


@pytest.fixture
def nothing_reached(networks, monkeypatch):
    def reached(*_):
        raise AssertionError("a layer is reached")

    generator, discriminator = networks
    layers = [*generator.generator.progression, *discriminator.progression]
    for layer in [*layers, *discriminator.from_rgb]:
        monkeypatch.setattr(layer, "execute", reached, raising=False)


def noise_maps(n, step, maps=1):
    return [jt.zeros((n, maps, 4 * 2**i, 4 * 2**i)) for i in range(step + 1)]


def other(shape, bound, rng):
    """A shape that is another one: of more or fewer axes, empty, or with one of the bound axes of
    another size.
    """
    shape, change = list(shape), rng.integers(4)
    if change == 0:
        del shape[rng.integers(len(shape))]
    elif change == 1:
        shape.insert(int(rng.integers(len(shape) + 1)), int(rng.choice([3, 7])))
        shape = shape if len(shape) > 3 else [3, *shape, 3]
    elif change == 2:
        shape[rng.integers(len(shape))] = 0
    else:
        shape[rng.choice(bound)] += int(rng.integers(1, 9))
    return shape


def wrong(shape, bound, rng):
    """Something else than a Var (of floats) of that shape, with its shape and dtype in words."""
    kind = rng.integers(6)
    if kind == 0:
        x = jt.zeros(shape, str(rng.choice(["int32", "uint8", "bool"])))
    elif kind == 1:
        x = np.zeros(shape, "float32")
    else:
        x = jt.zeros(other(shape, bound, rng))
    return x, f"{x.dtype} {tuple(x.shape)}"


def wrong_calls(networks, rng):
    """One call for each place at which something can be wrong: what is said of it, the call."""
    generator, discriminator = networks
    n, step = int(rng.integers(2, 5)), int(rng.integers(1, 5))
    size, level = 4 * 2**step, int(rng.integers(step + 1))
    z, noise = jt.zeros((n, CODE)), noise_maps(n, step)
    x, said = wrong((n, CODE), [1], rng)
    yield said, lambda: generator.mapping(x)
    yield said, lambda: generator.mean_style(x)
    yield said, lambda: generator(x, step=step)
    yield said, lambda: generator(x, noise, step)
    yield said, lambda: generator.synthesis(x, step=step)
    x1, said1 = wrong((n, CODE), [0, 1], rng)
    yield said1, lambda: generator([z, x1], noise, step)
    yield (
        said1,
        lambda: generator.synthesis(
            [x1 if i == level else z for i in range(step + 1)]
            if level
            else [z, x1] + [z] * (step - 1),
            step=step,
        ),
    )
    yield said1, lambda: generator(z, noise, step, mean_style=x1, style_weight=0.7)
    w, said_w = wrong((n, step + 1, CODE), [1, 2], rng)
    if w.ndim != 2 or w.shape[1] != CODE or not isinstance(w, jt.Var):
        yield said_w, lambda: generator.synthesis(w, step=step)
    a_map, said_map = wrong(noise[level].shape, [0, 1, 2, 3], rng)
    if not (isinstance(a_map, jt.Var) and list(a_map.shape[1:2]) == [2] and a_map.ndim == 4):
        maps = [a_map if i == level else x for i, x in enumerate(noise)]
        yield said_map, lambda: generator.synthesis(z, maps, step)
        yield said_map, lambda: generator.generator([z] * (step + 1), maps, step)
    images, said_images = wrong((n, 3, size, size), [1, 2, 3], rng)
    yield said_images, lambda: discriminator(images, step)
    yield said_images, lambda: discriminator(images, step, 0.5)


def test_wrong_shapes_are_refused(networks, nothing_reached):
    """Some 1,000 for either kind of networks, each with what was given and what is due."""
    rng, count = np.random.default_rng(0), 0
    for _ in range(80):
        for said, call in wrong_calls(networks, rng):
            with pytest.raises((TypeError, ValueError)) as error:
                call()
            given, due = str(error.value).split(" was given, ")
            assert given.endswith(said) and due.startswith("float16 or float32 or float64 (")
            count += 1
    assert count >= 900


CALLS = {
    "no step": lambda g, d, z: g.synthesis(z, step=-1),
    "a step too large": lambda g, d, z: g.synthesis(z, step=9),
    "half a step": lambda g, d, z: g(z, step=1.5),
    "a step in words": lambda g, d, z: g(z, step="3"),
    "two latents and no step": lambda g, d, z: g([z, z], step=-1),
    "no step of noise": lambda g, d, z: g.draw_noise(2, 9),
    "no images": lambda g, d, z: g.draw_noise(0, 1),
    "images below 0": lambda g, d, z: g.draw_noise(-2, 1),
    "no step of images": lambda g, d, z: d(jt.zeros((2, 3, 4, 4)), -1),
    "images of a step too large": lambda g, d, z: d(jt.zeros((2, 3, 4, 4)), 9),
    "alpha NaN": lambda g, d, z: g(z, step=1, alpha=float("nan")),
    "alpha NaN of images": lambda g, d, z: d(jt.zeros((2, 3, 8, 8)), 1, np.float32("nan")),
    "alpha of each": lambda g, d, z: g.synthesis(z, step=1, alpha=jt.zeros((2, 1))),
    "alpha in words": lambda g, d, z: d(jt.zeros((2, 3, 8, 8)), 1, "0.5"),
    "no latents": lambda g, d, z: g([], step=1),
    "three latents": lambda g, d, z: g([z, z, z], step=1),
    "no latent": lambda g, d, z: g(None, step=1),
    "no styles": lambda g, d, z: g.synthesis([], step=1),
    "styles for fewer levels": lambda g, d, z: g.synthesis([z, z], step=2),
    "styles for more levels": lambda g, d, z: g.synthesis([z, z, z], step=1),
    "w for fewer levels": lambda g, d, z: g.synthesis(jt.zeros((2, 2, CODE)), step=2),
    "one w for all levels": lambda g, d, z: g.generator(z, noise_maps(2, 1), 1),
    "noise for fewer levels": lambda g, d, z: g(z, noise_maps(2, 1), 2),
    "one noise for all levels": lambda g, d, z: g(z, jt.zeros((2, 1, 8, 8)), 1),
    "noise (n, 1, 1, 1)": lambda g, d, z: g(z, [jt.zeros((2, 1, 1, 1))] * 2, 1),
    "three noise maps": lambda g, d, z: g(z, noise_maps(2, 1, 3), 1),
    "noise for other images": lambda g, d, z: g(z, noise_maps(3, 1), 1),
    "one channel": lambda g, d, z: d(jt.zeros((2, 1, 8, 8)), 1),
    "four channels": lambda g, d, z: d(jt.zeros((2, 4, 8, 8)), 1),
    "images of another step": lambda g, d, z: d(jt.zeros((2, 3, 8, 8)), 2),
}


MIXINGS = {
    "range beyond the levels": {"mixing_range": (0, 9)},
    "range below them": {"mixing_range": (-2, 1)},
    "range backwards": {"mixing_range": (2, 1)},
    "half a level": {"mixing_range": (0.5, 1)},
    "range of three": {"mixing_range": (0, 1, 2)},
    "range in words": {"mixing_range": "01"},
    "no range": {"mixing_range": None},
    "range of NaN": {"mixing_range": (0, float("nan"))},
    "crossover beyond the step": {"crossover": 9},
    "crossover below 0": {"crossover": -5},
    "half a crossover": {"crossover": 0.5},
    "crossover in words": {"crossover": "1"},
    "weight NaN": {"style_weight": float("nan")},
    "weight infinite": {"style_weight": -float("inf")},
    "weight in words": {"style_weight": "0.7"},
    "weight of each": {"style_weight": [0.7, 0.5]},
    "no weight": {"style_weight": None},
}


@pytest.mark.parametrize("options", MIXINGS)
def test_wrong_mixtures_are_refused(networks, nothing_reached, options):
    """With two latents, where they count, and with one; argument and value are named."""
    (name, value), z = *MIXINGS[options].items(), jt.zeros((2, CODE))
    for latents in ([z, z], z):
        with pytest.raises((TypeError, ValueError)) as error:
            networks[0](latents, step=2, **{name: value})
        said = str(error.value)
        assert said.startswith(f"{name}: {value!r} was given, ") and said.endswith(" due"), said


def test_two_latents_at_4x4_need_a_range(networks, nothing_reached):
    with pytest.raises(ValueError, match="mixing_range: none was given.*4x4"):
        networks[0]([jt.zeros((2, CODE))] * 2)


WRONG = {
    StyledGenerator: {
        "code_dim": [-1, 0, 8.0, "8"],
        "n_mlp": [-1, 1.5, None],
        "channel_max": [0, -4, "8", 4.5],
        "noise_maps": [0, 3, "1"],
        "norm_eps": [-1, float("nan"), "1e-5", None],
        "bias_after_blur": [2, "no"],
    },
    Discriminator: {"channel_max": [0, "8", 1.5], "stddev_group": [-1, 0.5, "4"]},
}


@pytest.mark.parametrize("network", WRONG)
def test_networks_that_cannot_be(network):
    for name, values in WRONG[network].items():
        for value in values:
            with pytest.raises((TypeError, ValueError)) as error:
                network(**{name: value})
            said = str(error.value)
            given = (f"{name}: {value} was given, ", f"{name}: {value!r} was given, ")
            assert said.startswith(given) and said.endswith(" is due"), said


@pytest.mark.parametrize("value", [None, StyledGenerator, "G", 3], ids=str)
def test_no_network_to_accelerate(value):
    with pytest.raises(TypeError, match=r"network: \w+ was given, a network.* is due"):
        accelerate(value)


def test_mixtures_of_all_kinds_compute(networks):
    """The first and the last of what is allowed: styles of the first latent, of the second."""
    generator, rng = networks[0], np.random.default_rng(0)
    z = [jt.array(rng.standard_normal((2, CODE)).astype("float32")) for _ in range(2)]
    noise, step = noise_maps(2, 1), 1
    first, second = (generator(x, noise, step).numpy() for x in z)
    for options, images in (
        ({"crossover": 1}, first),
        ({"crossover": np.int64(1), "style_weight": np.float32(0.5)}, first),
        ({"mixing_range": (0, 8)}, second),
        ({"mixing_range": [np.int64(0), 1]}, second),
        ({"mixing_range": (2, 8)}, first),
    ):
        found = generator(z, noise, step, **options).numpy()
        np.testing.assert_allclose(found, images, atol=1e-4)
    mixed = generator(z, noise, step, crossover=0).numpy()
    assert (mixed == generator(z, noise, step, mixing_range=(1, 1)).numpy()).all()
    assert all(np.abs(mixed - images).max() > 0.01 for images in (first, second))


@pytest.mark.parametrize("call", CALLS)
def test_wrong_calls_are_refused(networks, nothing_reached, call):
    with pytest.raises((TypeError, ValueError), match=" given, .* due"):
        CALLS[call](*networks, jt.zeros((2, CODE)))


def test_styles_in_one_array(networks):
    """w (n, levels, code_dim), as projector.py writes it, is the list of its levels; where they
    are all the same, it is one w.
    """
    generator, rng = networks[0], np.random.default_rng(0)
    w = jt.array(rng.standard_normal((2, 3, CODE)).astype("float32"))
    noise = [jt.array(rng.standard_normal(x.shape).astype("float32")) for x in noise_maps(2, 2)]
    images = [
        generator.synthesis(styles, noise, 2).numpy()
        for styles in (w, [*map(w.__getitem__, LEVELS)])
    ]
    assert (images[0] == images[1]).all()
    same = w[:, :1].broadcast([2, 3, CODE])
    images = [generator.synthesis(styles, noise, 2).numpy() for styles in (same, w[:, 0])]
    assert (images[0] == images[1]).all()


LEVELS = [(slice(None), level) for level in range(3)]


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("n", [1, 2])
def test_right_shapes_compute(networks, maps, n):
    """Noise for each image or for all of them, one map a level or two."""
    generator, discriminator = networks
    noise = [jt.randn(x.shape) for x in noise_maps(n, 1, maps)]
    image = generator(jt.randn(2, CODE), noise, 1, 0.5, jt.zeros((n, CODE)), 0.7)
    assert image.shape == [2, 3, 8, 8]
    assert np.isfinite(discriminator(image, 1, np.float32(0.5)).numpy()).all()


def test_a_network_in_float64():
    """It takes float32 too, as written, and gives float64; accelerated it gives the same."""
    found = []
    for made in (lambda network: network, accelerate):
        network, rng = made(StyledGenerator(CODE, 1, 4)), np.random.default_rng(0)
        for p in network.parameters():
            p.update(jt.array(rng.standard_normal(p.shape).astype("float32")).float64())
        image = network(jt.array(draw(2, CODE)), [jt.array(draw(2, 1, 4, 4))])
        assert image.dtype == "float64"
        found.append(image.numpy())
    assert np.abs(found[0] - found[1]).max() <= 1e-5 * np.abs(found[0]).max()
