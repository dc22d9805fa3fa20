"""prepare_data.py where something is there: another run, a cut off one, other people's files."""

import errno
import fcntl
import json
import os
import signal
import sys
import time
from contextlib import closing

import lmdb
import pytest
from oddities import swapped_profile
from preparing import (  # noqa: F401
    about,
    children,
    encoded,
    finish,
    folder,
    many,
    picture,
    records,
    run,
    start,
    truncated,
    wait_for_a_commit,
)

import prepare_data
from data import store, workers
from data.choice import Choice
from data.sources import Folder

# Existing output


def test_what_exists_is_kept_unless_overwritten(tmp_path, folder, run):
    (tmp_path / "out").mkdir()  # an empty folder does no harm
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    code, _, stderr = run(folder, "--sizes", "8")
    assert code == 2 and "--resume" in stderr and "--overwrite" in stderr
    assert run(tmp_path / "nowhere", "--overwrite")[0] == 2
    assert records(tmp_path / "out") == before
    assert run(folder, "--sizes", "8", "--overwrite")[0] == 0
    assert set(records(tmp_path / "out")) == {b"8-00000", b"length"}
    assert sorted(os.listdir(tmp_path)) == ["out", "pictures"]


def foreign_files(folder):
    (folder / "thesis.tex").write_text("years")


def foreign_lmdb(folder):
    with lmdb.open(str(folder)) as env, env.begin(write=True) as txn:
        txn.put(b"customer", b"Miller")


def foreign_tree(folder):
    for size in (8, 16):
        (folder / str(size)).mkdir()
        for i in range(3):
            picture(size, size, i).save(folder / str(size) / f"{i:05d}.jpg")


def foreign_page(folder):
    (folder / "about.json").write_text('{"complete": true}')


@pytest.mark.parametrize("option", ["--overwrite", "--resume"])
@pytest.mark.parametrize("make", [foreign_files, foreign_lmdb, foreign_tree, foreign_page])
def test_what_is_not_ours_is_never_touched(tmp_path, folder, run, make, option):
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    make(theirs)

    def everything():
        paths = [path for path in theirs.rglob("*") if path.is_file() and path.name != "lock.mdb"]
        return {path: path.read_bytes() for path in paths}

    before = everything()
    for kind in ("--out", "--folders"):
        code, _, stderr = run(folder, option, kind, theirs)
        assert code == 2 and "was not made by this script" in stderr
    assert everything() == before and before


@pytest.mark.parametrize("kind", ["--out", "--folders"])
@pytest.mark.parametrize("name", [".DS_Store", ".nfs0123", "Thumbs.db"])
def test_what_systems_leave_is_nobodys_fault(tmp_path, folder, run, kind, name):
    out = tmp_path / "made"
    out.mkdir()
    (out / name).touch()
    assert run(folder, kind, out)[0] == 0
    assert run(folder, kind, out, "--resume")[0] == 0
    assert run(folder, kind, out, "--sizes", "8", "--overwrite")[0] == 0
    assert (out / name).exists() and store.open_pictures(out).sizes == [8]


def test_a_linked_size_folder_keeps_what_it_held(tmp_path, folder, run):
    assert run(folder, "--folders", tmp_path / "tree")[0] == 0
    (tmp_path / "tree" / "8" / "mine.png").touch()
    assert run(folder, "--folders", tmp_path / "tree", "--overwrite")[0] == 0
    assert sorted(os.listdir(tmp_path / "tree" / "8")) == ["00000.jpg", "mine.png"]


def test_an_lmdb_of_the_original_may_be_replaced_but_not_resumed(tmp_path, folder, run):
    with lmdb.open(str(tmp_path / "out")) as env, env.begin(write=True) as txn:
        txn.put(b"8-00000", b"x")
        txn.put(b"length", b"1")
    code, _, stderr = run(folder, "--resume")
    assert code == 2 and "not begun by this script" in stderr
    assert run(folder, "--overwrite")[0] == 0 and about(tmp_path / "out")["kept"] == 1


def test_the_old_goes_only_when_there_is_something_new(tmp_path, folder, run):
    assert run(folder)[0] == 0
    before = records(tmp_path / "out")
    bad = tmp_path / "bad"
    bad.mkdir()
    truncated(bad / "a.jpg")
    assert run(bad, "--overwrite", "--sizes", "8")[0] == 1
    assert run(bad, "--overwrite", "--sizes", "8", "--strict")[0] == 1
    assert records(tmp_path / "out") == before


def test_two_at_once(tmp_path, folder, run):
    with store.locked(tmp_path / "out"):
        code, _, stderr = run(folder)
    assert code == 1 and "Another prepare_data.py" in stderr and stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_what_another_run_has_finished_meanwhile_is_kept(tmp_path, many, run, monkeypatch):
    """The output is looked at under the lock: a slow start does not matter."""
    with_lock = store.locked

    def late(folder):
        monkeypatch.setattr(prepare_data, "locked", with_lock)
        assert run(many, "--sizes", "8")[0] == 3
        return with_lock(folder)

    monkeypatch.setattr(prepare_data, "locked", late)
    code, _, stderr = run(many, "--sizes", "16", "--max_images", "3")
    assert code == 2 and "--overwrite" in stderr and len(records(tmp_path / "out")) == 61


