"""What the names in a pickle stand for, when nothing that a file names is imported or called.

The few names that arrays and tensors need stand for functions of this module. What else lies beside
the weights, as options or dates do, becomes an `Inert`, of which only the name is known: an object
of a class, made with arguments where the class is a stranger's or known to hold data. A function
that would have to run is refused by its name, one of Python's own even where it is only named.
"""

import functools
import math
import os
import pkgutil
import re
import sys
from _compat_pickle import IMPORT_MAPPING

import numpy as np

NUMBERS = "b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8 c16".split()
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
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}
MOST_ARGUMENTS = 20
LONGEST_NAME = 500
HARMLESS = re.compile(  # of the libraries: what makes plain objects
    r"(builtins|__builtin__)\.(bool|bytearray|complex|dict|float|frozenset|int|list|long|object|range"
    r"|set|slice|str|tuple|type|unicode|xrange|\w+(Error|Exception|Interrupt|Warning))"
    r"|collections\.deque|datetime\.\w+|decimal\.Decimal|fractions\.Fraction|pathlib\.(_\w+\.)?\w+"
    r"|functools\.partial|http\.HTTPStatus|ipaddress\.\w+|logging\.getLogger|re\.(_compile|RegexFlag)"
    r"|signal\.Signals|time\.struct_time|uuid\.\w+"
    r"|torch\.(Size|device|(_C\.)?Generator|serialization\._get_layout|torch_version\.TorchVersion"
    r"|_utils\._rebuild_\w+)"
    r"|numpy\.(str_|bytes_|datetime64|timedelta64|random\.[\w.]+)"
)


class Refused(Exception):
    """Why a file is not read, without its name."""


class Inert:
    """An object that was not made: the name of its class. What a file gives it is dropped."""

    def __init__(self, name: str):
        self.name = name

    def append(self, _):
        """As a list of a stranger's kind."""

    extend = append


class Network(Inert):
    """One of NVIDIA's networks for TensorFlow: what a file gives it is kept, for `nvidia.py`."""

    state = None


NETWORKS = ("dnnlib.tflib.network.Network", "tfutil.Network", "network.Network")
EXPLAINED = {  # by the beginning of a name: what a file that asks for it holds
    "torch_utils.persistence.": "networks of NVIDIA's StyleGAN2-ADA or later for PyTorch",
    "dnnlib.submission.": "the options of a run of NVIDIA's code",
    "dnnlib.util.EasyDict": "the options of a run of NVIDIA's code",
}


class Named(Inert):
    """What a file names: of use only to make an Inert. A function of Python's own is refused at
    once, and so are attributes of what a library has, but classes in its classes and members of
    its enums.
    """

    def __init__(self, module: str, name: str):
        if len(module) + len(name) > LONGEST_NAME:  # a file may repeat it a million times
            raise Refused("it asks for an impossible name")
        super().__init__(f"{module}.{name}")
        self.module, self.path = module, name
        top, classes = module.partition(".")[0], [_is_class(part) for part in name.split(".")]
        self.is_class, self.of_library = classes[-1], top in _libraries()
        runs = top in _python() and not self.is_class
        attribute = self.of_library and len(classes) > 1 and not all(classes)
        harmless = HARMLESS.fullmatch(self.name) or not (runs or attribute)
        if not harmless or not all(map(str.isidentifier, self.name.split("."))):
            self.refuse()

    def make(self, with_arguments: bool) -> Inert:
        """An object, or what a function gives, where that is harmless."""
        is_data = self.is_class and not (with_arguments and self.of_library)
        if not is_data and not HARMLESS.fullmatch(self.name):
            self.refuse()
        return Network(self.name) if self.name in NETWORKS else Inert(self.name)

    def refuse(self):
        raise Refused(
            explained(self.name) or f"it asks for {shown(self.name)}, which no array needs"
        )


def _is_class(name: str) -> bool:
    """Whether it is spelled as a class or a constant."""
    return name.lstrip("_")[:1].isupper()


def explained(name: str) -> str:
    """A sentence about files that ask for a well-known name, or ""."""
    found = [what for start, what in EXPLAINED.items() if name.startswith(start)]
    return f"it holds {found[0]}, which cannot be read" if found else ""


def shown(name: str) -> str:
    return ascii(name)[1:-1][:80]


@functools.lru_cache(maxsize=None)
def _python():
    """Top-level names of Python's own modules, those of Python 2 too."""
    own = getattr(sys, "stdlib_module_names", None)  # since 3.10
    if own is None:
        own = {module.name for module in pkgutil.iter_modules([os.path.dirname(os.__file__)])}
    return {*own, *sys.builtin_module_names, *(m.partition(".")[0] for m in IMPORT_MAPPING), "nt"}


@functools.lru_cache(maxsize=None)
def _libraries():
    """Those and others whose classes do more than hold data."""
    return {*_python(), "numpy", "torch", "jittor", "jittor_utils", "jittor_core"}


class DType:
    """numpy.dtype: mutable, because a pickle tells the byte order after making it. `dtype` is None
    where it is none of numbers.
    """

    def __init__(self, code, *_):
        self.dtype = np.dtype(code) if code in NUMBERS else None

    def build(self, state):
        if state[1] == ">" and self.dtype is not None:
            self.dtype = self.dtype.newbyteorder(">")


