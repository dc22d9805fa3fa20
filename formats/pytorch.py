"""PyTorch's two formats of files: an archive since 1.6, a chain of pickles before."""

import io
import math
import pickle
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from backend.disk import replacing
from formats.standins import STORAGES, Refused
from formats.unpickler import Unpickler

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first value of the format before 1.6
ALIGNMENT = 64  # bytes; where PyTorch starts a tensor in its archive


# Reading


def _numbers(data, dtype: str, order: str = "<"):
    """Bytes as a 1-D array of this machine's byte order; bfloat16 becomes float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, order + "u2").astype("u4") << 16).view("f4")
    numbers = np.frombuffer(data, order + dtype)
    return numbers.astype(dtype, copy=False)


def read_zip(raw):
    """PyTorch's format since 1.6: an archive of a pickle and a member for each storage."""
    archive = zipfile.ZipFile(io.BytesIO(raw))
    members = {info.filename: info for info in archive.infolist()}
    if sum(info.file_size for info in archive.infolist()) > len(raw):
        raise Refused("its members are larger than the file (PyTorch does not compress)")
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Refused("it is an archive, but none of PyTorch's")
    folder = pickles[0][: -len("data.pkl")]
    view, types, arrays = memoryview(raw), {}, {}

    def member(name):
        info = members[folder + name]
        lengths = struct.unpack_from("<HH", raw, info.header_offset + 26)  # name, extra field
        start = info.header_offset + 30 + sum(lengths)
        data = view[start : start + info.file_size]
        if info.compress_type != zipfile.ZIP_STORED or zlib.crc32(data) != info.CRC:
            raise Refused(f"{name} in it is damaged or compressed")
        return data

    def storage(key, dtype, count):
        if key not in arrays:
            types[key], arrays[key] = dtype, _numbers(member(f"data/{key}"), dtype, order)
        if types[key] != dtype or len(arrays[key]) != count:
            raise Refused("a tensor has another size than its numbers")
        return arrays[key]

    little = folder + "byteorder" not in members or member("byteorder") == b"little"
    order = "<" if little else ">"
    return Unpickler(io.BytesIO(member("data.pkl")), len(raw), storage).load()


def read_legacy(raw, stream):
    """PyTorch's format before 1.6, after its first value: pickles, then each storage's numbers.

    They come after the pickle that asks for them: it is read once for their types, and again.
    """

    def load(storage=None):
        return Unpickler(stream, len(raw), storage).load()

    load()  # the format's version
    order = "<" if load()["little_endian"] else ">"
    types, arrays, start = {}, {}, stream.tell()
    load(lambda key, dtype, count: types.setdefault(key, (dtype, count)) and None)
    for key in load():
        if type(key) is not str:
            raise Refused("it refers to what is no tensor")
        dtype, count = types[key]
        itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        if struct.unpack(order + "q", stream.read(8)) != (count,):
            raise Refused("a tensor has another size than its numbers")
        data = memoryview(raw)[stream.tell() : stream.tell() + count * itemsize]
        if len(data) != count * itemsize:
            raise Refused("it is shorter than it should be")
        stream.seek(len(data), io.SEEK_CUR)
        arrays[key] = _numbers(data, dtype, order)
    stream.seek(start)
    return load(lambda key, *_: arrays[key])


# Writing


def _pickled(values):
    """(pickle, storages) of plain containers of arrays, as PyTorch pickles tensors."""
    out, storages = [pickle.PROTO, b"\2"], []

    def name(module, attribute):
        out.append(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())

    def tensor(array):
        storage_type = {np.dtype(c): n for n, c in STORAGES.items() if c != "bfloat16"}[array.dtype]
        name("torch._utils", "_rebuild_tensor_v2")
        out.append(pickle.MARK + pickle.MARK)
        dump("storage")
        name("torch", storage_type)
        for value in (str(len(storages)), "cpu", array.size):
            dump(value)
        out.append(pickle.TUPLE + pickle.BINPERSID)
        strides = tuple(math.prod(array.shape[i + 1 :]) for i in range(array.ndim))
        for value in (0, array.shape, strides, False):
            dump(value)
        name("collections", "OrderedDict")
        out.append(pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE)
        storages.append(array)

    def dump(value):
        if isinstance(value, np.ndarray):
            tensor(value)
        elif isinstance(value, dict):
            out.append(pickle.EMPTY_DICT)
            for key, item in value.items():
                dump(key)
                dump(item)
                out.append(pickle.SETITEM)
        elif isinstance(value, list):
            out.append(pickle.EMPTY_LIST)
            for item in value:
                dump(item)
                out.append(pickle.APPEND)
        elif isinstance(value, tuple):
            out.append(pickle.MARK)
            for item in value:
                dump(item)
            out.append(pickle.TUPLE)
        else:  # a number, a string, None: PROTO and STOP around it are not wanted
            text = pickle.dumps(value, 2)[2:-1]
            out.append(text[:-2] if isinstance(value, str) else text)  # nor BINPUT 0

    dump(values)
    return b"".join([*out, pickle.STOP]), storages


def _add(archive, name: str, data) -> None:
    """Adds a member whose bytes start at a multiple of ALIGNMENT, as PyTorch's do."""
    info = zipfile.ZipInfo(f"archive/{name}")
    padding = -(archive.fp.tell() + 30 + len(info.filename) + 4) % ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(info, data)


def write(path, values) -> None:
    """Writes what torch.load opens: dicts, lists, tuples, numbers, strings and NumPy arrays, which
    become tensors. PyTorch's zip format. The file appears complete or not at all.
    """
    content, storages = _pickled(values)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished, zipfile.ZipFile(unfinished, "w") as archive:
        _add(archive, "data.pkl", content)
        _add(archive, "byteorder", b"little")
        for i, array in enumerate(storages):
            data = array.astype(array.dtype.newbyteorder("<")).tobytes()
            _add(archive, f"data/{i}", data)
        _add(archive, "version", b"3\n")