@pytest.mark.parametrize(
    "option, kind", [("--out", store.LmdbWriter), ("--folders", store.TreeWriter)]
)
def test_killed_and_resumed_is_as_if_undisturbed(tmp_path, many, option, kind):
    assert finish(tmp_path, many, option, "whole")[0] == 3
    out = tmp_path / "killed"
    process = start(tmp_path, many, option, "killed", "--slow")
    wait_for_a_commit(kind, out)
    workers = children(process.number)
    os.kill(process.number, signal.SIGKILL)
    assert finish(tmp_path, many, option, "killed", "--resume", "--pad")[0] == 1  # not locked
    process.communicate()
    with pytest.raises(store.DataError, match=r"unfinished, \d\d of 61 pictures: .*--resume"):
        store.open_pictures(out)
    deadline = time.time() + 10  # its workers end too, but for what they are doing
    while time.time() < deadline and sum(os.path.exists(f"/proc/{pid}") for pid in workers):
        time.sleep(0.1)
    starter = sys.version_info >= (3, 14)  # one process more, which starts the others
    assert len(workers) == 2 + starter
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)

    assert finish(tmp_path, many, option, "killed", "--resume")[0] == 3
    for path in (tmp_path / "whole").rglob("*"):
        if path.is_file() and path.name != "lock.mdb":
            again = out / path.relative_to(tmp_path / "whole")
            assert path.read_bytes() == again.read_bytes(), path
    assert about(out)["done"] == 61 and about(out)["kept"] == 60


