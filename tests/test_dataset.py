"""dataset.py: the data set of Jittor, the order of the pictures, the batches, the contact sheet."""

import io
import threading
import time
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import dataset as script
import prepare_data
from data import batches
from data.store import DataError, open_pictures


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Ten pictures of 20 x 17 at 8 and 16."""
    folder = tmp_path_factory.mktemp("pictures")
    for index in range(10):
        pixels = np.random.default_rng(index).integers(0, 256, (17, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    out = tmp_path_factory.mktemp("lmdb") / "prepared"
    assert prepare_data.main(["--out", str(out), "--n_worker", "1", str(folder)]) == 0
    return out


@pytest.fixture
def pictures(prepared):
    with closing(open_pictures(prepared)) as pictures:
        yield pictures


# MultiResolutionDataset


@pytest.mark.parametrize("workers", [0, 2])
def test_as_a_data_set_of_jittor(prepared, workers):
    """The original's interface one by one, Jittor's in batches, processes of its own included."""
    transform = np.asarray
    with closing(script.MultiResolutionDataset(str(prepared), transform, resolution=16)) as dataset:
        assert len(dataset) == 10
        record = dataset.pictures.record(9, 16)
        assert np.array_equal(dataset[9], Image.open(io.BytesIO(record)).convert("RGB"))
        for index in (-1, 10):
            with pytest.raises(IndexError):
                dataset[index]
        expected = np.stack([dataset[i] for i in range(10)])
        dataset.set_attrs(batch_size=4, num_workers=workers, buffer_size=2**20)
        found = [batch.numpy() for batch in dataset]
        assert [len(batch) for batch in found] == [4, 4, 2]
        assert np.array_equal(np.concatenate(found), expected)
        dataset.set_attrs(shuffle=True)
        shuffled = np.concatenate([batch.numpy() for batch in dataset])
        assert not np.array_equal(shuffled, expected)
        assert sorted(map(bytes, shuffled)) == sorted(map(bytes, expected))
        dataset.reset()


def test_without_a_transform_it_gives_pictures(prepared):
    with closing(script.MultiResolutionDataset(prepared)) as dataset:
        assert dataset[0].size == (8, 8) and dataset[0].mode == "RGB"


def test_opening_checks_the_size(prepared, tmp_path):
    with pytest.raises(DataError, match="10 pictures at 8,16 px but not at 64"):
        script.MultiResolutionDataset(prepared, resolution=64)
    with pytest.raises(DataError, match="prepare_data.py"):
        script.MultiResolutionDataset(tmp_path)


# order and batches


def test_every_epoch_is_another_permutation():
    order = batches.image_order(5, 11, 0, 33).reshape(3, 11)
    assert order.dtype == np.int64
    assert (np.sort(order) == np.arange(11)).all()
    assert len({tuple(epoch) for epoch in order}) == 3
    assert not np.array_equal(order[0], batches.image_order(6, 11, 0, 11))


def test_order_does_not_depend_on_how_it_is_asked_for():
    whole = batches.image_order(1, 7, 0, 60)
    for start, count in ((0, 1), (6, 2), (13, 30), (59, 1), (20, 0)):
        batches.epoch_order.cache_clear()
        assert np.array_equal(batches.image_order(1, 7, start, count), whole[start : start + count])
    assert batches.image_order(1, 1, 3, 4).tolist() == [0, 0, 0, 0]


def test_load_batch(pictures):
    plain = batches.load_batch(pictures, 16, 3, 4, 25, flip=False)
    assert plain.shape == (25, 16, 16, 3) and plain.dtype == np.uint8
    for image, index in zip(plain, batches.image_order(3, 10, 4, 25)):
        assert np.array_equal(image, pictures.read(index, 16))

    flipped = batches.load_batch(pictures, 16, 3, 4, 25, flip=True)
    same = (flipped == plain).all((1, 2, 3))
    mirrored = (flipped == plain[:, :, ::-1]).all((1, 2, 3))
    assert (same ^ mirrored).all() and 3 < mirrored.sum() < 22
    assert np.array_equal(flipped, batches.load_batch(pictures, 16, 3, 4, 25, flip=True))


def test_to_network():
    images = np.zeros((2, 4, 5, 3), np.uint8)
    images[1, 3, 2] = 255, 51, 0
    converted = batches.to_network(images)
    assert converted.shape == (2, 3, 4, 5) and converted.dtype == np.float32
    assert converted.flags.c_contiguous and (converted[0] == -1).all()
    np.testing.assert_allclose(converted[1, :, 3, 2], [1, -0.6, -1], atol=1e-7)


def test_ranks_share_the_batch(pictures):
    whole = batches.load_batch(pictures, 16, 3, 4, 7, flip=True)
    for rank in range(3):
        part = batches.load_batch(pictures, 16, 3, 4, 7, flip=True, rank=rank, ranks=3)
        assert np.array_equal(part, whole[rank::3])


def growing(images_seen):
    return (
        SimpleNamespace(size=8, batch=4) if images_seen < 12 else SimpleNamespace(size=16, batch=3)
    )


def take(generator, count):
    taken = [next(generator) for _ in range(count)]
    generator.close()
    return taken


def test_batches_follow_the_phases_and_resume(pictures):
    whole = take(batches.batches(pictures, growing, 7, 0, True), 8)
    seen = 0
    for images in whole:
        phase = growing(seen)
        wanted = batches.load_batch(pictures, phase.size, 7, seen, phase.batch, True)
        assert np.array_equal(images, batches.to_network(wanted))
        seen += phase.batch
    tail = take(batches.batches(pictures, growing, 7, 8, True, ahead=1), 6)
    assert all(np.array_equal(*pair) for pair in zip(whole[2:], tail))


class Counting:
    """Pictures that count what is read of them, and whose reads can be made to fail."""

    length = 5

    def __init__(self, fail_after=None):
        self.reads = 0
        self.fail_after = fail_after

    def read(self, index, size):
        self.reads += 1
        if self.fail_after is not None and self.reads > self.fail_after:
            raise DataError("broken")
        return Image.new("RGB", (size, size))


def one_by_one(images_seen):
    return SimpleNamespace(size=4, batch=1)


def test_a_batch_may_be_larger_than_the_set():
    order = batches.image_order(0, 5, 0, 32)
    assert len(batches.load_batch(Counting(), 4, 0, 0, 32, False)) == 32
    assert sorted(np.bincount(order)) == [6, 6, 6, 7, 7]


def test_look_ahead_is_bounded_and_closing_ends_the_threads():
    pictures, threads = Counting(), threading.active_count()
    generator = batches.batches(pictures, one_by_one, 0, 0, False, ahead=3)
    for taken in (1, 2):
        next(generator)
        time.sleep(0.1)
        assert pictures.reads == taken + 2
    generator.close()
    assert threading.active_count() == threads


def test_errors_reach_the_consumer_in_their_turn():
    threads = threading.active_count()
    generator = batches.batches(Counting(fail_after=2), one_by_one, 0, 0, False, ahead=1)
    next(generator), next(generator)
    with pytest.raises(DataError, match="broken"):
        next(generator)
    assert threading.active_count() == threads


# The script


def test_contact_sheet(prepared, pictures, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    options = [str(prepared), "--out", str(sheet), "--n_row", "2", "--n_col", "3"]
    assert script.main(options) == 0
    out = capsys.readouterr().out
    assert "10 pictures at 8,16 px" in out and "0 files skipped" in out and str(sheet) in out
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (2 * 18 + 2, 3 * 18 + 2, 3)
    first = pictures.read(batches.image_order(0, 10, 0, 6)[4], 16)
    assert np.array_equal(pixels[20:36, 20:36], first)


def test_mistakes_get_one_sentence(prepared, tmp_path, capsys):
    assert script.main([str(tmp_path / "nowhere")]) == 1
    assert script.main([str(prepared), "--size", "64"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and "nowhere" in lines[0] and "not at 64" in lines[1]
