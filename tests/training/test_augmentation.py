"""Adaptive discriminator augmentation: what it does, to which images, how often; runs with it."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
from oracle import float64  # noqa: F401
from tiny import TINY, assert_same_checkpoint

import train
from backend import device
from formats.files import CheckpointError
from operators.convolution import jt
from operators.transformations import colour_changes, moved, recoloured
from quality import gap
from training import augmentation
from training.augmentation import Augmentation, draw
from training.checkpoint import config_of, read_checkpoint
from training.losses import LOSSES
from training.options import configuration
from training.run import TrainState
from training.schedule import AUGMENTATIONS, Config, phase_at

SMALL = {"code_size": 8, "n_mlp": 1, "channel_max": 4, "batch_default": 4, "init_size": 8}
ALL = ",".join(AUGMENTATIONS)


def drawn(names, p, n=20_000, size=64):
    return draw(np.random.default_rng(0), names, p, n, size)


def as_columns(moves, colours):
    """What is drawn, by the names of AUGMENTATIONS, each with the value that changes nothing."""
    values = dict(zip(AUGMENTATIONS, (*moves.values(), *colours.values())))
    nothing = dict(zip(AUGMENTATIONS, (False, 0, 0, 0, 1, False, 0, 1)))
    return values, nothing


# What is drawn


def test_each_name_stands_for_itself():
    """The numbers are the same whatever else is drawn."""
    everything, nothing = as_columns(*drawn(AUGMENTATIONS, 1.0))
    for name in AUGMENTATIONS:
        values, _ = as_columns(*drawn([name], 1.0))
        for other, value in values.items():
            expected = everything[name] if other == name else nothing[other]
            assert (value == expected).all(), (name, other)
            assert other != name or (value != nothing[name]).any()
    values, _ = as_columns(*drawn(AUGMENTATIONS, 0.0))
    assert all((values[name] == nothing[name]).all() for name in AUGMENTATIONS)


@pytest.mark.parametrize("p", [0.3, 1.0])
def test_how_often_and_how_much(p):
    """As in StyleGAN2-ADA: half of those chosen are mirrored, a quarter of them not turned."""
    moves, colours = drawn(AUGMENTATIONS, p)
    values, nothing = as_columns(moves, colours)
    shares = dict.fromkeys(AUGMENTATIONS, p)
    shares.update(flip=p / 2, luma_flip=p / 2, rotate=0.75 * p, translate=p * (1 - 1 / 256))
    for name, share in shares.items():
        changed = values[name] != nothing[name]
        changed = changed.any(1) if name == "translate" else changed
        assert changed.mean() == pytest.approx(share, abs=0.011), name
    assert np.bincount(moves["turns"])[1:] / 20_000 == pytest.approx([p / 4] * 3, abs=0.011)
    shifts = moves["shifts"][moves["shifts"].any(1)]
    assert shifts.min() == -8 and shifts.max() == 8  # an eighth of 64
    assert shifts.std() == pytest.approx(16 / np.sqrt(12), rel=0.03)
    for name, log, deviation in (
        ("brightness", lambda x: x, 0.2),
        ("contrast", np.log2, 0.5),
        ("saturation", np.log2, 1.0),
        ("hue", lambda x: x, np.pi / np.sqrt(3)),  # even from -pi to pi
    ):
        chosen = log(colours[name][colours[name] != nothing[name]])
        assert chosen.std() == pytest.approx(deviation, rel=0.03), name
        assert abs(chosen.mean()) < 0.05
    assert np.abs(colours["hue"]).max() == pytest.approx(np.pi, rel=0.01)


def test_transformations_are_independent():
    values, nothing = as_columns(*drawn(AUGMENTATIONS, 0.5))
    changed = [values[n] != nothing[n] for n in AUGMENTATIONS]
    changed = np.array([x.any(1) if x.ndim > 1 else x for x in changed])
    assert np.abs(np.corrcoef(changed) - np.eye(8)).max() < 0.03


# Which images


def transformed(config, role, images_seen, x):
    """What the discriminator is to see, by the seeds that are said."""
    seed = [config.seed, images_seen, 5, {"real": 0, "fake": 1, "generated": 2}[role]]
    rng = np.random.default_rng(seed)
    moves, colours = draw(rng, config.augment.split(","), 0.75, len(x), x.shape[-1])
    return recoloured(moved(jt.array(x), **moves), *colour_changes(**colours)).numpy()


class Watched:
    """A discriminator that notes what it sees."""

    def __init__(self, discriminator):
        self.discriminator, self.seen = discriminator, []

    def __getattr__(self, name):
        return getattr(self.discriminator, name)

    def __call__(self, images, *args):
        self.seen.append(images)
        return self.discriminator(images, *args)


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_all_that_is_scored_is_transformed(loss):
    """Pictures, images of both steps, and what lies between, as pictures."""
    config = Config(loss=loss, max_size=8, augment=ALL, **SMALL)
    run, phase = TrainState(config), phase_at(config, 0)
    run.images_seen, run.augmentation.p = 40, 0.75
    run.discriminator = watched = Watched(run.discriminator)
    rng = np.random.default_rng(0)
    real, z = rng.standard_normal((4, 3, 8, 8), "float32"), rng.standard_normal((4, 8), "float32")
    noise, eps = train.draw_noise(rng, 4, 1), rng.random((4, 1, 1, 1), "float32")
    fake = run.fake_images(phase, [z], None, noise).numpy()
    run.discriminator_step(phase, real, [z], None, noise, eps)
    expected = [("real", real), ("fake", fake)]
    if loss == "wgan-gp":
        expected.insert(1, ("real", eps * real + (1 - eps) * fake))
    assert len(watched.seen) == len(expected)
    for found, (role, images) in zip(watched.seen, expected):
        images = transformed(config, role, 40, images)
        np.testing.assert_allclose(found.numpy(), images, 1e-5, 2e-6, err_msg=role)
    watched.seen.clear()
    fake = run.fake_images(phase, [z], None, noise).numpy()
    run.generator_step(phase, [z], None, noise)
    (found,) = watched.seen
    expected = transformed(config, "generated", 40, fake)
    np.testing.assert_allclose(found.numpy(), expected, 1e-5, 2e-6)
    three = [transformed(config, role, 40, real) for role in ("real", "fake", "generated")]
    assert len({x.tobytes() for x in three}) == 3 and not (three[0] == real).all()
    assert (transformed(config, "real", 44, real) != three[0]).any()


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_penalties_go_by_the_picture_before(float64, loss):
    """Of scores w'Ax + .. the gradient is A'w: gamma / 2 |A'w|^2 or gamma (|A'w| - 1)^2, each in
    the mean over images; that by w, too.
    """
    n, size, gamma, rng = 4, 4, 10.0, np.random.default_rng(1)
    moves, colours = draw(rng, AUGMENTATIONS, 0.75, n, size)
    x, w = rng.standard_normal((n, 3, size, size)), 0.1 * rng.standard_normal((3, size, size))
    weights = jt.array(w)

    def see(images, role):
        assert role in ("real", "fake", "between")
        return recoloured(moved(images, **moves), *colour_changes(**colours))

    def score(images, role):
        return (see(images, role) * weights.reshape(1, 3, size, size)).sum((1, 2, 3)).reshape(n, 1)

    # The columns of each image's A, from what is done to units
    units = np.eye(3 * size * size).reshape(-1, 1, 3, size, size).repeat(n, 1)
    columns = np.stack([see(jt.array(each), "real").numpy() for each in units])
    origin = see(jt.array(np.zeros((n, 3, size, size))), "real").numpy()
    a = (columns - origin).reshape(3 * size * size, n, -1).transpose(1, 2, 0)
    gradients = np.einsum("nij,i->nj", a, w.reshape(-1))  # (n, pixels of x)
    norms = np.sqrt((gradients**2).sum(1))
    if loss == "r1":
        expected = gamma / 2 * (norms**2).mean()
        by_norm = gamma * norms / n
    else:
        expected = gamma * ((norms - 1) ** 2).mean()
        by_norm = 2 * gamma * (norms - 1) / n
    second = np.einsum("n,nij,nj->i", by_norm / norms, a, gradients)
    eps = jt.array(rng.random((n, 1, 1, 1)))
    penalty = LOSSES[loss][0](score, jt.array(x), jt.array(x[::-1].copy()), gamma, eps)[2]
    assert penalty.item() == pytest.approx(expected, rel=1e-6)
    found = jt.grad(penalty, weights).numpy().reshape(-1)
    np.testing.assert_allclose(found, second, atol=1e-6 * np.abs(second).max())
    plain = gamma / 2 * (w**2).sum() if loss == "r1" else gamma * (np.sqrt((w**2).sum()) - 1) ** 2
    assert abs(plain - expected) > 0.01 * expected  # it matters


def test_processes_transform_their_parts_as_one_would(monkeypatch):
    ours = Augmentation(Config(augment=ALL, seed=3))
    ours.p, x = 0.75, np.random.default_rng(0).standard_normal((6, 3, 8, 8), "float32")
    whole = ours.seen(jt.array(x), "fake", 60).numpy()
    monkeypatch.setattr(device, "ranks", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(device, "rank", lambda rank=rank: rank)
        part = ours.seen(jt.array(x[rank::2].copy()), "fake", 60).numpy()
        assert part.tobytes() == whole[rank::2].tobytes()


def test_grey_stays_grey_bit_by_bit():
    config = Config(augment=ALL.replace(",hue,saturation", ""), grey=True)
    ours = Augmentation(config)
    ours.p = 0.8
    x = np.random.default_rng(0).standard_normal((64, 1, 8, 8), "float32").repeat(3, 1)
    found = ours.seen(jt.array(x), "real", 0).numpy()
    assert (found == found[:, :1]).all()
    assert (found.mean((1, 2, 3)) * x.mean((1, 2, 3)) < 0).any()  # negatives


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
def test_it_leaves_nothing_behind(loss):
    config = Config(loss=loss, max_size=8, augment=ALL, **SMALL)
    run, real, held = TrainState(config), np.zeros((4, 3, 8, 8), "float32"), []
    for _ in range(6):
        run.augmentation.p = 0.5
        train.train_iteration(run, phase_at(config, 0), real)
        jt.gc()
        held.append(jt.liveness_info())
    assert held[2] == held[5] and run.scores == {}


# How often


def controller(**options):
    return Augmentation(Config(**{"loss": "r1", "augment": ALL, **options}))


def scores(*values):
    return np.array(values, "float32").reshape(-1, 1)


def note(ours, real, fake=(), first=1, times=4, batch=None):
    for i in range(first, first + times):
        ours.note(scores(*real), scores(*fake), i, batch or len(real))


def test_p_follows_the_sign_of_real_scores():
    """Every four iterations by their images, of 500,000, from 0 to 0.8: up where their mean passes
    0.6, else down.
    """
    ours = controller()
    note(ours, [1, 2, 0.1, 3], times=3)
    assert (ours.p, ours.images, ours.signs) == (0, 12, 12)
    note(ours, [1, 2, 0.1, 3], first=4, times=1)
    assert (ours.p, ours.images, ours.signs) == (16 / 500_000, 0, 0)
    note(ours, [1] * 9 + [-1])  # 0.8 are above
    assert ours.p == pytest.approx(56 / 500_000)
    note(ours, [1, 1, 1, -1])  # 0.5
    assert ours.p == pytest.approx(40 / 500_000)
    for i in range(1, 5):  # 1, 1, 1 and -1 of different batches: 27 above, 8 below, 0.54
        ours.note(scores(-1 if i == 2 else 1), scores(0), i, 8 if i == 2 else 28 // 3)
    assert ours.p == pytest.approx((40 - 35) / 500_000)
    note(ours, [-5, -5])
    assert ours.p == 0
    fast = controller(augment_images=10)
    note(fast, [1] * 100)
    assert fast.p == 0.8


def test_scores_of_wgan_gp_count_from_the_middle():
    ours = controller(loss="wgan-gp")
    note(ours, [-3, -2.5, -3.5, -3], [-9, -9, -9, -9])  # the middle is -6
    assert ours.p == 16 / 500_000
    note(ours, [9, 8, 9, 8], [9, 8, 9, 8])  # 8.5: half are above
    assert ours.p == 0
    plain = controller()
    note(plain, [-3, -2.5, -3.5, -3], [-9, -9, -9, -9])
    assert plain.p == 0


def test_p_follows_the_gap_where_pictures_are_held_out():
    ours = controller(heldout=100.0)
    note(ours, [1] * 8, times=100)
    assert (ours.p, ours.images) == (0, 800)
    ours.note_gap(0.21)
    assert (ours.p, ours.images) == (800 / 500_000, 0)
    note(ours, [-1] * 8, times=50)
    ours.note_gap(None)
    assert (ours.p, ours.images) == (800 / 500_000, 0)
    note(ours, [-1] * 8, times=50)
    ours.note_gap(0.19)
    assert ours.p == pytest.approx(400 / 500_000)
    note(ours, [1] * 8, times=100)
    ours.note_gap(-0.5)
    assert ours.p == 0


def test_while_a_new_discriminator_is_trained_alone_p_stays():
    config = Config(loss="r1", max_size=8, augment=ALL, new_discriminator=6, **SMALL)
    run, seen = TrainState(config), []
    run.augmentation.note = lambda real, fake, iteration, batch: seen.append(iteration)
    for _ in range(8):
        train.train_iteration(run, phase_at(config, 0), np.zeros((4, 3, 8, 8), "float32"))
    assert seen == [7, 8]


# Runs


def train_in(lmdb, folder, *options):
    """train.py in this process; the lines of its log."""
    argv = [lmdb, "--expname", str(folder), "--device", "cpu", *map(str, options)]
    assert train.main(argv) == 0
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
@pytest.mark.parametrize("heldout", [0, 3])
def test_runs_go_on_exactly(lmdb, tmp_path, monkeypatch, loss, heldout):
    """Stopped between decisions, p above 0; in the log, too."""
    for module in (gap, train):
        monkeypatch.setattr(module, "EVERY", 3)
    monkeypatch.setattr(augmentation, "TARGET_SIGN", -2)  # p rises, whatever was learned
    monkeypatch.setattr(gap, "gap_of", lambda *_: 1.0)
    options = [*TINY, "--loss", loss, "--heldout", heldout, "--augment", "--augment_images", 100]
    once = train_in(lmdb, tmp_path / "once", *options, "--max_iters", 14)
    train_in(lmdb, tmp_path / "twice", *options, "--max_iters", 7)
    twice = train_in(lmdb, tmp_path / "twice", "--ckpt", "latest", "--max_iters", 14)
    name = "checkpoint/000014.model"
    content = read_checkpoint(tmp_path / "once" / name)
    p = 12 * 4 / 100
    expected = {"p": pytest.approx(p), "signs": 0.0, "images": 8}
    if not heldout:
        assert content["augmentation"]["signs"] in (-8, -4, 0, 4, 8)
        expected["signs"] = content["augmentation"]["signs"]
    assert content["augmentation"] == expected and config_of(content).augment == ALL
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "twice" / name)
    (p,) = (line["augment_p"] for line in once if "d_real" in line)
    assert p == pytest.approx(0.36 if heldout else 0.32)
    names = "iteration", "d_real", "gap", "augment_p"
    ours, theirs = (
        [[line.get(name) for name in names] for line in lines if "config" not in line]
        for lines in (once, twice)
    )
    assert ours == theirs
    plain = [*TINY, "--loss", loss, "--heldout", heldout]
    train_in(lmdb, tmp_path / "plain", *plain, "--max_iters", 14)
    other = read_checkpoint(tmp_path / "plain" / name)
    key = "generator.to_rgb.2.conv.weight_orig"
    assert (other["generator"][key] != content["generator"][key]).any()


def test_as_long_as_p_is_0_a_run_is_that_without(lmdb, tmp_path, monkeypatch):
    """Bit by bit; off, nothing of it is in a checkpoint."""
    monkeypatch.setattr(augmentation, "TARGET_SIGN", 2)
    train_in(lmdb, tmp_path / "with", *TINY, "--augment", "--max_iters", 10)
    log = train_in(lmdb, tmp_path / "without", *TINY, "--max_iters", 10)
    a, b = (read_checkpoint(tmp_path / x / "checkpoint/000010.model") for x in ("with", "without"))
    for part in ("generator", "discriminator", "g_running"):
        for name, x in a[part].items():
            assert x.tobytes() == b[part][name].tobytes(), name
    assert a["augmentation"]["p"] == 0 and b["augmentation"] is None
    assert {k for k, x in a["config"].items() if b["config"].get(k) != x} == {"augment"}
    assert not any("augment" in key for line in log for key in (*line, *line.get("config", ())))
    raw = (tmp_path / "without/checkpoint/000010.model").read_bytes()
    assert b"augment" not in raw and b["version"] == 1


def test_it_may_be_left_off_again(lmdb, tmp_path, capfd):
    train_in(lmdb, tmp_path, *TINY, "--augment", "--max_iters", 2)
    argv = [lmdb, "--expname", str(tmp_path), "--ckpt", "latest", "--max_iters", "3"]
    assert train.main([*argv, "--no_augment"]) == 2
    assert f"trained with augment {ALL}, not" in capfd.readouterr().err
    assert train.main([*argv, "--no_augment", "--override"]) == 0
    content = read_checkpoint(tmp_path / "checkpoint/000003.model")
    assert content["augmentation"] is None and config_of(content).augment == ""
    argv[-1] = "4"
    assert train.main([*argv, "--override", "--augment"]) == 0
    content = read_checkpoint(tmp_path / "checkpoint/000004.model")
    assert content["augmentation"]["p"] == 0 and config_of(content).augment == ALL


def given(*options, base=None):
    args = train.parser().parse_args(["lmdb", "--max_size", "16", *options])
    return configuration(args, base or Config())


def test_what_fits():
    """Nothing that a run's pictures do not have."""
    upright = "translate,brightness,contrast,luma_flip"
    assert given().augment == "" and given("--augment").augment == ALL
    assert given("--augment", "--no_flip").augment == f"{upright},hue,saturation"
    assert given("--augment", "--no_flip", "--grey").augment == upright
    assert given("--augment", "--grey").augment == f"flip,rotate,{upright}"
    named = given("--augment_with", "hue,flip", "--no_flip")
    assert named.augment == "flip,hue" and given(base=named) == named
    assert given("--augment", base=given("--augment")) == given("--augment")
    assert given("--no_augment", base=named).augment == ""


