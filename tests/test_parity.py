"""Our networks and our training iteration against numbers recorded from the PyTorch original.

Every tensor is drawn from a generator seeded with its name; the recorded values are float64 (see
tests/recorded/README.md). The layers as written in model.py are compared in float64, which no
chance of rounding disturbs; what fast.py makes of them in float32, as it trains.
"""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest

from backend import device

jt = device.load()

from fast import accelerate  # noqa: E402
from model import Discriminator, StyledGenerator  # noqa: E402
from training.losses import LOSSES  # noqa: E402
from training.parameters import assign, used_parameters  # noqa: E402
from training.run import TrainState  # noqa: E402
from training.schedule import Config, Phase  # noqa: E402

DATA = Path(__file__).parent / "recorded"
FORWARD = np.load(DATA / "parity_forward_gradients.npz")
TRAINING = np.load(DATA / "parity_training.npz")
KEYS = json.loads((DATA / "state_dict_keys.json").read_text())
STEPS = (0, 1, 2, 3, 5)  # those whose gradients were recorded
EXACT, ROUNDED = 1e-9, 2e-7  # of what was recorded in float64, and in float32


def drawn(name, shape):
    seed = zlib.crc32(name.encode()) % 2**32
    return np.random.RandomState(seed).standard_normal(shape)


def named(name, shape):
    return drawn(name, shape).astype("float32")


