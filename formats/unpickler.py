"""Reads the checkpoint files of Jittor and of PyTorch, and writes PyTorch's, without either.

    values, kind = read("some.model")
    write_torch("some.pth", {"g_running": {"style.1.linear.bias": array, ...}, ...})

A pickle is a program; a stranger's must not run. Nothing that a file names is imported or called:
the few names that arrays and tensors need stand for functions of this module, any other is refused,
and so is what claims to be larger than the bytes that are there.
"""

import hashlib
import io
import math
import os
import pickle
import stat
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

from pictures.store import DataError

JITTOR_TRAILER = b"HCAJSLHD"  # jt.save ends a file with a SHA-1 and this
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # the first value of PyTorch's format before 1.6
NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}
OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 "
    "FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE "
    "TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GLOBAL STACK_GLOBAL REDUCE BINPUT LONG_BINPUT MEMOIZE BINGET "
    "LONG_BINGET BINPERSID"
).split()
ALIGNMENT = 64  # bytes; where PyTorch starts a tensor in its archive


class CheckpointError(DataError):
    """One sentence naming the file and what is wrong with it."""


class _Refused(Exception):
    """Why a file is not read, without its name."""


# What the names in a pickle stand for


class _DType:
    """numpy.dtype: mutable, because a pickle tells the byte order after making it."""

    def __init__(self, code, *_):
        if code not in NUMBERS:
            raise _Refused("it holds an array of something else than numbers")
        self.dtype = np.dtype(code)

    def build(self, state):
        if state[1] == ">":
            self.dtype = self.dtype.newbyteorder(">")


def _new_array(*_):
    return np.empty(0, "i1")


def _build_array(array, state):
    """Fills an array of `_new_array` from (version, shape, dtype, fortran, bytes)."""
    _, shape, dtype, fortran, data = state
    if array.size or array.dtype != "i1":  # filled: a view of it would keep its old memory
        raise _Refused("it fills an array twice")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise _Refused("it holds an array of something else than numbers")
    if len(data) != _count(shape) * dtype.dtype.itemsize:
        raise _Refused("an array has another size than its numbers")
    array.__setstate__((1, shape, dtype.dtype, bool(fortran), data))


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.dtype, count=1)[0].item()


def _unwrapped(value, *_):
    """A Jittor Var of an array; a PyTorch parameter of a tensor."""
    if value is not None and not isinstance(value, np.ndarray):
        raise _Refused("it holds a tensor that is no array")
    return value


def _empty_dict():
    return {}


def _no_bytes():
    """As protocol 2 writes b""."""
    return b""


