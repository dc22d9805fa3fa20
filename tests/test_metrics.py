"""metrics.py, and measuring while training, with VGG16 of random weights."""

import json
from contextlib import closing
from functools import partial

import numpy as np
import pytest
from networks import own_cache, random_inception, random_weights, vgg16  # noqa: F401
from PIL import Image
from tiny import TINY

import generate
import metrics
import train
from backend.terminal import UserError
from data.heldout import divided
from data.store import open_pictures
from figures.artist import Artist
from figures.grid import to_bytes
from figures.network import load_network
from formats import pytorch
from formats.features import find_weights
from operators.convolution import jt
from quality import features, judge, measuring
from quality.chart import label, ticks
from quality.distances import frechet_distance, kernel_distance, moments, precision_recall
from quality.judge import Judge, Request, Stopped
from quality.lpips import LPIPS
from quality.path_length import path_lengths, trimmed_mean
from quality.sets import Data, chosen, open_data
from training.checkpoint import read_checkpoint
from training.run import TrainState
from training.schedule import Config


def save_checkpoint(path, seed=3, images=128):
    run = TrainState(Config(code_size=8, n_mlp=1, channel_max=4, max_size=16, seed=seed))
    for name, p in run.running.named_parameters():
        if ".noise" in name:
            p.update(jt.full(p.shape, 0.5))
    run.images_seen = images
    run.save(path, alpha=1.0, size=16)
    return str(path)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(tmp_path_factory.mktemp("run") / "a.model")


def save_pictures(folder, count, size=(16, 16), seed=0):
    folder.mkdir()
    rng = np.random.default_rng(seed)
    for i in range(count):
        pixels = rng.integers(0, 256, (*size, 3), dtype="uint8")
        Image.fromarray(pixels).save(folder / f"{i}.png")
    return str(folder)


