"""Real pictures, prepare_data.py run on them, here or in a process of its own, what it wrote."""

import io
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import lmdb
import numpy as np
import pytest
from PIL import Image

import prepare_data
from data import store

ROOT = Path(__file__).resolve().parent.parent


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def encoded(image, **options):
    buffer = io.BytesIO()
    image.save(buffer, **(options or {"format": "jpeg", "quality": 100}))
    return buffer.getvalue()


def records(path):
    """Content of an LMDB, without what only we read."""
    with lmdb.open(str(path), readonly=True, lock=False) as env, env.begin() as txn:
        found = dict(txn.cursor())
    found.pop(b"about", None)
    return found


def about(path):
    with closing(store.open_pictures(path)) as pictures:
        return pictures.about


@pytest.fixture
def folder(tmp_path):
    """A folder with one good picture; LMDBs go beside it."""
    path = tmp_path / "pictures"
    path.mkdir()
    picture(20, 17).save(path / "good.png")
    return path


@pytest.fixture
def run(tmp_path, capsys):
    """run(*arguments) -> (exit code, stdout, stderr) of main() writing to tmp_path / "out"."""

    def run(*arguments):
        if "--folders" not in arguments:
            arguments = ["--out", tmp_path / "out", *arguments]
        try:
            code = prepare_data.main(["--n_worker", "1", *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return run


def truncated(path, **options):
    path.write_bytes(encoded(picture(64, 64), **options)[:2000])


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many"
    path.mkdir()
    for i in range(60):
        picture(70, 64, i).save(path / f"{i:02d}.png")
    truncated(path / "31x.jpg")
    return path


# Commits after every 7 pictures, a slow one after 40, a map that has to grow
PROGRAM = """
import signal, sys, time, prepare_data
from data import store, workers
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a shell
prepare_data.COMMIT_PICTURES, store.MAP_BYTES = 7, 2**16
encode = workers.encode
def slow(picture, settings):
    if "--slow" in sys.argv and "40" in picture.filename:
        time.sleep(4)
    return encode(picture, settings)
workers.encode = slow
sys.exit(prepare_data.main([a for a in sys.argv[1:] if a != "--slow"]))
"""


def start(tmp_path, *arguments, **options):
    """Through a shell, which tells the process number first: Jittor, where other tests have loaded
    it, would end these tests over a child of theirs that is killed.
    """
    shell = ["sh", "-c", '"$@" & echo $!; wait $!', "sh"]
    command = [*shell, sys.executable, "-c", PROGRAM, "--n_worker", "2", *map(str, arguments)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, cwd=tmp_path, env=env, **streams, **options)
    process.number = int(process.stdout.readline())
    return process


def finish(*arguments, **options):
    process = start(*arguments, **options)
    _, stderr = process.communicate()
    return process.returncode, stderr


def wait_for_a_commit(kind, out):
    deadline = time.time() + 60
    while time.time() < deadline:
        if os.path.isdir(out) and kind.read_about(out).get("done", 0) >= 35:
            return
        time.sleep(0.05)
    raise AssertionError("nothing was written")


def children(number):
    """Process numbers of a process's children."""
    return Path(f"/proc/{number}/task/{number}/children").read_text().split()