def _tensor(storage, offset, size, stride, *_):
    """A view of (offset, size, stride), counted in elements, into a 1-D array. None into None."""
    if storage is None:
        return None
    count, stride = _count(size), tuple(stride) if size else ()
    if not isinstance(storage, np.ndarray) or _count([offset, *stride]) < 0:
        raise _Refused("it holds a tensor without numbers")
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if len(size) != len(stride) or count > len(storage) or end > len(storage):
        raise _Refused("a tensor is larger than its numbers")
    if not count:
        return np.empty(size, storage.dtype)
    strides = [s * storage.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _count(shape):
    """The product of a tuple of integers from 0 to 2^31."""
    if any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise _Refused("an array has an impossible shape")
    return math.prod(shape)


class _StorageType(str):
    """torch.FloatStorage and its like: what NumPy calls the numbers, or bfloat16."""


def _standins():
    """What find_class returns, by (module, name)."""
    table = {
        ("__builtin__", "bytes"): _no_bytes,
        ("collections", "OrderedDict"): _empty_dict,
        ("numpy", "dtype"): _DType,
        ("numpy", "ndarray"): _new_array,
        ("jittor", "jittor_core.Var"): _unwrapped,
        ("jittor_core", "Var"): _unwrapped,
        ("jittor.jittor_core", "Var"): _unwrapped,
        ("torch._utils", "_rebuild_parameter"): _unwrapped,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    }
    for core in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[core, "_reconstruct"] = _new_array
        table[core, "scalar"] = _scalar
    table.update({("torch", name): _StorageType(code) for name, code in STORAGES.items()})
    return table


def _codes(names):
    return [getattr(pickle, name)[0] for name in names]


class _Opcodes(dict):
    """Functions by opcode, a million times: a full checkpoint takes about 20,000."""

    left = 1_000_000

    def __getitem__(self, code):
        self.left -= 1
        if self.left < 0:
            raise _Refused("it is too complicated")
        return super().__getitem__(code)


class _Unpickler(pickle._Unpickler):
    """The pickle machine in Python, with the opcodes of plain data only. (The one in C allocates a
    memo as large as a file asks for.)

    size: bytes of the whole file. storage(key, dtype, count): the 1-D array of a PyTorch storage,
    or None.
    """

    def __init__(self, file, size: int, storage=None):
        super().__init__(file, encoding="latin1")
        self.budget, self.storage = 2 * size, storage  # protocol 2 has bytes as text first
        self.standins = {("_codecs", "encode"): self.latin1, **_standins()}
        self.dispatch = _Opcodes(self.dispatch)

    def spend(self, data):
        """What a file repeats by reference is copied all the same."""
        self.budget -= len(data)
        if self.budget < 0:
            raise _Refused("its arrays share their numbers")

    def latin1(self, text, _):
        """_codecs.encode, as pickles before protocol 3 write bytes."""
        self.spend(text)
        return text.encode("latin1")

    def find_class(self, module, name):
        if (module, name) not in self.standins:
            asked = ascii(f"{module}.{name}")[1:-1][:80]
            raise _Refused(f"it asks for {asked}, which no array needs")
        return self.standins[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, _, count, *view = pid
        known = isinstance(dtype, _StorageType) and type(key) in (str, int) and not any(view)
        if kind != "storage" or not known or self.storage is None:
            raise _Refused("it refers to what is no tensor")
        return self.storage(str(key), str(dtype), _count([count]))

    def read_number(self):
        line = self.readline().rstrip(b"L\n")
        if len(line) > 100:  # int() takes the square of the digits
            raise _Refused("it holds an impossible number")
        return int(line)

    def load_int(self):
        self.append(self.read_number())

    def load_put(self):
        self.memo[self.read_number()] = self.stack[-1]

    def load_get(self):
        self.append(self.memo[self.read_number()])

    def load_inst(self):
        module, name = self.readline()[:-1].decode("ascii"), self.readline()[:-1].decode("ascii")
        self.find_class(module, name)
        raise _Refused("it holds an object that is no array")

    def load_dict(self):
        items = self.pop_mark()
        self.append({})
        self.set_items(items)

    def load_setitem(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def load_setitems(self):
        self.set_items(self.pop_mark())

    def set_items(self, items):
        target, keys = self.stack[-1], items[::2]
        # hashing nested tuples and printing long integers can take for ever
        plain = all(type(k) is str or type(k) is int and k.bit_length() < 64 for k in keys)
        if type(target) is not dict or not plain:
            raise _Refused("it holds a dictionary of something else than names")
        target.update(zip(keys, items[1::2]))

    def load_build(self):
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray):
            self.spend(state[-1])
            _build_array(target, state)
        elif isinstance(target, _DType):
            target.build(state)
        elif type(target) is not dict:  # PyTorch's dictionaries have an attribute, _metadata
            raise _Refused("it holds an object that is no array")

    dispatch = {
        **{code: pickle._Unpickler.dispatch[code] for code in _codes(OPCODES)},
        pickle.INT[0]: load_int,
        pickle.LONG[0]: load_int,
        pickle.PUT[0]: load_put,
        pickle.GET[0]: load_get,
        pickle.INST[0]: load_inst,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BUILD[0]: load_build,
    }


def _check_plain(values, limit: int):
    """Refuses what is no array, number, string or container of them, or too much of it in all."""
    seen, waiting, size = set(), [values], 0
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if type(value) is dict:
            waiting += value.values()
        elif type(value) in (list, tuple):
            waiting += value
        elif isinstance(value, np.ndarray):
            size += value.nbytes
        elif type(value) not in (str, bytes, int, float, bool, type(None)):
            raise _Refused("it holds an object that is no array")
    if size > limit:
        raise _Refused("its arrays share their numbers")


# Reading


def _numbers(data, dtype: str, order: str = "<"):
    """Bytes as a 1-D array of this machine's byte order; bfloat16 becomes float32."""
    if dtype == "bfloat16":
        return (np.frombuffer(data, order + "u2").astype("u4") << 16).view("f4")
    numbers = np.frombuffer(data, order + dtype)
    return numbers.astype(dtype, copy=False)


def _read_zip(raw):
    """PyTorch's format since 1.6: an archive of a pickle and a member for each storage."""
    archive = zipfile.ZipFile(io.BytesIO(raw))
    members = {info.filename: info for info in archive.infolist()}
    if sum(info.file_size for info in archive.infolist()) > len(raw):
        raise _Refused("its members are larger than the file (PyTorch does not compress)")
    pickles = [name for name in members if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise _Refused("it is an archive, but none of PyTorch's")
    folder = pickles[0][: -len("data.pkl")]
    view, types, arrays = memoryview(raw), {}, {}

    def member(name):
        info = members[folder + name]
        lengths = struct.unpack_from("<HH", raw, info.header_offset + 26)  # name, extra field
        start = info.header_offset + 30 + sum(lengths)
        data = view[start : start + info.file_size]
        if info.compress_type != zipfile.ZIP_STORED or zlib.crc32(data) != info.CRC:
            raise _Refused(f"{name} in it is damaged or compressed")
        return data

    def storage(key, dtype, count):
        if key not in arrays:
            types[key], arrays[key] = dtype, _numbers(member(f"data/{key}"), dtype, order)
        if types[key] != dtype or len(arrays[key]) != count:
            raise _Refused("a tensor has another size than its numbers")
        return arrays[key]

    little = folder + "byteorder" not in members or member("byteorder") == b"little"
    order = "<" if little else ">"
    return _Unpickler(io.BytesIO(member("data.pkl")), len(raw), storage).load()


def _read_legacy(raw, stream):
    """PyTorch's format before 1.6, after its first value: pickles, then each storage's numbers.

    They come after the pickle that asks for them: it is read once for their types, and again.
    """

    def load(storage=None):
        return _Unpickler(stream, len(raw), storage).load()

    load()  # the format's version
    order = "<" if load()["little_endian"] else ">"
    types, arrays, start = {}, {}, stream.tell()
    load(lambda key, dtype, count: types.setdefault(key, (dtype, count)) and None)
    for key in load():
        if type(key) is not str:
            raise _Refused("it refers to what is no tensor")
        dtype, count = types[key]
        itemsize = 2 if dtype == "bfloat16" else np.dtype(dtype).itemsize
        if struct.unpack(order + "q", stream.read(8)) != (count,):
            raise _Refused("a tensor has another size than its numbers")
        data = memoryview(raw)[stream.tell() : stream.tell() + count * itemsize]
        if len(data) != count * itemsize:
            raise _Refused("it is shorter than it should be")
        stream.seek(len(data), io.SEEK_CUR)
        arrays[key] = _numbers(data, dtype, order)
    stream.seek(start)
    return load(lambda key, *_: arrays[key])


def _read_any(raw):
    if raw.startswith(b"PK\3\4"):
        return _read_zip(raw), "PyTorch, zip"
    end = len(raw)
    if raw.endswith(JITTOR_TRAILER):
        end -= 28
        if hashlib.sha1(memoryview(raw)[:end]).digest() != raw[end:-8]:
            raise _Refused("its checksum does not fit")
    stream = io.BytesIO(raw)
    values = _Unpickler(stream, len(raw)).load()
    if type(values) is int and values == LEGACY_MAGIC:
        return _read_legacy(raw, stream), "PyTorch, legacy"
    if stream.tell() != end:
        raise _Refused("it goes on after its end")
    return values, "pickle"


def read(path):
    """(values, kind): the plain values and NumPy arrays in a checkpoint file of Jittor or PyTorch,
    whatever its name; kind is "pickle" (Jittor's and ours), "PyTorch, zip" or "PyTorch, legacy".

    Arrays may be read-only and share memory. bfloat16 comes as float32. Runs no code of the file.
    Raises CheckpointError.
    """
    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise CheckpointError(f"{path} is no file")
        raw = path.read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror}") from None
    try:
        values, kind = _read_any(raw)
        _check_plain(values, 4 * len(raw))
    except _Refused as e:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged: {e}") from None
    except Exception:  # whatever a broken file drives the pickle machine to
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged") from None
    return values, kind


# Writing


def _pickled(values):
    """(pickle, storages) of plain containers of arrays, as PyTorch pickles tensors."""
    out, storages = [pickle.PROTO, b"\2"], []

    def name(module, attribute):
        out.append(pickle.GLOBAL + f"{module}\n{attribute}\n".encode())

    def tensor(array):
        kind = {np.dtype(c): n for n, c in STORAGES.items() if c != "bfloat16"}[array.dtype]
        name("torch._utils", "_rebuild_tensor_v2")
        out.append(pickle.MARK + pickle.MARK)
        put("storage")
        name("torch", kind)
        for value in (str(len(storages)), "cpu", array.size):
            put(value)
        out.append(pickle.TUPLE + pickle.BINPERSID)
        strides = tuple(math.prod(array.shape[i + 1 :]) for i in range(array.ndim))
        for value in (0, array.shape, strides, False):
            put(value)
        name("collections", "OrderedDict")
        out.append(pickle.EMPTY_TUPLE + pickle.REDUCE + pickle.TUPLE + pickle.REDUCE)
        storages.append(array)

    def put(value):
        if isinstance(value, np.ndarray):
            tensor(value)
        elif isinstance(value, dict):
            out.append(pickle.EMPTY_DICT)
            for key, item in value.items():
                put(key)
                put(item)
                out.append(pickle.SETITEM)
        elif isinstance(value, list):
            out.append(pickle.EMPTY_LIST)
            for item in value:
                put(item)
                out.append(pickle.APPEND)
        elif isinstance(value, tuple):
            out.append(pickle.MARK)
            for item in value:
                put(item)
            out.append(pickle.TUPLE)
        else:  # a number, a string, None: PROTO and STOP around it are not wanted
            text = pickle.dumps(value, 2)[2:-1]
            out.append(text[:-2] if isinstance(value, str) else text)  # nor BINPUT 0

    put(values)
    return b"".join([*out, pickle.STOP]), storages


def _add(archive, name: str, data) -> None:
    """Adds a member whose bytes start at a multiple of ALIGNMENT, as PyTorch's do."""
    info = zipfile.ZipInfo(f"archive/{name}")
    padding = -(archive.fp.tell() + 30 + len(info.filename) + 4) % ALIGNMENT
    info.extra = b"FB" + struct.pack("<H", padding) + bytes(padding)
    archive.writestr(info, data)


def write_torch(path, values) -> None:
    """Writes what torch.load opens: dicts, lists, tuples, numbers, strings and NumPy arrays, which
    become tensors. PyTorch's zip format. The file appears complete or not at all.
    """
    content, storages = _pickled(values)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".tmp")
    try:
        with open(unfinished, "wb") as f:
            with zipfile.ZipFile(f, "w") as archive:
                _add(archive, "data.pkl", content)
                _add(archive, "byteorder", b"little")
                for i, array in enumerate(storages):
                    data = array.astype(array.dtype.newbyteorder("<")).tobytes()
                    _add(archive, f"data/{i}", data)
                _add(archive, "version", b"3\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
