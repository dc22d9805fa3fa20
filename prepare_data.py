"""Turns pictures into the LMDB that train.py reads: each at every size of the growth.

    python prepare_data.py --out lmdb/faces ~/faces
    python prepare_data.py --out lmdb/ffhq ffhq.zip --n_worker 8
    python prepare_data.py --out lmdb/digits mnist
    python prepare_data.py --out lmdb/symbols --format png symbols

A folder gives the pictures at any depth below it, a zip file those in it, both in the order of
their sorted paths; `mnist` the 60,000 training digits in the package jittor_offline; `symbols` the
distinct symbols of TrueType fonts, each in a colour of its own. (Folders of these names: ./mnist,
./symbols.) A file that cannot be read is left out and named at the end, with exit code 3.
"""

import argparse
import errno
import hashlib
import os
import shutil
import signal
import sys
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

import lmdb
from PIL import ImageColor
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out

from backend import terminal
from backend.terminal import UsageError, number, printable
from pictures.ahead import in_order
from pictures.encode import encode
from pictures.sizes import SIZES, joined
from pictures.sources import SYMBOL_COUNT, Digits, Folder, SourceGone, Symbols, Zip, error_text
from pictures.store import WRITER, DataError, LmdbWriter, TreeWriter, locked

DEFAULT_SIZES = SIZES[1:]  # the paper and the original begin at 8
CHUNK = 8  # pictures per message to a worker
COMMIT_PICTURES, COMMIT_BYTES = 1024, 2**26  # a transaction ends when it has either
# Trouble that is not one picture's
FATAL = (errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
SKIPPED = 3  # exit code: done, but for files that could not be read


class Worker:
    """What a process of the pool does. It holds the source, so that messages are indices only."""

    source, settings = None, None

    @classmethod
    def start(cls, source, settings, parent, lock):
        cls.source, cls.settings = source, settings
        os.close(lock)  # else the output would stay locked as long as an orphan lives
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a Ctrl-C the parent alone stops the work
        warnings.simplefilter("ignore")  # of Pillow, about files that it can read nevertheless
        threading.Thread(target=cls.end_with, args=(parent,), daemon=True).start()

    @staticmethod
    def end_with(parent):
        """Ends this process soon after a parent that was killed and could not end it."""
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    @classmethod
    def encode(cls, start, stop):
        """For each picture from start to stop: encode's result, or why there is none."""
        results = []
        for i in range(start, stop):
            try:
                with cls.source.load(i) as picture:
                    results.append(encode(picture, cls.settings))
            except Exception as error:  # Pillow's plugins raise nearly anything on broken files
                if isinstance(error, SourceGone) or getattr(error, "errno", None) in FATAL:
                    raise
                results.append(error_text(error))
        return results


def results(source, settings, start, n_worker, lock):
    """Worker.encode's results picture by picture, in order; the work is done ahead."""
    total = settings["count"]
    tasks = ((i, min(i + CHUNK, total)) for i in range(start, total, CHUNK))
    pool = ProcessPoolExecutor(
        n_worker, initializer=Worker.start, initargs=(source, settings, os.getpid(), lock)
    )
    with pool, closing(in_order(pool, Worker.encode, tasks, ahead=2 * n_worker)) as chunks:
        for chunk in chunks:
            yield from chunk


def write(kind, out, source, about, args, lock):
    """Adds what `about` says is still missing, transaction by transaction. Changes `about`."""
    settings, records, held = about["settings"], [], 0
    writer, begun = kind(out), about["done"]

    def commit(complete):
        if args.overwrite and not begun:
            kind.remove(out)  # only now: there is something to put in its place
        writer.write(records, {**about, "complete": complete})

    progress = tqdm(total=about["total"], initial=begun, unit="img", smoothing=0.05, disable=None)
    encoded = results(source, settings, begun, args.n_worker, lock)
    with closing(encoded), progress:
        for i, result in enumerate(encoded, begun):
            if isinstance(result, str):
                about["skipped"].append([source.names[i], result])
                if args.strict:
                    raise DataError(f"{printable(source.names[i])}: {result} (--strict).")
            else:
                values, enlarged = result
                records += zip(settings["sizes"], [about["kept"]] * len(values), values)
                held += sum(map(len, values))
                about["kept"] += 1
                about["enlarged"] += enlarged
            about["done"] = i + 1
            progress.update()
            if records and (held >= COMMIT_BYTES or i + 1 - begun >= COMMIT_PICTURES):
                commit(complete=False)
                records, held, begun = [], 0, i + 1
    if about["kept"]:
        commit(complete=True)


# The whole


def smallest(source, count, pad):
    """(pixels, name) of the smallest of the first `count` pictures that is not below every size.

    The shorter side counts, with `pad` the longer. Opens every header. DataError if there is none.
    """
    found, problems = [], []
    headers = tqdm(source.names[:count], desc="checking", unit="img", leave=False, disable=None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for i, name in enumerate(headers):
            try:
                with source.load(i) as picture:
                    side = (max if pad else min)(picture.size)
            except Exception as error:  # told again, and the file skipped, when its turn comes
                problems.append(f"{printable(name)}: {error_text(error)}")
                continue
            if side >= DEFAULT_SIZES[0]:
                found.append((side, printable(name)))
            else:
                problems.append(f"{printable(name)} is only {side} pixels wide or high")
    if not found:
        raise DataError(
            f"None of {len(problems)} pictures can be used, the first because {problems[0]}: "
            "name others, or give --sizes."
        )
    return min(found)


def default_sizes(side):
    """8 up to the largest size that a picture of `side` pixels fills."""
    return [size for size in DEFAULT_SIZES if size <= side]


def new_source(args):
    """The source that the command line names."""
    if args.path == "mnist":
        return Digits()
    if args.path == "symbols":
        return Symbols(args.font, args.seed, args.max_images or SYMBOL_COUNT)
    return (Folder if os.path.isdir(args.path) else Zip)(args.path)


def new_settings(args, source, sizes, enlarge):
    """All that determines the bytes written, to tell a resumed run's from those it began with."""
    count = picture_count(args, source)
    identities = hashlib.sha1()
    for i in range(count):
        identities.update(source.identity(i).encode("utf-8", "surrogateescape") + b"\0")
    return {
        "source": os.path.normpath(args.path),
        "sizes": sizes,
        "enlarge": enlarge,
        "format": args.format,
        "quality": args.quality,
        "pad": args.pad,
        "background": list(args.background),
        "seed": args.seed,
        "count": count,
        "pictures": identities.hexdigest(),
    }


def picture_count(args, source):
    """How many pictures are asked for."""
    return min(len(source.names), args.max_images or len(source.names))


def fresh(args, source):
    """What is noted of a set at its beginning."""
    sizes = args.sizes
    if sizes is None:
        side, name = smallest(source, picture_count(args, source), args.pad)
        sizes = default_sizes(side)
        print(f"sizes {joined(sizes)}: the smallest picture, {name}, has {side} pixels")
    settings = new_settings(args, source, sizes, enlarge=args.sizes is not None)
    about = {"writer": WRITER, "settings": settings, "total": settings["count"]}
    return {**about, "complete": False, "done": 0, "kept": 0, "enlarged": 0, "skipped": []}


def resumed(args, source, about, out):
    """`about`, as a run before noted it at `out`; DataError unless this one would go on alike."""
    was = about["settings"]
    now = new_settings(args, source, args.sizes or was["sizes"], was["enlarge"])
    for name, value in was.items():
        if name == "pictures" and value != now[name]:
            raise DataError(
                f"--resume: the pictures are not those that {out} was begun with: "
                "begin again with --overwrite."
            )
        if value != now[name]:
            raise DataError(
                f"--resume: {out} was begun with {name} {value}, not {now[name]}: "
                "repeat that, or begin again with --overwrite."
            )
    return about


def check_output(args, kind, out):
    """UsageError unless `out`, which exists, may be written as the options say."""
    found = kind.find(out)
    if found == "foreign":
        raise UsageError(f"{out} exists and was not made by this script: choose another name")
    if args.resume and found == "original":
        raise UsageError(f"--resume: {out} was not begun by this script: choose another name")
    if found != "nothing" and not args.resume and not args.overwrite:
        raise UsageError(f"{out} exists: go on with it by --resume, replace it by --overwrite")


def report(about, out):
    """Prints the counts and what was skipped. Returns the exit code."""
    for name, reason in about["skipped"]:
        print(f"skipped {printable(name)}: {reason}", file=sys.stderr)
    if not about["kept"]:
        print("None of the pictures can be used: nothing was written.", file=sys.stderr)
        return 1
    sizes = about["settings"]["sizes"]
    notes = [f"{about['kept']:,} pictures at {joined(sizes)} px in {printable(out)}"]
    if about["skipped"]:
        notes.append(f"{len(about['skipped']):,} skipped")
    if about["enlarged"]:
        notes.append(f"{about['enlarged']:,} enlarged to fill {sizes[-1]} px")
    print(", ".join(notes))
    return SKIPPED if about["skipped"] else 0


def prepare(args):
    """Does what the command line asks for. Returns the exit code."""
    out, kind = (args.folders, TreeWriter) if args.folders else (args.out, LmdbWriter)
    with locked(out) as lock:
        check_output(args, kind, out)
        source = new_source(args)
        about = kind.read_about(out) if args.resume else {}
        about = resumed(args, source, about, out) if about else fresh(args, source)
        if not about["complete"]:
            write(kind, out, source, about, args, lock)
    return report(about, out)


# The command line


def size_list(text):
    """The value of --sizes as a sorted list."""
    if text == "all":
        return list(DEFAULT_SIZES)
    try:
        sizes = sorted({int(size) for size in text.split(",")})
    except ValueError:
        sizes = []
    if not sizes or not set(sizes) <= set(SIZES):
        raise argparse.ArgumentTypeError(f"'{text}' is not 'all' or some of {joined(SIZES)}")
    return sizes


def colour(text):
    """The value of --background as (r, g, b)."""
    try:
        return ImageColor.getcolor(text, "RGB")
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no colour: say white, or #ff8800") from None


def add_picture_options(group):
    add = group.add_argument
    add(
        "--sizes",
        type=size_list,
        metavar="8,16,..|all",
        help="powers of two from 4 to 1024, or all = 8 to 1024, enlarging where needed "
        "(default: 8 up to the largest that the smallest picture fills)",
    )
    text = "of the pictures written; png and webp lose nothing (default jpeg)"
    add("--format", choices=["jpeg", "png", "webp"], default="jpeg", help=text)
    text = "of jpeg, 1 to 100 (default 100)"
    add("--quality", type=number(int, 1, 100), default=100, metavar="Q", help=text)
    text = "make pictures square with a background instead of cutting their middle out"
    add("--pad", action="store_true", help=text)
    text = "for --pad and where pictures are transparent (default white)"
    add("--background", type=colour, default=colour("white"), metavar="COLOUR", help=text)
    text = f"only the first N pictures, from 1 (default all; of symbols {SYMBOL_COUNT})"
    add("--max_images", type=number(int, 1), metavar="N", help=text)
    text = "of symbols: a TrueType font, repeatable (default DejaVu Sans, Serif and Sans Mono)"
    add("--font", action="append", metavar="FILE", help=text)
    text = "of symbols: of their colours, from 0 (default 0)"
    add("--seed", type=terminal.seed_number, default=0, help=text)


def parser():
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    text = "folder or zip file of pictures, or mnist, or symbols"
    result.add_argument("path", metavar="PATH|mnist|symbols", help=text)
    group = result.add_argument_group("pictures")
    add_picture_options(group)
    group = result.add_argument_group("output")
    kinds = group.add_mutually_exclusive_group()
    folder = os.path.normpath
    text = "LMDB to write, a folder (default lmdb)"
    kinds.add_argument("--out", type=folder, default="lmdb", metavar="LMDB", help=text)
    text = "instead of an LMDB write picture files: OUT/8/00000.jpg, OUT/16/00000.jpg ..."
    kinds.add_argument("--folders", type=folder, metavar="OUT", help=text)
    existing = group.add_mutually_exclusive_group()
    text = "go on with a run that was cut off, with the same options"
    existing.add_argument("--resume", action="store_true", help=text)
    text = "remove what was prepared there before"
    existing.add_argument("--overwrite", action="store_true", help=text)
    group = result.add_argument_group("run")
    text = "fail at the first file that cannot be read, with exit code 1"
    group.add_argument("--strict", action="store_true", help=text)
    text = "processes, 1 to 1024 (default: one for each core)"
    cores = len(os.sched_getaffinity(0))
    group.add_argument(
        "--n_worker", type=number(int, 1, 1024), default=cores, metavar="N", help=text
    )
    return result


def check_usage(args):
    """UsageError for what is wrong with the options taken together."""
    out = args.folders or args.out
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{out} is no folder: choose another name")
    for font in args.font or ():
        if args.path != "symbols":
            raise UsageError("--font goes with symbols only")
        if not os.path.isfile(font):
            raise UsageError(f"--font {font}: there is no such file")
    if args.path in ("mnist", "symbols"):
        return
    if not os.path.isfile(args.path) and not os.path.isdir(args.path):
        raise UsageError(
            f"{args.path} does not exist: name a folder or zip of pictures, mnist or symbols"
        )
    places = os.path.realpath(args.path), os.path.realpath(out)
    if os.path.commonpath(places) in places:
        raise UsageError(f"{out} and {args.path} lie one in the other: choose another name")


def free_space(folder):
    """A remark for errors: of a full disk LMDB says only that it could not write."""
    if not os.path.isdir(folder):
        return ""
    return f" ({shutil.disk_usage(folder).free / 2**20:,.0f} MiB are free there)"


def interrupt(number, frame):
    """Handles the first Ctrl-C; a second would disturb the tidying up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def attempt(args):
    """Prepares. Returns the exit code; every failure gets one sentence."""
    out = args.folders or args.out
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        check_usage(args)
        return prepare(args)
    except UsageError as error:
        parser().error(str(error))
    except KeyboardInterrupt:
        print(f"Interrupted: go on with --resume, {out} keeps what is done.", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        problem = "A worker was killed, likely for lack of memory"
        print(f"{problem}: go on with --resume and a lower --n_worker.", file=sys.stderr)
    except DataError as error:
        print(error, file=sys.stderr)
    except (OSError, lmdb.Error) as error:  # a full disk, a folder that may not be read
        problem = f"Cannot make {out} from {args.path}: {error_text(error)}{free_space(out)}"
        print(f"{problem}. When that is mended, go on with --resume.", file=sys.stderr)
    finally:
        signal.signal(signal.SIGINT, previous)
    return 1


def main(argv=None):
    return terminal.run("prepare_data.py", attempt, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