def named_parameter(name, shape):
    """As the recording had them: rounded to float32 once, at the end. Rounded twice, biases are off
    by 1e-8, which Adam, dividing by a gradient that nearly vanishes, made 2e-6 of.
    """
    value = drawn(name, shape)
    if ".adain" in name and name.endswith("style.linear.bias"):
        value = np.repeat([1.0, 0.0], shape[0] // 2) + 0.1 * value
    elif name.endswith("bias") or ("noise" in name and name.endswith("weight_orig")):
        value = 0.1 * value
    return value.astype("float32")


def fill(module, prefix):
    """Replaces the parameters by those of the recording."""
    parameters = dict(module.named_parameters())
    assign(
        parameters, {k: named_parameter(prefix + k, tuple(p.shape)) for k, p in parameters.items()}
    )
    return module


def precision(module):
    return str(next(iter(module.parameters())).dtype)


def var(name, shape, module):
    """The array of that name in a network's precision."""
    return jt.array(named(name, shape).astype(precision(module)))


def noise(case, step, n, module):
    shapes = [(n, 1, 4 * 2**i, 4 * 2**i) for i in range(step + 1)]
    return [var(f"{case}.noise.{i}", shape, module) for i, shape in enumerate(shapes)]


def images(name, n, step):
    return np.float32(0.5) * named(name, (n, 3, 4 * 2**step, 4 * 2**step))


def probe(prefix, key, array):
    """[norm, dot product with the direction that belongs to the name], in float64"""
    a = array.astype("float64")
    direction = named("probe." + prefix + key, a.shape).astype("float64")
    return np.array([np.linalg.norm(a), np.sum(a * direction)])


def assert_close_to_largest(ours, recorded, bar):
    assert ours.shape == recorded.shape
    assert np.abs(ours - recorded).max() <= bar * np.abs(recorded).max()


def assert_scalar(ours, key, bar, data=FORWARD):
    """Relative, or 4 times what float32 did to the reference itself."""
    recorded = float(data[key])
    own_error = abs(float(data[key + "|f32"]) - recorded)
    assert abs(float(ours) - recorded) <= max(bar * abs(recorded), 4 * own_error)


def assert_probes(gradients, stem, prefix, norm_bar=5e-3, direction_bar=2e-2, slack=1e-3):
    """Norm and direction relative to the norm, or both to the case's largest norm."""
    recorded = {k: FORWARD[f"{stem}/{prefix}{k}"] for k in gradients}
    assert len(recorded) == sum(k.startswith(stem + "/") and "|" not in k for k in FORWARD.files)
    slack *= max(r[0] for r in recorded.values())
    for key, g in gradients.items():
        ours, (norm, dot) = probe(prefix, key, g), recorded[key]
        assert abs(ours[0] - norm) <= max(norm_bar * norm, slack), key
        assert abs(ours[1] - dot) <= max(direction_bar * norm, slack), key


def in_float64(module):
    for p in module.parameters():
        p.update(p.float64())
    return module


@pytest.fixture(scope="module")
def generator():
    return accelerate(fill(StyledGenerator(), "G."))


@pytest.fixture(scope="module")
def discriminator():
    return accelerate(fill(Discriminator(), "D."))


@pytest.fixture
def plain_generator(float64):
    return in_float64(fill(StyledGenerator(), "G."))


@pytest.fixture
def plain_discriminator(float64):
    return in_float64(fill(Discriminator(), "D."))


@pytest.mark.parametrize(
    "name, build",
    [
        ("StyledGenerator", StyledGenerator),
        ("Discriminator", Discriminator),
        ("Discriminator(from_rgb_activate=False)", lambda: Discriminator(from_rgb_activate=False)),
    ],
)
def test_parameter_names_and_shapes(name, build):
    ours = {k: list(p.shape) for k, p in build().named_parameters()}
    assert ours == KEYS[name]["parameters"]


def compare_mapping(generator, bar):
    z = var("z", (2, 512), generator)
    assert_close_to_largest(generator.mapping(z).numpy(), FORWARD["mapping"], bar)
    mean = generator.mean_style(var("zmean", (64, 512), generator))
    assert_close_to_largest(mean.numpy(), FORWARD["mean_style"], bar)


def test_mapping(generator):
    compare_mapping(generator, 2e-5)


def test_mapping_in_float64(plain_generator):
    compare_mapping(plain_generator, EXACT)


def compare_image(generator, key, bar):
    _, step, case = key.split("/")
    step = int(step[4:])
    z, z2 = (var(name, (2, 512), generator) for name in ("z", "z2"))
    options = {"noise": noise(f"gen{step}", step, 2, generator), "step": step, "alpha": 1}
    if case.startswith("alpha"):
        options["alpha"] = float(case[5:])
    else:
        options["mean_style"] = jt.array(FORWARD["mean_style"].astype(precision(generator)))
        options["style_weight"] = 0.7
    if case == "mix0-1":
        z, options["mixing_range"] = [z, z2], (0, 1)
    with jt.no_grad():
        image = generator(z, **options).numpy()
    assert_close_to_largest(image, FORWARD[key], bar)


IMAGES = [k for k in FORWARD.files if k.startswith("gen/") and "|" not in k]


@pytest.mark.parametrize("key", IMAGES)
def test_images(generator, key):
    compare_image(generator, key, 2e-5)


def test_images_in_float64(plain_generator):
    for key in IMAGES:
        compare_image(plain_generator, key, ROUNDED)


def compare_scores(discriminator, activate, bar, own_errors):
    keys = [k for k in FORWARD.files if k.startswith(f"dis/activate{activate}/") and "|" not in k]
    assert len(keys) == 11
    for key in keys:
        _, _, step, alpha = key.split("/")
        step, alpha = int(step[4:]), float(alpha[5:])
        image = images(f"dis{step}", 4, step).astype(precision(discriminator))
        with jt.no_grad():
            score = discriminator(jt.array(image), step, alpha).numpy()
        recorded = FORWARD[key]  # where it is nearly 0, float32 costs the reference itself more
        own_error = np.abs(FORWARD[key + "|f32"] - recorded).max() / np.abs(recorded).max()
        assert_close_to_largest(score, recorded, max(bar, own_errors * own_error))


@pytest.mark.parametrize("activate", [1, 0])
def test_scores(discriminator, activate):
    other = Discriminator(from_rgb_activate=False)
    d = discriminator if activate else accelerate(fill(other, "D."))
    compare_scores(d, activate, 2e-5, own_errors=4)


@pytest.mark.parametrize("activate", [1, 0])
def test_scores_in_float64(float64, activate):
    d = in_float64(fill(Discriminator(from_rgb_activate=bool(activate)), "D."))
    compare_scores(d, activate, EXACT, own_errors=0)


def penalty_and_gradients(discriminator, kind, step):
    """The penalty, and its gradient by parameter name: second derivatives of the scores."""
    n, alpha = (2 if step == 5 else 4), (0.6 if step else 1)
    real, fake = (jt.array(images(f"grad{step}.{name}", n, step)) for name in ("real", "fake"))
    eps = jt.array(FORWARD[f"gp/step{step}/eps"].astype(precision(discriminator)))
    real, fake = (x.cast(precision(discriminator)) for x in (real, fake))
    loss, _ = LOSSES["r1" if kind == "r1" else "wgan-gp"]
    penalty = loss(lambda x, _: discriminator(x, step, alpha), real, fake, eps=eps)[2]
    used = used_parameters(discriminator, step, alpha)
    gradients = dict(zip(used, (g.numpy() for g in jt.grad(penalty, list(used.values())))))
    # The last bias shifts every score alike: no penalty depends on it, and the original has no
    # gradient there.
    del gradients["linear.linear.bias"]
    return penalty.item(), gradients


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["r1", "gp"])
def test_penalty_and_second_derivatives(discriminator, kind, step):
    """In float32, where one leaky ReLU that falls on the other side of its kink may cost the fourth
    digit: which do depends on the order of the sums, and so on the machine.
    """
    penalty, gradients = penalty_and_gradients(discriminator, kind, step)
    assert_scalar(penalty, f"{kind}/step{step}/penalty", 2e-3)
    assert_probes(gradients, f"{kind}/step{step}/d_grad", "D.")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("kind", ["r1", "gp"])
def test_penalty_and_second_derivatives_in_float64(plain_discriminator, kind, step):
    penalty, gradients = penalty_and_gradients(plain_discriminator, kind, step)
    recorded = float(FORWARD[f"{kind}/step{step}/penalty"])
    assert abs(penalty - recorded) <= EXACT * recorded
    assert_probes(gradients, f"{kind}/step{step}/d_grad", "D.", ROUNDED, ROUNDED, ROUNDED)


