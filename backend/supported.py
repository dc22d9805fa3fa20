"""Which Pythons can run this program. To be imported before anything else: on another one that ends
the program with one sentence instead of an error about whatever is missing there. Older Pythons
have to be able to read this file.
"""

import os
import signal
import sys

OLDEST, NEWEST = (3, 8), (3, 14)  # the Makefile has them too, for it works before all else is here

if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(
        "this program needs Python %d.%d to %d.%d, this is %d.%d"  # noqa: UP031
        % (OLDEST + NEWEST + sys.version_info[:2])
    )

PROGRAM = getattr(sys.modules.get("__main__"), "__file__", None) or ""
IS_OURS = os.path.dirname(os.path.abspath(PROGRAM)) == os.path.dirname(
    os.path.dirname(os.path.abspath(__file__))
)
# While a script of ours imports the rest Ctrl-C ends it without a traceback; no session does that
if IS_OURS and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
