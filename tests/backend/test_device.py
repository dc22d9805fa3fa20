"""The choice of device on machines of several kinds, played with fake drivers and toolkits."""

import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from toolkits import put_cudnn, put_toolkit, put_wheels, script

from backend import cuda_home, device
from backend.device import Driver, Gpu
from backend.disk import our_cache

ROOT = Path(__file__).resolve().parent.parent.parent
H100 = Gpu("NVIDIA H100", (9, 0))
ENVIRONMENT = (
    "nvcc_path cc_flags cc_path mpicc_path python_config_path log_silent use_mpi use_nccl use_cutt "
    "use_cutlass nccl_lib_path nccl_include_path CUDA_VISIBLE_DEVICES "
    "NVIDIA_TF32_OVERRIDE"
).split()
PARTS = ["cublas", "curand", "cufft", "cusparse", "nvjitlink", "cuda_nvrtc"]


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without driver, GPU and toolkit. Call it to give it a driver and GPUs; what is put
    into cuda/ is a toolkit, into site/ wheels.
    """
    for name in [*ENVIRONMENT, *(x for x in os.environ if x.startswith("OMPI_"))]:
        monkeypatch.setenv(name, "")  # so that what is set in the meantime is undone
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(tmp_path / "cuda" / "bin"))
    monkeypatch.setenv("JITTOR_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(cuda_home, "SYSTEM", tmp_path / "usr")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site")])
    monkeypatch.setattr(device, "check_compiler", lambda: None)
    which = cuda_home.shutil.which
    monkeypatch.setattr(
        cuda_home.shutil,
        "which",
        lambda x: None if str(x).startswith("/usr/local/cuda") else which(x),
    )

    def equip(*gpus, version=(13, 0), problem=""):
        monkeypatch.setattr(device, "ask_driver", lambda: Driver(version, list(gpus), problem))

    equip(version=(0, 0), problem="no NVIDIA GPU or driver")
    return equip


def why_not() -> str:
    """Why CUDA is not used; it has to be an error where it is asked for."""
    cuda, reason = device.find_cuda(device.ask_driver())
    assert cuda is None
    assert device.prepare_environment("auto") == ("", reason) and os.environ["nvcc_path"] == ""
    del os.environ["nvcc_path"]
    with pytest.raises(device.DeviceError) as e:
        device.prepare_environment("cuda")
    assert str(e.value) == f"--device cuda: {reason}" and "nvcc_path" not in os.environ
    return reason


def test_compiler_without_gpu(machine, tmp_path):
    put_toolkit(tmp_path / "cuda", "11.8", cudnn="8.6.0")
    assert why_not() == "no NVIDIA GPU or driver"


def test_gpu_without_compiler(machine):
    machine(H100)
    assert "no CUDA compiler (nvcc)" in why_not()


def test_compiler_without_libraries(machine, tmp_path):
    machine(H100)
    put_toolkit(tmp_path / "cuda", "12.1", parts=[])
    reason = why_not()
    assert reason.startswith(f"CUDA 12.1 ({tmp_path / 'cuda'}) has no cuda_runtime.h, ")
    assert "libcudart.so" in reason and reason.endswith("]==12.1.*' nvidia-cudnn-cu12")


def test_without_cudnn(machine, tmp_path):
    machine(H100)
    put_toolkit(tmp_path / "cuda", "12.2")
    assert why_not().endswith("has no cudnn.h, libcudnn.so: pip install nvidia-cudnn-cu12")


@pytest.mark.parametrize("given", ["", "-g"])
def test_a_cpu_after_cuda_gets_the_jittor_of_the_cpu(machine, tmp_path, monkeypatch, given):
    """In a process that one with CUDA has started, with its environment."""
    machine(H100)
    if given:
        monkeypatch.setenv("cc_flags", given)
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    device.prepare_environment("cuda")
    assert "-DclockRate" in os.environ["cc_flags"]
    device.prepare_environment("cpu")
    assert os.environ.get("cc_flags", "") == given and ("cc_flags" in os.environ) == bool(given)


def test_driver_older_than_the_toolkit(machine, tmp_path):
    machine(H100, version=(12, 4))
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    reason = why_not()
    assert (
        "CUDA 13.0" in reason and "needs a newer NVIDIA driver, this one is for CUDA 12.4" in reason
    )


@pytest.mark.parametrize(
    "gpu, words",
    [
        (Gpu("Tesla V100", (7, 0)), "Tesla V100 has compute capability 7.0"),
        (Gpu("NVIDIA Rubin", (13, 0)), "NVIDIA Rubin has compute capability 13.0"),
    ],
)
def test_gpu_that_cannot_be_compiled_for(machine, tmp_path, gpu, words):
    machine(gpu)
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    assert why_not() == f"{words}, CUDA 13.0 compiles for 7.5 to 12.1"


@pytest.mark.parametrize("capability", [(10, 0), (12, 0), (12, 1)])
def test_gpus_that_need_an_edit_of_jittor(machine, tmp_path, monkeypatch, capability):
    machine(Gpu("NVIDIA B200", capability))
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    for name, reason in (("", ""), ("gpu-10", "this Jittor compiles for at most 9.0")):
        monkeypatch.setattr(device.jittor_home, "lacks", name.__eq__)
        cuda, why = device.find_cuda(device.ask_driver())
        assert bool(cuda) == (not reason) and why.endswith(reason)


def test_broken_compiler(machine, tmp_path):
    machine(H100)
    nvcc = script(tmp_path / "cuda" / "bin" / "nvcc", "#!/bin/sh\nexit 1\n")
    assert why_not() == f"{nvcc} does not run"


def test_cuda_that_jittor_knows(machine, tmp_path):
    machine(H100, H100)
    nvcc = put_toolkit(tmp_path / "cuda", "12.2", cudnn="8.9.7")
    text, reason = device.prepare_environment("cuda")
    assert text == f"CUDA 12.2 ({tmp_path / 'cuda'}) with cuDNN 8.9.7, NVIDIA H100, float32"
    assert reason == "" and os.environ["nvcc_path"] == nvcc
    assert "use_cutt" not in os.environ and "cc_flags" not in os.environ


def test_cuda_13_by_way_of_a_view(machine, tmp_path, monkeypatch):
    machine(H100)
    monkeypatch.setenv("cc_flags", "-g")
    put_toolkit(tmp_path / "cuda", "13.0", ["cuda_runtime"])
    put_wheels(tmp_path / "site", 13, PARTS, cudnn="9.19.0")
    text, _ = device.prepare_environment("auto")
    assert text == f"CUDA 13.0 ({tmp_path / 'cuda'}) with cuDNN 9.19.0, NVIDIA H100, float32"
    view = Path(os.environ["nvcc_path"]).parent.parent
    assert view.parent == tmp_path / "cache" / "stylegan-jittor"
    assert (view / "lib64" / "libcudnn_ops_infer.so").exists()
    assert os.environ["cc_flags"].startswith("-g -DclockRate")
    assert os.environ["use_cutt"] == "0" and os.environ["use_nccl"] == "0"


def test_precision(machine, tmp_path):
    """Strict float32 unless TF32 is asked for, where there is any."""
    machine(H100)
    put_toolkit(tmp_path / "cuda", "12.2", cudnn="8.9.7")
    device.prepare_environment("auto")
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    del os.environ["nvcc_path"]
    text, _ = device.prepare_environment("auto", "tf32")
    assert text.endswith("NVIDIA H100, tf32") and "NVIDIA_TF32_OVERRIDE" not in os.environ
    del os.environ["nvcc_path"]
    machine(Gpu("NVIDIA T4", (7, 5)))
    with pytest.raises(device.DeviceError, match="--precision tf32: NVIDIA T4 has none"):
        device.prepare_environment("cuda", "tf32")
    with pytest.raises(device.DeviceError, match="needs CUDA, which is not used: asked for"):
        device.prepare_environment("cpu", "tf32")


def test_jittors_own_cuda_comes_before_the_systems(machine, tmp_path):
    machine(H100)
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    own = tmp_path / ".cache" / "jittor" / "jtcuda" / "cuda12.2_cudnn8_linux"
    nvcc = put_toolkit(own, "12.2", cudnn="8.9.4")
    cuda, _ = device.find_cuda(device.ask_driver())
    assert cuda.nvcc == nvcc and cuda.text == f"CUDA 12.2 ({own}) with cuDNN 8.9.4"


def test_next_toolkit_where_the_first_is_unusable(machine, tmp_path):
    machine(H100, version=(12, 8))
    put_toolkit(tmp_path / "cuda", "12.2")
    put_toolkit(tmp_path / ".cache/jittor/jtcuda/cuda13", "13.0", cudnn="9.19.0")
    put_cudnn(tmp_path / "usr", "8.9.7")
    cuda, _ = device.find_cuda(device.ask_driver())
    assert cuda.version == (12, 2)


def test_path_given_by_the_user_is_taken(machine, monkeypatch):
    machine(H100)
    monkeypatch.setenv("nvcc_path", "/opt/view/bin/nvcc")
    assert device.find_cuda(device.ask_driver())[0].nvcc == "/opt/view/bin/nvcc"
    monkeypatch.setenv("nvcc_path", "")
    assert device.find_cuda(device.ask_driver())[1] == "nvcc_path is empty in the environment"


DRIVER = """
#include <stdlib.h>
#include <string.h>
static int count() { char* s = getenv("CUDA_VISIBLE_DEVICES"); return s ? strlen(s) : 2; }
int cuInit(unsigned flags) { return count() ? 0 : 100; }
int cuDriverGetVersion(int* v) { *v = 12040; return 0; }
int cuDeviceGetCount(int* n) { *n = count(); return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { *v = a == 75 ? 8 : 6; return 0; }
int cuDeviceGetName(char* s, int n, int d) { strcpy(s, "NVIDIA RTX A6000"); return 0; }
"""


def test_what_the_driver_says(tmp_path, monkeypatch):
    """A library in the driver's place, asked in a process of its own."""
    (tmp_path / "driver.c").write_text(DRIVER)
    command = ["gcc", "-shared", "-fPIC", "driver.c", "-o", "libcuda.so.1"]
    subprocess.run(command, cwd=tmp_path, check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert device.ask_driver() == Driver((12, 4), [Gpu("NVIDIA RTX A6000", (8, 6))] * 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    driver = device.ask_driver()
    assert driver.gpus == [] and "error 100" in driver.problem
    assert "CUDA_VISIBLE_DEVICES is ''" in driver.problem


def under_mpirun(monkeypatch, local: int, here: int) -> None:
    for name, value in (("RANK", 4 + local), ("SIZE", 8)):
        monkeypatch.setenv(f"OMPI_COMM_WORLD_{name}", str(value))
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_RANK", str(local))
    monkeypatch.setenv("OMPI_COMM_WORLD_LOCAL_SIZE", str(here))


@pytest.mark.parametrize(
    "visible, gpus, chosen", [(None, 4, "1"), ("2,0,3", 3, "0"), ("GPU-a,GPU-b", 2, "GPU-b")]
)
def test_each_process_has_its_gpu(machine, tmp_path, monkeypatch, visible, gpus, chosen):
    """Without NCCL Jittor would take the first GPU in all of them."""
    machine(*[Gpu(f"GPU {i}", (9, 0)) for i in range(gpus)])
    put_toolkit(tmp_path / "cuda", "13.0", cudnn="9.19.0")
    under_mpirun(monkeypatch, local=1, here=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible or "")
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    text, _ = device.prepare_environment("auto")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == chosen and os.environ["use_mpi"] == "1"
    assert text.endswith(", GPU 1, float32")


def test_nccl_sees_all_gpus(machine, tmp_path, monkeypatch):
    """It takes that of the local rank itself, and stays unused if it sees fewer than processes."""
    machine(H100, H100)
    put_toolkit(tmp_path / "cuda", "12.2", cudnn="8.9.7")
    under_mpirun(monkeypatch, local=1, here=2)
    device.prepare_environment("cuda")
    assert "CUDA_VISIBLE_DEVICES" not in os.environ


def test_more_processes_than_gpus(machine, tmp_path, monkeypatch):
    machine(H100, H100)
    put_toolkit(tmp_path / "cuda", "12.2", cudnn="8.9.7")
    under_mpirun(monkeypatch, local=0, here=3)
    with pytest.raises(device.DeviceError, match="3 processes on this machine, which has 2 usable"):
        device.prepare_environment("auto")
    assert device.prepare_environment("cpu") == ("", "asked for")


def test_report_of_a_machine_with_nothing(machine, monkeypatch):
    monkeypatch.setenv("cc_path", "no-such-compiler")
    monkeypatch.setenv("mpicc_path", "no-such-mpicc")
    lines = dict(line.split(": ", 1) for line in device.report())
    assert lines["compiler"] == "no-such-compiler does not run"
    assert lines["NVIDIA driver"] == "no NVIDIA GPU or driver"
    assert lines["CUDA toolkit"] == "none" and lines["MPI"] == "no-such-mpicc does not run"
    assert lines["jittor"] == "not installed" and lines["oneDNN"] == "not unpacked yet"
    assert lines["cache"].endswith("not built")
    assert lines["device"] == "CPU (no NVIDIA GPU or driver)"


def test_report_of_a_machine_with_gpus(machine, tmp_path):
    machine(H100, H100)
    put_toolkit(tmp_path / "cuda", "12.2", cudnn="8.9.7")
    lines = device.report()
    assert lines.count("GPU: NVIDIA H100, compute capability 9.0") == 2
    assert "NVIDIA driver: for CUDA 13.0" in lines
    text = f"CUDA 12.2 ({tmp_path / 'cuda'}) with cuDNN 8.9.7"
    assert f"CUDA toolkit: {text}, called as {tmp_path / 'cuda/bin/nvcc'}" in lines
    assert lines[-1] == f"device: {text}, NVIDIA H100"


def test_report_as_a_script():
    command = [sys.executable, "-m", "backend.device"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"Python: {sys.version.split()[0]} (")
    assert any(line.startswith("edits: python-3.13, ") for line in lines)
    assert "jittor: 1.3.11.0" in lines and lines[-1].startswith("device: C")


@pytest.mark.parametrize(
    "name, place, words",
    [
        ("XDG_CACHE_HOME", "a b", "XDG_CACHE_HOME"),
        ("JITTOR_HOME", "it's", "JITTOR_HOME"),
        (None, "My Projects/.venv/bin/python", "make the environment elsewhere"),
    ],
)
def test_paths_that_jittor_cannot_take(tmp_path, monkeypatch, name, place, words):
    device.check_paths()
    if name:
        monkeypatch.setenv(name, str(tmp_path / place))
    else:
        monkeypatch.setattr(sys, "executable", str(tmp_path / place))
    with pytest.raises(device.DeviceError, match="space or sign") as e:
        device.check_paths()
    assert words in str(e.value) and str(tmp_path / place)[-9:] in str(e.value)


def test_missing_compiler_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("cc_path", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(device.DeviceError, match=r"g\+\+"):
        device.check_compiler()


@pytest.mark.parametrize("name, program", [("cc_path", "clang++-99"), ("mpicc_path", "no/mpicc")])
def test_a_compiler_that_is_named_and_missing(monkeypatch, name, program):
    for variable in ("cc_path", "mpicc_path"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMPI_COMM_WORLD_SIZE", "2")
    monkeypatch.setattr(
        device.cuda_home.shutil, "which", lambda path: None if path == program else path
    )
    device.check_compiler()
    monkeypatch.setenv(name, program)
    with pytest.raises(device.DeviceError, match=f"{name} in the .*{re.escape(program)}"):
        device.check_compiler()


@pytest.mark.parametrize(
    "script",
    ["#!/bin/sh\nexit 1", "#!/bin/sh\nkill -9 $$", "#!/bin/sh\nexit 0", "#!/nowhere/sh\n", "hello"],
)
def test_a_compiler_that_does_not_run(tmp_path, monkeypatch, script):
    """Named, or found on the PATH: it says nothing of its version, with which Jittor begins."""
    compiler = tmp_path / "g++"
    compiler.write_text(script)
    compiler.chmod(0o755)
    monkeypatch.setenv("cc_path", str(compiler))
    with pytest.raises(device.DeviceError, match="cc_path .*/g..., which does not run: correct"):
        device.check_compiler()
    monkeypatch.delenv("cc_path")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(device.DeviceError, match="but it does not run: apt-get install"):
        device.check_compiler()


@pytest.mark.parametrize("name", ["c++", "gcc", "my compiler"])
def test_a_compiler_that_jittor_does_not_know_by_name(tmp_path, monkeypatch, name):
    compiler = tmp_path / name
    compiler.write_text("#!/bin/sh\necho 'cc (GCC) 12.2.0'\n")
    compiler.chmod(0o755)
    monkeypatch.setenv("cc_path", str(compiler))
    with pytest.raises(device.DeviceError, match="is neither g.. nor clang.. by its name"):
        device.check_compiler()
    compiler.rename(tmp_path / "x-g++-12")
    monkeypatch.setenv("cc_path", str(tmp_path / "x-g++-12"))
    device.check_compiler()


def test_a_compiler_without_libraries_does_not_break_the_import(tmp_path):
    """Plain `import jittor` dies on such a machine; ours says one line and runs on the CPU."""
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.2, V12.2'\n")
    nvcc.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "nvcc_path"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    code = (
        "from backend import device; jt = device.load(say=print); "
        "print((jt.ones(3) * 2).sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    assert first.startswith("device: ") and second == "6.0"


def cuda_libraries(missing="", fails=""):
    """As jittor.compile_extern has them; the one that is missing fails so when it is loaded."""
    sizes = []
    extern = SimpleNamespace(
        **{f"{name}_ops": object() for name in ("cudnn", "cublas", "curand") if name != missing},
        cudnn=SimpleNamespace(set_algorithm_cache_size=sizes.append),
        cache_path="/cache",
        sizes=sizes,
    )

    def load(name, extra_flags):
        assert (name, extra_flags) == (missing, ' -L"/cache/cuda" -llibcuda_extern ')
        raise RuntimeError(fails)

    extern.setup_cuda_lib = load
    return extern


def test_libraries_of_cuda_are_there_and_keep_many_algorithms():
    extern = cuda_libraries()
    assert device.ready_cuda(extern) == "" and extern.sizes == [1000]


@pytest.mark.parametrize("name", ["cudnn", "cublas", "curand"])
def test_native_of_cuda_that_does_not_load_is_named(name):
    extern = cuda_libraries(name, f"a page\nlib{name}.so.9: cannot open shared object file\n")
    exact = f"{name} does not load: lib{name}.so.9: cannot open shared object file"
    assert device.ready_cuda(extern) == exact and extern.sizes == []
    assert device.ready_cuda(cuda_libraries(name)) == f"{name} does not load: RuntimeError"


@pytest.mark.parametrize("cuda, ours", [(0, False), (1, True), (1, False)])
@pytest.mark.parametrize("without", ["lock-signals", "tuner\ncudnn-repeatable"])
def test_repeating_exactly(cuda, ours, without, tmp_path, monkeypatch):
    """A CPU does so anyway; on CUDA it takes the edited Jittor, which is told to try nothing."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    extern, folder = cuda_libraries(), (our_cache() if ours else ROOT) / "a"
    if ours:
        folder.mkdir(parents=True)
        (folder / "left-out.txt").write_text(f"{without}\n", encoding="utf-8")
        ours = "cudnn" not in without
    flags, file = SimpleNamespace(use_cuda=cuda), str(folder / "jittor" / "__init__.py")
    jt = SimpleNamespace(flags=flags, __file__=file, compile_extern=extern)
    if cuda and not ours:
        with pytest.raises(device.DeviceError, match="--deterministic needs the Jittor"):
            device.repeat_exactly(jt)
    else:
        device.repeat_exactly(jt)
    assert extern.sizes == ([0] if cuda and ours else [])
