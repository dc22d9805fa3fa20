"""Chooses CPU or CUDA and sets Jittor's environment; every module gets Jittor from here.

Jittor looks for a CUDA compiler while it is being imported and dies when it finds one that it
cannot use (an nvcc without libcudart, a runtime without a GPU). So the choice has to be made before
the first `import jittor`:

    from backend import device
    jt = device.load("auto")      # or "cpu", "cuda"; later calls return the same module

`python -m backend.device` reports what it finds on this machine and what it would choose.
"""

import os
import re
import sys
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import List, NamedTuple, Optional, Tuple

from backend import cuda_home, jittor_home, machine
from backend.begun import Begun
from backend.cuda_home import Cuda, Unusable, ask, compiler_fault
from backend.disk import our_cache
from backend.jittor_home import DeviceError, jittor_cache
from backend.terminal import number

CHOICES = ("auto", "cpu", "cuda")
PRECISIONS = ("float32", "tf32")

# In a process of its own: what reads CUDA_VISIBLE_DEVICES once is not to run before it is set
ASK_DRIVER = """
import ctypes
driver = ctypes.CDLL("libcuda.so.1")
number, name = ctypes.c_int(), ctypes.create_string_buffer(256)
def get(function, *arguments):
    status = getattr(driver, function)(ctypes.byref(number), *arguments)
    return number.value if status == 0 else 0
print(get("cuDriverGetVersion"), driver.cuInit(0))
for i in range(get("cuDeviceGetCount")):
    driver.cuDeviceGetName(name, 256, i)
    capability = [get("cuDeviceGetAttribute", attribute, i) for attribute in (75, 76)]
    print(*capability, name.value.decode(errors="replace"))
"""


class Gpu(NamedTuple):
    name: str
    capability: Tuple[int, int]


class Driver(NamedTuple):
    version: Tuple[int, int]  # the newest CUDA that it runs
    gpus: List[Gpu]  # those that CUDA_VISIBLE_DEVICES leaves
    problem: str = ""  # why there are none


