"""How many cores this process may use."""

import math
import os
from pathlib import Path
from typing import Iterator, Optional

CGROUP = Path("/sys/fs/cgroup")


def usable() -> int:
    """Those that the system lets it run on, and no more than its container's share of time."""
    cores = len(os.sched_getaffinity(0))
    for quota in quotas():
        cores = min(cores, max(1, math.ceil(quota)))
    return cores


def quotas(root: Path = CGROUP, own: Path = Path("/proc/self/cgroup")) -> Iterator[float]:
    """Cores' worth of time that each of the groups around this process may use at most.

    Version 2 has one tree, version 1 a tree for each kind of limit. In a container the own group
    may be named as the machine sees it, where its files lie at the root.
    """
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if kinds and "cpu" not in kinds.split(","):
            continue
        tree = root / "cpu" if kinds else root
        group = tree / path.lstrip("/")
        for folder in (group, *group.parents):
            quota = limit_of(folder, kinds)
            if quota:
                yield quota
            if folder == tree:
                break


def limit_of(folder: Path, kinds: str) -> Optional[float]:
    """The limit that a group's files tell, in cores; None without one."""
    try:
        if kinds:
            names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = (int((folder / name).read_text()) for name in names)
        else:
            words = (folder / "cpu.max").read_text().split()
            quota, period = -1 if words[0] == "max" else int(words[0]), int(words[1])
    except (OSError, ValueError, IndexError):
        return None
    return quota / period if quota > 0 and period > 0 else None
