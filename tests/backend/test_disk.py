"""Files and folders on disks that refuse one thing or another."""

import errno
import fcntl
import os
from pathlib import Path

import numpy as np
import pytest

from backend import disk
from backend.terminal import UserError


def refuse_readers(monkeypatch, number):
    """fsync as on a share that does not take descriptors opened for reading. Returns its calls."""
    synced = []

    def fsync(handle):
        synced.append(fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE)
        if synced[-1] == os.O_RDONLY:
            raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    return synced


@pytest.mark.parametrize("number", [errno.EACCES, errno.EBADF, errno.EINVAL])
def test_files_are_flushed_by_who_may_write(tmp_path, monkeypatch, number):
    synced = refuse_readers(monkeypatch, number)
    with disk.replacing(tmp_path / "a") as unfinished:
        unfinished.write_text("whole")
    assert (tmp_path / "a").read_text() == "whole" and os.listdir(tmp_path) == ["a"]
    assert synced == [os.O_RDWR, os.O_RDONLY]  # the file, then its folder


def test_no_other_file_is_written_on_the_way(tmp_path):
    """Not one that bears another program's name of what is unfinished, not one by way of a link."""
    other, theirs = tmp_path / "other", tmp_path / "a.tmp"
    for path in (other, theirs):
        path.write_text("precious")
    (tmp_path / f"a{disk.UNFINISHED}").symlink_to(other)
    with disk.replacing(tmp_path / "a") as unfinished:
        unfinished.write_text("whole")
    assert other.read_text() == theirs.read_text() == "precious"
    assert (tmp_path / "a").read_text() == "whole" and not (tmp_path / "a").is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["a", "a.tmp", "other"]


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_nothing_is_waited_for_where_that_is_unknown(tmp_path, monkeypatch, number):
    def fsync(handle):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with disk.replacing(tmp_path / "a") as unfinished:
        unfinished.write_text("whole")
    assert (tmp_path / "a").read_text() == "whole"


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
def test_what_did_not_reach_the_disk_is_told(tmp_path, monkeypatch, number):
    def fsync(handle):
        raise OSError(number, os.strerror(number))

    (tmp_path / "a").write_text("before")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match=f"{os.strerror(number)}.*/a"):
        with disk.replacing(tmp_path / "a") as unfinished:
            unfinished.write_text("whole")
    assert (tmp_path / "a").read_text() == "before" and os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("number", [errno.EPERM, errno.EOPNOTSUPP])
def test_a_folder_is_made_where_modes_cannot_be_set(tmp_path, monkeypatch, number):
    def chmod(path, mode):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "chmod", chmod)
    made = disk.made_once(tmp_path / "view", lambda folder: (folder / "a").write_text("b"))
    assert (made / "a").read_text() == "b" and os.listdir(tmp_path) == ["view"]


def test_reasons():
    assert (
        disk.reason(OSError(errno.ENOSPC, "No space left on device")) == "No space left on device"
    )
    assert disk.reason(OSError("broken data stream")) == "broken data stream"
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        np.arange(10_000.0).tofile(full)
    assert disk.reason(caught.value) in ("the disk is full", "No space left on device")


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone")
    disk.check_folder(tmp_path)
    disk.check_folder(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]
    for folder in ("file", "file/a/b", "nowhere"):
        with pytest.raises(UserError, match="(file|nowhere) is no folder, but files are to be"):
            disk.check_folder(tmp_path / folder)
