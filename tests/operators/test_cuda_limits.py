"""What ptxas says of our CUDA kernels, for each kind of GPU that the nvcc here compiles for: they
fit one that has 65,536 registers and 48 KiB of shared memory for a block, and hardly spill.
"""

import re
import shutil
import subprocess

import pytest

from operators.native import CUDA_SOURCES, cuda_sources

CAPABILITIES = (75, 80, 86, 89, 90, 100, 120)  # 7.5 (RTX 20) to 12.0 (RTX 50)
MOST_SPILLED = 8  # one register, there and back: style_gradient for 9.0 (nvcc 13.0)
SMALL_BLOCK = 256  # of kernels that do not say how large theirs are
REPORT = re.compile(
    r"Compiling entry function '(\w+)' for 'sm_(\d+)'.*?"
    r"(\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers([^\n]*)",
    re.DOTALL,
)


def kernels() -> dict:
    """The threads that a block of each kernel may have, by its name."""
    bounds = r"(__launch_bounds__\(MOST_THREADS\) )?__global__ void (\w+)\("
    found = [pair for text in cuda_sources().values() for pair in re.findall(bounds, text)]
    return {name: 1024 if bounded else SMALL_BLOCK for bounded, name in found}


@pytest.fixture(scope="module")
def reports(tmp_path_factory):
    """{(kernel, capability): (bytes spilled, registers, bytes of shared memory)}"""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("no nvcc here")
    known = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True).stdout
    here = [x for x in CAPABILITIES if f"sm_{x}" in known.split()]
    if not here:
        pytest.skip("this nvcc names no GPU that it compiles for")
    folder = tmp_path_factory.mktemp("limits")
    source = folder / "all.cu"
    included = "".join(f'#include "{CUDA_SOURCES / name}"\n' for name in sorted(cuda_sources()))
    source.write_text(included, encoding="utf-8")
    options = [f"-gencode=arch=compute_{x},code=sm_{x}" for x in here]
    command = [nvcc, "-std=c++17", "-O2", "-w", "-Xptxas", "-v", *options, "-c", str(source)]
    done = subprocess.run([*command, "-o", f"{folder}/all.o"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = {}
    for mangled, capability, *numbers, rest in REPORT.findall(done.stderr):
        stores, loads, registers = map(int, numbers)
        shared = sum(map(int, re.findall(r"(\d+) bytes smem", rest)))
        name = next(k for k in kernels() if f"{len(k)}{k}" in mangled)
        found[name, int(capability)] = (stores + loads, registers, shared)
    assert found.keys() == {(name, x) for name in kernels() for x in here}
    return found


def test_kernels_fit_every_gpu(reports):
    for (name, capability), (spilled, registers, shared) in reports.items():
        where = f"{name} for {capability}"
        assert spilled <= MOST_SPILLED, where
        whole = -(-registers // 8) * 8  # a warp gets 256 at a time, 8 for each of 32 threads
        assert whole * kernels()[name] <= 65536, f"{where}: {registers} registers"
        assert shared <= 48 * 1024, where
    assert any(shared > 0 for *_, shared in reports.values())


def launched(text: str) -> list:
    """The arguments of each LAUNCH(kernel, grid, block, ...)."""
    found = []
    for call in text.split("LAUNCH(")[1:]:
        arguments, depth = [""], 0
        for sign in call:
            depth += (sign == "(") - (sign == ")")
            if depth < 0:
                break
            if sign == "," and depth == 0:
                arguments.append("")
            else:
                arguments[-1] += sign
        found.append([x.strip() for x in arguments])
    return found


def test_every_launch_is_asked_for_its_error():
    """One place launches. Through it go all kernels, with blocks that they are made for."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in CUDA_SOURCES.glob("*.cuh")}
    assert [name for name, text in texts.items() if "<<<" in text] == ["launch.cuh"]
    assert "launches::check(#kernel" in texts.pop("launch.cuh").split("<<<")[1]
    threads = {x[0].split("::")[-1]: x[2] for text in texts.values() for x in launched(text)}
    assert threads.keys() == kernels().keys()
    small = {name for name, each in threads.items() if each == str(SMALL_BLOCK)}
    assert small == {name for name, most in kernels().items() if most == SMALL_BLOCK}
