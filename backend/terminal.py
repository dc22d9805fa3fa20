"""How a command talks to the person who typed it: options that are checked, errors of one sentence,
exit codes.
"""

import argparse
import math
import sys


class UserError(Exception):
    """What is wrong and what to do, in one sentence that names the file or option."""

    exit_code = 1


class UsageError(UserError):
    """The same of options: those that contradict each other, a checkpoint or this machine."""

    exit_code = 2


def run(script: str, task, *args) -> int:
    """Does a script's task. Returns the exit code: what `task` returns, or that of an error, which
    gets one sentence.
    """
    try:
        return task(*args) or 0
    except (UserError, OSError) as e:
        print(f"{script}: {e}", file=sys.stderr)
        return getattr(e, "exit_code", 1)


def number(kind, low, high=None):
    """Parser type: a finite int or float from `low` to `high`, both included."""

    def parse(text):
        try:
            value = kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is no number of type {kind.__name__}"
            ) from None
        if not math.isfinite(value) or value < low or (high is not None and value > high):
            upper = "" if high is None else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text} is out of range: at least {low}{upper}")
        return value

    return parse


def printable(text):
    """Text with what would not print, or would move the cursor, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
