"""Which toolkits are usable, and the view of those that are too new, played with fake ones. Where
a real nvcc of CUDA 13 is, it compiles through the view's compiler, and our own kernels with it.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from toolkits import PARTS, put_cudnn, put_toolkit, put_wheels, script

from backend import cuda_home
from backend.cuda_home import Unusable
from operators.native import cuda_sources

# What Jittor 1.3.11 gives nvcc (compiler.py), but for include folders
JITTOR_OPTIONS = (
    "-std=c++14 -Xcompiler -fPIC -Xcompiler -march=native -Xcompiler -fdiagnostics-color=always "
    "-x cu --cudart=shared --use_fast_math -w -arch=compute_90 -code=sm_90 -O2"
).split()


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder for fakes: site/ alone is searched for wheels, usr/ for the distribution's files."""
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(cuda_home, "SYSTEM", tmp_path / "usr")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_toolkit_that_jittor_knows_is_taken_as_it_is(place):
    nvcc = put_toolkit(place / "cuda", "12.2", cudnn="8.9.7")
    text = f"CUDA 12.2 ({place / 'cuda'}) with cuDNN 8.9.7"
    assert cuda_home.find(nvcc) == (nvcc, (12, 2), text, {})
    assert not (place / "cache").exists()


def test_cudnn_8_of_the_distribution(place):
    nvcc = put_toolkit(place / "cuda", "11.8")
    put_cudnn(place / "usr", "8.6.0")
    found = cuda_home.find(nvcc)
    assert found.nvcc == nvcc and found.text.endswith("with cuDNN 8.6.0")


def test_without_cudnn(place):
    nvcc = put_toolkit(place / "cuda", "12.2")
    with pytest.raises(Unusable) as e:
        cuda_home.find(nvcc)
    assert str(e.value) == (
        f"CUDA 12.2 ({place / 'cuda'}) has no cudnn.h, libcudnn.so: pip install nvidia-cudnn-cu12"
    )


def test_what_is_missing_is_named_with_the_wheels_that_have_it(place):
    nvcc = put_toolkit(place / "cuda", "13.0", ["cuda_runtime", "cufft", "cusparse", "nvjitlink"])
    with pytest.raises(Unusable) as e:
        cuda_home.find(nvcc)
    missing, install = str(e.value).split(": ")
    for name in ("cublas_v2.h", "libcublasLt.so", "curand.h", "libcudnn.so", "libnvrtc.so"):
        assert name in missing
    assert "cufft" not in missing and "cudart" not in missing
    assert install == "pip install 'cuda-toolkit[cublas,curand,nvrtc]==13.0.*' nvidia-cudnn-cu13"


def test_compiler_that_does_not_run(place):
    nvcc = script(place / "nvcc", "#!/bin/sh\nexit 1\n")
    with pytest.raises(Unusable, match="nvcc does not run"):
        cuda_home.find(nvcc)


def test_root_as_nvcc_tells_it(place):
    """The nvcc of the PATH may be a script that calls another."""
    put_toolkit(place / "cuda", "13.0")
    nvcc = script(place / "bin" / "nvcc", f"#!/bin/sh\necho '#$ _HERE_={place}/cuda/bin'\n")
    assert cuda_home.toolkit_root(nvcc) == place / "cuda"


def test_view_of_toolkit_and_wheels(place):
    nvcc = put_toolkit(place / "cuda", "13.0", ["cuda_runtime"])
    put_wheels(place / "site", 13, [part for part in PARTS if part != "cuda_runtime"], "9.19.0")
    found = cuda_home.find(nvcc)
    assert found.text == f"CUDA 13.0 ({place / 'cuda'}) with cuDNN 9.19.0"
    assert found.environment == {
        "use_cutt": "0",
        "use_nccl": "0",
        "cc_flags": "-DclockRate=multiProcessorCount -DcomputeMode=isMultiGpuBoard",
    }
    view, site = Path(found.nvcc).parent.parent, place / "site" / "nvidia"
    assert view.parent == place / "cache" / "stylegan-jittor"
    links = {
        "include/cuda_runtime.h": place / "cuda/include/cuda_runtime.h",
        "include/cublas_v2.h": site / "cu13/include/cublas_v2.h",
        "include/cccl": place / "cuda/include/cccl",
        "lib64/libcudart.so": place / "cuda/lib/libcudart.so",
        "lib64/libcublas.so": site / "cu13/lib/libcublas.so.13",
        "lib64/libcublasLt.so": site / "cu13/lib/libcublasLt.so.13",
        "lib64/libcudnn.so": site / "cudnn/lib/libcudnn.so.9",
        "lib64/libcudnn_ops_infer.so": site / "cudnn/lib/libcudnn_ops.so.9",
        "lib64/libcudnn_ops_train.so": site / "cudnn/lib/libcudnn_ops.so.9",
        "lib64/libcudnn_cnn_infer.so": site / "cudnn/lib/libcudnn_cnn.so.9",
        "lib64/libcudnn_cnn_train.so": site / "cudnn/lib/libcudnn_cnn.so.9",
    }
    assert {name: (view / name).resolve() for name in links} == links
    header = (view / "include/cudnn.h").read_text()
    assert f'#include "{site / "cudnn/include/cudnn.h"}"' in header
    assert "REMOVED(cudnnRNNBackwardWeights)" in header
    assert "NPP_MAX_64U" in (view / "include/npp.h").read_text()
    assert "#include_next <cub/cub.cuh>" in (view / "include/cub/cub.cuh").read_text()
    assert (view / "lib64/libcublas.so.13").exists()  # what other libraries ask for


