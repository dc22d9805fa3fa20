"""The search for a picture's latent: its parts against closed forms, and pictures found again."""

import io
import math

import numpy as np
import pytest
from PIL import Image
from trained import spread_out

from data.encode import encode
from data.sizes import SIZES
from figures import projection
from figures.artist import many_styles
from figures.projection import Adam, ProjectionError, Settings, noise_penalty, project, psnr
from figures.rendering import map_latents, render
from formats.features import Weights
from model import StyledGenerator
from operators.convolution import jt
from quality.lpips import LPIPS


@pytest.fixture(scope="module")
def generator():
    generator, rng = StyledGenerator(16, 8, 16), np.random.RandomState(3)
    for name, p in generator.named_parameters():  # NumPy's: Jittor's differ between compilers
        if name.endswith(("weight_orig", "weight", "input")) and ".noise" not in name:
            p.update(jt.array(rng.standard_normal(p.shape).astype("float32")))
    spread_out(generator)
    return generator


def known(generator, n, step, seed=5):
    """w and noise maps of n latents, and their images."""
    rng = np.random.default_rng(seed)
    w = map_latents(generator, rng.standard_normal((n, generator.code_dim), "float32"))
    noise = [rng.standard_normal((n, 1, size, size), "float32") for size in SIZES[: step + 1]]
    return w, noise, render(generator, w, noise, step)


# What is optimised


def test_noise_penalty_closed_forms():
    """A constant map's neighbours are alike; a chessboard's opposite, and its averages 0."""
    ones = np.ones((1, 1, 16, 16))
    assert noise_penalty(ones)[0] == [4]  # two directions at 16 and at 8 px
    assert noise_penalty(2 * ones)[0] == [64]
    assert noise_penalty(np.ones((1, 1, 4, 4)))[0] == [2]  # 4 px is not averaged
    board = np.indices((16, 16)).sum(axis=0)[None, None] % 2 * 2.0 - 1
    assert noise_penalty(board)[0] == [2]
    rows = np.repeat(board[:, :, :, :1], 16, axis=3)  # alike along x, opposite along y
    assert noise_penalty(rows)[0] == [2]
    assert list(noise_penalty(np.concatenate([ones, board]))[0]) == [4, 2]  # each for itself


@pytest.mark.parametrize("size", [4, 8, 32])
def test_noise_penalty_gradient(size):
    rng = np.random.default_rng(size)
    x, direction = rng.standard_normal((2, 3, 1, size, size))
    x += 0.3  # so that neighbours are alike
    slope = (noise_penalty(x)[1] * direction).sum(axis=(1, 2, 3))
    ends = [noise_penalty(x + h * direction)[0] for h in (1e-5, -1e-5)]
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2e-5, rtol=1e-6, atol=1e-10)


