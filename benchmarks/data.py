"""How fast pictures are prepared, beside the original's way, and how fast training reads them.

    python benchmarks/data.py                       # 1,000 photographs of 1024 px, a few minutes
    python benchmarks/data.py --images 100 --repeats 1

The original's way is written out here from its description (one process pool over single files in
any order, every size from the full picture, one transaction), because the original itself needs
PyTorch. The two run in turn on the same files; medians are printed, and whether all bytes agree.
"""

import argparse
import contextlib
import io
import itertools
import multiprocessing
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import lmdb
import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import prepare_data  # noqa: E402
from backend.terminal import number  # noqa: E402
from data.choice import open_picture  # noqa: E402
from data.encode import resize  # noqa: E402
from data.sizes import DEFAULT_SIZES  # noqa: E402
from data.store import open_pictures  # noqa: E402

SIDE = 1024
TO_128 = "8,16,32,64,128"
DISTINCT = 20  # photographs; the rest are copies under other names


def photograph(seed):
    """A picture with the spectrum of a photograph: noise whose strength falls with frequency."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((SIDE, SIDE, 3), np.float32)
    for octave in range(2, 11):
        side = 2**octave
        noise = rng.standard_normal((side, side, 3)).astype("float32") * 100 / side**0.5
        planes = [Image.fromarray(plane) for plane in noise.transpose(2, 0, 1)]
        planes = [plane.resize((SIDE, SIDE), Image.BICUBIC) for plane in planes]
        pixels += np.stack(planes, axis=2)
    return Image.fromarray(np.clip(pixels + 128, 0, 255).astype("uint8"))


def make_photographs(folder, count):
    """`count` JPEGs in a class folder, as the original wants them."""
    below = Path(folder, "class")
    below.mkdir(parents=True)
    encoded = []
    for seed in range(min(DISTINCT, count)):
        file = io.BytesIO()
        photograph(seed).save(file, format="jpeg", quality=95)
        encoded.append(file.getvalue())
    for i in range(count):
        (below / f"{i:05d}.jpg").write_bytes(encoded[i % len(encoded)])


def originals_resize(task):
    """(index, [JPEG of each size]) of one file."""
    index, path = task
    picture = open_picture(path, path).convert("RGB")
    encoded = []
    for size in DEFAULT_SIZES:
        file = io.BytesIO()
        resize(picture, size).save(file, format="jpeg", quality=100)
        encoded.append(file.getvalue())
    return index, encoded


def prepare_as_the_original(folder, out, n_worker):
    files = sorted(Path(folder).rglob("*.jpg"))
    with lmdb.open(out, map_size=1024**4, readahead=False) as env:
        with env.begin(write=True) as txn, multiprocessing.Pool(n_worker) as pool:
            count = 0
            for index, encoded in pool.imap_unordered(originals_resize, enumerate(files)):
                for size, value in zip(DEFAULT_SIZES, encoded):
                    txn.put(f"{size}-{index:05d}".encode(), value)
                count += 1
            txn.put(b"length", str(count).encode())


def prepare_as_we_do(folder, out, n_worker, sizes="all", *options):
    arguments = ["--out", out, "--sizes", sizes, "--n_worker", str(n_worker), *options, folder]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if prepare_data.main(arguments):
            raise RuntimeError("prepare_data.py failed")


def prepare_up_to_128(folder, out, n_worker):
    """What training to 128 px needs; the original has no such choice."""
    prepare_as_we_do(folder, out, n_worker, TO_128)


def prepare_fast(folder, out, n_worker):
    prepare_as_we_do(folder, out, n_worker, "all", "--fast")


def prepare_fast_up_to_128(folder, out, n_worker):
    prepare_as_we_do(folder, out, n_worker, TO_128, "--fast")


def same_records(a, b):
    """Whether two LMDBs hold the same, apart from our description."""
    contents = []
    for path in (a, b):
        env = lmdb.open(path, readonly=True, lock=False)
        with env, env.begin() as txn:
            contents.append({key: value for key, value in txn.cursor() if key != b"about"})
    return contents[0] == contents[1]


def grey_levels(a, b, sizes, count):
    """{size: (largest, mean) difference} of the first `count` pictures of two LMDBs."""
    with closing(open_pictures(a)) as a, closing(open_pictures(b)) as b:

        def pixels(pictures, size):
            return np.stack([pictures.read(i, size) for i in range(count)]).astype(int)

        both = {size: np.abs(pixels(a, size) - pixels(b, size)) for size in sizes}
    return {size: (gaps.max(), gaps.mean()) for size, gaps in both.items()}


def seconds(function, *arguments):
    """(of the clock, of CPU in this process and those it waited for)"""
    start, before = time.perf_counter(), os.times()
    function(*arguments)
    return time.perf_counter() - start, sum(os.times()[:4]) - sum(before[:4])


def compare_preparation(args, folder):
    """Prints images/s of each way. Returns the folder of our LMDB."""
    ways = {
        "original": prepare_as_the_original,
        "ours": prepare_as_we_do,
        "ours, --fast": prepare_fast,
        "ours, 8 to 128 px": prepare_up_to_128,
        "ours, 8 to 128 px, --fast": prepare_fast_up_to_128,
    }
    taken = {name: [] for name in ways}
    for repeat in range(args.repeats):
        for name, way in ways.items():
            out = os.path.join(folder, f"{name}{repeat}")
            n_worker = args.original_workers if name == "original" else args.n_worker
            taken[name].append(seconds(way, os.path.join(folder, "in"), out, n_worker))
            os.sync()
            if repeat:
                shutil.rmtree(out)
    medians = {name: np.median(times, axis=0) for name, times in taken.items()}
    print(f"preparing {args.images} photographs of {SIDE} px at 8 to {SIDE} px:")
    for name, median in medians.items():
        speed, cpu = args.images / median[0], 1000 * median[1] / args.images
        times, cpu_times = medians["original"] / median
        print(
            f"  {name}: {speed:.1f} images/s, {times:.2f} of the original; "
            f"{cpu:.1f} ms of CPU an image, {cpu_times:.2f}"
        )
    ours, original, fast = (
        os.path.join(folder, name + "0") for name in ("ours", "original", "ours, --fast")
    )
    print(f"  bytes {'identical' if same_records(ours, original) else 'DIFFERENT'}")
    gaps = grey_levels(ours, fast, DEFAULT_SIZES, min(DISTINCT, args.images))
    found = ", ".join(f"{size} px {most} {mean:.2f}" for size, (most, mean) in gaps.items())
    print(f"  --fast differs, grey levels at most and on the mean: {found}")
    return ours


def reading_speed(pictures, size, batch, count):
    """images/s of the batches of training, flips and conversion included."""
    from data.batches import batches

    phase = SimpleNamespace(size=size, batch=batch)
    generator = batches(pictures, lambda seen: phase, 0, 0, flip=True)
    next(generator)
    number_of_batches = count // batch
    taken, _ = seconds(lambda: [None for _ in itertools.islice(generator, number_of_batches)])
    generator.close()
    return number_of_batches * batch / taken


def measure_reading(args, path):
    pictures = open_pictures(path)
    cores = len(os.sched_getaffinity(0))
    print(f"reading batches of 32 for training, {cores} cores:")
    for size, count in ((32, 8000), (128, 2000), (1024, 64)):
        speeds = [reading_speed(pictures, size, 32, count) for _ in range(3)]
        print(f"  {size} px: {statistics.median(speeds):,.0f} images/s")
    pictures.close()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, count = parser.add_argument, number(int, 1)
    cores = len(os.sched_getaffinity(0))
    add("--images", type=count, default=1000, help="photographs (default 1000)")
    add("--repeats", type=count, default=3, help="of each way (default 3)")
    add("--n_worker", type=count, default=cores, help="our processes (default: the cores)")
    add("--original_workers", type=count, default=8, help="the original's (default 8, its own)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        make_photographs(os.path.join(folder, "in"), args.images)
        measure_reading(args, compare_preparation(args, folder))


if __name__ == "__main__":
    main()
