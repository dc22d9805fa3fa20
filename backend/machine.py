"""What of this machine the process may use: cores and memory."""

import ctypes
import math
import os
import re
from pathlib import Path
from typing import Iterator, Optional, Tuple

CGROUP = Path("/sys/fs/cgroup")
OWN_CGROUP = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Those that the system lets it run on, and no more than its container's share of time."""
    count = len(os.sched_getaffinity(0))
    for folder, is_v1 in control_groups("cpu"):
        quota = cpu_quota(folder, is_v1)
        if quota:
            count = min(count, max(1, math.ceil(quota)))
    return count


def memory() -> Optional[int]:
    """Bytes: the machine's, or what its container may have of them. None where nothing tells."""
    limits = []
    try:
        line = next(x for x in MEMINFO.read_text().splitlines() if x.startswith("MemTotal:"))
        limits.append(int(line.split()[1]) * 1024)
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    for folder, is_v1 in control_groups("memory"):
        limit = positive_number(folder / ("memory.limit_in_bytes" if is_v1 else "memory.max"))
        if limit:
            limits.append(limit)
    return min(limits, default=None)


def control_groups(controller: str) -> Iterator[Tuple[Path, bool]]:
    """(folder, whether of version 1) of the control groups around this process that limit "cpu" or
    "memory".

    Version 2 has one tree, version 1 one for each controller. In a container the own group may
    be named as the machine sees it, where its files lie at the root.
    """
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        tree = CGROUP / controller if controllers else CGROUP
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, bool(controllers)
            if folder == tree:
                break


def cpu_quota(folder: Path, is_v1: bool) -> Optional[float]:
    """A group's limit in cores, None without one."""
    if is_v1:
        quota, period = (positive_number(folder / f"cpu.cfs_{x}_us") for x in ("quota", "period"))
    else:
        quota, period = positive_number(folder / "cpu.max"), positive_number(folder / "cpu.max", 1)
    return quota / period if quota and period else None


def positive_number(file: Path, word: int = 0) -> Optional[int]:
    """That word of a file, if it is a number above 0 (no limit: "max", -1)."""
    try:
        return max(0, int(file.read_text().split()[word])) or None
    except (OSError, ValueError, IndexError):
        return None


def threads() -> int:
    """How many take part: the first number of OMP_NUM_THREADS, as OpenMP reads it."""
    found = re.match(r"\s*(\d+)", os.environ.get("OMP_NUM_THREADS", ""))
    return max(1, int(found.group(1))) if found else cores()


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed.

    oneDNN allocates and frees megabytes around every layer. Fetched from the system anew each time,
    page by page, they make an iteration up to three times slower.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # another C library
        return
    mallopt(-3, 32 * 2**20)  # M_MMAP_THRESHOLD, its largest value
    mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD
