"""The choice of device on machines of several kinds, played with fake toolkits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import device

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without GPU and toolkit. Call it with what it has."""
    monkeypatch.delenv("nvcc_path", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(device, "count_gpus", lambda: 0)
    which = device.shutil.which
    monkeypatch.setattr(
        device.shutil, "which", lambda x: None if str(x).startswith("/usr/local/cuda") else which(x)
    )
    (tmp_path / "bin").mkdir()

    def equip(gpus=0, release=None, runtime=False):
        monkeypatch.setattr(device, "count_gpus", lambda: gpus)
        nvcc = tmp_path / "bin" / "nvcc"
        if release:
            nvcc.write_text(f"#!/bin/sh\necho 'Cuda compilation tools, release {release}, V1'\n")
            nvcc.chmod(0o755)
        if runtime:
            (tmp_path / "lib64").mkdir()
            (tmp_path / "lib64" / "libcudart.so").touch()
        return str(nvcc)

    return equip


def test_compiler_without_gpu(machine):
    machine(release="11.8", runtime=True)
    assert device.find_cuda() == ("", "no NVIDIA GPU or driver")


def test_gpu_without_compiler(machine):
    machine(gpus=1)
    nvcc, reason = device.find_cuda()
    assert nvcc == "" and "no CUDA compiler" in reason


def test_compiler_without_libraries(machine):
    path = machine(gpus=1, release="11.8")
    nvcc, reason = device.find_cuda()
    assert nvcc == "" and reason == f"{path} has no libcudart beside it"


def test_cuda_too_new_for_jittor(machine):
    machine(gpus=1, release="13.0", runtime=True)
    nvcc, reason = device.find_cuda()
    assert nvcc == "" and "13.0" in reason and "12.2" in reason


def test_usable_cuda(machine):
    path = machine(gpus=2, release="12.2", runtime=True)
    assert device.find_cuda() == (path, "")


def test_broken_compiler(machine, tmp_path):
    path = machine(gpus=1, release="12.2", runtime=True)
    Path(path).write_text("#!/bin/sh\nexit 1\n")
    nvcc, reason = device.find_cuda()
    assert nvcc == "" and "does not run" in reason


def test_path_given_by_the_user_is_taken(machine, monkeypatch):
    machine(gpus=1, release="13.0", runtime=True)
    monkeypatch.setenv("nvcc_path", "/opt/view/bin/nvcc")
    assert device.find_cuda() == ("/opt/view/bin/nvcc", "")


def test_cuda_asked_for_in_vain_names_the_reason(machine, monkeypatch):
    machine()
    monkeypatch.setattr(device, "check_compiler", lambda: None)
    with pytest.raises(device.DeviceError, match="--device cuda: no NVIDIA GPU or driver"):
        device.prepare_environment("cuda")
    assert "nvcc_path" not in os.environ


def test_missing_compiler_is_named(machine, monkeypatch):
    monkeypatch.delenv("cc_path", raising=False)
    with pytest.raises(device.DeviceError, match=r"g\+\+"):
        device.check_compiler()


def test_a_compiler_without_libraries_does_not_break_the_import(tmp_path):
    """Plain `import jittor` dies on such a machine; ours says one line and runs on the CPU."""
    nvcc = tmp_path / "nvcc"
    nvcc.write_text("#!/bin/sh\necho 'Cuda compilation tools, release 12.2, V12.2'\n")
    nvcc.chmod(0o755)
    environment = {k: v for k, v in os.environ.items() if k != "nvcc_path"}
    environment["PATH"] = f"{tmp_path}:{environment['PATH']}"
    code = "import device; jt = device.load(say=print); print((jt.ones(3) * 2).sum().item())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    assert first.startswith("device: ") and second == "6.0"
