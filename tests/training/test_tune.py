"""Beginning with a network that exists: from every kind of file, with frozen layers, with a new
discriminator.
"""

import lzma
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny import TINY, assert_same_checkpoint, run_train

import convert
import train
from operators.convolution import jt
from training import optimizer
from training.checkpoint import config_of, read_checkpoint
from training.history import header_of
from training.parameters import frozen_parameters, level_of, used_parameters
from training.run import TrainState
from training.schedule import Config, phase_at

RECORDED = Path(__file__).resolve().parent.parent / "recorded"
SMALL = {"code_size": 8, "n_mlp": 1, "channel_max": 4, "batch_default": 4, "init_size": 16}
KINDS = ["whole", "average", "original"]


@pytest.fixture(scope="module")
def files(reference, tmp_path_factory):
    """The same network of 16 px: a whole checkpoint, its average, one of the original's."""
    folder = tmp_path_factory.mktemp("kinds")
    whole, average, original = reference / "checkpoint/000020.model", folder / "a", folder / "o"
    assert convert.main([str(whole), "--ema", str(average), "--export", str(original)]) == 0
    return {"whole": whole, "average": average, "original": original}


def tune(lmdb, path, folder, *options):
    """train.py --tune in this process; its exit code."""
    argv = [lmdb, "--ckpt", str(path), "--tune", "--expname", str(folder), "--device", "cpu"]
    return train.main([*argv, *map(str, options)])


def content_after(folder, iteration: int = 1):
    return read_checkpoint(folder / "checkpoint" / f"{iteration:06d}.model")


def beginning(lmdb, path, *options):
    """The run as it is before its first iteration."""
    argv = [lmdb, "--ckpt", str(path), "--tune", *map(str, options)]
    args = train.parser().parse_args(argv)
    return train.continued_run(args, [path], 10)[0]


def arrays(network):
    return {name: np.array(p.numpy()) for name, p in network.named_parameters()}


def assert_equal(network, expected: dict):
    """Bit by bit, what `expected` has."""
    for name, p in network.named_parameters():
        if name in expected:
            assert p.numpy().tobytes() == expected[name].tobytes(), name


# The four kinds of files


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_begins_with_the_networks_of_each_kind(lmdb, files, kind, capsys):
    """At the size learned, from 0, with new optimiser states; of the average both generators."""
    whole = read_checkpoint(files["whole"])
    options = {"average": ["--new_discriminator", 3], "original": ["--init_size", 16]}
    run = beginning(lmdb, files[kind], *options.get(kind, []))
    said = capsys.readouterr().out
    assert f"tuning the networks in {files[kind]} at 16 px, with new optimiser states" in said
    assert_equal(run.running, whole["g_running"])
    if kind == "average":
        used = used_parameters(run.generator, 2)
        assert_equal(run.generator, {k: whole["g_running"][k] for k in used})
        fresh = TrainState(run.config).discriminator
        assert_equal(run.discriminator, arrays(fresh))
        assert "and a new discriminator" in said
    else:
        assert_equal(run.generator, whole["generator"])
        assert_equal(run.discriminator, whole["discriminator"])
    assert (run.iteration, run.images_seen) == (0, 0)
    assert not any(run.g_optimizer.steps.values()) and not any(run.d_optimizer.steps.values())
    phase = phase_at(run.config, 0)
    assert phase[:3] == phase_at(run.config, 10**9)[:3] == (16, 2, 1.0)
    ours = kind != "original"
    assert run.config.loss == ("r1" if ours else "wgan-gp")
    assert run.config.batch_default == (4 if ours else 32)


