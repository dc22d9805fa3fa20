"""Our kernels: for the CPU operators/kernels as one library, compiled once for each cache; for a
GPU the sources in operators/kernels/cuda, each as a part of Jittor's kernels.
"""

import ctypes
import functools
import hashlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Dict, Sequence

import numpy as np

from backend import machine
from backend.disk import made_once
from backend.jittor_home import DeviceError
from backend.terminal import Line
from operators.checks import expect_alike

SOURCES = Path(__file__).with_name("kernels")
CUDA_SOURCES = SOURCES / "cuda"
AT_ONCE = 64  # arrays in one launch on CUDA, as in cuda/updates.cuh
INCLUDED = re.compile(r'#include "(\w+\.cuh)"\n')
# Kernels on CUDA that add up more numbers of a row or plane than these write sums of parts behind
# their results, as in cuda/blocks.cuh
PART, PLANE = 4096, 16384
NOT_OURS = re.compile(
    r'-(?:include\s+"[^"]*"|DJIT\S*|I"[^"]*"|I\S+|L\S*|l\S*|Wl,\S*|shared|nodefaultlibs)'
)


@functools.lru_cache(maxsize=None)
def loaded() -> ctypes.CDLL:
    """The library, compiled where it is not yet. Jittor is loaded. Raises DeviceError."""
    jt = sys.modules["jittor"]
    sources = sorted(SOURCES.glob("*.*"))
    flags = NOT_OURS.sub("", jt.flags.cc_flags)
    key = hashlib.sha256((flags + jt.flags.cc_path).encode())
    for source in sources:
        key.update(source.read_bytes())

    def fill(folder: Path) -> None:
        command = (
            f'"{jt.flags.cc_path}" {flags} -shared "{SOURCES}/native.cc" -o "{folder}/kernels.so"'
        )
        process = subprocess.Popen(
            command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        with Line() as line:
            said = line.wait(process, lambda: "compiling our kernels")
        if process.returncode:
            raise DeviceError(
                f"our kernels do not compile (exit code {process.returncode}):\n"
                + said.decode(errors="replace")
            )

    folder = Path(jt.flags.cache_path, f"kernels-{key.hexdigest()[:12]}")
    # oneDNN's functions are looked for among what Jittor has loaded
    kernels = ctypes.CDLL(str(made_once(folder, fill) / "kernels.so"))
    kernels.set_threads(machine.threads())
    return kernels


ARRAYS = """
const float* operands[] = {OPERANDS};
float* results[] = {RESULTS};
const double numbers[] = {NUMBERS};
"""
ON_CPU = """
typedef void (*Operator)(const float* const*, float* const*, const double*);
((Operator)(size_t)data["operator"])(operands, results, numbers);
"""


@functools.lru_cache(maxsize=None)
def names(count: int) -> tuple:
    """Of numbers, as Jittor's kernels know them."""
    return tuple(map(str, range(count)))


@functools.lru_cache(maxsize=None)
def arrays(inputs: int, outputs: int, numbers: int) -> str:
    """Of a kernel of Jittor's with so many of each."""
    text = ARRAYS.replace("OPERANDS", ", ".join(f"in{i}_p" for i in range(inputs)))
    text = text.replace("RESULTS", ", ".join(f"out{i}_p" for i in range(outputs)))
    return text.replace("NUMBERS", ", ".join(f'data["{i}"]' for i in range(numbers)))


@functools.lru_cache(maxsize=None)
def address(function: str) -> int:
    return ctypes.cast(getattr(loaded(), function), ctypes.c_void_p).value


@functools.lru_cache(maxsize=None)
def cuda_sources() -> Dict[str, str]:
    """The files by name, with what they include: Jittor knows a kernel by its text alone."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in CUDA_SOURCES.glob("*.cuh")}
    included = {name for text in texts.values() for name in INCLUDED.findall(text)}
    bare = {name: texts.pop(name).replace("#pragma once\n", "") for name in included}
    return {name: INCLUDED.sub(lambda x: bare[x[1]], text) for name, text in texts.items()}


@functools.lru_cache(maxsize=None)
def cuda_source(function: str) -> str:
    """The file that defines it."""
    return next(text for text in cuda_sources().values() if f"void {function}(" in text)


def is_float32(*variables) -> bool:
    """Whether the kernels can take these Vars."""
    for x in variables:
        if str(x.dtype) != "float32":  # compared with text, Jittor's own takes twice as long
            return False
    return True


def parts(numbers: int, part: int) -> int:
    """Into how many parts so many numbers are divided; 0 where they are not."""
    return 0 if numbers <= part else -(-numbers // part)


# {operator on CUDA: how many numbers its parts' sums are, by the numbers that it gets}
PARTIAL_SUMS = {
    "styled_forward": lambda n, c, h, w, *_: 5 * n * c * parts(h * w, PLANE),
    "styled_gradient": lambda n, c, h, w, *_: 7 * n * c * parts(h * w, PLANE),
    "biased_gradient": lambda n, c, size, *_: c * parts(n * size, PART),
    "stddev_forward": lambda members, groups, c, plane: groups * -(-c * plane // 256),
    "stddev_second": lambda members, groups, c, plane: groups * -(-c * plane // 256),
    "totals": lambda n, m, k, count: count * n * parts(m, PART) if k == 1 else 0,
}


def call(function: str, inputs, shapes, *numbers) -> list:
    """What an operator of operators/kernels makes of the inputs and then the numbers: Vars of those
    shapes. The kernel gets bare pointers: the caller has checked the inputs' shapes (checks.py).

    On the CPU Jittor's kernel gets the operator's address as one more number, exact below 2^53: one
    kernel serves all operators with as many inputs and outputs.
    """
    jt = sys.modules["jittor"]
    if not is_float32(*inputs):
        found = ", ".join(str(x.dtype) for x in inputs)
        raise TypeError(f"{function} takes float32, not {found}: model.py alone takes others")
    data = dict(zip(names(len(numbers)), map(float, numbers)))
    on_cuda, results = jt.flags.use_cuda, len(shapes)
    if on_cuda and function in PARTIAL_SUMS:
        room = PARTIAL_SUMS[function](*numbers)
        shapes = [*shapes, [room]] if room else shapes
    text = arrays(len(inputs), len(shapes), len(numbers))
    if on_cuda:
        text += f"{function}(operands, results, numbers);"
        how = {"cuda_header": cuda_source(function), "cuda_src": text}
    else:
        data["operator"] = address(function)
        how = {"cpu_src": text + ON_CPU}
    return jt.code(shapes, [inputs[0].dtype] * len(shapes), inputs, data=data, **how)[:results]


def pointers(variables: Sequence) -> ctypes.Array:
    """Of the numbers of Jittor's variables, computed and on the CPU."""
    places = [x.data.__array_interface__["data"][0] for x in variables]
    return (ctypes.c_void_p * len(places))(*places)


def adam(p, v, g, rates, corrections, beta2: float, eps: float) -> None:
    """One step of Adam with beta1 = 0 for lists of parameters, moments and gradients."""
    expect_alike(p, v=v, g=g)
    if not len(p) == len(rates) == len(corrections):
        raise ValueError(f"{len(p)} arrays, {len(rates)} rates, {len(corrections)} corrections")
    if sys.modules["jittor"].flags.use_cuda:
        update_on_cuda("adam_", [p, v], [g], [rates, corrections], beta2, eps)
        return
    sizes = np.array([x.numel() for x in p], "int64")
    rates, corrections = (np.array(x, "float32") for x in (rates, corrections))
    loaded().adam_(
        ctypes.c_int64(len(p)),
        sizes.ctypes.data_as(ctypes.c_void_p),
        *(pointers(x) for x in (p, v, g)),
        rates.ctypes.data_as(ctypes.c_void_p),
        corrections.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_float(beta2),
        ctypes.c_float(eps),
    )


def average(running, parameters, part: float) -> None:
    """running <- running + (parameters - running) * part, for lists of both."""
    expect_alike(running, parameters=parameters)
    if sys.modules["jittor"].flags.use_cuda:
        update_on_cuda("average_", [running], [parameters], [], part)
        return
    sizes = np.array([x.numel() for x in running], "int64")
    loaded().average_(
        ctypes.c_int64(len(running)),
        sizes.ctypes.data_as(ctypes.c_void_p),
        pointers(running),
        pointers(parameters),
        ctypes.c_float(part),
    )


def add_on_cuda(x, y) -> None:
    """x <- x + y, for lists of both."""
    expect_alike(x, y=y)
    update_on_cuda("add_", [x], [y], [])


def update_on_cuda(function: str, updated, others, per_array, *numbers) -> None:
    """New values for lists of Vars from them, from lists of others and from numbers for each: by
    one kernel for all shapes, which takes AT_ONCE of each list, flat; the smallest again where some
    miss.
    """
    jt = sys.modules["jittor"]

    for i in range(0, len(updated[0]), AT_ONCE):
        lists = [list(x)[i : i + AT_ONCE] for x in (*updated, *others)]
        sizes = [x.numel() for x in lists[0]]
        missing, smallest = AT_ONCE - len(sizes), sizes.index(min(sizes))
        inputs = [x.reshape(-1) for xs in lists for x in xs + [xs[smallest]] * missing]
        shapes = [[size] for size in sizes + [1] * missing] * len(updated)
        sizes += [0] * missing
        more = [x for xs in per_array for x in xs[i : i + AT_ONCE] + [1.0] * missing]
        results = call(function, inputs, shapes, *sizes, *more, *numbers)
        for j, xs in enumerate(lists[: len(updated)]):
            for x, new in zip(xs, results[j * AT_ONCE :]):
                x.update(new.reshape(x.shape))
        jt.sync([x for xs in lists[: len(updated)] for x in xs])