def test_normalised_noise():
    x = np.random.default_rng(0).uniform(2, 9, (3, 1, 8, 8))
    y = projection.normalised(x)
    np.testing.assert_allclose(y.mean(axis=(1, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var(axis=(1, 2, 3)), 1)


def test_learning_rate_ramps():
    """The original's get_lr: up in the first 20th, down along a cosine in the last quarter."""
    found = [projection.learning_rate(t, Settings()) for t in (0, 0.02, 0.05, 0.5, 0.75, 0.875, 1)]
    np.testing.assert_allclose(found, [0, 0.04, 0.1, 0.1, 0.1, 0.05, 0], atol=1e-12)
    third = 0.5 * (0.5 - 0.5 * math.cos(math.pi / 3))  # two thirds of the way down
    settings = Settings(lr=0.5, lr_rampup=0, lr_rampdown=0.3)
    assert projection.learning_rate(0.9, settings) == pytest.approx(third)
    assert projection.learning_rate(0, settings) == 0.5
    assert projection.learning_rate(1 - 1e-9, Settings(lr_rampdown=0)) == 0.1


def test_exploration_ramp():
    found = [projection.exploration(t, Settings(noise=2.0)) for t in (0, 0.375, 0.75, 0.9)]
    np.testing.assert_allclose(found, [2, 0.5, 0, 0])
    assert projection.exploration(0, Settings(noise_ramp=0)) == 0


def test_adam_follows_the_recursion():
    """Kingma & Ba's algorithm 1 written out, with both moments and both corrections."""
    rng = np.random.default_rng(0)
    x, m, v = np.array([1.0, -2.0, 3.0]), np.zeros(3), np.zeros(3)
    values, expected = [x.copy()], x.copy()
    adam = Adam(values)
    for t in range(1, 30):
        g = rng.standard_normal(3) * (1, 100, 1e-3)
        adam.step([g], 0.1)
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        expected -= 0.1 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(values[0], expected, rtol=1e-9)


def test_psnr():
    a = np.zeros((2, 3, 4, 4))
    b = a + np.array([0.2, 2.0])[:, None, None, None]  # 2 is shown as 1
    np.testing.assert_allclose(psnr(a, b), [20, 10 * math.log10(4)], rtol=1e-6)


@pytest.fixture(scope="module")
def lpips():
    """LPIPS with VGG16's layers, 16 channels each, of random weights: by two channels each a search
    ends in another valley whenever something rounds otherwise.
    """
    rng = np.random.default_rng(0)
    layers, channels = [], 3
    for _ in range(13):
        weight = rng.standard_normal((16, channels, 3, 3)) * math.sqrt(2 / 9 / channels)
        layers.append((weight.astype("float32"), np.zeros(16, "f")))
        channels = 16
    linear = [rng.uniform(0.1, 1, 16).astype("float32") for _ in range(5)]
    return LPIPS(Weights("vgg16", layers, linear))


def test_distance_adds_lpips_and_pixels(generator, lpips):
    _, _, targets = known(generator, 2, 3)
    _, _, images = known(generator, 2, 3, seed=6)
    error = ((images - targets) ** 2).mean(axis=(1, 2, 3))
    eye = lpips(images, targets).numpy()
    assert (eye > 0.01).all()
    for mse, net, expected in ((3, None, 3 * error), (0, lpips, eye), (3, lpips, eye + 3 * error)):
        found = projection.Distance(targets, mse, net)(jt.array(images)).numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_lpips_sees_at_most_256_px():
    cells = np.arange(4, dtype="float32").repeat(256).reshape(1, 1, 1, 1024)
    images = jt.array(np.broadcast_to(cells, (1, 3, 1024, 1024)).copy())
    seen = projection.halved(images).numpy()
    np.testing.assert_array_equal(seen, np.broadcast_to(cells[..., ::4], (1, 3, 256, 256)))
    small = jt.array(np.zeros((1, 3, 32, 32), "f"))
    assert projection.halved(small) is small


def test_lpips_guides_the_search(generator, lpips):
    """At 16 px, by LPIPS alone: an eighth of the distance is left, whatever is added to w."""
    _, _, targets = known(generator, 1, step=2)
    for seed in range(3):
        settings = Settings(steps=120, seed=seed)
        found = project(generator, targets, settings, step=2, lpips=lpips)
        before, after = (lpips(images, targets).item() for images in (found.start, found.images))
        assert after < before / 8


@pytest.mark.parametrize("w_plus", [False, True])
def test_gradients(generator, w_plus):
    """Along a direction, those of w and of each noise map are what differences tell."""
    w, noise, targets = known(generator, 2, 2)
    distance = projection.Distance(targets, mse=10.0)
    start, starts, _ = known(generator, 2, 2, seed=6)
    if w_plus:
        start = np.repeat(start[:, None], 3, axis=1)
    images, loss, gradients = projection.evaluate(generator, distance, start, starts, 2, None)
    np.testing.assert_allclose(images, render(generator, start, starts, 2), atol=1e-5)
    np.testing.assert_allclose(loss, 10 * ((images - targets) ** 2).mean(axis=(1, 2, 3)), rtol=1e-4)
    values = [start, *starts]
    for i, g in enumerate(gradients):
        direction = g / np.sqrt((g * g).sum())
        ends = []
        for h in (1e-2, -1e-2):
            moved = [x + h * direction if j == i else x for j, x in enumerate(values)]
            pixels = render(generator, moved[0], moved[1:], 2)
            ends.append(10 * ((pixels - targets) ** 2).mean(axis=(1, 2, 3)).sum(dtype="float64"))
        slope = (g * direction).sum()
        rounding = 1e-6 * sum(ends) / 2e-2  # of images in float32
        assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(slope, rel=0.02, abs=rounding)


# Pictures that are found again


def test_a_picture_of_the_network_is_found_again(generator):
    """From the mean w, at 32 px, within 300 iterations: 30 dB, and w to a tenth of the way."""
    w, _, targets = known(generator, 2, step=3)
    found = project(generator, targets, Settings(steps=300, mse=1.0), step=3)
    mean = many_styles(generator).mean(axis=0)
    assert (psnr(found.start, targets) < 20).all()
    assert (psnr(found.images, targets) > 30).all()
    left = np.linalg.norm(found.w - w, axis=1) / np.linalg.norm(mean - w, axis=1)
    assert (left < 0.1).all() and found.iterations == 300
    np.testing.assert_allclose(found.images, render(generator, found.w, found.noise, 3), atol=1e-5)
    for x in found.noise:
        np.testing.assert_allclose(x.var(axis=(1, 2, 3)), 1, rtol=1e-4)


def test_noise_maps_are_found_and_kept_noise(generator):
    w, noise, targets = known(generator, 1, step=3)
    free = project(generator, targets, Settings(steps=150, mse=1.0, noise_regularize=0), step=3)
    held = project(generator, targets, Settings(steps=150, mse=1.0), step=3)
    assert psnr(free.images, targets) > psnr(held.images, targets) + 3
    assert (free.noise[3] * noise[3]).mean() > 0.3  # correlation with what was there
    penalties = [sum(noise_penalty(x)[0][0] for x in found.noise) for found in (free, held)]
    assert penalties[1] < penalties[0] / 20


def test_each_is_found_as_if_it_were_alone(generator):
    _, _, targets = known(generator, 3, step=2)
    settings = Settings(steps=20, mse=1.0)
    together = project(generator, targets, settings, step=2)
    alone = project(generator, targets[1:2], settings, step=2)
    np.testing.assert_allclose(together.w[1:2], alone.w, atol=2e-3)
    np.testing.assert_allclose(together.start[1:2], alone.start, atol=1e-4)


def test_w_plus_gives_each_level_its_own(generator):
    _, _, targets = known(generator, 1, step=2)
    settings = Settings(steps=40, mse=1.0, w_plus=True)
    found = project(generator, targets, settings, step=2)
    assert found.w.shape == (1, 3, 16)
    assert min(np.abs(found.w[0, i] - found.w[0, i - 1]).max() for i in range(3)) > 0.05
    assert psnr(found.images, targets) > psnr(found.start, targets) + 3


def test_the_same_seed_finds_the_same(generator):
    _, _, targets = known(generator, 1, step=1)
    settings = Settings(steps=10, mse=1.0)
    first, second = (project(generator, targets, settings, step=1) for _ in range(2))
    assert first.w.tobytes() == second.w.tobytes()
    assert all(a.tobytes() == b.tobytes() for a, b in zip(first.noise, second.noise))
    other = project(generator, targets, settings._replace(seed=1), step=1)
    assert np.abs(other.noise[1] - first.noise[1]).max() > 0.1


@pytest.mark.parametrize(
    "changed",
    [
        {"lr": 0.05},
        {"lr_rampup": 0.5},
        {"lr_rampdown": 1.0},
        {"noise": 0.0},
        {"noise_ramp": 0.2},
        {"noise_regularize": 0.0},
        {"steps": 11},
        {"seed": 1},
    ],
)
def test_every_setting_has_an_effect(generator, changed):
    _, _, targets = known(generator, 1, step=1)
    settings = Settings(steps=10, mse=1.0)
    a = project(generator, targets, settings, step=1)
    b = project(generator, targets, settings._replace(**changed), step=1)
    assert max(np.abs(x - y).max() for x, y in zip([a.w, *a.noise], [b.w, *b.noise])) > 1e-4


def test_progress_and_stopping(generator):
    _, _, targets = known(generator, 2, step=1)
    seen, alive = [], []

    def progress(now):
        seen.append(now)
        alive.append(jt.liveness_info()["lived_vars"])
        return now.iteration == 14

    found = project(generator, targets, Settings(mse=2.0), step=1, progress=progress)
    assert found.iterations == 15 and [p.iteration for p in seen] == list(range(15))
    assert seen[0].steps == 1000 and seen[3].images.shape == (2, 3, 8, 8)
    error = ((seen[3].images - targets) ** 2).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(seen[3].loss, 2 * error, rtol=1e-4)
    assert len(set(alive[2:])) == 1  # nothing is kept of an iteration


def test_a_fade_is_projected_as_it_is_shown(generator):
    _, _, targets = known(generator, 1, step=2)
    found = project(generator, targets, Settings(steps=5, mse=1.0), step=2, alpha=0.25)
    expected = render(generator, found.w, found.noise, 2, 0.25)
    np.testing.assert_allclose(found.images, expected, atol=1e-5)
    assert np.abs(found.images - render(generator, found.w, found.noise, 2)).max() > 0.01


def test_a_search_that_diverges_says_so(generator):
    _, _, targets = known(generator, 1, step=1)
    with pytest.raises(ProjectionError, match="--lr"):
        project(generator, targets, Settings(steps=20, mse=1.0, lr=1e38), step=1)


# Targets


def test_targets_are_read_as_prepared(tmp_path):
    """Upright, without transparency, 16 bits of grey as 8, the central square at the size."""
    rng = np.random.default_rng(0)
    colours = Image.fromarray(rng.integers(0, 256, (40, 64, 3), dtype="uint8"))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    colours.save(tmp_path / "side.jpg", exif=exif)
    colours.putalpha(Image.fromarray(rng.integers(0, 256, (40, 64), dtype="uint8")))
    colours.save(tmp_path / "clear.png")
    deep = rng.integers(0, 65536, (48, 40)).astype("uint16")
    Image.fromarray(deep).save(tmp_path / "deep.png")
    how = {"sizes": [16], "background": (255, 255, 255), "pad": False, "enlarge": False}
    how.update(format="png", quality=100)
    for name in ("side.jpg", "clear.png", "deep.png"):
        with Image.open(tmp_path / name) as picture:
            (data,), *_ = encode(picture, how)
        expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).transpose(2, 0, 1)
        found = projection.read_target(tmp_path / name, 16)
        assert found.dtype == "float32" and found.shape == (3, 16, 16)
        np.testing.assert_allclose((found + 1) * 127.5, expected, atol=1e-4)