@pytest.mark.parametrize("step", STEPS)
def test_image_gradient(discriminator, step):
    n, alpha = (2 if step == 5 else 4), (0.6 if step else 1)
    real = jt.array(images(f"grad{step}.real", n, step))
    gradient = jt.grad(discriminator(real, step, alpha).sum(), real).numpy()
    recorded = FORWARD[f"r1/step{step}/image_gradient"]
    assert np.linalg.norm(gradient - recorded) <= 2e-2 * np.linalg.norm(recorded)


def loss_and_gradients(generator, discriminator, step):
    """The generator's loss, and its gradient by parameter name."""
    n, alpha = (2 if step == 5 else 4), (0.6 if step else 1)
    z, maps = var(f"grad{step}.z", (n, 512), generator), noise(f"grad{step}", step, n, generator)
    image = generator(z, noise=maps, step=step, alpha=alpha)
    loss = LOSSES["r1"][1](discriminator(image, step, alpha))
    used = used_parameters(generator, step, alpha)
    gradients = dict(zip(used, (g.numpy() for g in jt.grad(loss, list(used.values())))))
    return loss.item(), gradients


@pytest.mark.parametrize("step", STEPS)
def test_generator_gradients(generator, discriminator, step):
    loss, gradients = loss_and_gradients(generator, discriminator, step)
    assert_scalar(loss, f"g/step{step}/loss", 1e-5)
    assert_probes(gradients, f"g/step{step}/g_grad", "G.")


@pytest.mark.parametrize("step", STEPS)
def test_generator_gradients_in_float64(plain_generator, plain_discriminator, step):
    loss, gradients = loss_and_gradients(plain_generator, plain_discriminator, step)
    recorded = float(FORWARD[f"g/step{step}/loss"])
    assert abs(loss - recorded) <= EXACT * recorded
    assert_probes(gradients, f"g/step{step}/g_grad", "G.", ROUNDED, ROUNDED, ROUNDED)


def recorded_run(loss, plain=False):
    """Our TrainState with the recording's parameters."""
    run = TrainState(Config(loss=loss, mixing=True), plain)
    fill(run.generator, "G.")
    fill(run.discriminator, "D.")
    fill(run.running, "G.")
    return run


def train_iteration(run, loss, i):
    """Iteration i of the recording -> [D real, D fake, penalty, G]"""
    step, alpha = TRAINING[f"train/{loss}/plan"][i]
    step = int(step)
    phase = Phase(4 * 2**step, step, float(alpha), 4, 0.001, 0)
    crossover = i % step if i % 2 else None
    module, dtype = run.generator, precision(run.generator)
    latents = {
        part: [var(f"train{i}.{part}{x}", (4, 512), module) for x in ("ab" if i % 2 else "a")]
        for part in ("z1", "z2")
    }
    eps = np.random.RandomState(i).uniform(size=(4, 1, 1, 1)).astype(dtype)
    real = images(f"train{i}.real", 4, step).astype(dtype)
    d_noise, g_noise = (noise(f"train{i}.{part}", step, 4, module) for part in "dg")
    d = run.discriminator_step(phase, real, latents["z1"], crossover, d_noise, eps)
    g = run.generator_step(phase, latents["z2"], crossover, g_noise)
    run.average_generator(4)
    run.finish_iteration(4)
    return np.array([*(x.item() for x in d), g.item()])


def compare_training(run, loss, loss_bars, parameter_bars):
    """Iterations of the reference's loop, the growth to 16 px included.

    loss_bars: by iteration, relative to its largest loss; parameter_bars: {iteration: relative to
    the norm}.
    """
    parts = (("G.", run.generator), ("D.", run.discriminator), ("E.", run.running))
    for i in range(5):
        losses, recorded = train_iteration(run, loss, i), TRAINING[f"train/{loss}/iter{i}/losses"]
        if i < len(loss_bars):
            assert np.abs(losses - recorded).max() <= loss_bars[i] * np.abs(recorded).max(), i
        for prefix, module in parts if i in parameter_bars else ():
            for key, p in module.named_parameters():
                ours = probe(prefix, key, p.numpy())
                theirs = TRAINING[f"train/{loss}/iter{i}/{prefix}{key}"]
                assert np.abs(ours - theirs).max() <= parameter_bars[i] * theirs[0], (i, key)


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_training_in_float64(float64, loss):
    run = recorded_run(loss, plain=True)
    for module in (run.generator, run.discriminator, run.running):
        in_float64(module)
    compare_training(run, loss, [1e-8] * 5, {3: ROUNDED, 4: ROUNDED})


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_training(loss):
    """In float32. One leaky ReLU of each run falls on the other side of its kink than in float64,
    which shows as a jump from iteration 2 (r1) or 0 (wgan-gp) on: it stays the same when sums are
    taken in another order, and float64 does not have it.
    """
    compare_training(recorded_run(loss), loss, [1e-3, 1e-3, 5e-3, 5e-3], {3: 5e-3, 4: 5e-3})
