"""Tests run from the repository's root or from anywhere: the modules lie one folder up."""

import sys
from pathlib import Path

for folder in (Path(__file__).parent, Path(__file__).parent.parent):
    sys.path.insert(0, str(folder.resolve()))

pytest_plugins = ["oracle", "tiny"]
