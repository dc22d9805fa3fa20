"""The memory of training at its peak, by size, width and batch, beside what train.py expects.

    python benchmarks/memory.py

The largest resident set of a process that trains two iterations: R1, mixing, halfway through the
fade.
"""

import argparse
import json
import resource
import sys

import turns

CASES = [  # size, channels at most, batch
    *((8, c, 16) for c in (40, 128, 512)),
    *((32, c, 16) for c in (40, 128, 512)),
    *((64, c, 8) for c in (40, 128, 512)),
    *((128, c, 4) for c in (40, 128, 512)),
    *((256, c, 4) for c in (40, 128, 512)),
]


def measure(size: int, channels: int, batch: int) -> dict:
    """Bytes, measured and expected."""
    turns.use_folder(turns.ROOT)
    from backend import device

    device.load("cpu")
    import numpy as np

    from data.sizes import step_of
    from model import widths
    from training import memory
    from training.run import TrainState
    from training.schedule import Config, Phase

    config = Config(loss="r1", mixing=True, channel_max=channels, batch_default=batch)
    run, step, rng = TrainState(config), step_of(size), np.random.RandomState(0)
    phase = Phase(size, step, 0.5, batch, 0.001, 0)

    def normal(*shape):
        return rng.standard_normal(shape).astype("float32")

    for _ in range(2):
        z = [normal(batch, 512), normal(batch, 512)]
        noise = run.generator.draw_noise(batch, step)
        run.discriminator_step(phase, normal(batch, 3, size, size), z, 0, noise)
        run.generator_step(phase, z, 0, run.generator.draw_noise(batch, step))
        run.average_generator(batch)
        run.finish_iteration(batch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"peak": peak, "expected": memory.needed(config, widths(channels), size)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    text = "size, channels and batch: that one alone, in this process, as JSON"
    parser.add_argument("case", nargs="*", type=int, help=text)
    case = parser.parse_args().case
    if case:
        print(json.dumps(measure(*case)))
        return
    print("| size | channels | batch | GB | expected |\n|---|---|---|---|---|")
    for case in CASES:
        found = turns.measured(sys.executable, __file__, *case)
        gigabytes = (f"{found[name] / 1e9:.2f}" for name in ("peak", "expected"))
        print("| {} px | {} | {} | {} | {} |".format(*case, *gigabytes), flush=True)


if __name__ == "__main__":
    main()
