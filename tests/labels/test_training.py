"""Training with labels: what the losses get, on and on to the same bits, what is refused; and that
without labels nothing has changed.
"""

import contextlib
import dataclasses
import json
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from labelled import COUNTS, NAMES, pictures_in, prepared
from PIL import Image
from tiny import TINY, assert_same_checkpoint

import convert
import train
from data.batches import image_order, load_batch, to_network
from data.heldout import divided
from data.store import open_pictures
from labels.table import Labels
from operators.convolution import jt
from training.checkpoint import config_of, read_checkpoint
from training.run import TrainState
from training.schedule import Config, phase_at

LAST = "checkpoint/000020.model"
SMALL = Config(
    loss="r1", mixing=True, code_size=8, n_mlp=1, channel_max=4, init_size=8, batch_default=4
)


def train_in(lmdb, folder, *options):
    """train.py in this process."""
    assert train.main([str(lmdb), "--expname", str(folder), *map(str, options)]) == 0


def said(lmdb, capsys, *options):
    """(exit code, stderr) of train.py in this process."""
    argv = [str(lmdb), "--device", "cpu", *map(str, options)]
    try:
        code = train.main(argv)
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


def test_a_run_with_labels(conditional):
    content = read_checkpoint(conditional / LAST)
    assert config_of(content).label_names == NAMES and content["version"] == 2
    for part in ("generator", "g_running"):
        assert content[part]["label.weight"].shape == (3, 8)
        assert content[part]["style.1.linear.weight_orig"].shape == (8, 16)
    assert content["discriminator"]["linear.linear.weight_orig"].shape == (3, 4)
    assert content["g_optimizer"]["step"]["label.weight"] == 20
    with Image.open(conditional / "sample/000020.png") as sample:
        assert sample.size == (10 * 18 + 2, 3 * 18 + 2)  # a row of each
    start = json.loads((conditional / "log.jsonl").read_text().splitlines()[0])
    assert start["config"]["labels"] == "cat,dog,emu"


def test_goes_on_exactly(labelled, conditional, tmp_path):
    """In the middle of a fade; the other run was a process of its own."""
    train_in(labelled, tmp_path, *TINY, "--labels", "--max_iters", "13")
    train_in(labelled, tmp_path, "--ckpt", "latest", "--max_iters", "20", "--device", "cpu")
    assert_same_checkpoint(conditional / LAST, tmp_path / LAST)
    sample = "sample/000020.png"
    assert (conditional / sample).read_bytes() == (tmp_path / sample).read_bytes()


def test_without_asking_labels_change_nothing(labelled, tmp_path):
    """The same run on a set with labels and on one without, to the last bit."""
    plain = prepared(pictures_in(tmp_path / "pictures"), tmp_path / "plain")
    for folder, lmdb in (("a", labelled), ("b", plain)):
        train_in(lmdb, tmp_path / folder, *TINY, "--max_iters", "8")
    last = "checkpoint/000008.model"
    assert_same_checkpoint(tmp_path / "a" / last, tmp_path / "b" / last)
    sample = "sample/000008.png"
    assert (tmp_path / "a" / sample).read_bytes() == (tmp_path / "b" / sample).read_bytes()
    assert "labels" not in read_checkpoint(tmp_path / "a" / last)["config"]


def generator_of(config, images_seen: int):
    """The generator of an iteration of four, as it is when labels are drawn: after all the rest."""
    rng = np.random.default_rng([config.seed, images_seen])
    rng.random()
    rng.random((4, 1, 1, 1), dtype="float32")
    for _ in range(2):
        train.draw_latents(rng, config, 4, 1, True)
        train.draw_noise(rng, 4, 1)
    return rng


class Noted:
    """Stands before a network and notes the labels of its calls."""

    def __init__(self, network):
        self.network, self.labels = network, []

    def __call__(self, *inputs, **more):
        self.labels.append((more["label"] if more else inputs[3]).numpy())
        return self.network(*inputs, **more)

    def __getattr__(self, name):
        return getattr(self.network, name)


