"""CUDA toolkits for Jittor: which are there, and a view of a new one that looks like an old one.

Jittor 1.3.11 builds against CUDA up to 12.2 with cuDNN 8. Later ones lack some names, want C++17,
or lie scattered over Python wheels. A view is a folder of links to their headers and libraries,
with a few headers that supply what was removed and a compiler that is given other options. Nothing
of the toolkit or of Jittor is changed.
"""

import contextlib
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

from backend.disk import made_once, our_cache
from backend.jittor_home import jittor_cache

NEWEST = (12, 2)  # what Jittor 1.3.11 builds against as it is, with cuDNN 8
SYSTEM = Path("/usr")  # where a distribution's packages put cuDNN and NCCL

# What Jittor includes, links or its libraries load, and which part of CUDA has it
HEADERS = {
    "cuda_runtime.h": "cudart",
    "cublas_v2.h": "cublas",
    "cudnn.h": "cudnn",
    "curand.h": "curand",
    "cufft.h": "cufft",
    "cusparse.h": "cusparse",
}
LIBRARIES = {
    "libcudart.so": "cudart",
    "libcublas.so": "cublas",
    "libcublasLt.so": "cublas",
    "libcudnn.so": "cudnn",
    "libcurand.so": "curand",
    "libcufft.so": "cufft",
    "libcusparse.so": "cusparse",
    "libnvrtc.so": "nvrtc",
}
SINCE_12 = {"libnvJitLink.so": "nvjitlink"}

# The recurrent layers' first interface, which is gone: what calls it compiles, and fails if called
CUDNN = """#pragma once
#include "{}"
#if CUDNN_MAJOR >= 9
#define REMOVED(name) \\
    template <class... T> cudnnStatus_t name(T&&...) {{ return CUDNN_STATUS_NOT_SUPPORTED; }}
REMOVED(cudnnSetRNNDescriptor_v6)
REMOVED(cudnnGetRNNParamsSize)
REMOVED(cudnnGetRNNWorkspaceSize)
REMOVED(cudnnGetRNNTrainingReserveSize)
REMOVED(cudnnGetRNNLinLayerMatrixParams)
REMOVED(cudnnGetRNNLinLayerBiasParams)
REMOVED(cudnnRNNForwardInference)
REMOVED(cudnnRNNForwardTraining)
REMOVED(cudnnRNNBackwardData)
REMOVED(cudnnRNNBackwardWeights)
#undef REMOVED
#endif
"""

# Names that cub 3, CUDA 13's, has dropped for those of thrust and the standard library
CUB = """#pragma once
#include_next <cub/cub.cuh>
#if CUB_VERSION >= 300000
#include <cuda/functional>
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>
namespace cub {
using Sum = ::cuda::std::plus<>;
using Min = ::cuda::minimum<>;
using Max = ::cuda::maximum<>;
template <class T>
using CountingInputIterator = ::thrust::counting_iterator<T>;
template <class Value, class Function, class Iterator>
using TransformInputIterator = ::thrust::transform_iterator<Function, Iterator, Value>;
__device__ __forceinline__ unsigned LaneId() {
    unsigned lane;
    asm volatile("mov.u32 %0, %%laneid;" : "=r"(lane));
    return lane;
}
}
#endif
"""

# Jittor takes the limits of integers from NPP, a library that is otherwise not needed
NPP = """#pragma once
#include <cstdint>
#define NPP_MIN_32U 0
#define NPP_MAX_32U UINT32_MAX
#define NPP_MIN_32S INT32_MIN
#define NPP_MAX_32S INT32_MAX
#define NPP_MIN_64U 0
#define NPP_MAX_64U UINT64_MAX
#define NPP_MIN_64S INT64_MIN
#define NPP_MAX_64S INT64_MAX
"""

# CUDA 13's headers need C++17, Jittor asks for C++14. Its fast mathematics would make tanh
# wrong in the fourth digit. A wheel's nvcc does not know where the wheels have cub.
COMPILER = """#!/bin/sh
for option do
    shift
    case "$option" in
        -std=* | --use_fast_math | -use_fast_math) ;;
        *) set -- "$@" "$option" ;;
    esac
done
exec {} -std=c++17 -isystem "$(dirname "$0")/../include/cccl" "$@"
"""


# For Jittor's own sources: properties of devices that CUDA 13 lacks, which they name and never read
WITHOUT_PROPERTIES = "-DclockRate=multiProcessorCount -DcomputeMode=isMultiGpuBoard"


class Unusable(Exception):
    """A toolkit that Jittor cannot use; the text says why."""


class Cuda(NamedTuple):
    """A CUDA that Jittor can use."""

    nvcc: str  # the compiler that Jittor is to call
    version: Tuple[int, int]
    text: str  # "CUDA 13.0 (/usr/local/cuda-13.0) with cuDNN 9.19.0"
    environment: Dict[str, str]  # what else Jittor has to be told