@pytest.mark.parametrize(
    "options, words",
    [
        (["--augment_with", "cutout"], "'cutout' is not one of flip, rotate, translate"),
        (["--augment_with", "hue", "--grey"], "--augment_with hue makes colours, --grey has none"),
        (["--augment_images", "1000"], "--augment_images goes with --augment only"),
        (["--augment", "--augment_images", "0"], "out of range"),
        (["--augment", "--augment_with", "flip"], "not allowed with argument"),
    ],
)
def test_mistakes(lmdb, tmp_path, capfd, options, words):
    try:
        code = train.main([lmdb, *TINY, "--expname", str(tmp_path / "run"), *options])
    except SystemExit as e:
        code = e.code
    error = capfd.readouterr().err
    assert code == 2 and words in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_tuning_begins_without(lmdb, tmp_path):
    train_in(lmdb, tmp_path / "a", *TINY, "--augment", "--augment_images", 50, "--max_iters", 1)
    argv = ["--ckpt", tmp_path / "a/checkpoint/000001.model", "--tune", "--max_iters", 1]
    train_in(lmdb, tmp_path / "b", *argv)
    train_in(lmdb, tmp_path / "c", *argv, "--augment")
    b, c = (read_checkpoint(tmp_path / x / "checkpoint/000001.model") for x in "bc")
    assert config_of(b).augment == "" and b["augmentation"] is None
    assert (config_of(c).augment, config_of(c).augment_images) == (ALL, 500_000)


@pytest.mark.parametrize(
    "state",
    [
        {"p": 1.5, "signs": 0.0, "images": 0},
        {"p": 0.5, "signs": 9.0, "images": 4},
        {"p": float("nan"), "signs": 0.0, "images": 0},
        {"p": 0.5, "signs": 0.0},
        [],
    ],
)
def test_damaged_states_are_refused(tmp_path, monkeypatch, state):
    run = TrainState(Config(loss="r1", max_size=8, augment=ALL, **SMALL))
    monkeypatch.setattr(run, "augmentation", SimpleNamespace(state_dict=lambda: state))
    monkeypatch.setattr("training.run.check_finite", lambda *_: None)
    run.save(tmp_path / "a.model", 1.0, 8)
    with pytest.raises(CheckpointError, match="its augmentation is not one of train.py"):
        read_checkpoint(tmp_path / "a.model")
