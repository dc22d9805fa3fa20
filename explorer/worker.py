"""One thread that computes for everybody: Jittor belongs to it alone.

    worker = Worker()
    future = worker.submit(task, ("a window", "a tab"))
    later = worker.submit(search, "a window", LONG)

A task is called with `pause`. Of what waits under one key only the newest is done. While something
long is computed shorter tasks are done between its steps.
"""

import threading
from collections import OrderedDict
from concurrent.futures import Future

from backend.terminal import UserError

SHORT, MIDDLE, LONG = range(3)  # an image; some dozens of them; a search
MOST_WAITING = 64  # keys of each length


class Job:
    """A task and what comes of it."""

    def __init__(self, task, key, length: int):
        self.task, self.key, self.length, self.future = task, key, length, Future()
        self.stopped = threading.Event()  # it is to end soon

    def run(self, pause) -> None:
        """Does the task, unless nobody waits for it any more."""
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            self.future.set_result(self.task(pause))
        except Exception as e:  # for who asked; the thread goes on
            self.future.set_exception(e)
        except BaseException as e:  # would end who asks, too
            self.future.set_exception(RuntimeError(repr(e)))


class Worker:
    """The thread, and what waits for it."""

    def __init__(self):
        self.changed = threading.Condition()
        self.waiting = [OrderedDict() for _ in (SHORT, MIDDLE, LONG)]  # {key: Job}, next one first
        self.running, self.ending = [], False
        threading.Thread(target=self.work, name="worker", daemon=True).start()

    def submit(self, task, key, length: int = SHORT) -> Future:
        """Has task(pause) done. The future of an older one that waits under that key is cancelled,
        and the new one has its place; one that is not short and under way is stopped. Between its
        steps it calls pause(), which returns True when it is to end. Raises UserError when too much
        waits.
        """
        job = Job(task, key, length)
        with self.changed:
            waiting = self.waiting[length]
            if self.ending:
                raise UserError("this program is about to end")
            if key in waiting:
                waiting[key].future.cancel()
            elif len(waiting) >= MOST_WAITING:
                raise UserError("too many ask at a time: try again in a moment")
            self.stop_running(key)
            waiting[key] = job
            self.changed.notify_all()
        return job.future

    def stop_running(self, key) -> bool:
        stopped = [job for job in self.running if job.key == key]
        for job in stopped:
            job.stopped.set()
        return bool(stopped)

    def stop(self, key) -> bool:
        """Ends what waits or runs under a key. Whether there was anything."""
        with self.changed:
            dropped = [waiting.pop(key) for waiting in self.waiting if key in waiting]
            for job in dropped:
                job.future.cancel()
            return self.stop_running(key) or bool(dropped)

    def run_shorter(self, length: int) -> None:
        """Does all that waits and is shorter than that, the shortest first."""
        while True:
            with self.changed:
                shorter = [waiting for waiting in self.waiting[:length] if waiting]
                if not shorter or self.ending:
                    return
                job = shorter[0].popitem(last=False)[1]
                self.running.append(job)
            job.run(lambda job=job: self.pause(job))
            with self.changed:
                self.running.remove(job)
                self.changed.notify_all()

    def pause(self, job: Job) -> bool:
        self.run_shorter(job.length)
        return job.stopped.is_set()

    def work(self) -> None:
        """What the thread does, until the end."""
        while not self.ending:
            self.run_shorter(LONG + 1)
            with self.changed:
                self.changed.wait_for(lambda: self.ending or any(self.waiting))

    def end(self, patience: float = 10.0) -> None:
        """Cancels all that waits, stops what runs and waits for it; nothing is taken any more."""
        with self.changed:
            self.ending = True
            for waiting in self.waiting:
                for job in waiting.values():
                    job.future.cancel()
                waiting.clear()
            for job in self.running:
                job.stopped.set()
            self.changed.notify_all()
            self.changed.wait_for(lambda: not self.running, patience)
