"""Files and folders on disks that refuse one thing or another."""

import errno
import fcntl
import os
import socket
from pathlib import Path

import numpy as np
import pytest

from backend import disk
from backend.terminal import UsageError, UserError, reason


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


def test_a_full_disk_and_numpy():
    """Which raises an error without a number, of no file."""
    with open("/dev/full", "wb", buffering=0) as full, pytest.raises(OSError) as caught:
        np.arange(10_000.0).tofile(full)
    assert reason(caught.value).startswith(("the disk is full", "No space left on device"))


# What is told before anything is computed


@pytest.fixture
def things(tmp_path):
    """Everything that can lie at a path, by its kind."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "linked").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        yield {
            "": tmp_path / "nothing",
            "a file": tmp_path / "file",
            "a folder": tmp_path / "folder",
            "a pipe": tmp_path / "linked",
            "a socket": tmp_path / "socket",
            "a device": Path("/dev/null"),
            "a link to nothing": tmp_path / "gone",
        }


def test_kinds(things):
    assert {disk.kind_of(path): path for path in things.values()} == things


def test_what_is_no_file_is_not_read(things):
    """Nor waited for."""
    for kind, path in things.items():
        if kind == "a file":
            disk.check_readable(path, UserError)
            assert disk.content_of(path, UserError) == b"mine"
            continue
        words = f"{path} is {kind}, no file" if kind else f"{path}: no such file"
        with pytest.raises(UserError, match=f"^{words}$"):
            disk.content_of(path, UserError)
        with pytest.raises(UserError, match=f"^{words}: name one$"):
            disk.check_readable(path, UserError, ": name one")
    disk.check_readable(things["a folder"], UserError, kinds=("a file", "a folder"))
    with pytest.raises(UserError, match="is a socket, no file or folder"):
        disk.check_readable(things["a socket"], UserError, kinds=("a file", "a folder"))


@pytest.mark.parametrize("kind", ["a file", "a folder"])
def test_what_may_not_be_read_is_said(things, monkeypatch, kind):
    asked = []
    monkeypatch.setattr(os, "access", lambda path, how: asked.append((path, how)))
    with pytest.raises(UserError, match=f"^{things[kind]} may not be read by this user: change"):
        disk.check_readable(things[kind], UserError, kinds=("a file", "a folder"))
    assert asked == [(things[kind], os.R_OK | os.X_OK * (kind == "a folder"))]


def test_what_is_no_file_is_not_replaced(things, tmp_path):
    """Neither at the name of the file nor at that of what is unfinished, but for links there."""
    for kind, path in things.items():
        if kind in ("", "a file"):
            disk.check_file(path)
            continue
        with pytest.raises(UsageError, match=f"{path} is {kind}, where a file.* another --out"):
            disk.check_file(path, "give another --out")
        target = tmp_path / "new"
        unfinished = tmp_path / f"new{disk.UNFINISHED}"
        if path.parent == tmp_path and not path.is_symlink():
            path.rename(unfinished)
            with pytest.raises(UsageError, match=f"{unfinished} is {kind}, where a file"):
                disk.check_file(target)
            unfinished.rename(path)
        else:
            unfinished.symlink_to(path)
            disk.check_file(target)
            with disk.replacing(target) as place:
                place.write_text("whole")
            assert target.read_text() == "whole" and not target.is_symlink()
            target.unlink()


@pytest.mark.parametrize("name", ["n" * 256, "\u00e9" * 128, "n" * 250, "a/b/" + "n" * 256 + "/c"])
def test_names_that_are_too_long(tmp_path, name):
    """Of the file or a folder around it, in bytes; that of what is unfinished is longer yet."""
    with pytest.raises(UserError, match="has more than 255 bytes: give a shorter"):
        disk.check_file(tmp_path / name)
    assert os.listdir(tmp_path) == []
    disk.check_file(tmp_path / ("n" * (255 - len(disk.UNFINISHED))))


@pytest.mark.parametrize("mode", [0o444, 0o000])
def test_a_log_that_may_not_be_written(tmp_path, monkeypatch, mode):
    log = tmp_path / "log.jsonl"
    log.write_text("{}")
    disk.check_log(log)
    log.chmod(mode)
    real = os.access  # root may all
    monkeypatch.setattr(
        os, "access", lambda path, how: bool(Path(path).stat().st_mode & 0o200) and real(path, how)
    )
    with pytest.raises(UserError, match="log.jsonl may not be written to by this user"):
        disk.check_log(log)


@pytest.mark.parametrize(
    "flag, allowed, words",
    [(os.ST_RDONLY, False, "on a disk that may only be read"), (0, False, "not be written in by")],
)
def test_folders_that_may_not_be_written_in(tmp_path, monkeypatch, flag, allowed, words):
    class Disk:
        f_flag = flag

    monkeypatch.setattr(os, "statvfs", lambda path: Disk)
    monkeypatch.setattr(os, "access", lambda path, how: allowed)
    for folder in (tmp_path, tmp_path / "a" / "b"):
        with pytest.raises(UserError, match=words):
            disk.check_folder(folder)


def test_folders_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "nowhere").symlink_to("gone")
    disk.check_folder(tmp_path)
    disk.check_folder(tmp_path / "a" / "b")
    assert sorted(os.listdir(tmp_path)) == ["file", "nowhere"]
    for folder in ("file", "file/a/b", "nowhere"):
        with pytest.raises(UserError, match="(file|nowhere) is no folder, but files are to be"):
            disk.check_folder(tmp_path / folder)
