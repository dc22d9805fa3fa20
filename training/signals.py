"""What ends a run from outside: Ctrl-C, SIGTERM, and SIGHUP when its terminal closes. Once it
trains they are noted, and heard between two iterations.
"""

import contextlib
import os
import signal


def numbers() -> tuple:
    """The signals that end a run."""
    return signal.SIGINT, signal.SIGTERM, signal.SIGHUP


@contextlib.contextmanager
def unknown_to_workers():
    """Processes that Jittor forks meanwhile do not hear of the terminal: one that dies of a signal
    would take this one along, later, unsaved.
    """
    active = [True]

    def ignore():
        if active:
            for s in (signal.SIGINT, signal.SIGHUP):
                signal.signal(s, signal.SIG_IGN)

    os.register_at_fork(after_in_child=ignore)
    try:
        yield
    finally:
        active.clear()


@contextlib.contextmanager
def noted():
    """A list of the signals that arrive meanwhile. Under nohup a closed terminal ends nothing."""
    caught, owner = [], os.getpid()
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()

    def note(number, frame):
        if os.getpid() != owner:  # a worker that Jittor has started meanwhile: let it go
            os._exit(128 + number)
        caught.append(number)

    previous = {s: signal.signal(s, note) for s in numbers() if s not in ignored}
    try:
        yield caught
    finally:
        for s, handler in previous.items():
            signal.signal(s, handler)


def heard(caught: list) -> bool:
    """Whether one is in the list of `noted`, or held back and not ignored."""
    pending = signal.sigpending() & set(numbers())
    return bool(caught) or any(signal.getsignal(s) is not signal.SIG_IGN for s in pending)


@contextlib.contextmanager
def held_back():
    """They wait until the end, for the compilers too that Jittor starts: a Ctrl-C in the terminal
    would end a compiler, and Jittor with it, unsaved.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers())
