"""Jittor's headers, compiled once: g++ says nothing where it does not use them, so it is asked."""

import subprocess
from types import SimpleNamespace

from backend.headers import NAMES, precompile
from backend.ops import jt


def test_kernels_use_the_compiled_header(tmp_path):
    kernel = tmp_path / "kernel.cc"
    includes = "".join(f'#include "{name}"\n' for name in NAMES[:2])
    kernel.write_text(f"#define JIT 1\n#define JIT_cpu 1\n{includes}")
    command = f'"{jt.flags.cc_path}" {jt.flags.cc_flags} -H -c "{kernel}" -o "{tmp_path}/kernel.o"'
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.returncode == 0
    used = [line for line in done.stderr.splitlines() if ".gch" in line]
    assert len(used) == 1 and used[0].startswith("! ") and used[0].endswith("headers/kernel.h.gch")
    assert not any(line.endswith("/var.h") for line in done.stderr.splitlines())


def test_where_it_does_not_compile_kernels_go_without(tmp_path):
    flags = SimpleNamespace(cache_path=str(tmp_path), cc_path="false", cc_flags="-O2")
    precompile(SimpleNamespace(flags=flags))
    assert flags.cc_flags == "-O2" and not list((tmp_path / "headers").glob("*.gch"))
    flags.cache_path = str(tmp_path / "gone")
    precompile(SimpleNamespace(flags=flags))
    assert flags.cc_flags == "-O2"
