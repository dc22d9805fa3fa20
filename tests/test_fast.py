"""fast.py against model.py as written: every pattern, every block, both networks; and that whoever
changes a layer gets what he has written.

Values, gradients and second derivatives agree to 5e-6 of the largest. The inputs are drawn until no
leaky ReLU stands within 1e-4 of its kink, where rounding would decide about a slope.
"""

import copy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fast
import model
from fast import accelerate
from model import (
    AvgPool2d,
    Blur,
    ConstantInput,
    Discriminator,
    EqualConv2d,
    EqualLinear,
    FusedDownsample,
    FusedUpsample,
    LeakyReLU,
    MinibatchStddev,
    PixelNorm,
    StyledConvBlock,
    StyledGenerator,
    Upsample,
    jt,
    nn,
)

ROOT = Path(__file__).resolve().parent.parent
BAR = 5e-6
KINK = 1e-4


class Watched(LeakyReLU):
    """Notes how near its inputs come to the kink."""

    def execute(self, x):
        self.nearest = float(jt.abs(x).min().item())
        return super().execute(x)


def drawn(rng, *shape):
    return rng.standard_normal(shape).astype("float32")


def fill(network, rng):
    """Draws all parameters, the biases and strengths too, which begin at 0."""
    for name, p in network.named_parameters():
        small = name.endswith("bias") or ".noise" in name
        p.update(jt.array((0.3 if small else 1) * drawn(rng, *p.shape)))
    jt.sync_all()
    return network


def away_from_kinks(build, shapes, call):
    """(network, arrays of those shapes) for which no leaky ReLU is near its kink."""
    for seed in range(200):
        rng = np.random.default_rng(seed)
        network, arrays = fill(build(), rng), [drawn(rng, *shape) for shape in shapes]
        watched = copy.deepcopy(network)
        layers = [m for m in watched.modules() if type(m) is LeakyReLU]
        for layer in layers:
            layer.__class__ = Watched
        with jt.no_grad():
            call(watched, *map(jt.array, arrays)).sync()
        if all(layer.nearest > KINK for layer in layers if hasattr(layer, "nearest")):
            return network, arrays
    raise AssertionError("no such inputs in 200 draws")


def derivatives(network, arrays, call):
    """Outputs, first derivatives of sum(a y^2) / 2 and second ones, of a sum of the first in the
    inputs; in the inputs and in all parameters that count.
    """
    rng, inputs = np.random.default_rng(1), [jt.array(x) for x in arrays]
    y = call(network, *inputs)
    a = jt.array(drawn(rng, *y.shape))
    parameters = [p for p in network.parameters() if not p.is_stop_grad()]
    first = jt.grad((a * y * y).sum() / 2, inputs + parameters)
    along = [jt.array(drawn(rng, *x.shape)) for x in inputs]
    total = sum((g * b).sum() for g, b in zip(first, along))
    second = jt.grad(total, inputs + parameters)
    return [[y.numpy()], [g.numpy() for g in first], [g.numpy() for g in second]]


def compare(build, shapes, call=lambda network, x: network(x)):
    """That fast and plain agree. Returns the accelerated network."""
    network, arrays = away_from_kinks(build, shapes, call)
    plain = derivatives(network, arrays, call)
    accelerated = accelerate(copy.deepcopy(network))
    for order, (ours, exact) in enumerate(zip(derivatives(accelerated, arrays, call), plain)):
        largest = max(np.abs(x).max() for x in exact)
        for x, y in zip(ours, exact):
            error = np.abs(x - y).max()
            assert error <= BAR * max(np.abs(y).max(), 0.1 * largest), (order, x.shape, error)
    return accelerated


# Pattern by pattern

