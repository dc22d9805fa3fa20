"""What a process may use: affinity, and the limits of its groups from files as theirs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from backend import machine

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A root of groups; tree(lines) tells which are the own ones."""
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    monkeypatch.setattr(machine, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    (tmp_path / "meminfo").write_text("MemFree: 1 kB\nMemTotal:  2000000 kB\n")
    return (tmp_path / "own").write_text


def write(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def test_version_2_takes_every_group_up_to_the_root(tmp_path, tree):
    write(tmp_path / "a" / "b", cpu__max="max 100000\n", memory__max="max\n")
    write(tmp_path / "a", cpu__max="150000 100000\n", memory__max="1500000000\n")
    write(tmp_path, cpu__max="400000 100000\n")
    tree("0::/a/b\n")
    assert (machine.cores(), machine.memory()) == (2, 1_500_000_000)
    # a container sees its own group at the root, under a name that it cannot see
    tree("0::/../machine/name\n")
    assert (machine.cores(), machine.memory()) == (4, 2_048_000_000)


def test_version_1_has_a_tree_for_each_kind(tmp_path, tree):
    group = tmp_path / "cpu" / "docker" / "x"
    write(group, cpu__cfs_quota_us="300000\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "cpu", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    write(tmp_path / "memory", memory__limit_in_bytes="9223372036854771712\n")
    write(tmp_path / "memory" / "docker" / "x", memory__limit_in_bytes="1000000000\n")
    tree("5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n1:name=systemd:/\n")
    assert (machine.cores(), machine.memory()) == (3, 1_000_000_000)


@pytest.mark.parametrize("text", ["", "max", "x y", "100000", "0 100000", "100000 0"])
def test_what_cannot_be_read_is_no_limit(tmp_path, tree, text):
    tree("0::/\n")
    write(tmp_path, cpu__max=text, memory__max=text.split(" ")[0] if text[:1] == "0" else "max")
    assert (machine.cores(), machine.memory()) == (8, 2_048_000_000)
    write(tmp_path, meminfo="")
    assert machine.memory() is None


@pytest.mark.parametrize("text, exact", [("250000 100000", 3), ("20000 100000", 1), ("max 1", 8)])
def test_a_part_of_a_core_is_one(tmp_path, tree, text, exact):
    tree("0::/\n")
    write(tmp_path, cpu__max=text)
    assert machine.cores() == exact


def test_affinity_counts():
    one = next(iter(os.sched_getaffinity(0)))
    code = "import os, sys; os.sched_setaffinity(0, [int(sys.argv[1])])\n"
    code += "from backend import machine; print(machine.cores())"
    done = subprocess.run([sys.executable, "-c", code, str(one)], cwd=ROOT, stdout=subprocess.PIPE)
    assert done.stdout == b"1\n"