def test_view_of_cuda_12(place):
    """cub is as Jittor expects it, and devices still have all their properties."""
    nvcc = put_toolkit(place / "cuda", "12.6", ["cuda_runtime"])
    put_wheels(place / "site", 12, [part for part in PARTS if part != "cuda_runtime"], "9.1.0")
    found = cuda_home.find(nvcc)
    view = Path(found.nvcc).parent.parent
    assert (view / "include/cub").resolve() == place / "cuda/include/cub"
    assert (place / "cuda/include/cub/cub.cuh").read_text() == ""
    assert "cc_flags" not in found.environment


def test_wheels_of_another_cuda_are_no_part_of_it(place):
    put_wheels(place / "site", 12, cudnn="9.1.0")
    nvcc = put_toolkit(place / "cuda", "13.0", ["cuda_runtime"])
    with pytest.raises(Unusable, match="nvidia-cudnn-cu13"):
        cuda_home.find(nvcc)
    assert cuda_home.wheels(13) == {}
    assert place / "site/nvidia/cudnn" in cuda_home.wheels(12)


def test_compiler_of_a_wheel(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place / "bin"))
    monkeypatch.setenv("JITTOR_HOME", str(place))
    nvcc = script(place / "site/nvidia/cu13/bin/nvcc", "#!/bin/sh\n")
    assert cuda_home.compilers()[-1] == nvcc


def test_jittors_own_installation_comes_first(place, monkeypatch):
    monkeypatch.setenv("PATH", str(place / "bin"))
    monkeypatch.setenv("JITTOR_HOME", str(place))
    own = put_toolkit(place / ".cache/jittor/jtcuda/cuda12.2_cudnn8_linux", "12.2", cudnn="8.9.4")
    other = script(place / "bin/nvcc", "#!/bin/sh\n")
    assert cuda_home.compilers()[:2] == [own, other]


@pytest.fixture
def complete(place):
    """The compiler of a toolkit that lacks nothing but an older cuDNN."""
    return put_toolkit(place / "cuda", "13.0", cudnn="9.19.0")


def test_view_is_made_once(complete):
    nvcc = cuda_home.find(complete).nvcc
    made = os.stat(nvcc).st_mtime_ns
    assert cuda_home.find(complete).nvcc == nvcc and os.stat(nvcc).st_mtime_ns == made


@pytest.mark.parametrize("change", ["version", "library", "wheel"])
def test_view_is_made_anew_when_a_part_changes(complete, place, change):
    before = cuda_home.find(complete).nvcc
    if change == "version":
        put_toolkit(place / "cuda", "13.1")
    elif change == "library":
        (place / "cuda/lib/libcufft.so.12").touch()
    else:
        put_wheels(place / "site", 13, ["cublas"])
    assert cuda_home.find(complete).nvcc != before and os.path.exists(before)


def test_view_is_whole_or_not_there(complete, place, monkeypatch):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(cuda_home, "link_missing", fail)
    with pytest.raises(OSError, match="no space"):
        cuda_home.find(complete)
    assert list((place / "cache/stylegan-jittor").iterdir()) == []