LISTS = {
    (Upsample, EqualConv2d, Blur): lambda: [Upsample(), EqualConv2d(3, 5, 3), Blur()],
    (Upsample, EqualConv2d): lambda: [Upsample(), EqualConv2d(3, 5, 3, blur=Blur())],
    (FusedUpsample, Blur): lambda: [FusedUpsample(3, 5), Blur()],
    (FusedUpsample,): lambda: [FusedUpsample(3, 5, blur=Blur())],
    (Blur, EqualConv2d, AvgPool2d, LeakyReLU): lambda: [
        Blur(),
        EqualConv2d(3, 5, 3),
        AvgPool2d(),
        LeakyReLU(),
    ],
    (Blur, FusedDownsample, LeakyReLU): lambda: [Blur(), FusedDownsample(3, 5), LeakyReLU(0.1)],
    (EqualConv2d, LeakyReLU): lambda: [EqualConv2d(3, 5, 1), LeakyReLU(0.3)],
    (EqualLinear, LeakyReLU): lambda: [EqualLinear(6, 5), LeakyReLU()],
    (EqualConv2d,): lambda: [EqualConv2d(3, 5, 3)],
    (EqualLinear,): lambda: [EqualLinear(6, 5)],
    (PixelNorm,): lambda: [PixelNorm()],
    (MinibatchStddev,): lambda: [MinibatchStddev(2)],
    (Upsample,): lambda: [Upsample()],
    (AvgPool2d,): lambda: [AvgPool2d()],
}
OF_LATENTS = (EqualLinear, PixelNorm)


@pytest.mark.parametrize(
    "pattern",
    [*fast.SEQUENCES, *fast.LAYERS],
    ids=lambda pattern: "+".join(layer.__name__ for layer in pattern.layers),
)
def test_pattern(pattern, monkeypatch):
    """And that this one was taken, once for each time that it ran."""
    ran = []

    def function(x, *layers):
        ran.append(layers)
        return pattern.function(x, *layers)

    watched = pattern._replace(function=function)
    rows = tuple(watched if row is pattern else row for row in fast.SEQUENCES)
    monkeypatch.setattr(fast, "SEQUENCES", rows)
    alone = pattern in fast.LAYERS
    if alone:
        monkeypatch.setitem(fast.ACCELERATED, pattern.layers[0], fast.fast_layer(watched))
    shape = (3, 6) if pattern.layers[0] in OF_LATENTS else (4, 3, 4, 6)
    network = compare(lambda: nn.Sequential(*LISTS[pattern.layers]()), [shape])
    assert len(ran) == 1 and len(ran[0]) == len(network)


@pytest.mark.parametrize("bias_after_blur", [False, True])
@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize("step", [0, 1, 5])
def test_block_of_the_generator(step, maps, bias_after_blur):
    size = 4 if step == 0 else 6
    shapes = [(2, 5), (2, maps, size, size)] + ([(2, 4, 3, 3)] if step else [])

    def call(block, w, noise, x=2):
        return block(x, w, noise)

    compare(
        lambda: StyledConvBlock(4, 3 if step else 4, 5, step, 1e-4, bias_after_blur), shapes, call
    )


@pytest.mark.parametrize("step", [0, 1, 5])
def test_block_of_the_discriminator(step):
    shape = (3, 4, 4, 4) if step == 0 else (3, 4, 6, 8)
    compare(lambda: model.ConvBlock(4, 3, step), [shape])


# Network by network, the fused layers from 16 px on instead of 128, where kinks are too many


@pytest.fixture
def fused_early(monkeypatch):
    monkeypatch.setattr(model, "FUSED_FROM", 2)


@pytest.mark.parametrize("step, alpha", [(0, None), (1, 0.3), (2, 0.6), (2, None)])
def test_generator(fused_early, step, alpha):
    shapes = [(2, 6), *((2, 1, 4 * 2**i, 4 * 2**i) for i in range(step + 1))]

    def call(network, z, *noise):
        return network(z, list(noise), step, alpha)

    compare(lambda: StyledGenerator(6, 2, 3), shapes, call)


@pytest.mark.parametrize("step, alpha", [(0, None), (1, 0.3), (2, 0.6), (2, None)])
def test_discriminator(fused_early, step, alpha):
    def call(network, x):
        return network(x, step, alpha)

    compare(lambda: Discriminator(channel_max=3), [(3, 3, 4 * 2**step, 4 * 2**step)], call)


def test_all_of_both_networks_is_recognised(monkeypatch):
    """At 128 px, in the fade, no layer is asked to run as written."""
    called = []
    for layer in (Blur, Upsample, AvgPool2d, LeakyReLU, EqualConv2d, EqualLinear, PixelNorm):
        monkeypatch.setattr(layer, "execute", lambda self, *_: called.append(type(self)))
    for layer in (FusedUpsample, FusedDownsample, MinibatchStddev, ConstantInput):
        monkeypatch.setattr(layer, "execute", lambda self, *_: called.append(type(self)))
    generator = accelerate(StyledGenerator(6, 2, 3))
    image = generator(jt.randn(2, 6), step=5, alpha=0.5)
    accelerate(Discriminator(channel_max=3))(image, 5, 0.5).sync()
    assert called == []


