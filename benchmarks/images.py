"""Single pictures by generate.py: what their writing costs beside the network, and how much memory.

    python benchmarks/images.py                                    # 32 px, 40 channels, 1000 images
    python benchmarks/images.py --size 1024 --channel_max 512 --batch 1 --images 4
    python benchmarks/images.py --size 1024 ... --torch FOLDER --python TORCH_PYTHON

The network has random weights. Drawing alone and drawing with writing are timed in turn in one
process, after a warm-up; medians are printed. The largest resident set is that of generate.py as a
person calls it. FOLDER and TORCH_PYTHON as in benchmarks/generate.py, for the full width only.
"""

import argparse
import json
import os
import pickle
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import turns
from nvidia import peak


def save_network(path, channel_max):
    """A checkpoint as other programs write them: weights alone."""
    from model import StyledGenerator

    weights = StyledGenerator(channel_max=channel_max).named_parameters()
    path.write_bytes(pickle.dumps({"g_running": {name: p.numpy() for name, p in weights}}))


def command(args, folder):
    """generate.py's arguments."""
    options = {"--size": args.size, "--images": args.images, "--batch": args.batch}
    options.update({"--out": Path(folder, "out"), "--device": args.device})
    return [str(word) for pair in options.items() for word in pair]


def our_seconds(args):
    """{"alone", "written": [seconds of all images]}"""
    turns.load_jittor(args)
    from figures.options import figure_parser
    from figures.settling import open_artist, settle
    from figures.writing import write_images

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "random.model")
        save_network(path, args.channel_max)
        typed = figure_parser().parse_args([str(path), *command(args, folder)])
        artist, options = open_artist(typed)
        options = settle(options, artist)

        def alone():
            for i in range(0, args.images, args.batch):
                seeds = range(i, min(i + args.batch, args.images))
                artist.draw(artist.styles(seeds), artist.noise(seeds))

        def written():
            write_images(artist, options)

        artist.draw(artist.styles(range(args.batch)), artist.noise(range(args.batch)))
        taken = {"alone": [], "written": []}
        for _ in range(args.rounds):
            for task in (alone, written):
                start = time.perf_counter()
                task()
                taken[task.__name__].append(time.perf_counter() - start)
    return taken


def original_seconds(args):
    """{"alone": [seconds of all images], "gigabytes": the largest resident set}"""
    torch = turns.load_torch(args)
    from model import StyledGenerator

    generator, step = StyledGenerator(512).eval(), args.size.bit_length() - 3
    taken = []
    with torch.no_grad():
        mean = generator.mean_style(torch.randn(1024, 512))

        def draw(count):
            z = torch.randn(count, 512)
            return generator(z, step=step, alpha=1, mean_style=mean, style_weight=0.7).numpy()

        draw(args.batch)
        for _ in range(args.rounds):
            start = time.perf_counter()
            for i in range(0, args.images, args.batch):
                draw(min(args.batch, args.images - i))
            taken.append(time.perf_counter() - start)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"alone": taken, "gigabytes": kilobytes / 1e6}


def report(args):
    names = turns.contenders(args)
    options = ["--rounds", args.rounds, "--size", args.size, "--channel_max", args.channel_max]
    options += ["--images", args.images, "--batch", args.batch, "--device", args.device]
    options += ["--precision", args.precision, *(["--torch", args.torch] if args.torch else [])]
    found = {
        name: turns.measured(python, __file__, "--measure", name, *options)
        for name, python in names.items()
    }
    cores = len(os.sched_getaffinity(0))
    print(f"{args.size} px, {args.channel_max} channels, batches of {args.batch}, {cores} cores")
    for name, taken in found.items():
        for kind in ("alone", "written"):
            if kind in taken:
                seconds = statistics.median(taken[kind]) / args.images
                print(f"  {name}, {kind}: {1 / seconds:.2f} images/s, {seconds:.4f} s an image")
    ours = found["ours"]
    share = statistics.median(ours["alone"]) / statistics.median(ours["written"])
    print(f"  written at {share:.2f} of the network's speed")
    with tempfile.TemporaryDirectory() as folder:
        turns.measured(sys.executable, __file__, "--save", Path(folder, "random.model"), *options)
        few = argparse.Namespace(**{**vars(args), "images": 2 * args.batch})
        arguments = [Path(folder, "random.model"), *command(few, folder)]
        _, seconds, gigabytes = peak(sys.executable, "generate.py", *arguments)
    print(f"  generate.py, {few.images} images: {seconds:.1f} s in all, {gigabytes:.2f} GB at most")
    if args.torch:
        print(f"  original: {found['original']['gigabytes']:.2f} GB at most")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    turns.add_options(parser)
    turns.add_device(parser)
    add = parser.add_argument
    add("--size", type=int, default=32, help="pixels (default 32)")
    add("--channel_max", type=int, default=40, help="widest level (default 40)")
    add("--images", type=int, default=1000, help="(default 1000)")
    add("--batch", type=int, default=16, help="(default 16)")
    add("--rounds", type=int, default=3, help="of each (default 3)")
    add("--measure", choices=["ours", "original"], help=argparse.SUPPRESS)
    add("--save", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.torch and args.channel_max != 512:
        parser.error("--torch: the original has the full width only: --channel_max 512")
    if args.measure:
        print(json.dumps(our_seconds(args) if args.measure == "ours" else original_seconds(args)))
    elif args.save:
        turns.load_jittor(args)
        save_network(args.save, args.channel_max)
        print("{}")
    else:
        report(args)


if __name__ == "__main__":
    main()
