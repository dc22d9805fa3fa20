"""One thread for everybody: who is next, what is dropped, what ends early."""

import threading

import pytest

from backend.terminal import UserError
from explorer import worker as workers
from explorer.worker import LONG, MIDDLE, SHORT, Worker


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.end(0.1)


class Gate:
    """A task that waits until it is let go, as what keeps the worker busy."""

    def __init__(self, worker):
        self.reached, self.open = threading.Event(), threading.Event()
        self.future = worker.submit(self.wait, self)
        self.reached.wait(10)

    def wait(self, pause):
        self.reached.set()
        self.open.wait(10)


def test_results_and_errors(worker):
    def fail(pause):
        raise UserError("no")

    def leave(pause):
        raise SystemExit(3)

    assert worker.submit(lambda _: threading.current_thread().name, 1).result(10) == "worker"
    with pytest.raises(UserError, match="no"):
        worker.submit(fail, 1).result(10)
    with pytest.raises(RuntimeError, match="SystemExit"):
        worker.submit(leave, 1).result(10)
    assert worker.submit(lambda _: 5, 1).result(10) == 5  # it goes on


def test_the_newest_of_a_key_wins_in_the_place_of_the_oldest(worker):
    gate, done = Gate(worker), []
    futures = [worker.submit(lambda _, i=i: done.append(i), "a") for i in range(5)]
    other = worker.submit(lambda _: done.append("b"), "b")
    last = worker.submit(lambda _: done.append("last"), "a")
    gate.open.set()
    other.result(10)
    assert last.result(10) is None and done == ["last", "b"]
    assert all(future.cancelled() for future in futures)


def test_what_runs_is_delivered_though_something_newer_waits(worker):
    reached, go = threading.Event(), threading.Event()

    def slow(pause):
        reached.set()
        go.wait(10)
        return "old"

    old = worker.submit(slow, "a")
    reached.wait(10)
    new = worker.submit(lambda _: "new", "a")
    go.set()
    assert (old.result(10), new.result(10)) == ("old", "new")


def test_shorter_tasks_are_done_between_the_steps_of_longer_ones(worker):
    done, gate = [], Gate(worker)

    def task(name, steps):
        def run(pause):
            for step in range(steps):
                done.append((name, step))
                pause()

        return run

    long = worker.submit(task("long", 2), 1, LONG)
    also = worker.submit(task("also", 1), 2, LONG)
    middle = worker.submit(task("middle", 2), 3, MIDDLE)
    gate.open.set()
    worker.submit(lambda _: None, 4).result(10)
    for future in (long, also, middle):
        future.result(10)
    assert done == [("middle", 0), ("middle", 1), ("long", 0), ("long", 1), ("also", 0)]
    inside = []

    def asks(pause):
        worker.submit(lambda _: inside.append("short"), 5, SHORT)
        worker.submit(lambda _: inside.append("middle"), 6, MIDDLE)
        later = worker.submit(lambda _: inside.append("long"), 7, LONG)
        pause()
        inside.append("asked")
        return later

    worker.submit(asks, 8, LONG).result(10).result(10)
    assert inside == ["short", "middle", "asked", "long"]


@pytest.mark.parametrize("how", ["stop", "newer", "end"])
def test_a_long_one_is_stopped(worker, how):
    reached = threading.Event()

    def search(pause):
        reached.set()
        while not pause():
            pass
        return "stopped"

    future = worker.submit(search, "a", LONG)
    reached.wait(10)
    worker.stop("b")
    assert not future.done()
    if how == "stop":
        assert worker.stop("a")
    elif how == "newer":
        assert worker.submit(lambda _: "newer", "a", LONG).result(10) == "newer"
    else:
        worker.end()
    assert future.result(10) == "stopped"
    assert not worker.stop("a")


def test_stopping_what_waits(worker):
    gate = Gate(worker)
    future = worker.submit(lambda _: None, "a", LONG)
    assert worker.stop("a") and future.cancelled() and not worker.stop("a")
    gate.open.set()


def test_no_more_than_so_much_waits(worker, monkeypatch):
    monkeypatch.setattr(workers, "MOST_WAITING", 3)
    gate = Gate(worker)
    for key in range(3):
        worker.submit(lambda _: None, key)
    worker.submit(lambda _: None, 0)  # instead of the other
    with pytest.raises(UserError, match="too many"):
        worker.submit(lambda _: None, 3)
    worker.submit(lambda _: None, 3, LONG)
    gate.open.set()


def test_nothing_is_taken_after_the_end(worker):
    gate = Gate(worker)
    future = worker.submit(lambda _: None, "a")
    gate.open.set()
    worker.end()
    assert future.done()
    with pytest.raises(UserError, match="about to end"):
        worker.submit(lambda _: None, "a")
