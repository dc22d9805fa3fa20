"""Work that is done ahead by a pool, its results in order."""

from collections import deque


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