def test_another_process_was_faster(complete, place, monkeypatch):
    fill = cuda_home.fill_view

    def slow(view, *rest):
        monkeypatch.setattr(cuda_home, "fill_view", fill)
        fill(view, *rest)
        cuda_home.find(complete)  # the other one

    monkeypatch.setattr(cuda_home, "fill_view", slow)
    nvcc = cuda_home.find(complete).nvcc
    assert os.listdir(place / "cache/stylegan-jittor") == [Path(nvcc).parent.parent.name]


def test_nccl_is_used_where_it_is(complete, place):
    (place / "usr/include").mkdir(parents=True)
    (place / "usr/include/nccl.h").touch()
    (place / "usr/lib/x86_64-linux-gnu").mkdir(parents=True)
    (place / "usr/lib/x86_64-linux-gnu/libnccl.so.2").touch()
    found = cuda_home.find(complete)
    view = Path(found.nvcc).parent.parent
    assert found.environment["nccl_include_path"] == str(view / "include")
    assert (Path(found.environment["nccl_lib_path"]) / "libnccl.so").exists()
    assert "use_nccl" not in found.environment


def test_options_of_the_views_compiler(complete):
    """The fake compiler prints what it is called with."""
    nvcc = cuda_home.find(complete).nvcc
    command = [nvcc, "-c", "-std=c++14", "a b.cu", "--use_fast_math", '-DA="x y"', "-O2"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cccl = Path(nvcc).parent / "../include/cccl"
    assert done.stdout == f'-std=c++17 -isystem {cccl} -c a b.cu -DA="x y" -O2\n'


def real_compiler(tmp_path) -> str:
    """The compiler of a view of the real CUDA 13 on this machine, of what parts there are."""
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    version = cuda_home.nvcc_version(nvcc) if nvcc else None
    if version is None or version < (13, 0):
        pytest.skip("no nvcc of CUDA 13 on this machine")
    parts = cuda_home.collect(cuda_home.toolkit_root(nvcc), cuda_home.wheels(13))
    if "cuda_runtime.h" not in parts.headers or "cccl" not in parts.headers:
        pytest.skip("no cuda_runtime.h or cub on this machine")
    parts.headers.setdefault("cudnn.h", Path("/nowhere/cudnn.h"))
    (tmp_path / "view").mkdir()
    cuda_home.fill_view(tmp_path / "view", nvcc, parts)
    return str(tmp_path / "view" / "bin" / "nvcc")


def compile_kernel(nvcc: str, tmp_path, text: str, result: str = "-c") -> bytes:
    """The object file, or with "-ptx" the assembly, that nvcc makes of it with Jittor's options."""
    source, output = tmp_path / "kernel.cu", tmp_path / "kernel.o"
    source.write_text(text)
    options = [x for x in JITTOR_OPTIONS if result == "-c" or not x.startswith("-code")]
    include = f"-I{Path(nvcc).parent.parent / 'include'}"
    command = [nvcc, *options, include, result, str(source), "-o", str(output)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output.read_bytes()


def test_real_compiler_with_jittors_options(tmp_path):
    """C++ is 17, NPP's limits are there, and tanh is not the fast one."""
    text = """
        #include <npp.h>
        static_assert(__cplusplus >= 201703 && NPP_MAX_32S == 2147483647, "");
        __global__ void kernel(float* x) { x[0] = tanhf(x[1]); }
    """
    assembly = compile_kernel(real_compiler(tmp_path), tmp_path, text, "-ptx")
    assert b"sm_90" in assembly and b"kernel" in assembly
    assert b"tanh.approx" not in assembly


def test_what_cub_has_dropped(tmp_path):
    text = """
        #include <cub/cub.cuh>
        struct Twice { __host__ __device__ float operator()(int i) const { return 2 * i; } };
        __global__ void kernel(float* x, unsigned* lane) {
            cub::CountingInputIterator<int> it(3);
            cub::TransformInputIterator<float, Twice, cub::CountingInputIterator<int>> two(it, {});
            x[0] = cub::Max()(x[1], x[2]) + cub::Sum()(two[1], cub::Min()(x[3], x[4]));
            lane[0] = cub::LaneId();
        }
    """
    assert b"kernel" in compile_kernel(real_compiler(tmp_path), tmp_path, text)


@pytest.mark.parametrize("name", sorted(cuda_sources()))
def test_our_kernels_compile(name, tmp_path):
    text = cuda_sources()[name]
    names = re.findall(r"__global__ void (\w+)", text)
    compiled = compile_kernel(real_compiler(tmp_path), tmp_path, text)
    assert names and all(name.encode() in compiled for name in names)