def test_a_run_begins_with_nvidias_networks(tmp_path, capsys):
    """At their size; the rate is the paper's for that."""
    path = tmp_path / "official.pkl"
    with lzma.open(RECORDED / "nvidia_256.pkl.xz") as packed, open(path, "wb") as f:
        shutil.copyfileobj(packed, f)
    content = read_checkpoint(path)
    run = beginning("lmdb", path, "--loss", "r1")
    for network, part in (
        (run.generator, "generator"),
        (run.discriminator, "discriminator"),
        (run.running, "g_running"),
    ):
        assert_equal(network, {k: x.astype("float32") for k, x in content[part].items()})
    config = run.config
    assert (config.init_size, config.max_size, config.lr, config.loss) == (256, 256, 0.002, "r1")
    assert (config.noise_maps, config.bias_after_blur, config.stddev_group) == (2, True, 4)
    assert beginning("lmdb", path, "--lr", "0.5", "--init_size", 64).config.lr == 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_a_tuned_run_goes_on_exactly(lmdb, files, tmp_path, kind):
    """With each option; stopped before and after the generator is let go."""
    options = ["--init_size", "16", "--batch_default", "4", "--freeze_g", "mapping,4"]
    options += ["--new_discriminator", "3"] if kind == "average" else ["--freeze_d", "16"]
    for folder, stops in (("once", [6]), ("twice", [2, 4, 6])):
        begun = ["--ckpt", str(files[kind]), "--tune", *options]
        for n in stops:
            given = begun if n == stops[0] else ["--ckpt", "latest"]
            run_train(lmdb, tmp_path / folder, *given, "--device", "cpu", "--max_iters", str(n))
    name = "checkpoint/000006.model"
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "twice" / name)
    config = config_of(read_checkpoint(tmp_path / "once" / name))
    assert config.freeze_g == "mapping,4"
    assert (config.new_discriminator, config.freeze_d) == (
        (3, "") if kind == "average" else (0, "16")
    )


def test_growth_may_follow(lmdb, reference, tmp_path):
    """From 8 px on: a stage of that, fully grown, then 16 px, fading in."""
    path = reference / "checkpoint" / "train_step-3.model"
    options = ["--init_size", 8, "--max_size", 16, "--max_iters"]
    assert tune(lmdb, path, tmp_path / "a", *options, 6) == 0
    assert tune(lmdb, path, tmp_path / "b", *options, 7) == 0
    stages = [content_after(tmp_path / name, n) for name, n in (("a", 6), ("b", 7))]
    assert [(x["size"], x["alpha"]) for x in stages] == [(8, 1.0), (16, 0.1)]


def test_a_size_that_was_fading_in_does_so_again(lmdb, tmp_path):
    run_train(lmdb, tmp_path, *TINY, "--max_iters", "8")
    path = tmp_path / "checkpoint" / "000008.model"
    assert phase_at(beginning(lmdb, path).config, 0)[:3] == (8, 1, 0.1)
    assert phase_at(beginning(lmdb, path, "--init_size", 4).config, 0)[:3] == (4, 0, 1.0)


def test_tuning_does_not_inherit_what_was_frozen(lmdb, files, tmp_path):
    options = ["--freeze_d", "8", "--freeze_g", "mapping", "--max_iters", 1]
    assert tune(lmdb, files["whole"], tmp_path, *options) == 0
    config = beginning(lmdb, tmp_path / "checkpoint/000001.model").config
    assert (config.freeze_d, config.freeze_g) == ("", "")
    options = ["--max_iters", "2", "--device", "cpu", "--override", "--freeze_d", "4,16"]
    argv = [lmdb, "--ckpt", "latest", "--expname", str(tmp_path)]
    assert train.main([*argv, *options]) == 0  # an option like any other for --override
    assert config_of(content_after(tmp_path, 2)).freeze_d == "4,16"


def test_mirroring_that_was_off_may_be_on(lmdb, tmp_path, capsys):
    """It is said where it is inherited, and not where the user knows."""
    run_train(lmdb, tmp_path, *TINY, "--no_flip", "--max_iters", "1")
    path = tmp_path / "checkpoint" / "000001.model"
    for options, flip, said in (([], False, True), (["--flip"], True, False)):
        assert beginning(lmdb, path, *options).config.flip is flip
        assert ("pictures are not mirrored" in capsys.readouterr().out) == said
    assert beginning(lmdb, path, "--no_flip").config.flip is False
    assert "mirrored" not in capsys.readouterr().out


def test_a_batch_of_a_size_goes_on_exactly(lmdb, files, tmp_path):
    options = ["--ckpt", str(files["whole"]), "--tune", "--batch_at", "16:6,4:2"]
    for folder, stops in (("once", [4]), ("twice", [2, 4])):
        for n in stops:
            given = options if n == stops[0] else ["--ckpt", "latest"]
            run_train(lmdb, tmp_path / folder, *given, "--device", "cpu", "--max_iters", str(n))
    name = "checkpoint/000004.model"
    assert_same_checkpoint(tmp_path / "once" / name, tmp_path / "twice" / name)
    content = read_checkpoint(tmp_path / "once" / name)
    assert (content["images_seen"], config_of(content).batch_at) == (24, "4:2,16:6")


# What stays


def names_of(network, field, text):
    run = TrainState(Config(**SMALL, **{field: text}))
    return {k for k, _ in getattr(run, network).named_parameters() if k in run.frozen}


