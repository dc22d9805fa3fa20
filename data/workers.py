"""Work that is done ahead, in order; pictures encoded so by several processes, or by threads where
there can be no processes.
"""

import errno
import functools
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing

from backend.machine import keep_freed_memory
from data.choice import error_text
from data.encode import encode
from data.reading import SourceGone

CHUNK = 8  # pictures per message to a worker
# Trouble that is not one picture's
FATAL = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)


def in_order(pool, function, tasks, ahead):
    """Yields function(*task) for each of `tasks`, in order; `pool` works up to `ahead` tasks early.

    An exception of `function` is raised in its turn. Closing the generator cancels what waits.
    """
    futures = deque()
    try:
        for task in tasks:
            futures.append(pool.submit(function, *task))
            if len(futures) >= ahead:
                yield futures.popleft().result()
        while futures:
            yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def encode_some(source, settings, start, stop):
    """For each picture from start to stop: Encoded, or why there is none."""
    results = []
    for i in range(start, stop):
        try:
            with source.load(i) as picture:
                results.append(encode(picture, settings))
        except Exception as error:  # Pillow's plugins raise nearly anything on broken files
            if isinstance(error, SourceGone) or getattr(error, "errno", None) in FATAL:
                raise
            results.append(error_text(error))
    return results


class Worker:
    """What a process of the pool does. It holds the source, so that messages are indices only."""

    source, settings = None, None

    @classmethod
    def start(cls, source, settings, parent, lock):
        cls.source, cls.settings = source, settings
        os.close(lock)  # else the output would stay locked as long as an orphan lives
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a Ctrl-C the parent alone stops the work
        keep_freed_memory()
        warnings.simplefilter("ignore")  # of Pillow, about files that it can read nevertheless
        threading.Thread(target=cls.end_with, args=(parent,), daemon=True).start()

    @staticmethod
    def end_with(parent):
        """Ends this process soon after a parent that was killed and could not end it."""
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    @classmethod
    def encode(cls, start, stop):
        return encode_some(cls.source, cls.settings, start, stop)


def process_pool(source, settings, n_worker, lock):
    """A pool whose first process works, or the exception that says why there can be none."""
    try:
        pool = ProcessPoolExecutor(
            n_worker,
            multiprocessing.get_context("fork"),  # with the open files of the source
            initializer=Worker.start,
            initargs=(source, settings, os.getpid(), lock),
        )
        try:
            pool.submit(int).result()
        except OSError:
            pool.shutdown()
            raise
    except (
        OSError,
        ImportError,
        NotImplementedError,
    ) as error:  # no semaphores, no further process
        return None, error
    return pool, None


def results(source, settings, start, n_worker, lock):
    """encode_some's results picture by picture, in order; the work is done ahead."""
    total = settings["count"]
    tasks = ((i, min(i + CHUNK, total)) for i in range(start, total, CHUNK))
    pool, error = process_pool(source, settings, n_worker, lock)
    work = Worker.encode
    if pool is None:
        why = f"no processes can work together here ({error_text(error)}; they need /dev/shm)"
        print(f"{why}: threads do the work, more slowly", file=sys.stderr)
        pool, work = ThreadPoolExecutor(n_worker), functools.partial(encode_some, source, settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pool, closing(in_order(pool, work, tasks, ahead=2 * n_worker)) as chunks:
            for chunk in chunks:
                yield from chunk
