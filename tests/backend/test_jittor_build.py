"""How Jittor's own files and its kernels are compiled: g++ says nothing where it does not use a
compiled header, so it is asked.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import in_terminal
from tiny import ROOT

from backend import jittor_build
from operators.convolution import jt

CACHE = Path(jt.flags.cache_path)
CORE = jittor_build.CORE.split()
KERNEL = jittor_build.KERNEL.split()


def included(command: str) -> list:
    """What g++ opens, as -H shows it: `!` before a compiled header that is used."""
    done = subprocess.run(
        f"{command} -H -fsyntax-only", shell=True, text=True, stderr=subprocess.PIPE
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if re.match(r"[.!x]+ ", line)]


def check_header_is_used(command: str, name: str) -> None:
    opened = included(command)
    compiled = [line for line in opened if ".gch" in line]
    assert len(compiled) == 1 and compiled[0].startswith("! ")
    assert compiled[0].endswith(f"headers/{name}.h.gch")
    assert not any(line.endswith("/var.h") for line in opened)


def test_kernels_use_the_compiled_header(tmp_path):
    kernel = tmp_path / "kernel.cc"
    includes = "".join(f'#include "{name}"\n' for name in KERNEL[-2:])
    kernel.write_text(f"#define JIT 1\n#define JIT_cpu 1\n{includes}")
    command = f'"{jt.flags.cc_path}" "{kernel}" {jt.flags.cc_flags} -c -o "{tmp_path}/kernel.o"'
    check_header_is_used(command, "kernel")


@pytest.mark.parametrize("name", ["often", "seldom"])
def test_jittors_own_files_use_theirs(name, tmp_path):
    """With the command that compiled them, which Jittor writes down."""
    key = sorted((CACHE / "obj_files").glob(f"{name}_*.o.key"))[0]
    command = key.read_text(encoding="utf-8").splitlines()[0]
    assert (" -O1 " in command, " -O2 " in command) == (name == "seldom", name == "often")
    check_header_is_used(re.sub(r'-o "?\S+', f'-o "{tmp_path}/unit.o"', command), name)


def test_a_kernel_needs_no_look_into_libstdcpp(tmp_path):
    """Its functions are found among what Jittor has loaded."""
    assert "-lstdc++" not in jt.flags.cc_flags
    x = jt.array([3.0, 4.0])
    source = "std::ostringstream s; s << in0_p[1]; out0_p[0] = std::stof(s.str()) * std::exp(0.0f);"
    y = jt.code([1], "float32", [x], cpu_header="#include <sstream>", cpu_src=source)
    assert y.numpy().tolist() == [4.0]


@pytest.mark.parametrize("file", ["cuda/cudnn/ops/cudnn_conv_op.cc", "cuda/src/x.cc", "mpi/y.cc"])
def test_files_for_libraries_of_others_go_without(tmp_path, file):
    options = jittor_build.core_options("-O2 -Wall", f"/j/extern/{file}", "false", str(tmp_path))
    assert options == "-O2 -Wall" and not os.listdir(tmp_path)
    made = '-O2 -I"/j/extern/cuda/inc" -I"/j/extern/cuda/cudnn/inc"'
    assert jittor_build.core_options(made, "/c/gen_op.cc", "false", str(tmp_path)) == made
    mkl = "/j/extern/mkl/ops/mkl_conv_op.cc"
    assert "-include" in jittor_build.core_options("-O2", mkl, "false", str(tmp_path))


def test_header_that_does_not_compile(tmp_path):
    """Then it is an empty one: the commands stay as they are, and work."""
    header = tmp_path / "headers" / "often.h"
    options = jittor_build.core_options("-O2 -Wall", "x.cc", "false", str(tmp_path))
    assert options == f'-O2 -w -include "{header}" ' and os.listdir(header.parent) == ["often.h"]
    again = jittor_build.core_options("-O2 -Wall", "x.cc", "no compiler is asked", str(tmp_path))
    assert again == options
    (tmp_path / "x.cc").write_text("int x;\n")
    assert included(f'g++ -c "{tmp_path}/x.cc" {options} -o "{tmp_path}/x.o"') == []


def test_files_are_put_together_in_their_order(tmp_path):
    """Those that follow each other and are compiled alike, up to a size."""
    sources = {
        "src/a.cc": "static auto make_unary = 1;\nint a = make_unary;\n",
        "src/b.cc": "static auto make_unary = 2;\nint b = make_unary;\n",
        "src/opt/c.cc": "int c = 3;\n",
        "src/test/test_c.cc": "#error\n",
        "src/opt/d.cc": "int d = 4;\n",
        "src/ops/large.cc": "int e = 5;" + " " * jittor_build.UNIT,
        "src/ops/f.cc": "int f = 6;\n",
        "src/init.cc": "int g = 7;\n",
        "src/ops/h.cu": "",
    }
    for name, text in sources.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    folder = tmp_path / "units"
    found = jittor_build.units(sources, str(tmp_path), str(folder))
    assert found == [
        f"{folder}/often_0.cc",
        f"{folder}/seldom_1.cc",
        "src/ops/large.cc",
        "src/ops/f.cc",
        "src/init.cc",
        "src/ops/h.cu",
    ]
    numbers = re.findall(r"seldom|src/\S+\.cc", Path(found[1]).read_text())
    assert numbers == ["src/opt/c.cc", "src/opt/d.cc"]
    program = tmp_path / "program.cc"
    program.write_text(f'#include "{found[0]}"\nint main() {{ return a * 10 + b; }}\n')
    subprocess.run(["g++", str(program), "-o", str(tmp_path / "program")], check=True)
    assert subprocess.run([str(tmp_path / "program")]).returncode == 12


def test_a_call_that_fails_says_why():
    """Jittor's 300 functions share what they do then."""
    with pytest.raises(RuntimeError) as e:
        jt.core.ops.reshape("no array", 3)
    text = str(e.value)
    assert "Wrong inputs arguments, Please refer to examples(help(jt.ops.reshape" in text
    assert "Types of your inputs are:" in text and "The function declarations are:" in text
    assert "Not a valid call." in text
    with pytest.raises(RuntimeError, match="Not a valid keyword: ?dimension"):
        jt.sum(jt.ones(3), dimension=0)


