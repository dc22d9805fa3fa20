"""Options that the original lacks: lazy R1, the average's ramp, one channel."""

import json

import numpy as np
import pytest
from tiny import TINY, assert_same_checkpoint, run_train

import train
from operators.convolution import jt
from training.checkpoint import read_checkpoint
from training.parameters import used_parameters
from training.run import TrainState
from training.schedule import Config, phase_at

SMALL = {"code_size": 8, "n_mlp": 1, "channel_max": 4, "batch_default": 4, "init_size": 8}


def run_of(**options):
    config = Config(loss="r1", max_size=8, **SMALL, **options)
    return TrainState(config), phase_at(config, 0)


def iterate(run, phase, n: int = 1):
    """n iterations on random pictures, no two channels of which are alike -> the last losses."""
    rng = np.random.RandomState(0)
    for _ in range(n):
        real = rng.standard_normal((4, 3, 8, 8)).astype("float32")
        losses = train.train_iteration(run, phase, real)
    return [x.item() for x in losses]


@pytest.mark.parametrize("iteration, weight", [(0, 0.0), (1, 0.0), (2, 30.0), (3, 0.0), (5, 30.0)])
def test_r1_in_every_third_iteration_is_three_times_as_strong(iteration, weight):
    """As a run that has that weight, in which no other iteration counts."""
    (lazy, phase), (other, _) = run_of(r1_every=3, gp_weight=10.0), run_of(gp_weight=weight)
    lazy.iteration = iteration
    losses = iterate(lazy, phase)
    assert losses == iterate(other, phase) and (losses[2] > 0) == (weight > 0)
    for name, p in other.discriminator.named_parameters():
        np.testing.assert_array_equal(dict(lazy.discriminator.named_parameters())[name], p)


def test_a_penalty_of_no_weight_is_as_if_it_were_multiplied_by_zero():
    (none, phase), (least, _) = run_of(gp_weight=0.0), run_of(gp_weight=1e-30)
    iterate(none, phase), iterate(least, phase)
    for name, p in none.discriminator.named_parameters():
        np.testing.assert_allclose(dict(least.discriminator.named_parameters())[name], p, rtol=1e-5)


def test_lazy_r1_goes_on_exactly(lmdb, tmp_path):
    for folder, stops in (("once", [8]), ("twice", [5, 8])):
        for n in stops:
            given = [*TINY, "--r1_every", "3"] if n == stops[0] else ["--device", "cpu"]
            run_train(lmdb, tmp_path / folder, *given, "--ckpt", "auto", "--max_iters", str(n))
    name = "checkpoint/000008.model"
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "twice" / name)


def test_lazy_r1_is_of_r1(lmdb, tmp_path, capfd):
    options = ["--r1_every", "4", "--max_size", "16", "--expname", str(tmp_path)]
    assert train.main([lmdb, *options]) == 2
    assert "--r1_every goes with --loss r1" in capfd.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "seen, share, decay",
    [(0, 0.05, 0.0), (80, 0.05, 0.5), (160, 0.05, 0.5**0.5), (10**6, 0.05, 0.999), (80, 0, 0.999)],
)
def test_the_average_reaches_back_a_share_of_the_images(seen, share, decay):
    """4 images an iteration: half of the weight is younger than 0.05 of what has been seen."""
    run, phase = run_of(ema_rampup=share)
    run.images_seen = seen
    before = {k: p.numpy() for k, p in run.running_parameters.items()}
    iterate(run, phase)
    for name in used_parameters(run.generator, phase.step, phase.alpha):
        new = run.g_parameters[name].numpy()
        expected = decay * before[name] + (1 - decay) * new
        np.testing.assert_allclose(run.running_parameters[name].numpy(), expected, atol=2e-6)


def channels(run):
    """What to_rgb has for each channel, of the networks and of Adam: arrays (3, ...)."""
    for arrays in (run.g_parameters, run.running_parameters, run.g_optimizer.v):
        yield from (p.numpy() for k, p in arrays.items() if k.startswith("generator.to_rgb."))


def test_grey_images_have_one_channel_bit_by_bit():
    run, phase = run_of(grey=True)
    iterate(run, phase, 5)
    found = list(channels(run))
    assert len(found) == 2 * 2 * 9 + 2 and all((x == x[:1]).all() for x in found)
    assert len({x.tobytes() for x in found if x.shape[1:] == (4, 1, 1)}) > 5  # not of zeros
    with jt.no_grad():
        image = run.running.synthesis(jt.randn((2, 8)), step=1).numpy()
    assert (image == image[:, :1]).all() and image.std() > 0.1


def test_grey_is_learned_from_all_channels():
    """The gradient of the mean: that of a coloured run whose rows are equal, averaged."""
    run, phase = run_of(grey=True)
    z, noise = train.draw_latents(np.random.default_rng(0), run.config, 4, 1, False)[0], None
    noise = train.draw_noise(np.random.default_rng(1), 4, 1)
    image = run.fake_images(phase, z, None, noise)
    weights = jt.array(np.arange(3, dtype="float32").reshape(1, 3, 1, 1))
    name = "generator.to_rgb.1.conv.weight_orig"
    (found,) = jt.grad((image * weights).sum(), [run.g_parameters[name]])
    colours = run.generator([jt.array(z[0])], [jt.array(x) for x in noise], 1, 1.0)
    (plain,) = jt.grad(colours.sum(), [run.g_parameters[name]])
    np.testing.assert_allclose(found.numpy(), plain.numpy().mean(0, keepdims=True).repeat(3, 0))


def test_a_coloured_run_may_go_on_in_grey(lmdb, reference, tmp_path):
    path = str(reference / "checkpoint" / "000020.model")
    was = read_checkpoint(path)["g_running"]["generator.to_rgb.2.conv.bias"]
    run_train(lmdb, tmp_path, "--ckpt", path, "--override", "--grey", "--max_iters", "21")
    content = read_checkpoint(tmp_path / "checkpoint" / "000021.model")
    for part in (content["generator"], content["g_running"], content["g_optimizer"]["v"]):
        for name, x in part.items():
            assert "to_rgb" not in name or (x == x[:1]).all()
    now = content["g_running"]["generator.to_rgb.2.conv.bias"]
    assert was.std() > 0 and np.abs(now - was.mean()).max() < 1e-4
    first = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert first["config"]["grey"] is True
