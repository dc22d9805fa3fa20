"""Seconds an iteration of training beside the PyTorch original.

    python benchmarks/train_step.py
    python benchmarks/train_step.py --torch FOLDER --python TORCH_PYTHON
    python benchmarks/train_step.py --plain      # beside model.py as written, without fast.py
    OMP_NUM_THREADS=1 python benchmarks/train_step.py --channel_max 40      # narrow, one thread
    python benchmarks/train_step.py --cold       # the first iterations with no kernel compiled yet

FOLDER is a checkout of rosinality/style-based-gan-pytorch, TORCH_PYTHON an interpreter that has
PyTorch. Each size and each turn is a process of its own, ours and the original's one after the
other; medians are printed. An iteration: R1 loss, mixed latents, halfway through the fade, one step
of the discriminator, one of the generator, and the running average, as train.py does them.

GFLOP/s count what is left to multiply: by definition an iteration is 15 passes of 3x3 convolutions;
on the CPU Winograd's algorithm leaves 4 / 9 of a product, resampling in the same pass 1 / 4.
"""

import argparse
import ctypes
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import turns

ALPHA = 0.5
PASSES = 15  # forward or backward through either network: 10 for the discriminator's step, 5 after


def our_iteration(args):
    """iteration(size): one step of each network, computed to the end."""
    jt = turns.load_jittor(args)
    if args.kernels:  # an empty folder instead of Jittor's cache
        Path(args.kernels, "jit").mkdir()
        jt.flags.cache_path = args.kernels
    import numpy as np

    from data.sizes import step_of
    from training.run import TrainState
    from training.schedule import Config, Phase

    config = Config(loss="r1", mixing=True, channel_max=args.channel_max)
    run = TrainState(config, plain=args.measure == "plain")
    noise = run.generator.draw_noise
    rng = np.random.RandomState(0)

    def normal(*shape):
        return rng.standard_normal(shape).astype("float32")

    def iteration(size):
        step, n = step_of(size), args.batch
        phase = Phase(size, step, ALPHA, n, 0.001, 0)
        draws = [
            ([normal(n, 512), normal(n, 512)], int(rng.randint(step)), noise(n, step))
            for _ in range(2)
        ]
        run.discriminator_step(phase, normal(n, 3, size, size), *draws[0])
        run.generator_step(phase, *draws[1])
        run.average_generator(n)
        run.finish_iteration(n)
        jt.sync_all(True)

    return iteration


def original_iteration(args):
    """The same with the networks and the steps of the original."""
    torch = turns.load_torch(args)
    from original import Original

    torch.manual_seed(0)
    cuda = args.device == "cuda"
    run = Original(torch, args.channel_max, args.device)

    def iteration(size):
        real = torch.randn(args.batch, 3, size, size, device=run.where)
        run.iteration(real, size.bit_length() - 3, ALPHA, mixing=True)
        if cuda:
            torch.cuda.synchronize()

    return iteration


def products(size: int, channel_max: int):
    """Billions of multiplications and additions in 3x3 convolutions of one pass of one image
    through a network, all levels: (by definition, as the CPU does them).
    """
    channels = [min(c, channel_max) for c in (512, 512, 512, 512, 256, 128, 64, 32, 16)]
    definition = 2 * 9 * channels[0] ** 2 * 16
    done = definition * 4 / 9
    for step in range(1, size.bit_length() - 2):
        c, below, pixels = channels[step], channels[step - 1], 16 * 4**step
        resampled, plain = 18 * c * below * pixels, 18 * c * c * pixels
        definition += resampled + plain
        done += resampled / 4 + plain * 4 / 9
    return definition / 1e9, done / 1e9


def matrix_speed(args) -> float:
    """GFLOP/s of a product of matrices of 2048 x 2048."""
    jt = turns.load_jittor(args)
    from operators import products

    a, b = jt.randn(2048, 2048), jt.randn(2048, 2048)
    best = float("inf")
    for _ in range(8):
        jt.sync_all(True)
        start = time.perf_counter()
        products.linear(a, b).sync()
        jt.sync_all(True)
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9


def gpu_memory(args) -> float:
    """GB in use on the first GPU, 0 on the CPU; both frameworks keep what they once took."""
    if args.device != "cuda":
        return 0.0
    driver, context = ctypes.CDLL("libcuda.so.1"), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    driver.cuInit(0)
    # The context that both frameworks use: what it takes itself does not count
    driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0)
    driver.cuCtxSetCurrent(context)
    status = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    if status:
        raise SystemExit(f"the NVIDIA driver tells no memory (error {status})")
    return (total.value - free.value) / 1e9


