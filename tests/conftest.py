"""Tests run from the repository's root or from anywhere: the modules lie one folder up."""

import signal
import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent):
    sys.path.insert(0, str(folder.resolve()))

pytest_plugins = ["oracle", "tiny", "labelled"]

# What a shell's background or nohup ignores, programs that are started here would ignore too
for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(number) is signal.SIG_IGN:
        default = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, default)
