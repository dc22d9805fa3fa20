"""How far work is that takes a while."""

import sys
import time

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
