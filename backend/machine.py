"""What of this machine the process may use: cores and memory."""

import math
import os
from pathlib import Path
from typing import Iterator, Optional, Tuple

CGROUP = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
MEMINFO = Path("/proc/meminfo")


def cores() -> int:
    """Those that the system lets it run on, and no more than its container's share of time."""
    found = len(os.sched_getaffinity(0))
    for folder, old in groups("cpu"):
        quota = cpu_quota(folder, old)
        if quota:
            found = min(found, max(1, math.ceil(quota)))
    return found


def memory() -> Optional[int]:
    """Bytes: the machine's, or what its container may have of them. None where nothing tells."""
    found = []
    try:
        line = next(x for x in MEMINFO.read_text().splitlines() if x.startswith("MemTotal:"))
        found.append(int(line.split()[1]) * 1024)
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    for folder, old in groups("memory"):
        limit = whole(folder / ("memory.limit_in_bytes" if old else "memory.max"))
        if limit:
            found.append(limit)
    return min(found, default=None)


def groups(kind: str) -> Iterator[Tuple[Path, bool]]:
    """(folder, whether of version 1) of the control groups around this process that limit a kind.

    Version 2 has one tree, version 1 one for each kind of limit. In a container the own group may
    be named as the machine sees it, where its files lie at the root.
    """
    try:
        lines = OWN.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and kind not in kinds.split(","):
            continue
        tree = CGROUP / kind if kinds else CGROUP
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            yield folder, bool(kinds)
            if folder == tree:
                break


def cpu_quota(folder: Path, old: bool) -> Optional[float]:
    """A group's limit in cores, None without one."""
    if old:
        quota, period = whole(folder / "cpu.cfs_quota_us"), whole(folder / "cpu.cfs_period_us")
    else:
        quota, period = whole(folder / "cpu.max"), whole(folder / "cpu.max", 1)
    return quota / period if quota and period else None


def whole(file: Path, place: int = 0) -> Optional[int]:
    """A file's word, if that is a number above 0 (no limit: "max", -1)."""
    try:
        return max(0, int(file.read_text().split()[place])) or None
    except (OSError, ValueError, IndexError):
        return None