@pytest.mark.parametrize("again", [None, 0.3])
def test_interrupted_it_says_how_to_go_on(tmp_path, many, again):
    process = start(tmp_path, many, "--out", "out", "--slow")
    wait_for_a_commit(store.LmdbWriter, tmp_path / "out")
    os.kill(process.number, signal.SIGINT)
    if again:
        time.sleep(again)
        os.kill(process.number, signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in stderr
    assert stderr.splitlines()[-1] == "Interrupted: go on with --resume, out keeps what is done."


def test_killed_at_its_first_write_a_tree_is_not_complete(tmp_path):
    noted = {"writer": store.WRITER, "settings": {"format": "png"}, "total": 9, "complete": True}
    noted.update(done=9, kept=9, skipped=[])

    class Killed:
        def __iter__(self):
            yield 8, 0, b"x"
            raise KeyboardInterrupt

    (tmp_path / "tree" / "8").mkdir(parents=True)
    (tmp_path / "tree" / "8" / "00000.png").write_bytes(b"x")
    with pytest.raises(KeyboardInterrupt):
        store.TreeWriter(tmp_path / "tree").write(Killed(), noted)
    with pytest.raises(store.DataError, match="unfinished, 0 of 9"):
        store.open_pictures(tmp_path / "tree")


def test_when_the_source_goes_away_the_set_is_not_complete(tmp_path, many):
    process = start(tmp_path, many, "--out", "out", "--slow")
    wait_for_a_commit(store.LmdbWriter, tmp_path / "out")
    many.rename(tmp_path / "elsewhere")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1 and "many is gone" in stderr and "--resume" in stderr
    (tmp_path / "elsewhere").rename(many)
    assert finish(tmp_path, many, "--out", "out", "--resume")[0] == 3
    assert len(records(tmp_path / "out")) == 60 * 4 + 1


def test_a_cut_off_lmdb_is_an_error(tmp_path, folder, run):
    assert run(folder)[0] == 0
    file = tmp_path / "out" / "data.mdb"
    os.truncate(file, 12000)
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "cut off" in stderr and stderr.count("\n") == 1
    with pytest.raises(store.DataError, match="cut off"):
        store.open_pictures(tmp_path / "out")
    os.truncate(file, 0)  # as a kill at the very beginning may leave it
    assert run(folder, "--resume")[0] == 0


def test_a_full_disk_loses_nothing(tmp_path, many):
    """Files may not grow beyond 300 kB here, which looks the same to a program."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    assert finish(tmp_path, many, "--out", "whole")[0] == 3
    code, stderr = finish(tmp_path, many, "--out", "out", preexec_fn=limit)
    assert code == 1 and "Traceback" not in stderr and "--resume" in stderr.splitlines()[-1]
    assert "MiB are free there" in stderr
    assert 0 < store.LmdbWriter.read_about(tmp_path / "out")["done"] < 61
    assert finish(tmp_path, many, "--out", "out", "--resume")[0] == 3
    whole, out = (records(tmp_path / name) for name in ("whole", "out"))
    assert whole == out and len(out) == 60 * 4 + 1


def test_resume_checks_that_it_is_the_same(tmp_path, folder, run):
    assert run(folder, "--resume")[0] == 0  # nothing to go on with: begins
    before = records(tmp_path / "out")
    assert run(folder, "--resume")[0] == 0  # nothing to do
    for option, words in (
        (["--sizes", "8"], "sizes [8, 16], not [8]"),
        (["--format", "png"], "format jpeg, not png"),
        (["--pad"], "pad False, not True"),
    ):
        code, _, stderr = run(folder, "--resume", *option)
        assert code == 1 and words in stderr and stderr.count("\n") == 1
    code, _, stderr = run(f"{folder}/", "--resume")
    assert code == 0
    picture(20, 17, 5).save(folder / "good.png")  # the same name, other content
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "not those that" in stderr and records(tmp_path / "out") == before
    picture(20, 17).save(folder / "more.png")
    code, _, stderr = run(folder, "--resume")
    assert code == 1 and "count 1, not 2" in stderr


def test_a_set_of_an_earlier_version_goes_on_by_its_rules(tmp_path, folder, run):
    """Which took hidden files, knew fewer extensions and no profiles, and noted none of that."""
    picture(16, 16, 1).save(folder / ".hidden.png", icc_profile=swapped_profile())
    picture(16, 16, 2).save(folder / "new.jfif", "JPEG")
    source = Folder(str(folder), Choice(earlier=True))
    assert [os.path.basename(name) for name in source.names] == [".hidden.png", "good.png"]
    args = prepare_data.parser().parse_args([str(folder)])
    settings = prepare_data.new_settings(args, source, [8, 16], enlarge=False)
    del settings["rules"], settings["stretch"]
    noted = {"writer": store.WRITER, "settings": settings, "total": 2, "complete": False}
    noted.update(done=0, kept=0, enlarged=0, skipped=[])
    (tmp_path / "out").mkdir()
    store.LmdbWriter(tmp_path / "out").write([], noted)
    code, stdout, _ = run(folder, "--resume", "--stretch")
    assert code == 1 and stdout == ""
    code, stdout, _ = run(folder, "--resume")
    assert code == 0 and stdout == f"2 pictures at 8,16 px in {tmp_path / 'out'}\n"
    assert records(tmp_path / "out")[b"16-00000"] == encoded(picture(16, 16, 1))
    assert run(folder, "--overwrite")[1].splitlines()[-1].endswith("; left out: 1 hidden")


def test_without_processes_threads_do_the_same(tmp_path, many, run, monkeypatch):
    """/dev/shm missing, full or read-only: there are no semaphores."""
    assert run(many, "--sizes", "8")[0] == 3
    with_processes = records(tmp_path / "out")
    for error in (OSError(errno.EROFS, "Read-only file system"), NotImplementedError("sem_open")):

        def none(*args, error=error, **options):
            raise error

        monkeypatch.setattr(workers, "ProcessPoolExecutor", none)
        code, _, stderr = run(many, "--sizes", "8", "--overwrite", "--n_worker", "3")
        assert code == 3 and "/dev/shm" in stderr and "threads" in stderr
        assert stderr.count("\n") == 2 and records(tmp_path / "out") == with_processes


def test_where_no_process_can_be_forked_threads_do_it(tmp_path, folder, run, monkeypatch):
    def full():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", full)
    code, _, stderr = run(folder)
    assert code == 0 and "Resource temporarily unavailable" in stderr
    assert set(records(tmp_path / "out")) == {b"8-00000", b"16-00000", b"length"}


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_without_locks_it_says_so_and_goes_on(tmp_path, folder, run, monkeypatch, number):
    def none(handle, operation):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", none)
    code, stdout, stderr = run(folder)
    assert code == 0 and os.strerror(number) in stdout + stderr
    assert not (tmp_path / "out" / "lock.mdb").exists()  # nor does LMDB need any


# Trees


def test_a_tree_holds_what_the_lmdb_holds(tmp_path, many, run):
    assert run(many, "--sizes", "8,64")[0] == 3
    assert run(many, "--sizes", "8,64", "--folders", tmp_path / "tree")[0] == 3
    assert sorted(os.listdir(tmp_path / "tree")) == ["64", "8", "about.json"]
    for key, value in records(tmp_path / "out").items():
        if key != b"length":
            size, _, index = key.decode().partition("-")
            assert (tmp_path / "tree" / size / f"{index}.jpg").read_bytes() == value
    with closing(store.open_pictures(tmp_path / "tree")) as pictures:
        assert pictures.length == 60 and pictures.sizes == [8, 64]
    (tmp_path / "tree" / "8" / "notes.txt").touch()
    assert run(many, "--sizes", "64", "--folders", tmp_path / "tree", "--overwrite")[0] == 3
    assert os.listdir(tmp_path / "tree" / "8") == ["notes.txt"]


# Sources


def test_about_describes_the_set(tmp_path, many, run):
    run(many, "--format", "webp", "--sizes", "8")
    with lmdb.open(str(tmp_path / "out"), readonly=True, lock=False) as env, env.begin() as txn:
        noted = json.loads(txn.get(b"about"))
    assert noted["complete"] and noted["total"] == 61 and noted["kept"] == 60
    assert noted["settings"]["format"] == "webp" and noted["settings"]["sizes"] == [8]
    assert noted["settings"]["source"] == str(many)
    assert [os.path.basename(name) for name, _ in noted["skipped"]] == ["31x.jpg"]