def lines_of(folder, metric):
    text = (folder / "results" / f"metric-{metric}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]


def measured(folder):
    """{name: value} of the last line of each file."""
    found = {}
    for path in (folder / "results").glob("metric-*.jsonl"):
        found.update(json.loads(path.read_text().splitlines()[-1])["results"])
    return found


def pixels_of(folder):
    return np.stack([np.asarray(Image.open(p)) for p in sorted(folder.glob("*.png"))])


# What is measured


def test_the_numbers_of_a_checkpoint(checkpoint, vgg16, lmdb, tmp_path):
    """Every number from its definition, of images that generate.py writes; in odd batches."""
    names = "fd_vgg16,kid,precision,recall,ppl_z,ppl_w"
    argv = [checkpoint, "--data", lmdb, "--metrics", names, "--seed", "5", "--batch", "3", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    argv = [checkpoint, "--images", "10", "--seed", "5", "--psi", "1", "--out", str(tmp_path / "a")]
    assert generate.main(argv) == 0

    extractor = features.vgg16_extractor(vgg16[1])
    generated = extractor(pixels_of(tmp_path / "a").transpose(0, 3, 1, 2))
    data = open_data(lmdb).at((16, 16))
    real = extractor(next(data.batches(range(10), 10)))
    precision, recall = precision_recall(real, generated)
    expected = {
        "fd_vgg16_10_full": frechet_distance(moments(real), moments(generated)),
        "kid_vgg16_10_full": kernel_distance(real, generated),
        "pr_vgg16_k3_10_full_precision": precision,
        "pr_vgg16_k3_10_full_recall": recall,
    }
    distance = judge.perceptual_distance("vgg16", vgg16[1], vgg16[3])
    artist = Artist.of(load_network(checkpoint), 1.0, 8)
    for space in ("z", "w"):
        for end, whole in (("full", True), ("end", False)):
            lengths = path_lengths(artist, distance, space, whole, range(5, 15))
            expected[f"ppl_{space}{end}"] = trimmed_mean(lengths)
    assert measured(tmp_path) == pytest.approx(expected, rel=1e-3)


def test_lines_are_those_of_stylegan3(checkpoint, vgg16, lmdb, tmp_path, capsys):
    argv = [checkpoint, "--data", lmdb, "--metrics", "fd_vgg16", "--psi", "0.5", *vgg16]
    for num in ("8", "10"):
        assert metrics.main([*argv, "--num", num, "--expname", str(tmp_path)]) == 0
    first, second = lines_of(tmp_path, "fd_vgg16")
    assert list(first["results"]) == ["fd_vgg16_8"] and first["metric"] == "fd_vgg16"
    assert list(second["results"]) == ["fd_vgg16_10_full"]  # of all the data
    assert first["snapshot_pkl"] == checkpoint and first["num_gpus"] == 1
    assert first["total_time"] > 0 and first["total_time_str"].endswith("s")
    assert first["timestamp"] < second["timestamp"]
    assert (first["images_seen"], first["size"], first["psi"]) == (128, [16, 16], 0.5)
    value = first["results"]["fd_vgg16_8"]
    assert f"{checkpoint}: fd_vgg16_8 {value:.5g}" in capsys.readouterr().out


def test_the_largest_seed(checkpoint, vgg16, lmdb, tmp_path):
    argv = [checkpoint, "--data", lmdb, "--num", "4", "--metrics", "fd_vgg16,ppl_w", *vgg16]
    assert metrics.main([*argv, "--seed", str(2**64 - 1), "--expname", str(tmp_path)]) == 0
    assert lines_of(tmp_path, "ppl_w")[0]["seed"] == 2**64 - 1


def test_full_compares_with_all_of_the_data(checkpoint, vgg16, lmdb, tmp_path):
    argv = [checkpoint, "--data", lmdb, "--num", "5", "--full", "--metrics", "kid,recall", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    assert set(measured(tmp_path)) == {"kid_vgg16_5_full", "pr_vgg16_k3_5_full_recall"}


def test_truncation_and_size_reach_the_images(checkpoint, vgg16, lmdb, tmp_path):
    values = []
    for i, options in enumerate((["--psi", "0"], ["--psi", "1"], ["--size", "8"])):
        argv = [checkpoint, "--data", lmdb, "--metrics", "fd_vgg16", *options, *vgg16]
        assert metrics.main([*argv, "--expname", str(tmp_path / str(i))]) == 0
        values.append(measured(tmp_path / str(i))["fd_vgg16_10_full"])
    assert len(set(values)) == 3
    assert lines_of(tmp_path / "2", "fd_vgg16")[0]["size"] == [8, 8]


def test_folders_of_pictures(vgg16, tmp_path):
    """With itself nothing is apart; not square, and not of a size that we train."""
    a = save_pictures(tmp_path / "a", 12, (20, 30))
    b = save_pictures(tmp_path / "b", 9, (20, 30), seed=1)
    names = ["--metrics", "fd_vgg16,precision,recall"]
    assert metrics.main([a, "--data", a, "--expname", str(tmp_path / "same"), *names, *vgg16]) == 0
    found = measured(tmp_path / "same")
    assert found["fd_vgg16_12_full"] == pytest.approx(0, abs=1e-6)
    assert found["pr_vgg16_k3_12_full_precision"] == found["pr_vgg16_k3_12_full_recall"] == 1
    assert metrics.main([b, "--data", a, "--expname", str(tmp_path), *names, *vgg16]) == 0
    assert measured(tmp_path)["fd_vgg16_9_full"] > 0.01


def test_a_folder_of_a_checkpoints_images_is_the_checkpoint(checkpoint, vgg16, lmdb, tmp_path):
    out = str(tmp_path / "images")
    assert generate.main([checkpoint, "--images", "10", "--psi", "1", "--out", out]) == 0
    argv = [checkpoint, out, "--data", lmdb, "--metrics", "fd_vgg16", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    one, other = (line["results"] for line in lines_of(tmp_path, "fd_vgg16"))
    assert one == pytest.approx(other, rel=1e-4)


@pytest.mark.parametrize("batch", [1, 3, 16])
def test_diversity_is_the_mean_distance_of_pairs(checkpoint, lmdb, monkeypatch, batch):
    weights = random_weights("alexnet")
    monkeypatch.setattr(judge, "find_weights", lambda *_: weights)
    artist = Artist.of(load_network(checkpoint), 1.0, 8)
    ours = Judge(open_data(lmdb), Request(("lpips_diversity",), num=7, batch=batch))
    images = to_bytes(artist.draw(artist.styles(range(6)), artist.noise(range(6))))
    x = images / np.float32(127.5) - 1
    expected = LPIPS(weights)(x[::2], x[1::2]).numpy().mean()
    found = ours.measure_artist(artist)
    assert found["lpips_diversity"] == pytest.approx({"lpips_diversity7": expected}, rel=1e-3)


def test_the_fid_with_inceptions_file(checkpoint, lmdb, tmp_path):
    path = tmp_path / "inception.pth"
    pytorch.write(path, random_inception())
    argv = [checkpoint, "--data", lmdb, "--num", "4", "--metrics", "fid,kid,precision"]
    assert metrics.main([*argv, "--inception", str(path), "--expname", str(tmp_path)]) == 0
    assert set(measured(tmp_path)) == {"fid4", "kid4", "pr_inception_k3_4_precision"}


def test_large_images_are_averaged_down_to_256():
    x = jt.array(np.random.default_rng(0).random((1, 3, 1024, 512), dtype="float32"))
    y = features.reduced(x)
    mean = x.numpy().reshape(1, 3, 256, 4, 128, 4).mean((3, 5))
    np.testing.assert_allclose(y.numpy(), mean, rtol=1e-5)
    assert features.reduced(x[:, :, :301]).shape == [1, 3, 301, 512]
    assert features.reduced(y) is y


# Several checkpoints


def test_a_table_and_a_chart_of_several(checkpoint, vgg16, lmdb, tmp_path, capsys):
    later = save_checkpoint(tmp_path / "b.model", seed=4, images=4000)
    argv = [checkpoint, later, "--data", lmdb, "--metrics", "fd_vgg16,recall", *vgg16]
    assert metrics.main([*argv, "--expname", str(tmp_path)]) == 0
    out = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in out if line.startswith((checkpoint + " ", later + " "))]
    values = [line["results"]["fd_vgg16_10_full"] for line in lines_of(tmp_path, "fd_vgg16")]
    assert [row[1:4] for row in rows] == [
        ["16x16", "128", f"{values[0]:.5g}"],
        ["16x16", "4,000", f"{values[1]:.5g}"],
    ]
    with Image.open(tmp_path / "results" / "metrics.png") as picture:
        assert picture.size == (960, 260)
        assert len(set(picture.getdata())) > 5


def test_axes():
    assert ticks(0, 54400) == [0, 20000, 40000, 60000]
    assert ticks(0.012, 0.03) == pytest.approx([0.01, 0.015, 0.02, 0.025, 0.03])
    for value in (0.0, 7.0, -3.0):  # one point
        found = ticks(value, value)
        assert found[0] <= value <= found[-1] and len(found) > 1
    assert [label(x) for x in (0.05, 1500, 2e6, 0)] == ["0.05", "1.5k", "2M", "0"]


# The data's features


@pytest.fixture
def computed(monkeypatch):
    """How many pictures each call of an extractor saw."""
    seen, call = [], features.Extractor.__call__

    def counted(self, pixels):
        seen.append(len(pixels))
        return call(self, pixels)

    monkeypatch.setattr(features.Extractor, "__call__", counted)
    return seen


def test_features_of_the_data_are_computed_once(vgg16, tmp_path, computed):
    a, b = save_pictures(tmp_path / "a", 6), save_pictures(tmp_path / "b", 5, seed=1)
    argv = [b, "--data", a, "--metrics", "fd_vgg16", "--expname", str(tmp_path), *vgg16]

    def seen():
        computed.clear()
        assert metrics.main(argv) == 0
        return sum(computed)

    assert seen() == 6 + 5
    assert seen() == 5
    values = [line["results"]["fd_vgg16_5_full"] for line in lines_of(tmp_path, "fd_vgg16")]
    assert values[0] == values[1]
    (kept,) = (tmp_path / "cache" / "stylegan-jittor").iterdir()
    kept.write_bytes(kept.read_bytes()[:-7])  # damaged
    assert seen() == 6 + 5
    save_pictures(tmp_path / "c", 1, seed=7)  # other content under the same name
    (tmp_path / "c" / "0.png").replace(tmp_path / "a" / "3.png")
    assert seen() == 6 + 5


def test_without_room_for_the_cache(vgg16, tmp_path, monkeypatch, computed, capfd):
    a = save_pictures(tmp_path / "a", 6)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    argv = [a, "--data", a, "--metrics", "fd_vgg16", "--expname", str(tmp_path), *vgg16]
    for _ in range(2):
        computed.clear()
        assert metrics.main(argv) == 0
        assert sum(computed) == 12
    captured = capfd.readouterr()
    assert "cannot be written" in captured.out + captured.err


def test_which_pictures_of_many():
    assert list(chosen(4, 9)) == [0, 1, 2, 3]
    few = chosen(1000, 50)
    assert len(set(few)) == 50 and list(few) == sorted(few) and few[-1] > 800
    assert (few == chosen(1000, 50)).all()


# Mistakes


MISTAKES = [
    (["none.model", "--data", "LMDB"], 1, "none.model: no such file"),
    (["CKPT", "--data", "nowhere"], 1, "nowhere: no such file"),
    (["CKPT", "--data", "LMDB", "--metrics", "fid"], 2, "fid needs pytorch-fid's file"),
    (["CKPT", "--data", "LMDB", "--metrics", "fid,fd_vgg16"], 2, "ask for them in turn"),
    (["WIDE", "--data", "WIDE", "--metrics", "ppl_z"], 2, "ppl_z needs a generator"),
    (["WIDE", "--data", "LMDB"], 1, "has 30 x 20: the sizes must be the same"),
    (["CKPT", "--data", "WIDE"], 1, "holds pictures at 30 x 20 px"),
    (["EMPTY", "--data", "LMDB"], 1, "holds no pictures"),
    (["WIDE", "EMPTY", "--data", "LMDB"], 1, "holds no pictures"),  # before the first is measured
    (["MIXED", "WIDE", "EMPTY", "--data", "LMDB"], 1, "holds no pictures"),
    (["FEW", "--data", "LMDB"], 1, "at least 4 pictures"),
    (["CKPT", "--data", "FEW"], 1, "at least 4 pictures"),
    (["MIXED", "--data", "LMDB"], 1, "all must have the same size"),
    (["BROKEN", "--data", "LMDB"], 1, "5.png is unusable"),
    (["CKPT", "--data", "LMDB", "--inception", "VGG16"], 1, "is not pt_inception"),
    (["CKPT", "--data", "LMDB", "--size", "32"], 1, "has not learned 32 px"),
]


@pytest.mark.parametrize("argv, code, words", MISTAKES, ids=lambda x: str(x)[:40])
def test_mistakes_get_one_sentence(checkpoint, vgg16, lmdb, tmp_path, capsys, argv, code, words):
    names = {"CKPT": checkpoint, "LMDB": lmdb, "VGG16": vgg16[1]}
    if {"WIDE", "EMPTY", "FEW", "MIXED", "BROKEN"} & set(argv):
        names["WIDE"] = save_pictures(tmp_path / "wide", 5, (20, 30))
        names["EMPTY"] = save_pictures(tmp_path / "empty", 0)
        names["FEW"] = save_pictures(tmp_path / "few", 3)
        names["MIXED"] = save_pictures(tmp_path / "mixed", 5)
        Image.new("RGB", (16, 15)).save(tmp_path / "mixed" / "5.png")
        names["BROKEN"] = save_pictures(tmp_path / "broken", 5)
        (tmp_path / "broken" / "5.png").write_bytes(b"no picture")
    argv = [names.get(word, word) for word in argv]
    assert metrics.main([*argv, *vgg16, "--expname", str(tmp_path)]) == code
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("metrics.py: ") and words in error


def test_unknown_metrics(capsys):
    with pytest.raises(SystemExit):
        metrics.main(["a.model", "--data", "b", "--metrics", "fid,fred"])
    assert "'fred' is none of fid, fd_vgg16" in capsys.readouterr().err


# While training


@pytest.fixture
def random_vgg16(vgg16, monkeypatch):
    """train.py has no option for weights: it takes these for the package's."""
    weights = find_weights("vgg16", vgg16[1])
    monkeypatch.setattr(features, "find_weights", lambda *_: weights)


def train_in(folder, lmdb, *options):
    argv = [lmdb, "--expname", str(folder), *TINY, *map(str, options)]
    assert train.main(argv) == 0
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def test_training_measures_itself(lmdb, random_vgg16, tmp_path, monkeypatch):
    """Numbers in the log are those of the checkpoint of that iteration, and best.model is the best
    of the last size.
    """
    options = ("--metrics_every", 5, "--metrics", "fd_vgg16,recall", "--metrics_num", 8)
    lines = train_in(tmp_path, lmdb, *options, "--max_iters", 25, "--save_every", 5)
    lines = [line for line in lines if "metrics" in line]
    assert [line["iteration"] for line in lines] == [5, 10, 15, 20, 25]
    for line in lines[1::3]:
        path = tmp_path / "checkpoint" / f"{line['iteration']:06d}.model"
        network = load_network(path)
        assert network.size == line["size"]
        artist = Artist.of(network, 1.0, 8)
        found = Judge(open_data(lmdb), Request(("fd_vgg16", "recall"), num=8))
        results = found.measure_artist(artist)
        expected = {name: value for named in results.values() for name, value in named.items()}
        assert line["metrics"] == pytest.approx(expected, rel=1e-4)
    last = [line for line in lines if line["size"] == lines[-1]["size"]]
    assert len(last) >= 2
    best = min(last, key=lambda line: line["metrics"]["fd_vgg16_8"])
    content = read_checkpoint(tmp_path / "checkpoint" / "best.model")
    assert content["iteration"] == best["iteration"]


def test_training_measures_itself_against_what_it_does_not_see(lmdb, random_vgg16, tmp_path):
    """Numbers and best.model, by another name than those of a run that sees all."""
    options = ("--metrics_every", 2, "--metrics", "fd_vgg16", "--heldout", 5, "--max_iters", 4)
    lines = [x for x in train_in(tmp_path, lmdb, *options) if "metrics" in x]
    name = "fd_vgg16_5_full_heldout"
    assert [list(x["metrics"]) for x in lines] == [[name]] * 2
    with closing(open_pictures(lmdb)) as pictures:
        unseen = Data(divided(pictures, 5)[1])
        network = load_network(tmp_path / "checkpoint" / "000004.model")
        results = Judge(unseen, Request(("fd_vgg16",))).measure_artist(Artist.of(network, 1.0, 8))
    assert lines[1]["metrics"][name] == pytest.approx(results["fd_vgg16"]["fd_vgg16_5_full"])
    best = min(lines, key=lambda x: x["metrics"][name])
    content = read_checkpoint(tmp_path / "checkpoint" / "best.model")
    assert content["iteration"] == best["iteration"] and content["config"]["heldout"] == 5


def test_the_best_is_remembered_by_who_goes_on(lmdb, random_vgg16, tmp_path, monkeypatch):
    """Values 5, 3 | 4, 2 of one size: written at the first, second and fourth."""
    values, saved = iter([5.0, 3.0, 4.0, 2.0]), []
    monkeypatch.setattr(
        Judge, "measure_artist", lambda self, artist: {"fd_vgg16": {"fd_vgg16_8": next(values)}}
    )
    save = TrainState.save

    def noted(self, path, *args):
        saved.append((path.name, self.iteration))
        save(self, path, *args)

    monkeypatch.setattr(TrainState, "save", noted)
    options = ("--metrics_every", 1, "--metrics", "fd_vgg16", "--phase", 1000)
    train_in(tmp_path, lmdb, *options, "--max_iters", 2)
    train_in(tmp_path, lmdb, *options, "--ckpt", "latest", "--max_iters", 4)
    assert [n for name, n in saved if name == "best.model"] == [1, 2, 4]


def test_higher_is_better_of_recall(tmp_path):
    history = type("History", (), {"lines": lambda self: [b'{"size": 8, "metrics": {"r": 0.5}}']})
    found = measuring.Measuring.__new__(measuring.Measuring)
    found.history, found.judge = history(), type("Judge", (), {"metrics": ("recall",)})
    assert found.best(8, {"recall": {"r": 0.6}}) and not found.best(8, {"recall": {"r": 0.4}})
    assert found.best(16, {"recall": {"r": 0.1}})


@pytest.mark.parametrize("batches", [0, 2, 7, 12])
def test_a_signal_ends_measuring(checkpoint, lmdb, random_vgg16, computed, monkeypatch, batches):
    """While the data, images or paths are looked at: 5 batches each."""
    monkeypatch.setattr(judge, "perceptual_distance", lambda *_: lambda a, b: np.ones(len(a)))
    artist = Artist.of(load_network(checkpoint), 0.7, 8)
    asked = iter([False] * batches + [True])
    request = Request(("fd_vgg16", "ppl_w"), batch=2)
    ours = Judge(open_data(lmdb), request, stop=partial(next, asked))
    with pytest.raises(Stopped):
        ours.measure_artist(artist)
    assert len(computed) == min(batches, 10) and next(asked, "all") == "all"


def test_measuring_options_without_measuring(lmdb, tmp_path, capsys):
    argv = [lmdb, "--expname", str(tmp_path), "--metrics_num", "5"]
    assert train.main(argv) == 2
    assert "--metrics_every" in capsys.readouterr().err


def test_missing_weights_before_training_begins(lmdb, tmp_path, monkeypatch, capsys):
    def missing(*_):
        raise UserError("the weights of vgg16 are missing")

    monkeypatch.setattr(features, "find_weights", missing)
    argv = [lmdb, "--expname", str(tmp_path / "run"), *TINY, "--metrics_every", "5"]
    assert train.main(argv) == 1
    assert "the weights of vgg16 are missing" in capsys.readouterr().err
    assert not list(tmp_path.glob("run/checkpoint/*.model"))
