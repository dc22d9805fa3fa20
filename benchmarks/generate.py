"""Images a second of the full-width generator, beside the PyTorch original.

    python benchmarks/generate.py
    python benchmarks/generate.py --torch FOLDER --python TORCH_PYTHON

FOLDER is a checkout of rosinality/style-based-gan-pytorch, TORCH_PYTHON an interpreter that has
PyTorch. Both run in turn, each in a process of its own; medians are printed. An image takes a
latent, truncation with psi 0.7 and noise maps, all drawn anew.
"""

import argparse
import json
import os
import statistics
import time

import turns

BATCH = 16


def our_images(args):
    """draw(step, repeat): a batch of images; with what generate.py uses."""
    turns.load_jittor(args)
    from fast import accelerate
    from figures.artist import Artist
    from model import StyledGenerator

    artist = Artist(accelerate(StyledGenerator()), 0, 1.0, batch=BATCH)

    def draw(step, repeat):
        artist.step = step
        seeds = range(repeat * BATCH, (repeat + 1) * BATCH)
        return artist.draw(artist.styles(seeds), artist.noise(seeds))

    return draw


def original_images(args):
    """The same with the original, called as its generate.py calls it."""
    torch = turns.load_torch(args)
    from model import StyledGenerator

    where = torch.device(args.device)
    generator = StyledGenerator(512).eval().to(where)
    with torch.no_grad():
        mean = generator.mean_style(torch.randn(1024, 512, device=where))

    def draw(step, repeat):
        with torch.no_grad():
            z = torch.randn(BATCH, 512, device=where)
            image = generator(z, step=step, alpha=1, mean_style=mean, style_weight=0.7)
        return image.cpu().numpy()

    return draw


def measure(draw, sizes, repeats):
    """{size: [seconds a batch]}, after a warm-up of each size."""
    taken = {}
    for size in sizes:
        step = size.bit_length() - 3
        draw(step, 0)
        taken[size] = []
        for repeat in range(repeats):
            start = time.perf_counter()
            draw(step, repeat)
            taken[size].append(time.perf_counter() - start)
    return taken


def in_turn(args):
    """{name: {size: [seconds a batch]}} of processes that measure one after the other."""
    names = turns.contenders(args)
    options = ["--repeats", args.repeats, "--sizes", args.sizes]
    options += ["--device", args.device, "--precision", args.precision]
    options += ["--torch", args.torch] if args.torch else []
    taken = {name: {} for name in names}
    for _ in range(args.rounds):
        for name, python in names.items():
            found = turns.measured(python, __file__, "--measure", name, *options)
            for size, seconds in found.items():
                taken[name].setdefault(size, []).extend(seconds)
    return taken


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    turns.add_options(parser)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each (default 3)")
    turns.add_device(parser)
    parser.add_argument("--sizes", default="32,64,128", help="in pixels (default 32,64,128)")
    parser.add_argument("--repeats", type=int, default=3, help="batches a round (default 3)")
    parser.add_argument("--measure", choices=["ours", "original"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        draw = our_images(args) if args.measure == "ours" else original_images(args)
        sizes = [int(size) for size in args.sizes.split(",")]
        print(json.dumps(measure(draw, sizes, args.repeats)))
        return
    print(f"batches of {BATCH}, {len(os.sched_getaffinity(0))} cores; median images a second")
    taken = in_turn(args)
    for size in taken["ours"]:
        speed = {name: BATCH / statistics.median(times[size]) for name, times in taken.items()}
        line = ", ".join(f"{name} {value:.2f}" for name, value in speed.items())
        ratio = f", ratio {speed['ours'] / speed['original']:.2f}" if args.torch else ""
        print(f"{size} px: {line}{ratio}")


if __name__ == "__main__":
    main()
