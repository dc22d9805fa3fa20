"""Images a second of a narrow network's training by the number of threads, on an idle machine and
beside two busy programs.

    python benchmarks/threads.py

Each number is a process of its own, in turn; medians, the least and the largest of the turns.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
from pathlib import Path

import turns

TRAIN_STEP = Path(__file__).with_name("train_step.py")
BUSY = "while True: pass"


@contextlib.contextmanager
def beside(count: int):
    """So many programs that do nothing but work."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--size", type=int, default=16, help="in pixels (default 16)")
    parser.add_argument("--channel_max", type=int, default=40, help="default 40")
    parser.add_argument("--batch", type=int, default=16, help="images (default 16)")
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    args = parser.parse_args()
    words = ["--measure", "ours", "--sizes", args.size, "--channel_max", args.channel_max]
    words += ["--batch", args.batch, "--repeats", 40]
    found = {}
    for _ in range(args.rounds):
        for busy in (0, 2):
            for threads in (1, 2):
                os.environ["OMP_NUM_THREADS"] = str(threads)
                with beside(busy):
                    result = turns.measured(sys.executable, TRAIN_STEP, *words)
                seconds = statistics.median(result[str(args.size)]["seconds"])
                found.setdefault((busy, threads), []).append(args.batch / seconds)
    print("| busy programs | threads | images/s | from | to |\n|---|---|---|---|---|")
    for (busy, threads), rates in found.items():
        middle, low, high = statistics.median(rates), min(rates), max(rates)
        print(f"| {busy} | {threads} | {middle:.0f} | {low:.0f} | {high:.0f} |")


if __name__ == "__main__":
    main()