def test_which_parameters_a_size_names():
    """Lists of the discriminator begin with 1024 px: 16 px is number 6, 4 px number 8."""
    found = names_of("discriminator", "freeze_d", "16")
    expected = {f"progression.6.conv1.0.conv.{x}" for x in ("bias", "weight_orig")}
    expected |= {f"progression.6.conv2.1.conv.{x}" for x in ("bias", "weight_orig")}
    expected |= {f"from_rgb.6.0.conv.{x}" for x in ("bias", "weight_orig")}
    assert found == expected
    smallest = names_of("discriminator", "freeze_d", "4")
    assert smallest and not any(name.startswith("linear.") for name in smallest)
    found = names_of("generator", "freeze_g", "mapping")
    assert found == {"style.1.linear.bias", "style.1.linear.weight_orig"}
    found = names_of("generator", "freeze_g", "4,8")
    assert {level_of(k) for k in found} == {0, 1} and "generator.to_rgb.1.conv.bias" in found
    assert not any(name.startswith("style.") for name in found)
    assert frozen_parameters(TrainState(Config(**SMALL)).generator, []) == set()


@pytest.mark.parametrize("loss", ["r1", "wgan-gp"])
@pytest.mark.parametrize(
    "frozen",
    [{"freeze_d": "16,8"}, {"freeze_g": "mapping"}, {"freeze_g": "mapping,4", "freeze_d": "4"}],
)
def test_frozen_layers_keep_their_bits_and_get_no_gradient(monkeypatch, loss, frozen):
    """All others are trained as without; Jittor is asked for the gradients of none that stay."""
    run = TrainState(Config(loss=loss, **SMALL, **frozen))
    phase, asked, gradient = phase_at(run.config, 0), [], optimizer.gradient_of_sum
    named = {**run.g_parameters, **run.d_optimizer.parameters}
    identity = {id(p): name for name, p in named.items()}

    def watched(losses, parameters):
        asked.extend(identity[id(p)] for p in parameters)
        return gradient(losses, parameters)

    monkeypatch.setattr(optimizer, "gradient_of_sum", watched)
    before = {name: np.array(p.numpy()) for name, p in named.items()}
    real = np.random.RandomState(0).standard_normal((4, 3, 16, 16)).astype("float32")
    for _ in range(2):
        train.train_iteration(run, phase, real)
    used = {*used_parameters(run.generator, 2), *used_parameters(run.discriminator, 2)}
    assert run.frozen & used and set(asked) == used - run.frozen
    changed = {k for k, p in named.items() if p.numpy().tobytes() != before[k].tobytes()}
    assert changed == used - run.frozen
    steps = {**run.g_optimizer.steps, **run.d_optimizer.steps}
    assert {k for k, n in steps.items() if n} == used - run.frozen


def test_one_frozen_layer_changes_no_other_ones_first_step():
    """The discriminator's first update is that of a run in which nothing is frozen."""
    free, held = (TrainState(Config(loss="r1", **SMALL, freeze_d=x)) for x in ("", "16"))
    real = np.random.RandomState(0).standard_normal((4, 3, 16, 16)).astype("float32")
    for run in (free, held):
        train.train_iteration(run, phase_at(run.config, 0), real)
    ours, theirs = arrays(held.discriminator), arrays(free.discriminator)
    for name in ours.keys() - held.frozen:
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-7, err_msg=name)


def test_the_average_moves_to_what_is_frozen():
    """Else its synthesis, trained with the generator's mapping, would be fed by another one."""
    run = TrainState(Config(loss="r1", ema=0.75, **SMALL, freeze_g="mapping"))
    name = "style.1.linear.bias"
    run.running_parameters[name].update(jt.ones(8))
    run.running_parameters[name].sync()
    real = np.zeros((4, 3, 16, 16), "float32")
    train.train_iteration(run, phase_at(run.config, 0), real)
    np.testing.assert_allclose(run.running_parameters[name].numpy(), 0.75)
    assert (run.g_parameters[name].numpy() == 0).all()


# A new discriminator


