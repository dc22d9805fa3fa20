"""The processes that Jittor compiles with, and its handlers of signals: none that stops or dies may
end this program, whosever it is, and none of Jittor's is left once Jittor is loaded.
"""

import atexit
import contextlib
import ctypes
import multiprocessing
import signal
from concurrent.futures import ProcessPoolExecutor, as_completed

# Jittor ends the program at one and swallows the next; JPY_PARENT_PID keeps it from SIGINT alone
HANDLED = ("SIGCHLD", "SIGQUIT", "SIGINT")


class Action(ctypes.Structure):
    """C's struct sigaction, as glibc and musl have it on Linux."""

    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]


@contextlib.contextmanager
def handlers_kept(numbers):
    """The handlers of signals come back, those of C too, in any thread."""
    libc = ctypes.CDLL(None)
    before = {number: Action() for number in numbers}
    for number, action in before.items():
        libc.sigaction(number, None, ctypes.byref(action))
    try:
        yield
    finally:
        for number, action in before.items():
            libc.sigaction(number, ctypes.byref(action), None)


def start_helper(initializer) -> None:
    """A Ctrl-C is the program's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    initializer()


class Pool(ProcessPoolExecutor):
    """In place of the one that Jittor makes, which waits for ever for a process that was killed:
    here that is a BrokenExecutor.
    """

    def __init__(self, processes: int, initializer):
        fork = multiprocessing.get_context("fork")
        super().__init__(processes, fork, start_helper, (initializer,))

    def imap_unordered(self, function, items):
        return (f.result() for f in as_completed([self.submit(function, x) for x in items]))


@contextlib.contextmanager
def loading():
    """For `import jittor`. Its processes end with it: later they would only be in the way, for they
    are killed when the thread ends that made them.
    """
    import jittor_utils

    load_core = getattr(jittor_utils, "try_import_jit_utils_core", None)

    def load_core_quietly(*args):  # with the core come the handlers
        with handlers_kept([getattr(signal, name) for name in HANDLED]):
            load_core(*args)

    jittor_utils.Pool, jittor_utils.try_import_jit_utils_core = Pool, load_core_quietly
    try:
        yield
    finally:
        if getattr(jittor_utils, "pool_size", 0):
            atexit.unregister(jittor_utils.pool_cleanup)
            jittor_utils.p.shutdown()
            jittor_utils.pool_size = 0  # it makes another where it needs one