def ask_driver() -> Driver:
    """What the NVIDIA driver says of itself and its GPUs."""
    lines = ask(sys.executable, "-I", "-c", ASK_DRIVER).splitlines()
    if not lines:
        return Driver((0, 0), [], "no NVIDIA GPU or driver (libcuda.so.1)")
    version, status = map(int, lines[0].split())
    gpus = []
    for line in lines[1:]:
        major, minor, name = line.split(" ", 2)
        gpus.append(Gpu(name, (int(major), int(minor))))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    problem = "" if gpus else f"the NVIDIA driver finds no GPU (cuInit: error {status})"
    if problem and visible is not None:
        problem += f", CUDA_VISIBLE_DEVICES is {visible!r}"
    return Driver((version // 1000, version % 1000 // 10), gpus, problem)


def objection(cuda: Cuda, driver: Driver) -> str:
    """Why this driver or a GPU does not go with a CUDA, "" if they do."""
    major, minor = cuda.version
    if driver.version[0] < major:
        return "{} needs a newer NVIDIA driver, this one is for CUDA {}.{}".format(
            cuda.text, *driver.version
        )
    known = cuda_home.capabilities(cuda.nvcc)
    for gpu in driver.gpus:
        if known and gpu.capability not in known:
            least, most = ("{}.{}".format(*x) for x in (known[0], known[-1]))
            reason = f"CUDA {major}.{minor} compiles for {least} to {most}"
        elif gpu.capability >= (10, 0) and jittor_home.lacks("gpu-10"):
            reason = "this Jittor compiles for at most 9.0"
        else:
            continue
        return "{} has compute capability {}.{}, {}".format(gpu.name, *gpu.capability, reason)
    return ""


def find_cuda(driver: Driver) -> Tuple[Optional[Cuda], str]:
    """(a CUDA that Jittor can use or None, why not).

    A path in the environment variable `nvcc_path` is the user's word and taken without a look at
    its version.
    """
    if not driver.gpus:
        return None, driver.problem
    given = os.environ.get("nvcc_path")
    if given is not None:
        if not given:
            return None, "nvcc_path is empty in the environment"
        return Cuda(given, (0, 0), f"CUDA of {given}", {}), ""
    reasons = []
    for nvcc in cuda_home.compilers():
        try:
            cuda = cuda_home.find(nvcc)
        except Unusable as e:
            reasons.append(str(e))
            continue
        reason = objection(cuda, driver)
        if not reason:
            return cuda, ""
        reasons.append(reason)
    none = "a GPU, but no CUDA compiler (nvcc) on the PATH or in /usr/local/cuda"
    return None, "; ".join(dict.fromkeys(reasons)) or none


def check_paths() -> None:
    """Jittor writes them into commands for a shell, not all of them in quotes."""
    for path, advice in (
        (sys.executable, "make the environment elsewhere (python3 -m venv FOLDER)"),
        (str(our_cache()), "set XDG_CACHE_HOME to another folder"),
        (str(jittor_cache()), "set JITTOR_HOME to another folder"),
    ):
        if re.search(r"""[\s'"$`\\;&|<>()]""", path):
            raise DeviceError(f"Jittor cannot work with the space or sign in {path!r}: {advice}")


def check_compiler() -> None:
    """Jittor compiles itself: say what is missing before it fails with a page of errors."""
    needed = [("cc_path", "g++", "g++")]
    if under_mpirun():
        needed.append(("mpicc_path", "mpicc", "libopenmpi-dev"))
    for name, program, package in needed:
        fault = compiler_fault(os.environ.get(name, program))
        if fault:
            why = f"it {fault}: apt-get install {package}"
            if name in os.environ:
                why = f"{name} in the environment names {os.environ[name]!r}, which {fault}: "
                why += "correct or unset it"
            raise DeviceError(f"Jittor needs the compiler {program}, but {why}")
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    if not header.exists():
        raise DeviceError(
            f"Jittor needs Python's headers, {header} is missing: apt-get install python3-dev"
        )


def prepare_environment(choice: str, precision="float32", threads=None) -> Tuple[str, str]:
    """Sets what Jittor and the libraries under it read while they are loaded.

    Returns (the CUDA and GPU chosen or "" for the CPU, why not CUDA).
    """
    check_paths()
    check_compiler()
    text, cuda, reason = "", None, "asked for"
    if choice != "cpu":
        driver = ask_driver()
        cuda, reason = find_cuda(driver)
        if choice == "cuda" and not cuda:
            raise DeviceError(f"--device cuda: {reason}")
    if precision == "tf32":
        if not cuda:
            raise DeviceError(f"--precision tf32 needs CUDA, which is not used: {reason}")
        old = [gpu.name for gpu in driver.gpus if gpu.capability < (8, 0)]
        if old:
            raise DeviceError(f"--precision tf32: {old[0]} has none, leave it out")
        os.environ.pop("NVIDIA_TF32_OVERRIDE", None)
    else:
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"  # else cuDNN takes it where it can
    # Jittor looks beside this interpreter and in /usr/bin: wrong for a virtual environment of
    # another Python
    config = Path(sys.base_prefix, "bin", "python{}.{}-config".format(*sys.version_info))
    if config.exists():
        os.environ.setdefault("python_config_path", str(config))
    if threads or not os.environ.get("OMP_NUM_THREADS"):
        os.environ["OMP_NUM_THREADS"] = str(threads or max(1, machine.cores() // local_ranks()))
    if "OMP_WAIT_POLICY" not in os.environ:  # oneDNN's threads: soon asleep, not in others' way
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("use_cutlass", "0")  # neither needed nor part of jittor_offline
    os.environ.setdefault("log_silent", "1")  # warnings and errors only
    os.environ.setdefault("JPY_PARENT_PID", "0")  # Jittor leaves Ctrl-C to us, as in a notebook
    os.environ["use_mpi"] = "1" if under_mpirun() else "0"  # compiled only where it is used
    os.environ["nvcc_path"] = cuda.nvcc if cuda else ""
    if not cuda:  # what a process with CUDA has given to this one would make another Jittor
        flags = os.environ.pop("cc_flags", "").replace(cuda_home.WITHOUT_PROPERTIES, "").strip()
        os.environ.update({"cc_flags": flags} if flags else {})
    if cuda:
        for name, value in cuda.environment.items():
            if name == "cc_flags":
                value = f"{os.environ.get(name, '')} {value}"
                os.environ[name] = value
            os.environ.setdefault(name, value)
        text = f"{cuda.text}, {driver.gpus[choose_gpu(len(driver.gpus))].name}, {precision}"
    return text, reason


def choose_gpu(gpus: int) -> int:
    """Gives each process of mpirun a GPU. Returns its number among the visible ones."""
    if not under_mpirun():
        return 0
    local = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", rank()))
    here = local_ranks()
    if here > gpus:
        raise DeviceError(
            f"mpirun started {here} processes on this machine, which has {gpus} usable GPU(s): "
            f"start at most {gpus}, or use --device cpu"
        )
    # With NCCL Jittor itself takes the GPU of its local rank, and if it saw one GPU only it would
    # leave NCCL aside. Without NCCL it would use the first GPU in every process.
    if os.environ.get("use_nccl") == "0":
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(map(str, range(gpus)))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[local]
    return local


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


def local_ranks() -> int:
    """How many of them on this machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", ranks()))


def load(choice="auto", say=None, precision=None, threads: Optional[int] = None):
    """Imports Jittor (the first time) for the device chosen and returns the module.

    `choice` is "auto" (CUDA if it works, else the CPU; leaves an earlier choice as it is), "cpu" or
    "cuda". `say` is called with one line that tells what was chosen. `precision` of the products in
    convolutions (None: float32, or what it was) and the number of `threads` on the CPU are chosen
    the first time; the rest is float32 always. Raises DeviceError, for another choice later too.
    """
    fresh, before, text, reason = "jittor" not in sys.modules, dict(os.environ), "", ""
    if fresh:
        text, reason = prepare_environment(choice, precision or "float32", threads)
        jt = jittor_home.load("cuda" if text else "cpu", say)
    else:
        jt = sys.modules["jittor"]
        if hasattr(jt, "begun"):
            jt.begun.check(choice, precision, threads)
            jt.begun.set_environment()
    machine.keep_freed_memory()

    if not jt.has_cuda:
        reason = reason or "Jittor was built without CUDA"
        if choice == "cuda":
            raise DeviceError(f"--device cuda: {reason}")
    problem = ""
    if fresh or choice != "auto":
        jt.flags.use_cuda = int(choice != "cpu" and bool(jt.has_cuda))
        problem = ready_cuda(jt.compile_extern) if jt.flags.use_cuda else ""
    if problem:
        jt.flags.use_cuda, reason = 0, problem
        if choice == "cuda":
            raise DeviceError(f"--device cuda: {problem}")
    if fresh:
        used = "cuda" if jt.flags.use_cuda else "cpu"
        jt.begun = Begun(used, precision or "float32", machine.threads(), before, dict(os.environ))
    if say:
        say(describe(jt, text, reason))
    return jt


def ready_cuda(extern) -> str:
    """Why one of CUDA's libraries that our operators call is not there, "" if all are: Jittor says
    nothing where one does not load. extern: `jittor.compile_extern`.
    """
    for name in ("cudnn", "cublas", "curand"):
        if getattr(extern, f"{name}_ops", None) is not None:
            continue
        try:
            flags = f' -L"{extern.cache_path}/cuda" -llibcuda_extern '  # as Jittor does it
            extern.setup_cuda_lib(name, extra_flags=flags)
        except Exception as e:  # whatever Jittor's build raises
            return (
                f"{name} does not load: {(str(e).strip().splitlines() or [type(e).__name__])[-1]}"
            )
    # Of so many shapes the best algorithm is kept; Jittor keeps 100, a growing run has more
    extern.cudnn.set_algorithm_cache_size(1000)
    return ""


def repeat_exactly(jt) -> None:
    """Has cuDNN take the algorithm that it recommends of those that repeat their result bit by bit,
    where else it would try which is fastest. On the CPU all do. Raises DeviceError.
    """
    if not jt.flags.use_cuda:
        return
    site = Path(jt.__file__).resolve().parent.parent
    if any(group.name == "cudnn-repeatable" for group in jittor_home.left_out(site)):
        raise DeviceError(
            "--deterministic needs the Jittor that this project knows: "
            "pip install --no-deps -r requirements.txt"
        )
    jt.compile_extern.cudnn.set_algorithm_cache_size(0)  # nothing is tried, see jittor_edits.py


def built_cores() -> List[Path]:
    """The compiled cores in Jittor's cache, one for each compiler, Python, CPU and CUDA."""
    return sorted(jittor_cache().glob("jt*/**/jittor_core*.so"))


def add_options(parser) -> None:
    """--device, --precision and --threads, the same on every script."""
    parser.add_argument(
        "--device",
        choices=CHOICES,
        default="auto",
        help="default auto: CUDA if it works, else the CPU",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="of products in convolutions; tf32: CUDA from compute capability 8.0 on "
        "(default float32)",
    )
    parser.add_argument(
        "--threads",
        type=number(int, 1, 1024),
        metavar="N",
        help="on the CPU (default: OMP_NUM_THREADS, else the cores that this process may use)",
    )
    parser.add_argument(
        "--plain",
        action="store_true",
        help="compute layer by layer as model.py has them, without the operators of fast.py: the "
        "same up to rounding, slower",
    )


def describe(jt, cuda: str = "", reason: str = "") -> str:
    """One line: device, and why not the other."""
    if jt.flags.use_cuda:
        return f"device: {cuda or 'CUDA'}"
    threads = machine.threads()
    plural = "s" if threads > 1 else ""
    return f"device: CPU, {threads} thread{plural}" + (f" ({reason})" if reason else "")


def first_line(*command: str) -> str:
    """What a program prints first, or that it is not there."""
    return (ask(*command).splitlines() or [f"{command[0]} does not run"])[0]


def report() -> List[str]:
    """What is on this machine and what would be chosen, a line each. Does not import Jittor."""
    driver = ask_driver()
    lines = [
        f"Python: {sys.version.split()[0]} ({sys.executable})",
        f"compiler: {first_line(os.environ.get('cc_path', 'g++'), '--version')}",
        f"NVIDIA driver: {driver.problem or 'for CUDA {}.{}'.format(*driver.version)}",
    ]
    for gpu in driver.gpus:
        lines.append("GPU: {}, compute capability {}.{}".format(gpu.name, *gpu.capability))
    toolkits = []
    for nvcc in cuda_home.compilers():
        try:
            cuda = cuda_home.find(nvcc)
            toolkits.append(f"{cuda.text}, called as {cuda.nvcc}")
        except Unusable as e:
            toolkits.append(str(e))
    lines += [f"CUDA toolkit: {text}" for text in dict.fromkeys(toolkits or ["none"])]
    for package in ("jittor", "jittor_offline", "numpy"):
        lines.append(f"{package}: {installed(package)}")
    lines += jittor_home.report()
    dnnl = sorted(jittor_cache().glob("mkl/dnnl_*/include"))
    lines.append(f"oneDNN: {dnnl[0].parent.name if dnnl else 'not unpacked yet'}")
    lines.append(f"MPI: {first_line(os.environ.get('mpicc_path', 'mpicc'), '--showme:version')}")
    cores = [f"built: {core.parent}" for core in built_cores()]
    lines += [f"cache: {line}" for line in cores or [f"{jittor_cache()}, not built"]]
    try:
        check_compiler()
        cuda, reason = find_cuda(driver)
        chosen = f"{cuda.text}, {driver.gpus[0].name}" if cuda else f"CPU ({reason})"
    except DeviceError as e:
        chosen = f"none: {e}"
    return lines + [f"device: {chosen}"]


def installed(package: str) -> str:
    """A Python package's version."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


if __name__ == "__main__":
    print(*report(), sep="\n")