def _numbers(dtype):
    """The NumPy type of a DType."""
    if not isinstance(dtype, DType) or dtype.dtype is None:
        raise Refused("it holds an array of something else than numbers")
    return dtype.dtype


def _new_array(*_):
    return np.empty(0, "i1")


def build_array(array, state):
    """Fills an array of `_new_array` from (version, shape, dtype, fortran, bytes)."""
    _, shape, dtype, fortran, data = state
    if array.size or array.dtype != "i1":  # filled: a view of it would keep its old memory
        raise Refused("it fills an array twice")
    dtype = _numbers(dtype)
    if not isinstance(data, bytes):
        raise Refused("it holds an array of something else than numbers")
    if len(data) != product(shape) * dtype.itemsize:
        raise Refused("an array has another size than its numbers")
    array.__setstate__((1, shape, dtype, bool(fortran), data))


def _from_buffer(data, dtype, shape, order):
    """An array as protocol 5 has it: a view of the bytes."""
    dtype = _numbers(dtype)
    if not isinstance(data, bytes) or len(data) != product(shape) * dtype.itemsize:
        raise Refused("an array has another size than its numbers")
    return np.frombuffer(data, dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(dtype, data):
    if isinstance(dtype, DType) and dtype.dtype is None:
        return Inert("numpy.generic")
    value = np.frombuffer(data, _numbers(dtype), count=1)[0].item()
    return Inert("numpy.complex128") if isinstance(value, complex) else value


def _unwrapped(value, *_):
    """A Jittor Var of an array; a PyTorch parameter of a tensor."""
    if value is not None and not isinstance(value, np.ndarray):
        raise Refused("it holds a tensor that is no array")
    return value


def _empty_dict(*_):
    return {}


def _counter(counts=(), *_):
    """collections.Counter, of a dictionary."""
    return counts if type(counts) is dict else {}


def _rebuilt(function, _, arguments, *__):
    """A tensor with attributes of its own, or of a stranger's class."""
    if function not in (_tensor, _unwrapped) or len(arguments) > MOST_ARGUMENTS:
        raise Refused("it holds a tensor that is no array")
    return function(*arguments)


def _no_bytes():
    """As protocol 2 writes b""."""
    return b""


def _attribute(owner, name, *default):
    """getattr, as pickles have classes in classes (before protocol 4) and members of enums (those
    of Python 3.11.0 to 3.11.3): the name that says the same.
    """
    if type(owner) is not Named or type(name) is not str or default:
        raise Refused("it asks for builtins.getattr, which no array needs")
    return Named(owner.module, f"{owner.path}.{name}")


def _united(first, second):
    """operator.or_, as Python 3.11.0 to 3.11.3 pickle flags of an enum, or one and a number."""
    if not isinstance(first, Inert) or not (isinstance(second, Inert) or type(second) is int):
        raise Refused("it asks for operator.or_, which no array needs")
    return Inert(first.name)


def _tensor(storage, offset, size, stride, *_):
    """A view of (offset, size, stride), counted in elements, into a 1-D array. None into None."""
    if storage is None:
        return None
    count, stride = product(size), tuple(stride) if size else ()
    if not isinstance(storage, np.ndarray) or product([offset, *stride]) < 0:
        raise Refused("it holds a tensor without numbers")
    end = offset + sum((n - 1) * s for n, s in zip(size, stride)) + 1 if count else offset
    if len(size) != len(stride) or count > len(storage) or end > len(storage):
        raise Refused("a tensor is larger than its numbers")
    if not count:
        return np.empty(size, storage.dtype)
    strides = [s * storage.itemsize for s in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, strides, writeable=False)


def product(shape):
    """The product of a tuple of integers from 0 to 2^31."""
    if any(type(n) is not int or not 0 <= n < 2**31 for n in shape):
        raise Refused("an array has an impossible shape")
    return math.prod(shape)


class StorageType(str):
    """torch.FloatStorage and its like: what NumPy calls the numbers, or bfloat16."""


def standins():
    """What find_class returns, by (module, name)."""
    table = {
        ("__builtin__", "bytes"): _no_bytes,
        ("__builtin__", "getattr"): _attribute,
        ("builtins", "getattr"): _attribute,
        ("_operator", "or_"): _united,
        ("operator", "or_"): _united,
        ("collections", "OrderedDict"): _empty_dict,
        ("collections", "defaultdict"): _empty_dict,
        ("collections", "Counter"): _counter,
        ("numpy", "dtype"): DType,
        ("numpy", "ndarray"): _new_array,
        ("jittor", "jittor_core.Var"): _unwrapped,
        ("jittor_core", "Var"): _unwrapped,
        ("jittor.jittor_core", "Var"): _unwrapped,
        ("torch._utils", "_rebuild_parameter"): _unwrapped,
        ("torch._utils", "_rebuild_parameter_with_state"): _unwrapped,
        ("torch._utils", "_rebuild_tensor_v2"): _tensor,
        ("torch._tensor", "_rebuild_from_type_v2"): _rebuilt,
    }
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = _new_array
        table[f"{core}.multiarray", "scalar"] = _scalar
        table[f"{core}.numeric", "_frombuffer"] = _from_buffer
    table.update({("torch", name): StorageType(code) for name, code in STORAGES.items()})
    for module in ("torch", "torch.storage"):  # beside tensors of other types
        table[module, "UntypedStorage"] = StorageType("u1")
    return table