@pytest.mark.parametrize("loss, scored", [("r1", 2), ("wgan-gp", 3)])
def test_labels_of_an_iteration(labelled, loss, scored):
    """The discriminator's images all have those of the real ones; the generator's are drawn, in the
    set's proportions, after all other numbers.
    """
    config = dataclasses.replace(SMALL, loss=loss, labels=",".join(NAMES))
    with closing(open_pictures(labelled)) as pictures:
        run, labels = TrainState(config), Labels(pictures, NAMES)
        real = to_network(load_batch(pictures, 8, config.seed, 0, 4, flip=True))
        names = pictures.labels
    generator, discriminator = Noted(run.generator), Noted(run.discriminator)
    run.generator, run.discriminator = generator, discriminator
    train.train_iteration(run, phase_at(config, 0), real, labels)
    own = [NAMES.index(names[i]) for i in image_order(config.seed, 10, 0, 4)]
    found = [x.argmax(axis=1).tolist() for x in discriminator.labels]
    assert found[:scored] == [own] * scored and len(found) == scored + 1
    rng = generator_of(config, 0)
    drawn = rng.choice(3, 4, p=[0.6, 0.3, 0.1]).tolist()
    assert found[scored] == drawn
    assert [x.argmax(axis=1).tolist() for x in generator.labels] == [own, drawn]


