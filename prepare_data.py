"""Turns pictures into the LMDB that train.py reads: each as JPEG at every size of the growth.

    python prepare_data.py mnist
    python prepare_data.py --out lmdb/faces ~/faces

A folder gives the pictures at any depth below it, in the order of their sorted paths. `mnist` gives
the 60,000 training digits in the package jittor_offline (a folder of that name is `./mnist`).
"""

import argparse
import gzip
import importlib.util
import io
import os
import shutil
import signal
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing

import lmdb
import numpy as np
from PIL import Image
from tqdm import tqdm

from dataset import LENGTH_KEY, SIZES, DataError, image_key, in_order, joined
from schedule import number

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff", ".tif")
DEFAULT_SIZES = SIZES[1:]  # the paper and the original begin at 8
MAP_BYTES = 2**30  # what the LMDB may grow to at first; doubled whenever it is full
CHUNK = 8  # pictures per message to a worker and per transaction


def unreadable(path, error):
    return DataError(f"Cannot read the picture {path} ({error}): replace or remove it.")


def shorter_side(path):
    """Pixels of the picture's shorter side, from its header; DataError if it is no picture."""
    try:
        with Image.open(path) as picture:
            return min(picture.size)
    except Exception as error:  # Pillow's plugins raise nearly anything on broken files
        raise unreadable(path, error) from error


def load_picture(source):
    """A path, or a (28, 28) uint8 digit, as an RGB picture; DataError if it cannot be decoded."""
    if isinstance(source, np.ndarray):
        return Image.fromarray(np.pad(source, 2)).convert("RGB")
    try:
        with Image.open(source) as picture:
            return picture.convert("RGB")
    except Exception as error:
        raise unreadable(source, error) from error


def resize(picture, size):
    """Shorter side to `size` with Lanczos, then the central square, rounded as by torchvision."""
    width, height = picture.size
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    left, top = int(round((width - size) / 2.0)), int(round((height - size) / 2.0))
    picture = picture.resize((width, height), Image.LANCZOS)
    return picture.crop((left, top, left + size, top + size))


def encode(sources, start, sizes):
    """LMDB records [(key, JPEG)] of `sources`, pictures start, start + 1, ...; runs in a worker."""
    records = []
    for index, source in enumerate(sources, start):
        picture = load_picture(source)
        for size in sizes:
            jpeg = io.BytesIO()
            resize(picture, size).save(jpeg, format="jpeg", quality=100)
            records.append((image_key(size, index), jpeg.getvalue()))
    return records


def raise_error(error):
    raise error


def find_pictures(folder):
    """Sorted paths of all pictures below `folder`, the order of the original; DataError if none."""
    paths = [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder, onerror=raise_error, followlinks=True)
        for name in names
        if name.lower().endswith(EXTENSIONS)
    ]
    if not paths:
        kinds = " ".join(extension[1:] for extension in EXTENSIONS)
        raise DataError(f"There are no pictures ({kinds}) below {folder}: name a folder with some.")
    return sorted(paths)


def read_digits():
    """MNIST's training digits (60000, 28, 28) uint8; DataError if jittor_offline is missing."""
    spec = importlib.util.find_spec("jittor_offline")  # does not import it
    if spec is None:
        raise DataError("mnist needs the package jittor_offline: run `pip install jittor_offline`.")
    path = os.path.join(spec.submodule_search_locations[0], "train-images-idx3-ubyte.gz")
    with gzip.open(path) as file:
        count, height, width = np.frombuffer(file.read(16), ">u4")[1:]  # after the magic number
        return np.frombuffer(file.read(), np.uint8).reshape(count, height, width)


def smallest(paths):
    """(pixels of the shorter side, path) of the smallest picture.

    Opens every header, so that a file which is no picture shows before the work begins.
    """
    headers = tqdm(paths, desc="checking", unit="img", leave=False, disable=None)
    return min((shorter_side(path), path) for path in headers)


def default_sizes(side, path):
    """8 up to the largest size that the smallest picture, of `side` pixels at `path`, fills."""
    if side < DEFAULT_SIZES[0]:
        raise DataError(f"{path} is only {side} pixels wide or high: remove it or give --sizes.")
    return [size for size in DEFAULT_SIZES if size <= side]


