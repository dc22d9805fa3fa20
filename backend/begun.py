"""How this process began: what Jittor reads once, for later calls in the same session."""

import os
from typing import Dict, NamedTuple, Optional

from backend.jittor_home import DeviceError


class Begun(NamedTuple):
    """device: "cpu" or "cuda". The environment before Jittor was loaded and with what it needs."""

    device: str
    precision: str
    threads: int
    before: Dict[str, str]
    environment: Dict[str, str]

    def check(self, device: str, precision: Optional[str], threads: Optional[int]) -> None:
        """DeviceError for options that are others; "auto" and None are any."""
        for option, wanted in (("device", device), ("precision", precision), ("threads", threads)):
            had = getattr(self, option)
            if wanted not in ("auto", None, had):
                raise DeviceError(
                    f"--{option} {wanted}: this process began with --{option} {had}, which stays; "
                    "start another (a notebook: restart its kernel)"
                )

    def set_environment(self) -> None:
        """Sets what was set for Jittor, again."""
        for name in self.before.keys() - self.environment.keys():
            os.environ.pop(name, None)
        changed = self.environment.items() - self.before.items()
        os.environ.update(changed)
