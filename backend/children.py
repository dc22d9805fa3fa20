"""The processes that Jittor keeps for compiling: what it does when something happens to them."""

import ctypes
import signal

SA_NOCLDSTOP = 1  # Linux, on every processor


class Action(ctypes.Structure):
    """C's struct sigaction, as glibc and musl have it on Linux."""

    _fields_ = [
        ("handler", ctypes.c_void_p),
        ("mask", ctypes.c_ubyte * 128),
        ("flags", ctypes.c_int),
        ("restorer", ctypes.c_void_p),
    ]


def let_stop() -> None:
    """Lets Ctrl-Z, SIGSTOP and `fg` do what they do with other programs: Jittor's handler of
    SIGCHLD, which ends the program, no longer hears of helpers that are stopped, only of those that
    die. To be called once Jittor is loaded.
    """
    libc, action = ctypes.CDLL(None), Action()
    if libc.sigaction(signal.SIGCHLD, None, ctypes.byref(action)) == 0 and action.handler:
        action.flags |= SA_NOCLDSTOP
        libc.sigaction(signal.SIGCHLD, ctypes.byref(action), None)
