"""How many kernels an iteration of training launches on CUDA, and how much memory they move.

    python benchmarks/launches.py --sizes 8,16,32,64 --channel_max 32
    tests/emulator/run.sh FOLDER python benchmarks/launches.py     # without a GPU

Jittor's profiler counts. A kernel moves what it reads and writes, each array once; convolutions
and matrix products, which are NVIDIA's, are counted apart. The yardstick for all others: what those
read has to be written and what they write to be read, and Adam and the average take 5 and 3 numbers
for each parameter. From the counts follows a model of the seconds on some GPUs (yardsticks.py), for
the schedule's batches; at full width, --channel_max 512, it stands beside what others measured.
"""

import argparse
import contextlib
import sys
from pathlib import Path

import numpy as np
import yardsticks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from backend import device


def profiled(jt, work) -> list:
    """(kernel's name, launches, bytes) of what Jittor runs meanwhile."""
    jt.sync_all(True)
    jt.profiler.start(0, 0)
    work()
    jt.sync_all(True)
    jt.profiler.stop()
    head, *rows = jt.profiler.report()
    name, count, seconds, rate = map(head.index, ("Name", "Count", "TotalTime", "InOut"))
    return [
        (row[name], float(row[count]), float(row[rate]) * float(row[seconds]) / 1e9) for row in rows
    ]


def counted(rows, *parts):
    """(launches, MB) of the kernels whose names begin like one of these, and of all others."""
    ours = [row for row in rows if row[0].startswith(parts)]
    rest = [row for row in rows if row not in ours]
    return [(sum(n for _, n, _ in x), sum(size for _, _, size in x) / 1e6) for x in (ours, rest)]


@contextlib.contextmanager
def noted_products(jt):
    """A list of the floating point operations of each product asked for meanwhile."""
    flops, extern = [], jt.compile_extern
    places = {
        "cudnn_conv": (extern.cudnn_ops, lambda y, x, w, *_: y.numel() * w[0].numel()),
        "cudnn_conv_backward_x": (
            extern.cudnn_ops,
            lambda _, w, dy, *__: dy.numel() * w[0].numel(),
        ),
        "cudnn_conv_backward_w": (
            extern.cudnn_ops,
            lambda dw, x, dy, *_: dy.numel() * dw[0].numel(),
        ),
        "cublas_matmul": (
            extern.cublas_ops,
            lambda y, a, b, transposed, *_: y.numel() * a.shape[0 if transposed else 1],
        ),
    }
    before = {name: getattr(ops, name) for name, (ops, _) in places.items()}

    def noting(name, count):
        def call(*arguments):
            made = before[name](*arguments)
            flops.append(2 * count(made, *arguments))
            return made

        return call

    try:
        for name, (ops, count) in places.items():
            setattr(ops, name, noting(name, count))
        yield flops
    finally:
        for name, (ops, _) in places.items():
            setattr(ops, name, before[name])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--sizes", default="8,16,32,64", help="default 8,16,32,64")
    parser.add_argument("--channel_max", type=int, default=32, metavar="N", help="default 32")
    parser.add_argument("--batch", type=int, default=8, metavar="N", help="default 8")
    parser.add_argument("--kernels", action="store_true", help="name them, too")
    args = parser.parse_args()
    jt = device.load("cuda")

    import train
    from training.parameters import used_parameters
    from training.run import TrainState
    from training.schedule import BATCHES, Config, phase_at

    works = {}
    print(f"one iteration, r1, {args.channel_max} channels, batches of {args.batch}\n")
    print("| size | convolutions and products | MB | other kernels | MB | yardstick |")
    print("|---|---|---|---|---|---|")
    for size in map(int, args.sizes.split(",")):
        config = Config(
            loss="r1",
            mixing=True,
            channel_max=args.channel_max,
            init_size=size,
            max_size=size,
            batch_default=args.batch,
        )
        run, phase = TrainState(config), phase_at(config, 0)
        real = np.random.RandomState(0).standard_normal((args.batch, 3, size, size))
        real = real.astype("float32")

        def iteration(run=run, phase=phase, real=real):
            train.train_iteration(run, phase, real)

        iteration()  # parameters get moments, algorithms are searched
        with noted_products(jt) as flops:
            rows = profiled(jt, iteration)
        found = counted(rows, "cudnn", "cublas")
        parts = [used_parameters(x, phase.step) for x in (run.generator, run.discriminator)]
        g, d = (sum(p.numel() for p in part.values()) for part in parts)
        updates = 4e-6 * (5 * (g + d) + 3 * g)
        least = found[0][1] + updates
        cells = " | ".join(f"{n:.0f} | {mb:.1f}" for n, mb in found)
        print(f"| {size} | {cells} | {least:.1f} |", flush=True)
        if args.kernels:
            for name, n, moved in sorted(rows, key=lambda row: -row[2]):
                print(f"    {n:4.0f} {moved / 1e6:8.2f} MB {name[:200]!r}")
        (n_products, product_mb), (n_others, other_mb) = found
        moved = [1e6 * mb for mb in (product_mb, other_mb, updates)]
        work = yardsticks.Work(n_products + n_others, sum(flops), *moved)
        batch = BATCHES.get(size, args.batch)
        works[size, batch] = work.of_batch(batch / args.batch)
    print("", *yardsticks.table(works), sep="\n")


if __name__ == "__main__":
    main()
