"""How many cores a process may use: affinity, and the limits of its groups from files as theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend import cores

ROOT = Path(__file__).parent.parent


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def quotas(root, own):
    (root / "own").write_text(own)
    return list(cores.quotas(root, root / "own"))


def test_version_2_takes_every_group_up_to_the_root(tmp_path):
    write(tmp_path / "a" / "b", cpu__max="150000 100000\n")
    write(tmp_path / "a", cpu__max="max 100000\n")
    write(tmp_path, cpu__max="400000 100000\n")
    assert quotas(tmp_path, "0::/a/b\n") == [1.5, 4.0]
    # a container sees its own group at the root, under a name that it cannot see
    assert quotas(tmp_path, "0::/../machine/name\n") == [4.0]


def test_version_1_has_a_tree_for_each_kind(tmp_path):
    group = tmp_path / "cpu" / "docker" / "x"
    write(group, cpu__cfs_quota_us="200000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    assert quotas(tmp_path, "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n") == [2.0]


@pytest.mark.parametrize("text", ["", "max", "x y", "100000", "0 100000", "100000 0"])
def test_what_cannot_be_read_is_no_limit(tmp_path, text):
    write(tmp_path, cpu__max=text)
    assert quotas(tmp_path, "0::/\n") == []


def test_least_of_all_and_at_least_one(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    for limits, exact in (([], 8), ([2.5, 6.0], 3), ([0.2], 1), ([64.0], 8)):
        monkeypatch.setattr(cores, "quotas", lambda limits=limits: iter(limits))
        assert cores.usable() == exact


def test_affinity_counts():
    one = next(iter(os.sched_getaffinity(0)))
    code = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\n"
    code += "from backend import cores; print(cores.usable())"
    done = subprocess.run([sys.executable, "-c", code, str(one)], cwd=ROOT, stdout=subprocess.PIPE)
    assert done.stdout == b"1\n"
