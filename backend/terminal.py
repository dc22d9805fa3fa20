"""How a command talks to the person who typed it: options that are checked, errors of one sentence,
exit codes, output that may be cut off.
"""

import argparse
import contextlib
import errno
import io
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

from tqdm import tqdm

LARGEST = 10**15  # of whole numbers that have no limit of their own
LARGEST_SEED = 2**64 - 1
LIMITS = re.compile(  # in errors of Python and Jittor: ulimit's, a container's, the machine's
    "can't start new thread|Resource temporarily unavailable|[Cc]annot allocate memory|"
    "[Oo]ut of memory|bad_alloc"
)
NOT_STARTED = re.compile(
    "the GPU did not start kernel [^\n\x1b]*"
)  # from launch.cuh, by way of Jittor
STARTED_AGAIN = "STYLEGAN_STARTED_AGAIN"  # in the environment of a command that runs anew
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
AWAY = "the disk or share does not answer as it should: mount it anew, then repeat the command"
HELP = {  # by what the system says in `errno`: what is meant, and what helps
    errno.ENOSPC: "make room on that disk, or take another",
    errno.EDQUOT: "make room in what this user may fill of that disk, or take another",
    errno.EFBIG: "a limit of this shell (ulimit -f) or of that disk, which need not be full",
    errno.EROFS: "that disk may only be read, take another",
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM), "this user may not: change its permissions, or its owner's"
    ),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "see ulimit -n"),
    errno.ENOMEM: "this process may have no more memory, see ulimit -v",
    errno.EAGAIN: "this process may have no more memory or threads, see ulimit -a",
    errno.ENOLCK: "set JITTOR_HOME to a folder of a disk that has file locks",
    errno.EEXIST: "move what lies there",
    errno.EISDIR: "it is a folder, where a file is needed",
    errno.ENOTDIR: "a file is in the place of a folder",
    errno.ENAMETOOLONG: "give a shorter name",
    errno.ELOOP: "links there lead to one another",
    errno.ENXIO: "it is a pipe or device, where a file is needed",
    **dict.fromkeys((errno.EIO, errno.ESTALE, errno.ENOTCONN), AWAY),
}


class UserError(Exception):
    """What is wrong and what to do, in one sentence that names the file or option."""

    exit_code = 1


class UsageError(UserError):
    """The same of options: those that contradict each other, a checkpoint or this machine."""

    exit_code = 2


class StartAgain(UsageError):
    """What a program does itself: it runs anew, once. In a session that is left to the user."""


class CompilerError(UserError):
    """A compiler of Jittor's failed, which it says itself, or was killed."""


class KernelError(UserError):
    """CUDA did not start a kernel; the text says which, how large, and CUDA's reason."""


class Output:
    """stdout or stderr, whose reader may go away (a closed terminal, `| head`) and whose encoding
    may lack characters: what cannot be shown is lost, the work goes on.
    """

    def __init__(self, stream):
        self.stream = stream
        with self.kept():
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name):
        return getattr(self.stream, name)

    @contextlib.contextmanager
    def kept(self):
        """Sends the rest to /dev/null when nobody takes it, what is still buffered too."""
        try:
            yield
        except AttributeError:  # no stream of characters over bytes
            pass
        except OSError:
            with contextlib.suppress(OSError, AttributeError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self.stream.fileno())
                os.close(null)

    def write(self, text):
        with self.kept():
            self.stream.write(text)
        return len(text)

    def flush(self):
        with self.kept():
            self.stream.flush()


class Line:
    """The last line of a terminal, written anew again and again and gone in the end; no terminal,
    no line.
    """

    def __init__(self):
        self.possible = sys.stderr.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self.text = ""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.show("")

    def show(self, text: str) -> None:
        if self.possible and text != self.text:
            sys.stderr.write(f"\r\033[K{text}")
            sys.stderr.flush()
            self.text = text

    def wait(self, process, text):
        """Waits for a process: `text()` and the seconds since then stand in the line. Returns what
        the process writes into a pipe.
        """
        start = time.monotonic()
        while True:
            try:
                return process.communicate(timeout=0.2)[0]
            except subprocess.TimeoutExpired:
                self.show(f"{text()}, {time.monotonic() - start:.0f} s")


@contextlib.contextmanager
def output():
    """stdout and stderr that outlast their readers. Where they are closed, /dev/null takes their
    place, before a file is given their numbers, which Jittor writes to.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number
    streams = [Output(s or open(os.devnull, "w")) for s in (sys.stdout, sys.stderr)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            yield
        finally:
            for stream in streams:
                stream.flush()


@contextlib.contextmanager
def ends_at_interrupt():
    """Ctrl-C ends the program at once (exit code 130), as it does other programs: no traceback of
    ours, none of Jittor's compilers. Where it is ignored (`&` in a script) it stays so.
    """
    previous = signal.getsignal(signal.SIGINT)
    if previous is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


@contextlib.contextmanager
def environment_kept():
    """What is set meanwhile in the environment is gone in the end."""
    before = dict(os.environ)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


def start_again() -> None:
    """Runs this command anew in this process."""
    os.environ[STARTED_AGAIN] = "1"
    command = Path("/proc/self/cmdline").read_bytes().split(b"\0")[:-1]
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, command)


@contextlib.contextmanager
def compiling():
    """CompilerError or KernelError for Jittor's own error, of several lines."""
    try:
        yield
    except RuntimeError as e:
        refused = NOT_STARTED.search(str(e))
        if refused:
            raise KernelError(refused[0]) from None
        if "Run cmd failed" not in str(e):
            raise
        text = "a compiler that Jittor started failed or was killed (is memory or the disk full?)"
        raise CompilerError(text) from None


