#!/usr/bin/env python3
"""Stands in for nvcc: rewrites CUDA's C++ into what g++ compiles for the CPU.

The source is preprocessed together with include/emu.h, then launches, inline PTX and reductions
that count on warps in lockstep are rewritten in the text. Jittor's generated kernels, of which
there are hundreds, skip the first step: the headers that all of them include are compiled once.
Lies in bin of the emulated toolkit.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CUDA = ROOT.rsplit("-", 1)[-1]  # the folder is cuda-13.0
VERSION = f"""nvcc: NVIDIA (R) Cuda compiler driver (emulated)
Cuda compilation tools, release {CUDA}, V{CUDA}.0
"""
WITH_VALUE = "-x -o -isystem -I -L -l -D -include -Xcompiler -Xlinker -Xptxas -ccbin -arch -code"
DROPPED = (
    "-arch -code -gencode --cudart -cudart --use_fast_math -use_fast_math -ccbin -lineinfo -O -G"
)


def parse(words):
    """(sources, options of g++, output, whether only to compile)"""
    sources, options, output, compile_only = [], [], "a.out", False
    words = iter(words)
    for word in words:
        value = next(words) if word in WITH_VALUE.split() else None
        if word == "-o":
            output = value
        elif word in ("-x", "-Xptxas", "-ccbin", "-arch", "-code"):
            pass
        elif word == "-Xcompiler":
            options += [v for v in value.split(",") if not v.startswith("-O")]
        elif word == "-Xlinker":
            options.append("-Wl," + value)
        elif word == "-c":
            compile_only = True
        elif word == "-dc":
            sys.exit("emulated nvcc: -dc is not emulated")
        elif word.startswith(tuple(DROPPED.split())):
            pass
        elif value is not None:
            options += [word, value]
        elif word.startswith("-"):
            options.append(word)
        else:
            sources.append(word)
    return sources, options, output, compile_only


def matching(text, start, opening, closing):
    """The index after the bracket that closes the one at start."""
    depth = 0
    for i in range(start, len(text)):
        if text[i] == opening:
            depth += 1
        elif text[i] == closing:
            depth -= 1
            if not depth:
                return i + 1
    raise SystemExit("emulated nvcc: a bracket is not closed")


def launches(text, called='"{}"'):
    """name<<<grid, block>>>(arguments) as calls of emu::Launch, which is told the name: called as
    it stands there or, before macros are expanded, as they will have it.
    """
    while True:
        at = text.find("<<<")
        if at < 0:
            return text
        before = text[:at].rstrip()
        if before.endswith(">"):  # template arguments
            depth, i = 0, len(before)
            while i:
                i -= 1
                depth += {">": 1, "<": -1}.get(before[i], 0)
                if not depth:
                    break
            head = before[:i].rstrip()
        else:
            head = before
        start = re.search(r"[\w:]+$", head).start()
        name = before[start:]
        end = text.index(">>>", at)
        config = text[at + 3 : end]
        opening = text.index("(", end)
        close = matching(text, opening, "(", ")")
        arguments = text[opening + 1 : close - 1].strip()
        comma = ", " if arguments else ""
        launch = f"::emu::Launch({called.format(name)}, {config})"
        call = f"{launch}([](auto... emu_a) {{ {name}(emu_a...); }}{comma}{arguments})"
        text = text[:start] + call + text[close:]


def rewrite(text, **how):
    text = re.sub(
        r"asm volatile\s*\(\s*\"mov\.u32 %0, %%laneid;\"[^;]*;",
        "lane = ::emu_state.thread.x % 32;",
        text,
    )
    # a warp in lockstep: all read, then all write
    text = re.sub(
        r"(sdata\[tid\]) = (op\(sdata\[tid\], sdata\[tid \+ \d+\]\));",
        r"{ auto emu_t = \2; __syncwarp(); \1 = emu_t; __syncwarp(); }",
        text,
    )
    if re.search(r"\bextern\s+static\b", text):
        sys.exit("emulated nvcc: extern __shared__ is not emulated")
    return launches(text, **how)


HEADERS = """#define JIT 1
#define JIT_cuda 1
#include "emu.h"
#include <cmath>
#include <limits>
#include "var.h"
#include "ops/op_register.h"
#include "executor.h"
#include "fused_op.h"
#include "misc/cuda_atomic.h"
#include "misc/cuda_limits.h"
#include "helper_cuda.h"
"""
REWRITTEN = "misc/cuda_atomic.h"  # the one of them that holds launches
SETTINGS = ["-fpermissive", "-ffp-contract=off", *os.environ.get("EMU_OPTIMISE", "-O1").split()]


def precompiled(compiler, build):
    """The folder with HEADERS, compiled with these options; made by the first that comes."""
    source = next((o for o in build if os.path.exists(os.path.join(o[2:], REWRITTEN))), None)
    if source is None:
        return None
    with open(f"{ROOT}/include/emu.h") as f:
        key = repr((build, SETTINGS, HEADERS, f.read()))
    folder = f"{ROOT}/precompiled/" + hashlib.sha256(key.encode()).hexdigest()[:12]
    os.makedirs(folder + "/misc", exist_ok=True)
    with open(folder + "/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(folder + "/done"):
            with open(os.path.join(source[2:], REWRITTEN)) as f:
                text = rewrite(f.read())
            with open(f"{folder}/{REWRITTEN}", "w") as f:
                f.write(text)
            with open(folder + "/all.h", "w") as f:
                f.write(HEADERS)
            command = [compiler, "-x", "c++-header", f"-I{folder}", *build, *SETTINGS]
            if subprocess.call([*command, folder + "/all.h", "-o", folder + "/all.h.gch"]):
                return None
            open(folder + "/done", "w").close()
    return folder


def compile_kernel(compiler, source, build, target):
    """A generated kernel on top of the precompiled headers; False if that is not possible."""
    with open(source) as f:
        text = f.read()
    if not text.lstrip().startswith("#define JIT 1") or "cub/" in text:
        return False
    build = [*build, f"-I{ROOT}/include"]
    folder = precompiled(compiler, build)
    if not folder:
        return False
    rewritten = target + ".cc"
    with open(rewritten, "w") as f:
        f.write(rewrite(text, called="EMU_NAME({})"))
    command = [
        compiler,
        "-x",
        "c++",
        "-include",
        folder + "/all.h",
        f"-I{folder}",
        *build,
        *SETTINGS,
    ]
    done = subprocess.run([*command, "-c", rewritten, "-o", target], stderr=subprocess.DEVNULL)
    return done.returncode == 0


def main():
    words = sys.argv[1:]
    if "--version" in words:
        print(VERSION, end="")
        return
    if "--dryrun" in words:
        print(f"#$ _HERE_={ROOT}/bin")
        return
    if "--list-gpu-code" in words:  # for whatever GPU
        return
    sources, options, output, compile_only = parse(words)
    compiler = os.environ.get("cc_path", "g++")
    include = ["-include", "emu.h", "-I", f"{ROOT}/include"]
    link = [o for o in options if o.startswith(("-l", "-L", "-Wl,", "-shared"))]
    build = [o for o in options if o not in link]
    objects = []
    with tempfile.TemporaryDirectory() as folder:
        for i, source in enumerate(sources):
            if source.endswith((".o", ".a", ".so")):
                objects.append(source)
                continue
            target = output if compile_only else os.path.join(folder, f"{i}.o")
            if compile_kernel(compiler, source, build, target):
                objects.append(target)
                continue
            command = [compiler, "-E", "-P", "-x", "c++", *build, *include, source]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
            if done.returncode:
                sys.exit(done.returncode)
            rewritten = os.path.join(folder, f"{i}.ii")
            with open(rewritten, "w") as f:
                f.write(rewrite(done.stdout))
            std = [o for o in build if o.startswith(("-std", "-f", "-m", "-w", "-g"))]
            command = [compiler, "-x", "c++-cpp-output", *std, *SETTINGS]
            code = subprocess.call([*command, "-c", rewritten, "-o", target])
            if code:
                sys.exit(code)
            objects.append(target)
        if not compile_only:
            command = [compiler, *objects, *link, f"-L{ROOT}/lib64", "-lcudart", "-o", output]
            sys.exit(subprocess.call(command))


if __name__ == "__main__":
    main()