def put(env, records):
    """Writes `records` in one transaction, enlarging the map until they fit."""
    while True:
        try:
            with env.begin(write=True) as txn:
                for key, value in records:
                    txn.put(key, value)
            return
        except lmdb.MapFullError:  # the transaction was aborted
            env.set_mapsize(2 * env.info()["map_size"])


def ignore_interrupt():
    """Ctrl-C reaches all processes of a terminal; the parent alone stops the work."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def write_lmdb(folder, sources, sizes, n_worker):
    """Writes all pictures and, last, their number into a new LMDB."""
    os.makedirs(folder)
    tasks = ((sources[i : i + CHUNK], i, sizes) for i in range(0, len(sources), CHUNK))
    # Unsynced until the end: an unfinished LMDB is thrown away in any case.
    with lmdb.open(folder, map_size=MAP_BYTES, sync=False) as env:
        with ProcessPoolExecutor(n_worker, initializer=ignore_interrupt) as pool:
            encoded = in_order(pool, encode, tasks, ahead=2 * n_worker)
            progress = tqdm(total=len(sources), unit="img", disable=None)
            with closing(encoded), progress:
                for records in encoded:
                    put(env, records)
                    progress.update(len(records) // len(sizes))
        put(env, [(LENGTH_KEY, str(len(sources)).encode())])
        env.sync(True)


def build(out, sources, sizes, n_worker):
    """Makes the LMDB at `out`, which appears, or is replaced, only when it is complete."""
    partial = out + ".partial"
    if os.path.exists(partial):  # of a run that was killed
        shutil.rmtree(partial)
    try:
        write_lmdb(partial, sources, sizes, n_worker)
        if os.path.exists(out):
            os.replace(os.path.join(partial, "data.mdb"), os.path.join(out, "data.mdb"))
        else:
            os.rename(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def prepare(args):
    """Does what the command line asks for and says so in one line."""
    if args.path == "mnist":
        sources = read_digits()
        sizes = args.sizes or default_sizes(32, "mnist")
    else:
        sources = find_pictures(args.path)
        side, path = smallest(sources)
        sizes = args.sizes or default_sizes(side, path)
    build(args.out, sources, sizes, args.n_worker)
    mib = os.path.getsize(os.path.join(args.out, "data.mdb")) / 2**20
    print(f"{len(sources):,} pictures at {joined(sizes)} px in {args.out} ({mib:.1f} MiB)")


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


def parser():
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = result.add_argument
    add("path", metavar="PATH|mnist", help="folder of pictures, or mnist")
    add("--out", default="lmdb", metavar="LMDB", type=os.path.normpath, help="folder to write")
    add(
        "--n_worker",
        type=number(int, 1),
        default=os.cpu_count() or 1,
        metavar="N",
        help="processes that resize (default: one per core)",
    )
    add(
        "--sizes",
        type=size_list,
        metavar="8,16,..|all",
        help="powers of two from 4 to 1024, or all = 8 to 1024, enlarging where needed "
        "(default: 8 up to the largest that the smallest picture fills)",
    )
    add("--overwrite", action="store_true", help="replace LMDB, once the new one is complete")
    return result


def main(argv=None):
    usage = parser()
    args = usage.parse_args(argv)
    if args.path != "mnist" and not os.path.isdir(args.path):
        usage.error(f"{args.path} is not a folder: name a folder of pictures, or mnist")
    if os.path.exists(args.out) and not (args.overwrite and os.path.isdir(args.out)):
        usage.error(f"{args.out} exists: choose another --out, or replace an LMDB with --overwrite")
    try:
        prepare(args)
    except KeyboardInterrupt:
        print("Interrupted: nothing was written.", file=sys.stderr)
        return 130
    except BrokenProcessPool:
        print("A worker was killed, likely for lack of memory: lower --n_worker.", file=sys.stderr)
        return 1
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, lmdb.Error) as error:  # a full disk, a folder that may not be read
        print(f"Cannot make {args.out} from {args.path}: {error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