# What somebody has changed runs


class OwnBlur(Blur):
    def execute(self, x):
        return 1.01 * super().execute(x)


def own_subclass(conv1):
    conv1.layers["2"] = OwnBlur()


def own_execute(conv1):
    blur = conv1[2]
    written = blur.execute
    blur.execute = lambda x: 1.01 * written(x)


def own_hook(conv1):
    conv1[2].register_forward_hook(lambda layer, inputs, output: 1.01 * output)


def one_more(conv1):
    conv1.append(OwnBlur())


def another_slope(block):
    block.lrelu1.slope = 0.3


CHANGES = {
    "a subclass": lambda block: own_subclass(block.conv1),
    "an execute of its own": lambda block: own_execute(block.conv1),
    "a hook": lambda block: own_hook(block.conv1),
    "one layer more": lambda block: one_more(block.conv1),
    "another slope": another_slope,
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("first", ["accelerated", "changed"])
def test_a_changed_layer_runs_as_written(change, first):
    """Whether the network has been accelerated before or is afterwards, and without any flag."""

    def build():
        return fill(StyledGenerator(6, 2, 3), np.random.default_rng(0))

    def image(network):
        rng = np.random.default_rng(1)
        noise = [jt.array(drawn(rng, 2, 1, 4 * 2**i, 4 * 2**i)) for i in range(2)]
        return network(jt.array(drawn(rng, 2, 6)), noise, 1, None).numpy()

    def changed(network):
        CHANGES[change](network.generator.progression[1])
        return network

    plain, network = image(changed(build())), build()
    ours = changed(accelerate(network)) if first == "accelerated" else accelerate(changed(network))
    assert np.abs(image(ours) - plain).max() <= BAR * np.abs(plain).max()
    assert np.abs(image(build()) - plain).max() > 1e-4 * np.abs(plain).max()


def test_names_and_order_of_parameters_stay():
    for build in (StyledGenerator, Discriminator):
        plain = build(channel_max=4)
        names = [(name, p.shape) for name, p in plain.named_parameters()]
        accelerated = accelerate(plain)
        assert accelerated is plain
        assert [(name, p.shape) for name, p in plain.named_parameters()] == names
        assert accelerate(accelerated) is plain  # twice is once


def test_float64_runs_as_written():
    network = accelerate(fill(StyledGenerator(6, 2, 3), np.random.default_rng(0)))
    for p in network.parameters():
        p.update(p.float64())
    z, noise = jt.randn(2, 6).float64(), [x.float64() for x in network.draw_noise(2, 1)]
    image = network(z, noise, 1)
    assert image.dtype == "float64" and np.isfinite(image.numpy()).all()


@pytest.fixture(scope="module")
def copy_with_another_blur(tmp_path_factory):
    """The project, but Blur's result is 1.01 times as large."""
    folder = tmp_path_factory.mktemp("copy") / "project"
    skipped = shutil.ignore_patterns(".*", "docs", "demo", "lmdb", "benchmarks", "__pycache__")
    shutil.copytree(ROOT, folder, ignore=skipped)
    text = (ROOT / "model.py").read_text(encoding="utf-8")
    before, blur, after = text.partition("class Blur(nn.Module):")
    assert after.count("/ 16\n") == 1
    (folder / "model.py").write_text(before + blur + after.replace("/ 16\n", "* (1.01 / 16)\n"))
    return folder


def ran(folder, *command):
    done = subprocess.run([sys.executable, *command], cwd=folder, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("options", [[], ["--plain"]], ids=["fast", "plain"])
def test_another_blur_in_model_py(copy_with_another_blur, tmp_path, options):
    """With --plain the images follow; without it they do not, and the tests of this file say so."""
    images = []
    for folder in (ROOT, copy_with_another_blur):
        out = tmp_path / folder.name
        command = ["generate.py", "checkpoint/mnist-32.model", "--images", "1", "--out", str(out)]
        code, said = ran(folder, *command, "--device", "cpu", *options)
        assert code == 0, said
        images.append(np.asarray(Image.open(out / "000000.png")).astype(int))
    assert (images[0] != images[1]).any() == bool(options)
    if not options:
        code, said = ran(
            copy_with_another_blur,
            "-m",
            "pytest",
            "-q",
            "tests/test_fast.py",
            "-k",
            "pattern and Blur",
        )
        assert code == 1 and "failed" in said
