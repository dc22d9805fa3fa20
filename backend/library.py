"""Our kernels for the CPU: the C++ of backend/kernels as one library, compiled once for each cache."""

import ctypes
import functools
import hashlib
import os
import re
import subprocess
from pathlib import Path
from typing import Sequence

import numpy as np

from backend.disk import made_once
from backend.jittor_home import DeviceError
from backend.terminal import Line

SOURCES = Path(__file__).with_name("kernels")
NOT_OURS = re.compile(
    r'-(?:include\s+"[^"]*"|DJIT\S*|I"[^"]*"|I\S+|L\S*|l\S*|Wl,\S*|shared|nodefaultlibs)'
)


@functools.lru_cache(maxsize=None)
def library(jt) -> ctypes.CDLL:
    """The library, compiled where it is not yet. Raises DeviceError."""
    sources = sorted(SOURCES.glob("*"))
    flags = NOT_OURS.sub("", jt.flags.cc_flags)
    key = hashlib.sha256((flags + jt.flags.cc_path).encode())
    for source in sources:
        key.update(source.read_bytes())

    def fill(folder: Path) -> None:
        command = (
            f'"{jt.flags.cc_path}" {flags} -shared "{SOURCES}/library.cc" -o "{folder}/kernels.so"'
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
    loaded = ctypes.CDLL(str(made_once(folder, fill) / "kernels.so"))
    loaded.set_threads(threads())
    return loaded


def threads() -> int:
    """How many take part in our kernels: OMP_NUM_THREADS, else the cores that are ours."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))


def address(jt, name: str) -> int:
    """Of an operator, for Jittor's kernels, which get numbers as doubles: exact below 2^53."""
    return ctypes.cast(getattr(library(jt), name), ctypes.c_void_p).value


def pointers(variables: Sequence) -> ctypes.Array:
    """Of the numbers of Jittor's variables, computed and on the CPU."""
    return (ctypes.c_void_p * len(variables))(*[x.data.ctypes.data for x in variables])


def adam(jt, p, v, g, rates, corrections, beta2: float, eps: float) -> None:
    """One step of Adam with beta1 = 0 for lists of parameters, moments and gradients, in place."""
    sizes = np.array([x.numel() for x in p], "int64")
    rates, corrections = (np.array(x, "float32") for x in (rates, corrections))
    library(jt).adam_(
        ctypes.c_int64(len(p)),
        sizes.ctypes.data_as(ctypes.c_void_p),
        *(pointers(x) for x in (p, v, g)),
        rates.ctypes.data_as(ctypes.c_void_p),
        corrections.ctypes.data_as(ctypes.c_void_p),
        ctypes.c_float(beta2),
        ctypes.c_float(eps),
    )


def average(jt, running, parameters, part: float) -> None:
    """running <- running + (parameters - running) * part, for lists of both, in place."""
    sizes = np.array([x.numel() for x in running], "int64")
    library(jt).average_(
        ctypes.c_int64(len(running)),
        sizes.ctypes.data_as(ctypes.c_void_p),
        pointers(running),
        pointers(parameters),
        ctypes.c_float(part),
    )
