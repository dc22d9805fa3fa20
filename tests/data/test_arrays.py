"""Pictures in arrays and in NVIDIA's TFRecords, and small ones that are left out."""

import struct

import numpy as np
import pytest
from preparing import folder, picture, records, run  # noqa: F401

from data.sources import open_source
from formats import tfrecords


def field(number, content):
    """A field of protocol buffers that holds bytes."""
    return bytes([number << 3 | 2]) + varint(len(content)) + content


def varint(number):
    head = []
    while number > 127:
        head.append(number & 127 | 128)
        number >>= 7
    return bytes([*head, number])


def example(array, packed=True):
    """As dataset_tool.py writes a picture (h, w, 3): (3, h, w)."""
    array = array.transpose(2, 0, 1)
    shape = b"".join(map(varint, array.shape))
    if packed:
        shape = field(1, shape)
    else:
        shape = b"".join(b"\x08" + varint(n) for n in array.shape)
    features = {b"shape": field(3, shape), b"data": field(1, field(1, array.tobytes()))}
    entries = (field(1, field(1, k) + field(2, v)) for k, v in features.items())
    return field(1, b"".join(entries))


def write_records(path, arrays, **options):
    with open(path, "wb") as file:
        for raw in (example(array, **options) for array in arrays):
            file.write(struct.pack("<QL", len(raw), 0) + raw + bytes(4))


def pixels(n, side, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), "uint8")


@pytest.mark.parametrize("packed", [True, False])
def test_nvidias_records(tmp_path, run, packed):  # noqa: F811
    (tmp_path / "set").mkdir()
    arrays = pixels(5, 32)
    write_records(tmp_path / "set" / "set-r05.tfrecords", arrays, packed=packed)
    write_records(tmp_path / "set" / "set-r04.tfrecords", arrays[:, ::2, ::2])
    (tmp_path / "set" / "set-rxx.labels").write_bytes(b"")
    code, out, _ = run("--format", "png", tmp_path / "set")
    assert code == 0 and "set-r05.tfrecords, the largest" in out and "5 pictures at 8,16,32" in out
    source = open_source(str(tmp_path / "set"))
    assert all(np.array_equal(source.load(i), arrays[i]) for i in range(5))
    smaller = open_source(str(tmp_path / "set" / "set-r04.tfrecords"))
    assert np.array_equal(smaller.load(4), arrays[4, ::2, ::2])


@pytest.mark.parametrize("cut", [5, 1000])
def test_records_that_are_cut_off(tmp_path, run, cut):  # noqa: F811
    path = tmp_path / "set-r05.tfrecords"
    write_records(path, pixels(2, 32))
    path.write_bytes(path.read_bytes()[:-cut])
    code, _, err = run(path)
    assert code == 1 and "set-r05.tfrecords is no file of TFRecords: record 1 is cut off" in err


def test_records_of_other_things(tmp_path, run):  # noqa: F811
    path = tmp_path / "set-r05.tfrecords"
    raw = field(1, field(1, field(1, b"text") + field(2, field(1, field(1, b"no picture")))))
    path.write_bytes(struct.pack("<QL", len(raw), 0) + raw + bytes(4))
    code, _, err = run("--sizes", "8", path)
    assert code == 1 and "record 0: no picture as NVIDIA's dataset_tool.py writes them" in err
    with pytest.raises((KeyError, ValueError)):
        tfrecords.picture(raw)


@pytest.mark.parametrize("shape", [(4, 32, 32, 3), (3, 40, 33)])
def test_arrays(tmp_path, run, shape):  # noqa: F811
    array = np.random.default_rng(0).integers(0, 256, shape, "uint8")
    np.save(tmp_path / "a.npy", array)
    source = open_source(str(tmp_path / "a.npy"))
    assert source.size(1) == (shape[2], shape[1])
    assert all(np.array_equal(source.load(i), array[i]) for i in range(len(array)))
    code, out, _ = run(tmp_path / "a.npy")
    assert code == 0 and f"{len(array)} pictures at 8,16,32 px" in out
    assert len(records(tmp_path / "out")) == 3 * len(array) + 1


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 32, 32, 3), "float32"),
        np.zeros((4, 3, 32, 32), "uint8"),
        np.zeros((32, 32, 3), "uint8"),
        np.zeros((0, 32, 32), "uint8"),
        np.zeros(5, "uint8"),
    ],
)
def test_arrays_of_something_else(tmp_path, run, array):  # noqa: F811
    np.save(tmp_path / "a.npy", array)
    code, _, err = run(tmp_path / "a.npy")
    assert code == 1 and "a.npy holds" in err and "(n, h, w, 3)" in err


def test_small_pictures_are_left_out(folder, run, tmp_path):  # noqa: F811
    picture(64, 70).save(folder / "large.png")
    picture(200, 33).save(folder / "wide.png")
    code, out, _ = run("--min_size", "32", folder)
    assert code == 0 and "2 pictures at 8,16,32 px" in out and "1 smaller than 32 px" in out
    first = records(tmp_path / "out")
    code, out, _ = run("--min_size", "64", "--overwrite", folder)
    assert code == 0 and "1 pictures at 8,16,32,64 px" in out and "2 smaller than 64 px" in out
    code, out, _ = run("--min_size", "64", "--pad", "--overwrite", folder)
    assert code == 0 and "2 pictures at 8,16,32,64 px" in out
    code, _, err = run("--min_size", "201", "--pad", "--overwrite", folder)
    assert code == 1 and "--min_size 201: all of the 3 pictures are smaller" in err
    code, _, err = run("--resume", "--pad", folder)
    assert code == 1 and "was begun with min_size 64, not None" in err
    (folder / "good.png").unlink()
    run("--overwrite", folder)
    assert records(tmp_path / "out") == first
