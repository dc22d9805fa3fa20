"""A generator in the browser: sliders, mixtures, directions, walks, pictures of one's own.

    python explore.py checkpoint/symbols-32.model
    python explore.py                                  # the latest in checkpoint/
    python explore.py faces/checkpoint --host 0.0.0.0 --password WORD

Opens a page that this machine alone can see, unless --host says otherwise. It shows the command
that makes each picture; what is saved lies in results/. Needs Gradio, and so Python 3.10 or newer:
pip install -r requirements-explore.txt. Ctrl-C ends it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import importlib.util
import ipaddress
import os
import time
import webbrowser

from backend import device, signals, terminal
from backend.disk import check_readable
from backend.terminal import Parser, UsageError, UserError, number
from data.sizes import image_size

OLDEST = (3, 10)  # of the Pythons that Gradio takes
NOT_SHARED = "--share: Gradio gave no address, so that only the one above is there"
SWEEP_EVERY, NAP = 5.0, 0.2  # seconds


def check_gradio() -> None:
    """UsageError where Gradio cannot be used."""
    if sys.version_info[:2] < OLDEST:
        version = "{}.{}".format(*sys.version_info)
        raise UsageError(f"explore.py needs Python 3.10 or newer, for Gradio; this is {version}")
    if importlib.util.find_spec("gradio") is None:
        raise UsageError("explore.py needs Gradio: pip install -r requirements-explore.txt")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address. Raises UsageError."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        raise UsageError(f"--host {host[:60]} is no address: like 127.0.0.1 or 0.0.0.0") from None


def check_usage(args) -> None:
    if not is_loopback(args.host) and not args.password:
        raise UsageError(f"--host {args.host} lets others in: give a --password too")
    if args.share and not args.password:
        raise UsageError("--share lets others in: give a --password too")
    advice = ": name a checkpoint, or a folder of them"  # a mistake shows before Jittor loads
    check_readable(args.ckpt, UserError, advice, ("a file", "a folder"))


def command_options(args) -> list:
    """Those of this program that every command it shows needs too."""
    options = ["--size", str(args.size)] if args.size else []
    options += ["--device", args.device] if args.device != "auto" else []
    options += ["--precision", args.precision] if args.precision != "float32" else []
    options += ["--plain"] if args.plain else []
    return options + (["--threads", str(args.threads)] if args.threads else [])


def open_browser(address: str) -> None:
    """Where there is a screen."""
    if any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")):
        webbrowser.open(address)


def wait_for_end(shelf) -> int:
    """Waits for a signal that ends the program: its number. Sweeps meanwhile."""
    with signals.noted() as caught:
        due = time.monotonic() + SWEEP_EVERY
        while not caught:
            time.sleep(NAP)
            if time.monotonic() > due:
                shelf.sweep(time.time())
                due = time.monotonic() + SWEEP_EVERY
    return caught[0]


def explore(args) -> int:
    """Shows the page until a signal ends it: exit code 128 + its number."""
    check_gradio()
    check_usage(args)
    from explorer.shelf import Shelf
    from explorer.studio import RESULTS, Studio
    from explorer.worker import Worker

    studio, worker = Studio(args.ckpt, command_options(args)), Worker()
    first = worker.submit(lambda _: studio.checkpoint(studio.first, say=print), "first")
    checkpoint = first.result()
    shelf = Shelf(RESULTS)
    os.environ["GRADIO_TEMP_DIR"] = str(shelf.folder)  # what it keeps, uploads too
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    try:
        from explorer import page  # imports Gradio, which reads these
        from explorer.desk import Desk

        app = page.build(Desk(studio, worker, shelf), checkpoint)
        try:
            address, public = page.serve(app, args.host, args.port, args.password, args.share)
        except OSError:  # Gradio's own is longer
            place = f"--host {args.host} --port {args.port or '(7860 or later)'}"
            raise UserError(f"{place} is taken, or not this machine's: choose another") from None
        print(f"open {address} (Ctrl-C ends this)", flush=True)
        if args.share:
            print(f"shared at {public}" if public else NOT_SHARED, flush=True)
        if not args.no_browser:
            open_browser(address)
        number_ = wait_for_end(shelf)
        worker.end()
        app.close(verbose=False)
    finally:
        shelf.remove()
    return 128 + number_


def parser() -> Parser:
    p = Parser(__doc__)
    text = "checkpoint of train.py or others, or a folder of them (default checkpoint)"
    p.add_argument("ckpt", metavar="CKPT", nargs="?", default="checkpoint", help=text)
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "address to listen at, with --password if others can reach it (default 127.0.0.1)"
    p.add_argument("--host", default="127.0.0.1", help=text)
    text = "port, 1 to 65535 (default the first free one from 7860 on)"
    p.add_argument("--port", type=number(int, 1, 65535), help=text)
    p.add_argument("--password", metavar="WORD", help="asked for before the page is shown")
    text = "also through Gradio's servers, at an address for anybody, with --password (for a week)"
    p.add_argument("--share", action="store_true", help=text)
    p.add_argument("--no_browser", action="store_true", help="print the address only")
    device.add_options(p)
    return p


def main(argv=None) -> int:
    return terminal.run("explore.py", explore, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
