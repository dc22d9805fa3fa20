"""Jittor's headers compiled once, for all kernels of the CPU: they take most of a kernel's time."""

import os
import re
import subprocess
from pathlib import Path

NAMES = (
    "var.h ops/op_register.h ops/broadcast_to_op.h ops/binary_op.h executor.h fused_op.h".split()
)
MACROS = "-DJIT=1 -DJIT_cpu=1"  # as every kernel defines them first
LINKING = re.compile(r"-(?:l|L|Wl,|shared)\S*")


def precompile(jt) -> None:
    """Makes the headers part of the compiler's options, compiled if they are not yet.

    g++ passes over a compiled header in silence where its options are others, so they are those of
    the kernels. Without one a kernel takes three times as long; nothing else depends on it.
    """
    header = Path(jt.flags.cache_path, "headers", "kernel.h")
    if not header.with_suffix(".h.gch").exists() and not compiled(jt, header):
        return
    jt.flags.cc_flags += f' {MACROS} -include "{header}" '


def compiled(jt, header: Path) -> bool:
    """Compiles the header, all or nothing. Whether that worked."""
    unfinished = header.with_name(f"{os.getpid()}.gch")
    options = LINKING.sub("", jt.flags.cc_flags)
    command = f'"{jt.flags.cc_path}" {options} {MACROS} -x c++-header "{header}" -o "{unfinished}"'
    try:
        header.parent.mkdir(exist_ok=True)
        text = "".join(f'#include "{name}"\n' for name in NAMES)
        header.write_text(text, encoding="utf-8")
        subprocess.run(
            command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.replace(unfinished, header.with_suffix(".h.gch"))
    except (OSError, subprocess.SubprocessError):
        return False
    return True
