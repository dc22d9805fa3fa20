#!/usr/bin/env python3
"""Races between threads in our CUDA kernels, looked for on a CPU: find.py [--prove]

Compiles operators/kernels/cuda with g++'s instrumentation of every access, runs all operators
(operators.cpp) and prints what is wrong: two accesses without a barrier between, shared memory or
results read before they are written, results not written, accesses outside of the arrays, threads
that wait for ones that never come, results that hang on the order of threads, kernels and operators
that did not run. --prove: damages the kernels in turn, each damage must be reported.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "operators" / "kernels" / "cuda"
LAUNCHES = "launch.cuh"  # one of ours is in its place
OPERATOR = re.compile(r"^void (\w+)\(const float\* const\* \w+, float\* const\*", re.MULTILINE)
KERNEL = re.compile(r"__global__ void (\w+)\(")
CXX = [os.environ.get("CXX", "g++"), "-std=c++17", "-g", "-O1", "-no-pie"]

# file, what stands there, which of them, what is to stand there, what is to be reported
BARRIER = "__syncthreads();"
DAMAGES = [
    ("blocks", BARRIER, 0, ";", "race"),
    ("blocks", BARRIER, 1, ";", "race"),
    ("blocks", BARRIER, 1, "if (threadIdx.x < 32) __syncthreads();", "never come"),
    ("blocks", "if (lane == 0)", 0, "", "race"),
    ("blocks", "if (lane == 0)", 1, "", "race"),
    ("blocks", "lane < blockDim.x / 32", 0, "lane <= blockDim.x / 32 % 32", "nobody has written"),
    ("layers", "dbias[z.part()] =", 0, "dbias[z.part() % z.C] =", "race"),
    ("layers", "parts[z.part()] =", 0, "parts[blockIdx.x] =", "race"),
    ("layers", "if (threadIdx.x == 0)", 0, "", "race"),
    ("layers", "LAUNCH(add_parts, c, ", 0, "(void)sizeof(", "unwritten"),
    ("norms", "if (p >= group.size()) return;", 0, "", "outside"),
    (
        "norms",
        "dim3(n * count, parts)",
        0,
        "dim3(n * count, parts - 1 + (parts == 1))",
        "unwritten",
    ),
    ("layers", "if (i < total)", 0, "", "outside"),
    ("norms", "if (i >= total) return;", 0, "", "outside"),
    ("smooth", "end - before + 3", 0, "end - before + 2", "unwritten"),
    ("updates", "begin + PART,", 0, "begin + PART + 1,", "race"),
    ("updates", "i < work.end", 0, "i < work.end - 1", "unwritten"),
    ("norms", "LAUNCH(row_totals, ", 0, "(void)sizeof(", "row_totals did not run"),
]


def sources() -> dict:
    """The text of each file of kernels by its name."""
    files = KERNELS.glob("*.cuh")
    return {x.name: x.read_text(encoding="utf-8") for x in files if x.name != LAUNCHES}


def damaged(text: str, old: str, which: int, new: str) -> str:
    parts = text.split(old)
    assert len(parts) > which + 1, f"no such {old!r}"
    return old.join(parts[: which + 1]) + new + old.join(parts[which + 1 :])


def run(*command) -> str:
    """What a command prints; the end if it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(done.stdout)
    return done.stdout


def build_shared(folder: Path) -> list:
    """Object files of what watches and of what calls the operators."""
    names = sorted(name for text in sources().values() for name in OPERATOR.findall(text))
    (folder / "all_operators.h").write_text(f"Operator {', '.join(names)};\n", encoding="utf-8")
    objects = []
    for name in ("runtime", "operators"):
        objects.append(f"{folder}/{name}.o")
        run(*CXX, f"-I{HERE}", f"-I{folder}", "-c", f"{HERE}/{name}.cpp", "-o", objects[-1])
    return objects


def found(folder: Path, objects: list, damage=None) -> list:
    """Lines that say what is wrong with the kernels as they are, or with one place damaged."""
    texts = sources()
    if damage:
        name, *change, _ = damage
        texts[f"{name}.cuh"] = damaged(texts[f"{name}.cuh"], *change)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    source, program = folder / "kernels.cpp", str(folder / "program")
    source.write_text("".join(f'#include "{name}"\n' for name in sorted(texts)), encoding="utf-8")
    run(*CXX, f"-I{HERE}", "-fsanitize=thread", "-c", str(source), "-o", f"{program}.o")
    run(*CXX, f"{program}.o", *objects, "-o", program)
    done = subprocess.run([program], stdout=subprocess.PIPE, text=True, timeout=600)
    lines = done.stdout.splitlines()
    problems = [line for line in lines if not line.startswith("ran ")]
    if done.returncode not in (0, 1):  # 1: something was reported
        problems.append(f"the program ended with status {done.returncode}")
    ran = {line[len("ran ") :] for line in lines if line.startswith("ran ")}
    there = {
        name for text in sources().values() for x in (OPERATOR, KERNEL) for name in x.findall(text)
    }
    return problems + [f"{name} did not run (operators.cpp)" for name in sorted(there - ran)]


def main() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        objects = build_shared(folder)
        lines = found(folder, objects)
        print("\n".join([*lines, f"{len(lines)} reported"]))
        failed = bool(lines)
        for damage in DAMAGES if "--prove" in sys.argv else ():
            file, old, which, new, expected = damage
            lines = [line for line in found(folder, objects, damage) if expected in line]
            failed |= not lines
            print(f"{file}.cuh, {old} ({which}) -> {new}: {lines[0] if lines else 'NOT FOUND'}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
