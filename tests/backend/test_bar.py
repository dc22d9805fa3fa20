"""How far work is, told to a terminal and to a file."""

import io
import sys

import pytest
from terminals import in_terminal
from tiny import ROOT

from backend import bar as module

CODE = """import sys
sys.path.insert(0, sys.argv[1])
from backend.bar import Bar
with Bar(total=3, unit="img", mininterval=0) as bar:
    for _ in range(3):
        bar.update()
    bar.write("done")
"""


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only when they are set."""
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_file_gets_a_plain_line_every_few_minutes(clock, capfd):
    with module.Bar(total=1200, initial=200, unit="img", desc="images") as bar:
        for _ in range(1000):
            clock[0] += 1
            bar.update()
    lines = capfd.readouterr().err.split("\n")
    assert len(lines) == 6 and lines[-1] == ""  # after 180, 360 ... 900 of 1000 seconds
    assert lines[0] == "images:  32% 380/1200 [03:00<13:40,  1.00img/s]"
    assert lines[4].startswith("images:  92% 1100/1200 ") and "\r" not in "".join(lines)


def test_work_of_a_moment_and_what_is_silent_say_nothing(clock, capfd):
    with module.Bar(total=3, unit="img") as bar:
        clock[0] += module.LINE_SECONDS - 1
        bar.update(3)
    with module.Bar(total=3, disable=True) as bar:
        clock[0] += 10 * module.LINE_SECONDS
        bar.update(3)
    assert capfd.readouterr().err == "" and bar.n == 0


def test_bytes_that_are_read_and_what_has_no_end(clock, capfd):
    with module.Bar.wrapattr(io.BytesIO(bytes(3 * 2**20)), "read", desc="unpacking") as file:
        clock[0] += 200
        file.read(2**20)
    with module.Bar() as bar:
        clock[0] += 200
        bar.set_description("Size: 8")
        bar.update(5)
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith("unpacking: 1.05MB [03:20") and lines[1].startswith("Size: 8: 5it ")


def test_a_terminal_gets_a_bar():
    code, text = in_terminal([sys.executable, "-c", CODE, str(ROOT)])
    assert code == 0 and "\r100%" in text and "3/3" in text and "done" in text