class ToolkitFiles(NamedTuple):
    """What a toolkit and the wheels that complete it consist of: file names and where they are."""

    headers: Dict[str, Path]
    libraries: Dict[str, Path]

    def missing(self, major: int) -> Dict[str, str]:
        """Files that a view needs and the component of CUDA that has each."""
        wanted = {**HEADERS, **LIBRARIES, **(SINCE_12 if major >= 12 else {})}
        names = set(self.headers) | {name.split(".so")[0] + ".so" for name in self.libraries}
        missing = {name: component for name, component in wanted.items() if name not in names}
        if not names & {"cub", "cccl"}:
            missing["cub/cub.cuh"] = "cccl"
        return missing


def compilers() -> List[str]:
    """All nvcc, the preferred ones first: Jittor's own, the system's, those of wheels."""
    paths = sorted(map(str, jittor_cache().glob("jtcuda/*/bin/nvcc")), reverse=True)
    paths += ["nvcc", "/usr/local/cuda/bin/nvcc"]
    paths += [f"{site}/nvidia/cu13/bin/nvcc" for site in sys.path]
    return [path for path in map(shutil.which, paths) if path]


def ask(*command: str) -> str:
    """What a command prints, "" if it does not run."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def compiler_fault(name: str) -> str:
    """Why Jittor cannot work with a compiler of C++, or mpicc, "" if it can: it asks the one for
    its version, and knows by its name what it understands.
    """
    path = shutil.which(name)
    if path is None:
        return "is not installed"
    if path.endswith("mpicc"):
        return ""
    if not re.search(r"\d\.\d", ask(path, "--version")):
        return "does not run"
    known = re.search(r"g\+\+|clang|icc|icpc", Path(name).name)
    return "" if known else "is neither g++ nor clang++ by its name, and Jittor goes by that"


def nvcc_version(nvcc: str) -> Optional[Tuple[int, int]]:
    """(major, minor) of a CUDA compiler, or None if it does not run."""
    found = re.search(r"release (\d+)\.(\d+)", ask(nvcc, "--version"))
    return (int(found.group(1)), int(found.group(2))) if found else None


def capabilities(nvcc: str) -> List[Tuple[int, int]]:
    """The kinds of GPU that a CUDA compiler compiles for, in order; none where it does not say."""
    found = re.findall(r"^sm_(\d+)(\d)$", ask(nvcc, "--list-gpu-code"), re.MULTILINE)
    return sorted((int(major), int(minor)) for major, minor in found)


def toolkit_root(nvcc: str) -> Path:
    """The folder that holds bin/nvcc: nvcc says it itself, for on the PATH may be a script."""
    text = ask(nvcc, "--dryrun", "-c", "-x", "cu", os.devnull, "-o", os.devnull)
    found = re.search(r"^#\$ _HERE_=(.+)$", text, re.MULTILINE)
    return (Path(found.group(1)) if found else Path(nvcc).parent).resolve().parent


def wheels(major: int) -> Dict[Path, List[str]]:
    """Folders of the nvidia-* wheels for that CUDA, and the wheels' names and versions.

    Up to CUDA 12 each has its own folder and a name that ends in -cu12. Since 13 most have one
    folder for all and no such ending; cuDNN and NCCL are as before.
    """
    names: Dict[Path, List[str]] = {}
    for site in map(Path, sys.path):
        for info in sorted(site.glob("nvidia_*.dist-info")):
            name = info.name[len("nvidia_") : -len(".dist-info")]
            part, _, of = name.split("-")[0].rpartition("_cu")
            if of.isdigit() and int(of) != major:
                continue
            folder = site / "nvidia" / (part if of.isdigit() else f"cu{major}")
            if folder.is_dir():
                names.setdefault(folder, []).append(name)
    return names


def collect(root: Path, completed_by: Iterable[Path] = ()) -> ToolkitFiles:
    """The headers and libraries of a toolkit, of wheels, and cuDNN and NCCL of the distribution.

    Of two with the same name the first counts, in this order.
    """
    headers: Dict[str, Path] = {}
    libraries: Dict[str, Path] = {}
    for folder in (root, *completed_by):
        for file in sorted((*folder.glob("include/*"), *folder.glob("targets/*/include/*"))):
            headers.setdefault(file.name, file)
        for lib in ("lib64", "lib", "targets/*/lib"):
            for file in sorted(folder.glob(f"{lib}/lib*")):
                libraries.setdefault(file.name, file)
    for name in ("cudnn", "nccl"):
        if f"{name}.h" not in headers:  # else two versions would get mixed
            for file in (*SYSTEM.glob(f"include/{name}*"), *SYSTEM.glob(f"include/*/{name}*")):
                headers.setdefault(file.name, file)
            for file in (*SYSTEM.glob(f"lib/lib{name}*"), *SYSTEM.glob(f"lib/*/lib{name}*")):
                libraries.setdefault(file.name, file)
    return ToolkitFiles(headers, libraries)


def cudnn_version(headers: Dict[str, Path]) -> str:
    """ "9.19.0", or "" without the header that tells."""
    try:
        text = headers["cudnn_version.h"].read_text(encoding="utf-8", errors="replace")
    except (KeyError, OSError):
        return ""
    return ".".join(re.findall(r"#define CUDNN_(?:MAJOR|MINOR|PATCHLEVEL)\s+(\d+)", text))


def find(nvcc: str) -> Cuda:
    """What Jittor can use of the toolkit of that compiler; makes a view if it needs one.

    Raises Unusable.
    """
    version = nvcc_version(nvcc)
    if version is None:
        raise Unusable(f"{nvcc} does not run")
    root, (major, minor) = toolkit_root(nvcc), version
    nvcc = str(root / "bin" / "nvcc")  # Jittor looks for libraries beside it
    text = f"CUDA {major}.{minor} ({root})"
    files = collect(root)
    usable_as_is = {"libcudart.so", "libcudnn_ops_infer.so"}  # the latter: cuDNN 8
    if version <= NEWEST and usable_as_is <= set(files.libraries):
        return Cuda(nvcc, version, f"{text} with cuDNN {cudnn_version(files.headers)}", {})
    files = collect(root, wheels(major))
    missing = files.missing(major)
    if missing:
        install = " ".join(wheels_with(missing.values(), version))
        raise Unusable(f"{text} has no {', '.join(missing)}: pip install {install}")
    view = make_view(nvcc, version, files)
    text += f" with cuDNN {cudnn_version(files.headers)}"
    return Cuda(str(view / "bin" / "nvcc"), version, text, environment(view, major))


def wheels_with(components: Iterable[str], version: Tuple[int, int]) -> List[str]:
    """What to give pip for some components of CUDA."""
    extras = sorted(set(components) - {"cudnn"})
    packages = ["'cuda-toolkit[{}]=={}.{}.*'".format(",".join(extras), *version)] if extras else []
    return packages + [f"nvidia-cudnn-cu{version[0]}"] * ("cudnn" in components)


def environment(view: Path, major: int) -> Dict[str, str]:
    """What Jittor is told of a view beside its compiler."""
    lib, settings = view / "lib64", {"use_cutt": "0"}  # cuTT does not compile with CUDA 13
    if (lib / "libnccl.so").exists() and (view / "include" / "nccl.h").exists():
        settings.update(nccl_include_path=str(view / "include"), nccl_lib_path=str(lib))
    else:
        settings["use_nccl"] = "0"  # Jittor would build one too old for this CUDA
    if major >= 13:
        settings["cc_flags"] = WITHOUT_PROPERTIES
    return settings


def make_view(nvcc: str, version: Tuple[int, int], files: ToolkitFiles) -> Path:
    """The view's folder, built if it is not there. Its name follows from all that it is made of."""
    made_of = [nvcc, version, sorted(wheels(version[0]).items()), sorted(files.headers.items())]
    made_of += [sorted(files.libraries.items()), Path(__file__).read_text(encoding="utf-8")]
    key = hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]
    view = our_cache() / f"cuda-{version[0]}.{version[1]}-{key}"
    return made_once(view, lambda folder: fill_view(folder, nvcc, files))


