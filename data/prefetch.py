"""Work that takes a while: done ahead by a pool, and a bar that tells how far it is."""

import sys
import time
from collections import deque

from tqdm import tqdm

LINE_SECONDS = 180  # from one line to the next, where there is no bar


class Bar(tqdm):
    """A progress bar. Where stderr is no terminal, a plain line every LINE_SECONDS instead."""

    def __init__(self, *args, disable=None, **options):
        super().__init__(*args, disable=disable, **options)
        self.lines = self.disable and not disable
        self.begun = self.told = time.monotonic()
        if self.lines:  # a bar that is disabled does not keep them
            known = {"desc": "", "unit": "it", "unit_scale": False, "initial": 0}
            vars(self).update({**known, **{k: x for k, x in options.items() if k in known}})

    def update(self, n=1):
        super().update(n)
        now = time.monotonic()
        self.n += n if self.lines else 0
        if self.lines and now - self.told >= LINE_SECONDS:
            self.told = now
            shown = {k: getattr(self, k) for k in ("unit", "unit_scale", "initial")}
            since = now - self.begun
            desc = self.desc.rstrip(": ")
            text = self.format_meter(self.n, self.total, since, 0, desc, **shown)
            print(text, file=sys.stderr, flush=True)


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