def test_a_new_discriminator_is_trained_alone_first():
    """Two iterations: the generator, its average and Adam stay; then both are trained."""
    run = TrainState(Config(loss="r1", **SMALL, new_discriminator=2))
    run.mean_style, phase = np.zeros(8, "float32"), phase_at(run.config, 0)
    real = np.random.RandomState(0).standard_normal((4, 3, 16, 16)).astype("float32")
    networks = run.generator, run.running, run.discriminator
    for i in range(3):
        before = list(map(arrays, networks))
        losses = train.train_iteration(run, phase, real)
        assert losses[3].item() > 0
        moved = [
            any(after[k].tobytes() != x.tobytes() for k, x in was.items())
            for was, after in zip(before, map(arrays, networks))
        ]
        assert moved == [i == 2, i == 2, True]
        assert (run.mean_style is None) == any(run.g_optimizer.steps.values()) == (i == 2)


def test_the_discriminator_is_trained_as_if_nothing_was_held():
    """The first iteration of it, beside a run that trains both."""
    runs = [TrainState(Config(loss="r1", **SMALL, new_discriminator=k)) for k in (0, 1)]
    real = np.random.RandomState(0).standard_normal((4, 3, 16, 16)).astype("float32")
    phase = phase_at(runs[0].config, 0)
    both, alone = ([x.item() for x in train.train_iteration(run, phase, real)] for run in runs)
    assert both[:3] == alone[:3]
    assert_equal(runs[0].discriminator, arrays(runs[1].discriminator))


# What is refused


@pytest.mark.parametrize(
    "kind, options, code, words",
    [
        ("average", [], 2, "holds no discriminator: add --new_discriminator K"),
        ("original", [], 2, "does not tell its size in pixels: give it with --init_size"),
        ("whole", ["--init_size", 32, "--max_size", 32], 2, "has learned 4 to 16 px: --init_size"),
        ("whole", ["--code_size", 16], 2, "networks with code_size 8, not 16"),
        ("whole", ["--override"], 2, "--tune takes the place of --override"),
        ("whole", ["--restart_at", 8], 2, "--tune takes the place of --override and --restart_at"),
        ("whole", ["--new_discriminator", 3, "--freeze_d", 4], 2, "leave one out"),
        ("whole", ["--max_size", 64], 1, "but not at 32,64"),
    ],
)
def test_what_cannot_be_tuned(lmdb, files, tmp_path, capfd, kind, options, code, words):
    assert tune(lmdb, files[kind], tmp_path, *options) == code
    error = capfd.readouterr().err
    assert words in error and error.count("\n") == 1 and "Traceback" not in error
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


@pytest.mark.parametrize(
    "options, words",
    [
        (["--tune"], "name that with --ckpt FILE"),
        (["--tune", "--ckpt", "latest"], "name that with --ckpt FILE"),
        (["--new_discriminator", "3"], "--new_discriminator goes with --tune only"),
        (["--freeze_d", "8"], "--freeze_d keeps what a network has learned"),
        (
            ["--freeze_g", "mapping", "--ckpt", "auto"],
            "--freeze_g keeps what a network has learned",
        ),
        (["--freeze_d", "mapping"], "'mapping' is not a size: powers of two from 4 to 1024"),
        (["--freeze_g", "8,12"], "'12' is not mapping or a size"),
    ],
)
def test_options_that_need_a_network(lmdb, tmp_path, capfd, options, words):
    argv = [lmdb, *TINY, "--expname", str(tmp_path), *options]
    try:
        code = train.main(argv)
    except SystemExit as stop:
        code = stop.code
    error = capfd.readouterr().err
    assert code == 2 and words in error and "Traceback" not in error
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_checkpoint_tells_in_its_first_bytes_what_is_frozen(tmp_path):
    """Pickled, the second of two equal strings is a reference to the first."""
    config = Config(**SMALL, freeze_d="8", freeze_g="8", batch_at="8:4", heldout=0.25)
    TrainState(config).save(tmp_path / "a.model", alpha=1.0, size=16)
    header = header_of(tmp_path / "a.model")
    assert {k: header[k] for k in config.saved()} == config.saved()
    assert (header["iteration"], header["size"], header["alpha"]) == (0, 16, 1.0)


def test_a_folder_with_a_run_is_not_tuned_into(lmdb, reference, capfd):
    path = reference / "checkpoint" / "000020.model"
    assert tune(lmdb, path, reference) == 2
    assert "holds a run" in capfd.readouterr().err


def test_a_damaged_note_of_what_is_frozen(files, tmp_path):
    from training.checkpoint import is_config

    assert is_config({"freeze_d": "8,16", "freeze_g": "mapping"})
    for values in ({"freeze_d": "mapping"}, {"freeze_g": "7"}, {"freeze_d": 8}):
        assert not is_config(values)
