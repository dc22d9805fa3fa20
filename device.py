"""Chooses CPU or CUDA and sets Jittor's environment; every module gets Jittor from here.

Jittor looks for a CUDA compiler while it is being imported and dies when it finds one that it
cannot use (an nvcc without libcudart, a runtime without a GPU). So the choice has to be made before
the first `import jittor`:

    import device
    jt = device.load("auto")      # or "cpu", "cuda"; later calls return the same module
"""

import ctypes
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Optional, Tuple

CHOICES = ("auto", "cpu", "cuda")
NEWEST_CUDA = (12, 2)  # what Jittor 1.3.11 builds against, with cuDNN 8


class DeviceError(Exception):
    """The device or compiler asked for is not there; the text says what is missing."""


def count_gpus() -> int:
    """Number of GPUs that the NVIDIA driver reports; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def nvcc_version(nvcc: str) -> Optional[Tuple[int, int]]:
    """(major, minor) of a CUDA compiler, or None if it does not run."""
    try:
        text = subprocess.run(
            [nvcc, "--version"], capture_output=True, text=True, timeout=60
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"release (\d+)\.(\d+)", text)
    return (int(found.group(1)), int(found.group(2))) if found else None


def find_cuda() -> Tuple[str, str]:
    """(path of a usable nvcc or "", why not).

    A path in the environment variable `nvcc_path` is the user's word and taken without a look at
    its version.
    """
    if count_gpus() == 0:
        return "", "no NVIDIA GPU or driver"
    given = os.environ.get("nvcc_path")
    if given is not None:
        return given, "" if given else "nvcc_path is empty in the environment"
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        return "", "a GPU, but no CUDA compiler (nvcc) on the PATH or in /usr/local/cuda"
    version = nvcc_version(nvcc)
    if version is None:
        return "", f"{nvcc} does not run"
    if version > NEWEST_CUDA:
        return "", "{} is CUDA {}.{}, Jittor needs at most {}.{}".format(
            nvcc, *version, *NEWEST_CUDA
        )
    root = Path(nvcc).resolve().parent.parent
    if not any(root.glob("lib*/libcudart.so*")) and not any(
        root.glob("targets/*/lib/libcudart.so*")
    ):
        return "", f"{nvcc} has no libcudart beside it"
    return nvcc, ""


def check_compiler() -> None:
    """Jittor compiles itself: say what is missing before it fails with a page of errors."""
    if shutil.which(os.environ.get("cc_path", "g++")) is None:
        raise DeviceError(
            "Jittor needs the compiler g++, which is not installed: apt-get install g++"
        )
    if under_mpirun() and shutil.which(os.environ.get("mpicc_path", "mpicc")) is None:
        raise DeviceError(
            "under mpirun Jittor needs mpicc, which is missing: apt-get install libopenmpi-dev"
        )
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        raise DeviceError(
            f"Jittor needs Python's headers, {header} is missing: apt-get install python3-dev"
        )


def prepare_environment(choice: str) -> str:
    """Sets what Jittor reads while it is imported. Returns why CUDA is not used, "" if it is."""
    check_compiler()
    nvcc, reason = ("", "asked for") if choice == "cpu" else find_cuda()
    if choice == "cuda" and not nvcc:
        raise DeviceError(f"--device cuda: {reason}")
    # Jittor looks beside this interpreter and in /usr/bin: wrong for a virtual environment of
    # another Python
    config = Path(sys.base_prefix, "bin", "python{}.{}-config".format(*sys.version_info))
    if config.exists():
        os.environ.setdefault("python_config_path", str(config))
    os.environ["nvcc_path"] = nvcc
    os.environ.setdefault("use_cutlass", "0")  # neither needed nor part of jittor_offline
    os.environ.setdefault("log_silent", "1")  # warnings and errors only
    os.environ["use_mpi"] = "1" if under_mpirun() else "0"  # compiled only where it is used
    return reason


def under_mpirun() -> bool:
    """Whether OpenMPI's mpirun started this process; Jittor goes by the same variable."""
    return "OMPI_COMM_WORLD_SIZE" in os.environ


def rank() -> int:
    """The number of this process among those of mpirun; 0 without it.

    Jittor gives the processes of a machine its GPUs in this order.
    """
    return int(os.environ.get("OMPI_COMM_WORLD_RANK", 0))


def ranks() -> int:
    """How many processes mpirun started; 1 without it."""
    return int(os.environ.get("OMPI_COMM_WORLD_SIZE", 1))


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed.

    oneDNN allocates and frees megabytes around every layer. Fetched from the system anew each time,
    page by page, they make an iteration up to three times slower.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, its largest value
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD


def load(choice: str = "auto", say=None):
    """Imports Jittor (the first time) for the device chosen and returns the module.

    `choice` is "auto" (CUDA if it works, else the CPU; leaves an earlier choice as it is), "cpu" or
    "cuda". `say` is called with one line that tells what was chosen. Raises DeviceError.
    """
    fresh = "jittor" not in sys.modules
    reason = prepare_environment(choice) if fresh else ""
    if fresh and say and not is_built():
        say("Jittor compiles itself on its first use, which takes some minutes ...")
    keep_freed_memory()
    try:
        import jittor as jt
    except SystemExit:  # without a word, and with exit code 0
        raise DeviceError(
            "Jittor has rebuilt part of itself for this compiler: run the same command again"
        ) from None

    if not jt.has_cuda:
        reason = reason or "Jittor was built without CUDA"
        if choice == "cuda":
            raise DeviceError(f"--device cuda: {reason}")
    if fresh or choice != "auto":
        jt.flags.use_cuda = int(choice != "cpu" and bool(jt.has_cuda))
    if say:
        say(describe(jt, reason))
    return jt


def is_built() -> bool:
    """Whether Jittor's cache holds a compiled core for some machine like this one."""
    home = Path(os.environ.get("JITTOR_HOME", Path.home())) / ".cache" / "jittor"
    return any(home.glob("jt*/*/*/*/*/*/*/jittor_core*.so"))


def add_option(parser) -> None:
    """--device, the same on every script."""
    parser.add_argument(
        "--device",
        choices=CHOICES,
        default="auto",
        help="default auto: CUDA if it works, else the CPU",
    )


def describe(jt, reason: str = "") -> str:
    """One line: device, and why not the other."""
    if jt.flags.use_cuda:
        return "device: CUDA"
    threads = os.environ.get("OMP_NUM_THREADS", os.cpu_count())
    return f"device: CPU, {threads} threads" + (f" ({reason})" if reason else "")
