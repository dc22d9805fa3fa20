"""Reading and rendering a full-size snapshot in the format of NVIDIA's StyleGAN: time and memory.

    python benchmarks/nvidia.py

Makes one with random variables (1024 px, full width), reads it, and lets generate.py render an
image of it on the CPU, each in a process of its own.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import turns

READ = """
import resource, sys
from formats import files
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
from training.checkpoint import read_checkpoint
content = read_checkpoint(sys.argv[1])
print(before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def write(path: Path, size: int) -> None:
    turns.use_folder(turns.ROOT / "tests")
    from snapshots import NETWORK, dumps, snapshot

    path.write_bytes(dumps(snapshot(size, 512, 512), NETWORK))


def peak(*command):
    """(output, seconds, GB) of a command."""
    started = time.perf_counter()
    timed = ["/usr/bin/time", "-f", "%M", *map(str, command)]
    done = subprocess.run(timed, cwd=turns.ROOT, capture_output=True, text=True, check=True)
    seconds = time.perf_counter() - started
    return done.stdout, seconds, int(done.stderr.splitlines()[-1]) / 1e6


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--size", type=int, default=1024, help="pixels (default 1024)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "snapshot.pkl"
        write(path, args.size)
        megabytes = path.stat().st_size / 1e6
        print(f"{args.size} px: {megabytes:.0f} MB")
        text, seconds, _ = peak(sys.executable, "-c", READ, path)
        before, after = (int(number) / 1e3 for number in text.split())
        print(
            f"read in {seconds:.1f} s, {after:.0f} MB at most, {before:.0f} of them before: "
            f"{after / megabytes:.2f} times the file"
        )
        images = ["--images", 1, "--out", folder, "--device", "cpu"]
        for kind in ("with kernels to compile", "again"):
            _, seconds, gigabytes = peak(sys.executable, "generate.py", path, *images)
            print(f"generate.py, one image, {kind}: {seconds:.1f} s, {gigabytes:.2f} GB at most")


if __name__ == "__main__":
    main()