def check_system() -> None:
    """UsageError on another system than Linux, and in a folder that has been removed."""
    needed = (os, "sched_getaffinity"), (signal, "SIGHUP"), (signal, "pthread_sigmask")
    try:
        os.getcwd()
    except OSError as e:
        text = f"the folder that this is started in is gone ({e.strerror}): cd to another"
        raise UsageError(text) from None
    with contextlib.suppress(ImportError):
        import fcntl  # noqa: F401

        if all(hasattr(module, name) for module, name in needed):
            return
    raise UsageError(
        "this runs on Linux only: take WSL 2 on Windows, on macOS a container or a virtual machine"
    )


def reason(e: OSError) -> str:
    """What the system says, what that means and what helps; NumPy tells of a file that it could not
    write no more than how many numbers.
    """
    if e.errno is None:
        full = "requested and" in str(e)
        return "the disk is full, or a limit reached (ulimit -f)" if full else str(e)
    said = e.strerror or os.strerror(e.errno)
    return f"{said}: {HELP[e.errno]}" if e.errno in HELP else said


def open_file(e: BaseException):
    """The name of the file that the function that failed, or one that called it, had open; None
    where there is none: not every error names its file.
    """
    for frame, _ in reversed(list(traceback.walk_tb(e.__traceback__))):
        for value in frame.f_locals.values():
            name = getattr(value, "name", None) if isinstance(value, io.IOBase) else None
            if isinstance(name, str):
                return name
    return None


def explained(e: OSError) -> str:
    """Which file, what is wrong with it, and what helps. Where none is named it is mostly one of
    Jittor's.
    """
    name = e.filename
    if name is None and (e.errno in HELP or e.errno is None):
        name = open_file(e)
    if name is not None:
        return f"{name}: {reason(e)}"
    if e.errno in FULL:
        return f"{reason(e)} (a file that is not named, in ~/.cache/jittor if it is Jittor's)"
    return reason(e)


def run(script: str, task, parser, argv=None) -> int:
    """Does a script's task: `task(args)`, the options as `parser()` reads them. Returns the exit
    code: what `task` returns, or that of an error, which gets one sentence. argv: None in a
    program; else it is called in a session, in any thread, which keeps Ctrl-C and environment.
    """
    program = argv is None
    # Else it makes one for several processes; Python 3.14 then starts a helper that would die of
    # the terminal's signals, and Jittor with it
    tqdm.set_lock(threading.RLock())
    with output(), ends_at_interrupt() if program else environment_kept():
        try:
            check_system()
            with compiling():
                return task(parser().parse_args(argv)) or 0
        except UserError as e:
            if program and isinstance(e, StartAgain):
                start_again()
            problem, code = e, e.exit_code
        except MemoryError:
            problem, code = "there is not enough memory: smaller batches or sizes take less", 1
        except OSError as e:
            problem, code = explained(e), 1
        except RuntimeError as e:
            found = LIMITS.search(str(e))
            if not found:
                raise
            problem = f"this process may have no more memory or threads ({found[0]}): see ulimit -a"
            problem, code = f"{problem}; smaller batches or sizes take less", 1
        print(f"{script}: {problem}", file=sys.stderr)
        return code


def leave(status: int, at_once=False) -> None:
    """Ends the program; at once after a signal, which Jittor's workers got too: its own clean-up
    would fail.
    """
    if at_once or status > 128:
        os._exit(status)
    with ends_at_interrupt():
        sys.exit(status)


class Parser(argparse.ArgumentParser):
    """Of a script's options: the description as it is typed, no abbreviations, no empty texts."""

    def __init__(self, description=None, **kwargs):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(
            description=description, formatter_class=formatter, allow_abbrev=False, **kwargs
        )
        self.register("type", None, given)  # of options without a type


def given(text: str) -> str:
    """Parser type: a text that is not empty, as unset variables of a shell are."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it is empty: give a name, or leave it out")
    return text


def is_digits(text: str) -> bool:
    """Whether it is a whole number, in the digits 0 to 9 alone: int() takes those of others too."""
    return text.isascii() and text.isdecimal()


def number(number_type, low, high=None):
    """Parser type: a finite int or float from `low` to `high`, both included, in the digits 0 to 9.
    An int is at most LARGEST without `high`.
    """
    if high is None and number_type is int:
        high = LARGEST

    def parse(text):
        try:
            if not text.isascii() or "_" in text:
                raise ValueError(text)
            value = number_type(text) if len(text) < 1000 else math.inf
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text[:40]!r} is no number of type {number_type.__name__}"
            ) from None
        if not low <= value <= (sys.float_info.max if high is None else high):  # nor is NaN
            upper = "" if high is None else f" and at most {high}"
            raise argparse.ArgumentTypeError(f"{text[:40]} is out of range: at least {low}{upper}")
        return value

    return parse


seed_number = number(int, 0, LARGEST_SEED)  # parser type


def printable(text):
    """Text with what would not print, or would move the cursor, escaped."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