@pytest.mark.parametrize("processes", [1, 2])
def test_each_process_has_its_part_of_the_labels(labelled, monkeypatch, processes):
    """Interleaved, as the pictures of a batch are."""
    found = np.zeros((2, 4, 3), "float32")  # of the discriminator's and the generator's step
    config = dataclasses.replace(SMALL, labels=",".join(NAMES))
    with closing(open_pictures(labelled)) as pictures:
        labels = Labels(pictures, NAMES)
    for rank in range(processes):

        def noted(place, rank=rank):
            def step(*inputs):
                found[place, rank::processes] = inputs[-1]
                return [0, 0, 0]

            return step

        monkeypatch.setattr(train.device, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(train.device, "ranks", lambda: processes)
        run = SimpleNamespace(
            config=config,
            images_seen=8,
            whole_iteration=lambda *_: contextlib.nullcontext(),
            discriminator_step=noted(0),
            generator_step=noted(1),
            average_generator=lambda n: None,
            finish_iteration=lambda n: None,
        )
        train.train_iteration(run, phase_at(config, 0), [None] * (4 // processes), labels)
    order = image_order(config.seed, 10, 8, 4)
    assert (found[0] == labels.of(order)).all() and (found[1].sum(axis=1) == 1).all()
    assert (found[1] == labels.drawn(generator_of(config, 8), 4)).all()


def test_a_penalty_with_labels_is_that_of_their_outputs():
    """R1 of a discriminator whose outputs are those of three without labels, one for each."""
    config = dataclasses.replace(SMALL, labels="a,b,c")
    run = TrainState(config)
    rng = np.random.default_rng(0)
    image = rng.standard_normal((3, 3, 8, 8)).astype("float32")
    weight, bias = (rng.standard_normal(s).astype("float32") for s in ((3, 4), (3,)))
    linear = run.discriminator.linear.linear
    linear.weight_orig.update(jt.array(weight))
    linear.bias.update(jt.array(bias))

    def gradient_of(score):
        x = jt.array(image)
        scores = score(x)
        return scores.numpy(), jt.grad(scores.sum(), x).numpy()

    label = jt.array(np.eye(3, dtype="float32")[[1, 1, 1]])
    ours = gradient_of(lambda x: run.discriminator(x, 1, -1, label))
    alone = TrainState(SMALL).discriminator
    for name, p in alone.named_parameters():
        if not name.startswith("linear."):
            p.update(dict(run.discriminator.named_parameters())[name])
    alone.linear.linear.weight_orig.update(jt.array(weight[1:2]))
    alone.linear.linear.bias.update(jt.array(bias[1:2]))
    for one, other in zip(ours, gradient_of(lambda x: alone(x, 1))):
        np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


def test_held_out_pictures_keep_theirs(labelled):
    with closing(open_pictures(labelled)) as pictures:
        seen, unseen = divided(pictures, 3)
        for part in (seen, unseen):
            assert part.labels == [pictures.labels[i] for i in part.indices]


def test_the_gap_with_labels(labelled, tmp_path):
    """Measured every 100 iterations: of pictures and images with labels."""
    train_in(
        labelled,
        tmp_path,
        *TINY,
        *("--labels", "--max_iters", "100", "--heldout", "3", "--max_size", "8"),
    )
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    (gap,) = (line for line in lines if "gap" in line)
    assert all(np.isfinite(gap[name]) for name in ("d_train", "d_heldout", "d_fake"))


# What convert.py says and keeps


def test_convert_says_and_keeps_them(checkpoint, tmp_path, capsys):
    small = tmp_path / "small.model"
    assert convert.main([checkpoint, "--ema", str(small)]) == 0
    assert "labels         3: cat, dog, emu" in capsys.readouterr().out
    content, whole = read_checkpoint(small), read_checkpoint(checkpoint)
    assert config_of(content).label_names == NAMES
    assert (content["g_running"]["label.weight"] == whole["g_running"]["label.weight"]).all()
    assert convert.main([checkpoint, "--export", str(tmp_path / "a.pth")]) == 1
    assert "networks with labels, which the PyTorch original cannot" in capsys.readouterr().err
    assert not (tmp_path / "a.pth").exists()


# What is refused


def test_a_set_without_labels(lmdb, checkpoint, tmp_path, capsys):
    code, err = said(lmdb, capsys, *TINY, "--labels", "--expname", tmp_path / "a")
    assert code == 2 and "has none: prepare it with prepare_data.py --labels" in err
    code, err = said(lmdb, capsys, "--ckpt", checkpoint, "--tune", "--expname", tmp_path / "b")
    assert code == 2 and "has no labels, which this run was asked for" in err
    assert "Traceback" not in err


def test_a_checkpoint_without_labels(labelled, reference, tmp_path, capsys):
    path = reference / "checkpoint/000020.model"
    options = ["--ckpt", path, "--tune", "--labels", "--expname", tmp_path / "a"]
    code, err = said(labelled, capsys, *options)
    assert code == 2 and "was trained without" in err and "Traceback" not in err


def test_more_labels_than_the_checkpoint_knows(checkpoint, tmp_path, capsys):
    pictures = pictures_in(tmp_path / "pictures", {**COUNTS, "cow": 2})
    lmdb = prepared(pictures, tmp_path / "lmdb", "--labels")
    for options in (["--tune"], ["--override"], ["--tune", "--labels"]):
        folder = tmp_path / "-".join(options)
        code, err = said(lmdb, capsys, "--ckpt", checkpoint, *options, "--expname", folder)
        assert code == 2
        assert "has 1 labels that the networks do not know, cow: they know cat, dog, emu" in err


def test_fewer_labels_are_tuned(checkpoint, tmp_path):
    """Those of the checkpoint stay, by their names."""
    pictures = pictures_in(tmp_path / "pictures", {"dog": 5, "emu": 4})
    lmdb = prepared(pictures, tmp_path / "lmdb", "--labels")
    options = ["--tune", "--batch_default", "4", "--max_iters", "2", "--device", "cpu"]
    train_in(lmdb, tmp_path / "a", "--ckpt", checkpoint, *options)
    content, before = (
        read_checkpoint(path) for path in (tmp_path / "a/checkpoint/000002.model", checkpoint)
    )
    assert config_of(content).label_names == NAMES
    kept, moved = (x["generator"]["label.weight"] for x in (before, content))
    assert (kept[0] == moved[0]).all() and (kept[1:] != moved[1:]).any()


def test_a_new_discriminator_for_a_lone_average(checkpoint, labelled, tmp_path):
    small = tmp_path / "small.model"
    assert convert.main([checkpoint, "--ema", str(small)]) == 0
    options = ["--tune", "--new_discriminator", "1", "--max_iters", "2", "--device", "cpu"]
    train_in(labelled, tmp_path / "a", "--ckpt", str(small), *options, "--batch_default", "4")
    content = read_checkpoint(tmp_path / "a/checkpoint/000002.model")
    assert content["discriminator"]["linear.linear.bias"].shape == (3,)
