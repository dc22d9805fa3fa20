"""How Jittor's own files are compiled: several at a time, with a compiled header, what is seldom
run with less care.

A copy of this lies in our view of Jittor, whose compiler calls it: it stands alone.
"""

import contextlib
import os
import re
import subprocess

# What is included most; the second in kernels, which define the macros first
CORE = (
    "functional iostream sstream fstream memory algorithm cmath cstring limits mutex thread "
    "pyjt/py_obj_holder.h var.h var_holder.h ops/op_register.h op_compiler.h executor.h graph.h "
    "fused_op.h mem/allocator.h utils/str_utils.h pyjt/py_converter.h"
)
KERNEL = (
    "cmath algorithm cassert "
    "var.h ops/op_register.h ops/broadcast_to_op.h ops/binary_op.h executor.h fused_op.h"
)
MACROS = "-DJIT=1 -DJIT_cpu=1"
LINKING = re.compile(r"-(?:l|L|Wl,|shared)\S*")
SELDOM = re.compile(  # while something is compiled or looked at, or around a call from Python
    r"src/(opt|profiler|pybind|utils|misc/miniz|op_compiler|parallel_compiler|memory_profiler)"
    r"|.*/gen/"
)
CHEAP = re.compile("seldom_|pyjt_|gen_ops_")  # names of files for which -O1 is enough
ALONE = re.compile(  # other options or names that others have, one of them with CUDA only
    r".*(?<!\.cc)$|.*nan_checker|src/(init|op_compiler|parallel_compiler|type/|ops/fetch_op)"
)
PRIVATE = re.compile(r"^static auto (make_\w+)", re.MULTILINE)  # names that several files have
FOREIGN = re.compile("/extern/(?!mkl/)")
FOREIGN_HEADERS = re.compile("/extern/cuda/(?!inc)")  # among the options
UNIT = 100_000  # bytes


def units(files, jittor_path: str, folder: str) -> list:
    """The files in their order, but in place of several that follow each other one that includes
    them: what each takes from headers g++ compiles once. Jittor's tests are left out.
    """
    groups, size, kind = [], 0, None
    for file in files:
        if file.startswith("src/test/"):
            continue
        alone, seldom = bool(ALONE.match(file)), bool(SELDOM.match(file))
        large = 0 if alone else os.path.getsize(os.path.join(jittor_path, file))
        if (alone, seldom) != kind or alone or size + large > UNIT:
            groups.append([])
            size, kind = 0, (alone, seldom)
        size += large
        groups[-1].append(file)
    os.makedirs(folder, exist_ok=True)
    return [unit(i, group, jittor_path, folder) for i, group in enumerate(groups)]


def unit(number: int, group: list, jittor_path: str, folder: str) -> str:
    """The path of a file that includes the others, or of the one that there is."""
    seldom = bool(SELDOM.match(group[0]))
    if len(group) == 1 and (not seldom or CHEAP.match(os.path.basename(group[0]))):
        return group[0]
    lines = []
    for i, file in enumerate(group):
        path = os.path.join(jittor_path, file)
        with open(path, encoding="utf-8") as f:
            names = sorted(set(PRIVATE.findall(f.read())))
        lines += [f"#define {name} {name}_{i}\n" for name in names]
        lines += [f'#include "{path}"\n'] + [f"#undef {name}\n" for name in names]
    path = os.path.join(folder, f"{'seldom' if seldom else 'often'}_{number}.cc")
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(lines)
    return path


def core_options(given: str, file: str, compiler: str, cache_path: str) -> str:
    """g++'s options for one of Jittor's files, with the header compiled for its level: g++ 16 does
    not take that of another. Files for CUDA's libraries go without, also those that are made for
    them: what some headers declare depends on which of NVIDIA's came before.
    """
    if FOREIGN.search(file) or FOREIGN_HEADERS.search(given):
        return given
    # No warnings: in a compiled header Jittor's own pragmas against them are lost
    given, level = given.replace("-Wall", "-w"), "often"
    if CHEAP.match(os.path.basename(file)):
        given, level = re.sub(r"-O2\b", "-O1", given), "seldom"
    header = os.path.join(cache_path, "headers", f"{level}.h")
    precompile(header, CORE, given, compiler)()
    return f'{given} -include "{header}" '


def start_kernel_header(given: str, compiler: str, cache_path: str):
    """Begins to compile the header of the kernels. Returns what waits for that."""
    header = os.path.join(cache_path, "headers", "kernel.h")
    return precompile(header, KERNEL, f"{given} {MACROS}", compiler)


def kernel_options(given: str, cache_path: str) -> str:
    """g++'s options for kernels, with the compiled header and without a look into libstdc++, which
    Jittor has loaded: it takes as long as all the rest of linking.
    """
    header = os.path.join(cache_path, "headers", "kernel.h")
    given = given.replace("-lstdc++", "-nodefaultlibs") + " -lm -lc -lgcc "
    return f'{given} {MACROS} -include "{header}" '


def begin(command: str, **streams) -> subprocess.Popen:
    """Runs a command beside this program."""
    return subprocess.Popen(command, shell=True, **streams)


@contextlib.contextmanager
def note_only():
    """Jittor then writes down what something was compiled from, and does not compile it again."""
    os.environ["stylegan_note_only"] = "1"
    try:
        yield
    finally:
        del os.environ["stylegan_note_only"]


def precompile(header: str, names: str, given: str, compiler: str):
    """Begins to compile a header that includes others, if it is not there. Returns what waits.

    g++ passes over a compiled header in silence where its options are others: `given` are those of
    the files. If it does not compile the header is empty: the commands, by which Jittor knows what
    is up to date, stay the same.
    """
    if os.path.exists(header):
        return lambda: None
    os.makedirs(os.path.dirname(header), exist_ok=True)
    text, unfinished = f"{header}.txt", f"{header}.unfinished"
    with open(text, "w", encoding="utf-8") as f:
        for name in names.split():
            f.write(f'#include "{name}"\n' if name.endswith(".h") else f"#include <{name}>\n")
    command = f'"{compiler}" {LINKING.sub("", given)} -w -x c++-header "{text}" -o "{unfinished}"'
    process = begin(command, stderr=subprocess.DEVNULL)

    def finish():
        if process.wait() == 0:
            os.replace(unfinished, f"{header}.gch")
        else:
            with open(text, "w", encoding="utf-8") as f:
                f.write("// did not compile\n")
        os.replace(text, header)

    return finish
