"""How good the pictures are beside the PyTorch original's, after as many images.

    python benchmarks/pictures.py demo/mnist --torch FOLDER --python TORCH_PYTHON
    python benchmarks/pictures.py demo/mnist --options "--batch_default 8 --lr 0.008"   # ours

Both train with R1 and the original's own settings from 8 to 16 px, narrowed in the same way, from
several seeds in turn; metrics.py looks at both. Other options of our train.py make another recipe.
FOLDER and TORCH_PYTHON as in train_step.py.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import turns

SIZES = (8, 16)
BATCH = 32  # the original's


def train_original(args, out) -> float:
    """Seconds; its average is saved in `out`."""
    torch = turns.load_torch(args)
    import lmdb
    import numpy as np
    from original import Original

    sys.path.append(str(turns.ROOT))  # after the original's folder
    from data.decode import read_record

    torch.manual_seed(args.seed)
    run = Original(torch, args.channel_max)
    env = lmdb.open(args.data, readonly=True, lock=False)

    def pictures(size, length):
        """Batches without end, each picture once an epoch, mirrored at random."""
        while True:
            order = torch.randperm(length)
            for i in range(0, length - BATCH + 1, BATCH):
                with env.begin() as txn:
                    found = [txn.get(f"{size}-{j:05d}".encode()) for j in order[i : i + BATCH]]
                arrays = [np.asarray(read_record(x, "", size, True), "float32") for x in found]
                real = torch.tensor(np.stack(arrays)).permute(0, 3, 1, 2) / 127.5 - 1
                mirrored = torch.rand(BATCH, 1, 1, 1) < 0.5
                yield torch.where(mirrored, real.flip(3), real)

    with env.begin() as txn:
        length = int(txn.get(b"length"))
    start, seen = time.perf_counter(), 0
    for step, size in enumerate(SIZES, start=1):
        used, data = 0, pictures(size, length)
        while used <= 2 * args.phase if size == SIZES[0] else seen < args.images:
            alpha = min(1.0, (used + 1) / args.phase) if size > SIZES[0] else 1.0
            run.iteration(next(data), step, alpha, mixing=False)
            used, seen = used + BATCH, seen + BATCH
    torch.save(run.running.state_dict(), out)
    return time.perf_counter() - start


def train_ours(args, seed: int, folder: Path):
    """(checkpoint, seconds)"""
    options = {"--loss": "r1", "--init_size": SIZES[0], "--max_size": SIZES[-1], "--seed": seed}
    options.update({"--phase": args.phase, "--channel_max": args.channel_max})
    words = [str(word) for pair in options.items() for word in pair] + args.options.split()
    batch = int(words[words.index("--batch_default") + 1]) if "--batch_default" in words else BATCH
    iterations = -(-args.images // batch)
    words += ["--max_iters", str(iterations), "--expname", str(folder), "--device", "cpu"]
    start = time.perf_counter()
    command = [sys.executable, str(turns.ROOT / "train.py"), args.data, *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "checkpoint" / f"{iterations:06d}.model", time.perf_counter() - start


def judged(args, path, folder) -> dict:
    """Metrics by name."""
    command = [sys.executable, str(turns.ROOT / "metrics.py"), str(path), "--data", args.data]
    command += ["--size", str(SIZES[-1])] if path.suffix == ".pth" else []
    command += ["--num", str(args.num), "--metrics", args.metrics, "--expname", str(folder)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    found = {}
    for file in sorted((folder / "results").glob("metric-*.jsonl")):
        found.update(json.loads(file.read_text().splitlines()[-1])["results"])
    return found


def compare(args) -> None:
    print(f"{args.images} images, 8 to 16 px, {args.channel_max} channels, {args.num} judged")
    values = {}
    for seed in args.seeds:
        for name, python in turns.contenders(args).items():
            with tempfile.TemporaryDirectory() as folder:
                if name == "ours":
                    path, seconds = train_ours(args, seed, Path(folder, "run"))
                else:
                    path = Path(folder, "original.pth")
                    words = ["--measure", path, "--seed", seed, "--torch", args.torch]
                    words += ["--phase", args.phase, "--images", args.images]
                    words += ["--channel_max", args.channel_max]
                    seconds = turns.measured(python, __file__, args.data, *words)
                found = {**judged(args, path, Path(folder)), "seconds": seconds}
            shown = ", ".join(f"{k} {v:.4g}" for k, v in found.items())
            print(f"seed {seed}, {name}: {shown}", flush=True)
            for key, value in found.items():
                values.setdefault((name, key), []).append(value)
    print("\n| | | least | median | most |\n|---|---|---|---|---|")
    for (name, key), found in values.items():
        numbers = (min(found), statistics.median(found), max(found))
        print(f"| {name} | {key} | " + " | ".join(f"{x:.4g}" for x in numbers) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("data", metavar="LMDB", help="of prepare_data.py, from 8 px")
    turns.add_options(parser)
    parser.add_argument("--seeds", default="0,1,2", help="comma-separated (default 0,1,2)")
    parser.add_argument("--phase", type=int, default=10_000, help="default 10000")
    parser.add_argument("--images", type=int, default=60_000, help="default 60000")
    parser.add_argument("--channel_max", type=int, default=40, metavar="N", help="default 40")
    parser.add_argument("--num", type=int, default=5000, help="images judged (default 5000)")
    parser.add_argument("--metrics", default="fd_vgg16,kid,precision,recall", help="of metrics.py")
    parser.add_argument("--options", default="", help="more of our train.py, in one word")
    parser.add_argument("--measure", metavar="OUT", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.device, args.precision = "cpu", "float32"
    if args.measure:
        print(json.dumps(train_original(args, args.measure)))
        return
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    compare(args)


if __name__ == "__main__":
    main()
