"""How many kernels an iteration of training launches on CUDA, and how much memory they move.

    python benchmarks/launches.py --sizes 8,16,32,64 --channel_max 32
    tests/emulator/run.sh FOLDER python benchmarks/launches.py     # without a GPU

Jittor's profiler counts. A kernel moves what it reads and writes, each array once; convolutions
and matrix products, which are NVIDIA's, are counted apart. The yardstick for all others: what those
read has to be written and what they write to be read, and Adam and the average take 5 and 3 numbers
for each parameter.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

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
    from training.schedule import Config, phase_at

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
        rows = profiled(jt, iteration)
        found = counted(rows, "cudnn", "cublas")
        parts = [used_parameters(x, phase.step) for x in (run.generator, run.discriminator)]
        g, d = (sum(p.numel() for p in part.values()) for part in parts)
        least = found[0][1] + 4e-6 * (5 * (g + d) + 3 * g)
        cells = " | ".join(f"{n:.0f} | {mb:.1f}" for n, mb in found)
        print(f"| {size} | {cells} | {least:.1f} |", flush=True)
        if args.kernels:
            for name, n, size in sorted(rows, key=lambda row: -row[2]):
                print(f"    {n:4.0f} {size / 1e6:8.2f} MB {name[:200]!r}")


if __name__ == "__main__":
    main()