KERNELS = """
import os, sys
from backend import device
jt = device.load("cpu")
os.mkdir(sys.argv[1] + "/jit")
jt.flags.cache_path = sys.argv[1]  # no kernel is there
jt.flags.cc_path = sys.argv[1] + "/g++"
x = jt.ones((3, 4))
sums = [f(x).sum(0) for f in (jt.exp, jt.sqrt, jt.sin, jt.cos, jt.tan, jt.log, jt.tanh, jt.abs)]
jt.sync_all(True)
print(sums[0].shape)
"""


@pytest.mark.parametrize("terminal", [True, False])
def test_kernels_that_compile_have_a_terminals_last_line(tmp_path, monkeypatch, terminal):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    slow = tmp_path / "g++"  # the line is for what takes half a second or longer
    slow.write_text(f'#!/bin/sh\nsleep 0.6\nexec "{jt.flags.cc_path}" "$@"\n')
    slow.chmod(0o755)
    command = [sys.executable, "-c", KERNELS, str(tmp_path)]
    if not terminal:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert (done.returncode, done.stdout) == (0, "[4,]\n")
        return
    code, text = in_terminal(command)
    *shown, last = text.split("\r\033[K")
    assert code == 0 and last == "[4,]\r\n"
    counts = [re.match(r"compiling kernels: (\d+) of (\d+), \d+ s$", x) for x in shown[1:] if x]
    assert counts and all(0 <= int(x[1]) < int(x[2]) for x in counts)
