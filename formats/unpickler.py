"""The pickle machine, reduced to what data needs.

A pickle is a program; a stranger's must not run. What its names stand for is in `standins.py`; what
claims to be larger than the bytes that are there is refused.
"""

import pickle

import numpy as np

from formats.standins import (
    MOST_ARGUMENTS,
    DType,
    Inert,
    Named,
    Network,
    Refused,
    StorageType,
    build_array,
    explained,
    product,
    shown,
    standins,
)

OPCODES = (
    "PROTO FRAME STOP MARK POP POP_MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 LONG4 "
    "FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 UNICODE "
    "BINUNICODE SHORT_BINUNICODE BINUNICODE8 EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE "
    "TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT GLOBAL STACK_GLOBAL BINPUT LONG_BINPUT MEMOIZE BINGET "
    "LONG_BINGET BINPERSID"
).split()


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
        self.standins = {("_codecs", "encode"): self.latin1, **standins()}
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
        if (module, name) in self.standins:
            return self.standins[module, name]
        return Named(module, name)

    def call(self, function, arguments):
        """Puts what a name stands for, given its arguments, on the stack."""
        if isinstance(function, Named):
            self.append(function.make(len(arguments) > 0))
        elif callable(function) and len(arguments) <= MOST_ARGUMENTS:
            self.append(function(*arguments))
        else:
            raise Refused("it holds an object that is no array")

    def load_reduce(self):
        arguments, function = self.stack.pop(), self.stack.pop()
        self.call(function, arguments)

    def load_newobj_ex(self):
        keywords, arguments, function = (self.stack.pop() for _ in range(3))
        self.call(function, arguments or keywords)

    def load_obj(self):
        function, *arguments = self.pop_mark()
        self.call(function, arguments)

    def persistent_load(self, pid):
        if pid[0] == "module" and isinstance(pid[1], Inert):  # a class and its source text
            return pid[1]
        kind, dtype, key, _, count, *view = pid
        known = isinstance(dtype, StorageType) and type(key) in (str, int) and not any(view)
        if kind != "storage" or not known or self.storage is None:
            raise Refused("it refers to what is no tensor")
        return self.storage(str(key), str(dtype), product([count]))

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
        self.call(self.find_class(module, name), self.pop_mark())

    def load_bytearray8(self):
        count = int.from_bytes(self.read(8), "little")
        data = self.read(count)
        if len(data) != count:
            raise Refused("it is shorter than it should be")
        self.append(data)

    def load_empty_set(self):
        self.append(Inert("builtins.set"))

    def load_additems(self):
        self.pop_mark()
        if not isinstance(self.stack[-1], Inert):
            raise Refused("it holds an object that is no array")

    def load_frozenset(self):
        self.pop_mark()
        self.append(Inert("builtins.frozenset"))

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
        if isinstance(target, Inert):
            return
        if type(target) is not dict or not all(map(_is_key, keys)):
            raise Refused("it holds a dictionary of something else than names")
        target.update(zip(keys, items[1::2]))

    def load_build(self):
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, np.ndarray):
            self.spend(state[-1])
            build_array(target, state)
        elif isinstance(target, DType):
            target.build(state)
        elif isinstance(target, Network):
            target.state = state
        elif type(target) is not dict and not isinstance(target, Inert):
            # PyTorch's dictionaries have an attribute, _metadata
            raise Refused("it holds an object that is no array")

    dispatch = {
        **{code: pickle._Unpickler.dispatch[code] for code in _codes(OPCODES)},
        pickle.INT[0]: load_int,
        pickle.LONG[0]: load_int,
        pickle.PUT[0]: load_put,
        pickle.GET[0]: load_get,
        pickle.INST[0]: load_inst,
        pickle.OBJ[0]: load_obj,
        pickle.REDUCE[0]: load_reduce,
        pickle.NEWOBJ[0]: load_reduce,
        pickle.NEWOBJ_EX[0]: load_newobj_ex,
        0x96: load_bytearray8,  # pickle.BYTEARRAY8 since Python 3.8
        pickle.EMPTY_SET[0]: load_empty_set,
        pickle.ADDITEMS[0]: load_additems,
        pickle.FROZENSET[0]: load_frozenset,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
        pickle.BUILD[0]: load_build,
    }


def _is_key(key) -> bool:
    """Whether it is a name, a number or a tuple of a few: hashing nested tuples and printing long
    integers can take for ever.
    """
    waiting = [key]
    for _ in range(20):
        if not waiting:
            return True
        key = waiting.pop()
        if type(key) is tuple and len(key) < 20:
            waiting += key
        elif type(key) is int and key.bit_length() < 64:
            pass
        elif not isinstance(key, (str, bytes, float, bool, type(None), Inert)):
            return False
    return False


def check_plain(values, limit: int):
    """Refuses what is no array, number, string, Inert or container of them, or too much in all."""
    seen, waiting, size = set(), [values], 0
    if isinstance(values, Inert) and not isinstance(values, Network):
        text = f"it is {shown(values.name)}: save a network's state_dict() instead"
        raise Refused(explained(values.name) or text)
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
        elif isinstance(value, Network):
            waiting.append(value.state)
        elif type(value) not in (str, bytes, int, float, bool, type(None), Inert, Named):
            raise Refused("it holds an object that is no array")
    if size > limit:
        raise Refused("its arrays share their numbers")