def fill_view(view: Path, nvcc: str, files: ToolkitFiles) -> None:
    """Writes links, headers and the compiler into an empty folder."""
    for folder in ("bin", "include", "lib64"):
        (view / folder).mkdir()
    for name, path in files.headers.items():
        if name != "cudnn.h":
            (view / "include" / name).symlink_to(path)
    shims = {"cudnn.h": CUDNN.format(files.headers["cudnn.h"]), "npp.h": NPP, "cub/cub.cuh": CUB}
    for name, text in shims.items():
        if name.split("/")[0] not in files.headers or name == "cudnn.h":
            file = view / "include" / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text, encoding="utf-8")

    lib = view / "lib64"
    for name, path in files.libraries.items():
        (lib / name).symlink_to(path)
    for name in sorted(files.libraries, key=len):
        if ".so." in name:  # wheels have libX.so.N only
            link_missing(lib / (name.split(".so.")[0] + ".so"), name)
    for part in ("ops", "cnn"):  # in cuDNN 8 there were two of each
        for half in ("infer", "train"):
            link_missing(lib / f"libcudnn_{part}_{half}.so", f"libcudnn_{part}.so")

    compiler = view / "bin" / "nvcc"
    compiler.write_text(COMPILER.format(shlex.quote(nvcc)), encoding="utf-8")
    with contextlib.suppress(OSError):  # some shares have modes of their own
        compiler.chmod(0o755)


def link_missing(link: Path, target: str) -> None:
    """A link beside its target, if the one is missing and the other is there."""
    if not link.exists() and (link.parent / target).exists():
        link.symlink_to(target)