def measure(args) -> dict:
    """What a process of its own finds out about each size, one after the other."""
    before = gpu_memory(args)
    iteration = (original_iteration if args.measure == "original" else our_iteration)(args)
    found = {}
    for size in args.sizes:
        seconds = []
        for _ in range(1 + args.repeats):
            start = time.perf_counter()
            iteration(size)
            seconds.append(time.perf_counter() - start)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        if args.device == "cuda":
            peak = gpu_memory(args) - before
        found[size] = {"first": seconds[0], "seconds": seconds[1:], "peak": peak}
    return found


def compare(args) -> None:
    """Prints a table: each size in processes of its own, the contenders in turn."""
    speed = turns.measured(sys.executable, __file__, "--measure", "matrix", *options(args))
    print(f"product of matrices of 2048 x 2048: {speed:.0f} GFLOP/s\n")
    names = {**turns.contenders(args), **({"plain": sys.executable} if args.plain else {})}
    print("| size | | s/iteration | images/s | GFLOP/s | share | peak GB | first s |")
    print("|---|---|---|---|---|---|---|---|")
    ratios = {name: [] for name in names if name != "ours"}
    for size in args.sizes:
        found = {name: [] for name in names}
        for _ in range(args.rounds):
            for name, python in names.items():
                result = turns.measured(
                    python, __file__, "--measure", name, *options(args), "--sizes", size
                )
                found[name].append(result[str(size)])
        definition, done = (PASSES * args.batch * x for x in products(size, args.channel_max))
        medians = {}
        for name, results in found.items():
            seconds = statistics.median(s for r in results for s in r["seconds"])
            peak = statistics.median(r["peak"] for r in results)
            first = statistics.median(r["first"] for r in results)
            ours_on_cpu = name == "ours" and args.device == "cpu"
            rate = (done if ours_on_cpu else definition) / seconds
            medians[name] = (seconds, peak)
            print(
                f"| {size} px | {name} | {seconds:.3g} | {args.batch / seconds:.3g} | {rate:.0f} "
                f"| {rate / speed:.0%} | {peak:.2f} | {first:.1f} |",
                flush=True,
            )
        for name, values in ratios.items():
            time, memory = (a / b for a, b in zip(medians["ours"], medians[name]))
            values.append((time, memory))
            print(f"| | ours / {name} | {time:.2f} | | | | {memory:.2f} | |", flush=True)
    for name, values in ratios.items():
        time, memory = map(statistics.geometric_mean, zip(*values))
        print(f"\nours / {name}: geometric mean of times {time:.2f}, of memory {memory:.2f}")


def options(args) -> list:
    """For the processes that measure."""
    words = ["--device", args.device, "--precision", args.precision]
    words += ["--batch", args.batch, "--repeats", args.repeats, "--channel_max", args.channel_max]
    return words + (["--torch", args.torch] if args.torch else [])


def cold(args) -> None:
    """Prints how long the first and the second iteration take at each size, one after the other,
    when Jittor itself is built but no kernel is.
    """
    sizes = ",".join(map(str, args.sizes))
    arguments = ["--measure", "ours", *options(args), "--repeats", 1, "--sizes", sizes]
    with tempfile.TemporaryDirectory() as folder:
        found = turns.measured(sys.executable, __file__, *arguments, "--kernels", folder)
        kernels = len(list(Path(folder, "jit").glob("*.so")))
    for size, times in found.items():
        first, second = times["first"], times["seconds"][0]
        print(f"{size} px: first iteration {first:.0f} s, second {second:.1f} s")
    print(f"{kernels} kernels compiled")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    turns.add_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    parser.add_argument("--sizes", default="8,16,32", help="in pixels (default 8,16,32)")
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="iterations a turn, after one of warm-up (default 3)"
    )
    text = "channels of a level at most, in both (default 512)"
    parser.add_argument("--channel_max", type=int, default=512, metavar="N", help=text)
    turns.add_device(parser)
    parser.add_argument(
        "--cold", action="store_true", help="compile every kernel anew, and time it"
    )
    parser.add_argument("--plain", action="store_true", help="model.py without fast.py too")
    choices = ["ours", "plain", "original", "matrix"]
    parser.add_argument("--measure", choices=choices, help=argparse.SUPPRESS)
    parser.add_argument("--kernels", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.sizes = [int(size) for size in args.sizes.split(",")]
    if args.measure:
        print(json.dumps(matrix_speed(args) if args.measure == "matrix" else measure(args)))
    elif args.cold:
        cold(args)
    else:
        print(f"batches of {args.batch}, {len(os.sched_getaffinity(0))} cores, medians")
        compare(args)


if __name__ == "__main__":
    main()
