"""What ends work from outside: Ctrl-C and Ctrl-\\, SIGTERM, SIGHUP when its terminal closes, and
those by which clusters announce an end. Once it trains they are noted, and heard between two
iterations.
"""

import contextlib
import os
import signal
import threading

from backend.children import handlers_kept


def numbers() -> tuple:
    """The signals that end a run."""
    terminal = signal.SIGINT, signal.SIGQUIT, signal.SIGHUP
    return (*terminal, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


@contextlib.contextmanager
def handled(handler, signals):
    """Has a function handle signals meanwhile. In another thread than the main one, where Python
    does not let it, they stay that one's.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with handlers_kept(signals):  # those that are not Python's, which knows None of them
        previous = {number: signal.signal(number, handler) for number in signals}
        try:
            yield
        finally:
            for number, before in previous.items():
                signal.signal(number, signal.SIG_DFL if before is None else before)


@contextlib.contextmanager
def noted():
    """A list of the signals that arrive meanwhile. Under nohup a closed terminal ends nothing."""
    caught, owner = [], os.getpid()
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()

    def note(number, frame):
        if os.getpid() != owner:  # a process that this one has started meanwhile: let it go
            os._exit(128 + number)
        caught.append(number)

    with handled(note, [number for number in numbers() if number not in ignored]):
        yield caught


def heard(caught: list) -> bool:
    """Whether one is in the list of `noted`, or held back and not ignored."""
    pending = signal.sigpending() & set(numbers())
    return bool(caught) or any(signal.getsignal(s) is not signal.SIG_IGN for s in pending)


@contextlib.contextmanager
def held_back():
    """They wait until the end, for the compilers too that Jittor starts: a Ctrl-C in the terminal
    would end a compiler, and the run with it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers())
