"""The pickle machine, reduced to what data needs.

A pickle is a program; a stranger's must not run. Nothing that a file names is imported or called:
the few names that arrays and tensors need stand for functions of this module, any other is refused,
and so is what claims to be larger than the bytes that are there.
"""

import math
import pickle

import numpy as np

NUMBERS = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
STORAGES = {  # of PyTorch: what NumPy calls their numbers
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


class Refused(Exception):
    """Why a file is not read, without its name."""


# What the names in a pickle stand for


class _DType:
    """numpy.dtype: mutable, because a pickle tells the byte order after making it."""

    def __init__(self, code, *_):
        if code not in NUMBERS:
            raise Refused("it holds an array of something else than numbers")
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
        raise Refused("it fills an array twice")
    if not isinstance(dtype, _DType) or not isinstance(data, bytes):
        raise Refused("it holds an array of something else than numbers")
    if len(data) != _count(shape) * dtype.dtype.itemsize:
        raise Refused("an array has another size than its numbers")
    array.__setstate__((1, shape, dtype.dtype, bool(fortran), data))


def _scalar(dtype, data):
    return np.frombuffer(data, dtype.dtype, count=1)[0].item()


def _unwrapped(value, *_):
    """A Jittor Var of an array; a PyTorch parameter of a tensor."""
    if value is not None and not isinstance(value, np.ndarray):
        raise Refused("it holds a tensor that is no array")
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
        raise Refused("it holds a tensor without numbers")
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if len(size) != len(stride) or count > len(storage) or end > len(storage):
        raise Refused("a tensor is larger than its numbers")
    if not count:
        return np.empty(size, storage.dtype)
    strides = [s * storage.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def _count(shape):
    """The product of a tuple of integers from 0 to 2^31."""
    if any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise Refused("an array has an impossible shape")
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
            raise Refused("it is too complicated")
        return super().__getitem__(code)


class Unpickler(pickle._Unpickler):
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
            raise Refused("its arrays share their numbers")

    def latin1(self, text, _):
        """_codecs.encode, as pickles before protocol 3 write bytes."""
        self.spend(text)
        return text.encode("latin1")

    def find_class(self, module, name):
        if (module, name) not in self.standins:
            asked = ascii(f"{module}.{name}")[1:-1][:80]
            raise Refused(f"it asks for {asked}, which no array needs")
        return self.standins[module, name]

    def persistent_load(self, pid):
        kind, dtype, key, _, count, *view = pid
        known = isinstance(dtype, _StorageType) and type(key) in (str, int) and not any(view)
        if kind != "storage" or not known or self.storage is None:
            raise Refused("it refers to what is no tensor")
        return self.storage(str(key), str(dtype), _count([count]))

    def read_number(self):
        line = self.readline().rstrip(b"L\n")
        if len(line) > 100:  # int() takes the square of the digits
            raise Refused("it holds an impossible number")
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
        raise Refused("it holds an object that is no array")

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
            raise Refused("it holds a dictionary of something else than names")
        target.update(zip(keys, items[1::2]))

    def load_build(self):
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray):
            self.spend(state[-1])
            _build_array(target, state)
        elif isinstance(target, _DType):
            target.build(state)
        elif type(target) is not dict:  # PyTorch's dictionaries have an attribute, _metadata
            raise Refused("it holds an object that is no array")

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


def check_plain(values, limit: int):
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
            raise Refused("it holds an object that is no array")
    if size > limit:
        raise Refused("its arrays share their numbers")
