"""Few pictures: from nothing, from another network, with layers that stay, with augmentation.

    python benchmarks/few.py --out few --network people=checkpoint/people-64.model --emoji assets/
    python benchmarks/few.py --out few --sets symbols --seeds 0,1,2 --minutes 20
    python benchmarks/few.py --freezing         # what frozen layers save, iteration by iteration

Sets: 500 drawn people, of another style than the network's; 500 emoji, of a folder of pictures,
from a network of symbols; 100 symbols at 16 px with 128 channels. Each has --heldout pictures more,
which no run sees and all are measured against. A trial is one set, variant and seed: minutes of
processor time of one thread, compilers not counted, then metrics.py. Every trial has a folder below
--out; one whose result.json is there is not repeated, one that was cut off begins anew. Several of
these may work on one --out. Ends with a table of medians, in --out/table.md too.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import turns

sys.path.insert(0, str(turns.ROOT))

from backend.disk import locked  # noqa: E402
from backend.terminal import number  # noqa: E402
from training.checkpoint import read_checkpoint  # noqa: E402
from training.history import header_of, named_as_ours  # noqa: E402

COMMON = "--loss r1 --code_size 128 --n_mlp 4 --batch_default 8 --lr 0.006 --mapping_lr_mult 0.3"
TUNED_FROM = {"people": "people-64.model", "emoji": "symbols-64.model"}  # in checkpoint/
RECENT = 5  # gaps whose mean counts, and values of p
METRICS = "fd_vgg16", "kid", "precision", "recall"
COLUMNS = "images", "fd_vgg16", "of nothing", "kid", "precision", "recall", "fd_vgg16, seen"
COLUMNS += "gap", "p", "near"


class Few(NamedTuple):
    """A set. pictures: to train on; source: words of prepare_data.py; options: of a run from
    nothing; flip: of one from a network.
    """

    pictures: int
    size: int
    source: list
    options: str
    flip: str = "--flip"


def sets_of(args) -> dict:
    grown = f"{COMMON} --channel_max 40 --max_size 64 --phase {args.phase}"
    people = ["people", "--people_style", args.people_style]
    wide = f"{COMMON} --channel_max 128 --init_size 16 --max_size 16 --no_flip"
    return {
        "people": Few(500, 64, people, grown),
        "emoji": Few(500, 64, [args.emoji, "--pad", "--background", "white"], grown),
        "symbols": Few(100, 16, ["symbols"], wide, "--no_flip"),
    }


def words_of(*texts) -> list:
    return [word for text in texts for word in str(text).split()]


def variants_of(name: str, args) -> dict:
    """{variant: options} of a set; from a network only where there is one."""
    few, network = sets_of(args)[name], args.network.get(name)
    found = {"nothing": words_of(few.options)}
    if network:
        tuned = ["--ckpt", network, *words_of("--tune", few.flip)]
        if read_checkpoint(network)["discriminator"] is None:
            found["tuned"] = [*tuned, "--new_discriminator", str(args.new_discriminator)]
        else:
            found["tuned"] = tuned
            found["tuned, FreezeD"] = [*tuned, "--freeze_d", args.freeze_d]
    augment = words_of("--augment --augment_images", args.augment_images)
    augmented = {f"{variant}, augment": [*x, *augment] for variant, x in found.items()}
    both = [k for variant in found for k in (variant, f"{variant}, augment")]
    every = {k: {**found, **augmented}[k] for k in both}
    return {k: x for k, x in every.items() if not args.variants or k in args.variants}


def script(name: str, *words, log: Path) -> str:
    """What one of our scripts says, which is kept in a file too. Raises RuntimeError."""
    command = [sys.executable, str(turns.ROOT / name), *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with open(log, "a", encoding="utf-8") as f:
        f.write(done.stdout)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}, see {log}")
    return done.stdout


def prepared(name: str, few: Few, args) -> Path:
    """The set, made by whoever comes first."""
    folder = args.out / "sets" / name
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, RuntimeError(f"{folder} is being made"), patience=3600):
        count = few.pictures + args.heldout
        words = [*few.source, "--max_images", count, "--out", folder / "lmdb", "--format", "png"]
        sizes = ",".join(str(size) for size in (8, 16, 32, 64) if size <= few.size)
        resume = ["--resume"] if (folder / "lmdb").exists() else []
        script("prepare_data.py", *words, "--sizes", sizes, *resume, log=folder / "log.txt")
    return folder / "lmdb"


def seconds_of(pid: int) -> float:
    """Processor time of a process and its threads, without that of its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def trained(lmdb: Path, options, seed: int, folder: Path, args) -> dict:
    """Trains for so long, then ends the run as Ctrl-C does. What it came to."""
    fixed = f"--device cpu --threads 1 --save_every 100000000 --save_minutes 0 --seed {seed}"
    words = [*options, *words_of(fixed), "--heldout", args.heldout, "--sample_every", 1000]
    words += ["--expname", folder / "run", *args.options.split()]
    command = [sys.executable, turns.ROOT / "train.py", lmdb, *words]
    shutil.rmtree(folder / "run", ignore_errors=True)
    seconds = 0.0
    with open(folder / "train.txt", "w", encoding="utf-8") as log:
        process = subprocess.Popen(list(map(str, command)), stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                seconds = seconds_of(process.pid)
                if seconds >= 60 * args.minutes:
                    process.send_signal(signal.SIGTERM)
                    process.wait()
                time.sleep(0.2)
        finally:
            process.terminate()
            process.wait()
    if process.returncode != 128 + signal.SIGTERM:
        raise RuntimeError(f"train.py: exit code {process.returncode}, see {log.name}")
    (path,) = (p for p in named_as_ours(folder / "run/checkpoint") if p.name[0].isdigit())
    lines = [json.loads(line) for line in (folder / "run/log.jsonl").read_text().splitlines()]
    gaps = [line["gap"] for line in lines if line.get("gap") is not None][-RECENT:]
    ps = [line["augment_p"] for line in lines if "augment_p" in line][-RECENT:]
    means = {k: statistics.mean(x) if x else None for k, x in (("gap", gaps), ("p", ps))}
    found = {"checkpoint": str(path), "seconds": round(seconds, 1), "options": options}
    return {**found, "images": header_of(path)["images_seen"], **means}


def measured(lmdb: Path, path: str, folder: Path, args) -> dict:
    """What metrics.py says: against held-out pictures, and of those of training by their names."""
    words = ["--data", lmdb, "--heldout", args.heldout, "--num", args.num, "--expname", folder]
    words += ["--neighbours", "--metrics", ",".join(METRICS), *words_of("--device cpu --threads 1")]
    shutil.rmtree(folder / "results", ignore_errors=True)
    said = script("metrics.py", path, *words, log=folder / "metrics.txt")
    found = {"near": float(re.search(r"([\d.]+) of \d+ images are nearer", said)[1])}
    for metric in METRICS:
        (line,) = (folder / f"results/metric-{metric}.jsonl").read_text().splitlines()
        for name, value in json.loads(line)["results"].items():
            found[metric if "_heldout" in name else f"{metric}, seen"] = value
    return found


def trial(name: str, variant: str, seed: int, args):
    """The result, from its file if it was there already; None where another process has it."""
    folder = args.out / name / variant.replace(", ", "-") / str(seed)
    result = folder / "result.json"
    folder.mkdir(parents=True, exist_ok=True)
    busy = RuntimeError("busy")
    try:
        with locked(folder, busy, patience=0.0):
            if not result.exists():
                few, options = sets_of(args)[name], variants_of(name, args)[variant]
                lmdb = prepared(name, few, args)
                done = folder / "trained.json"
                if not done.exists():
                    done.write_text(json.dumps(trained(lmdb, options, seed, folder, args)))
                run = json.loads(done.read_text())
                values = {**run, **measured(lmdb, run["checkpoint"], folder, args)}
                unfinished = folder / "result.json.tmp"
                unfinished.write_text(json.dumps(values, indent=1))
                os.replace(unfinished, result)
            return json.loads(result.read_text())
    except RuntimeError as e:
        if e is not busy:
            raise
        return None


def written(column: str, value) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if column == "images" else f"{value:.3g}"


def table(results: dict) -> str:
    """Medians over seeds, {(set, variant): [results]}, with the range of the first number."""
    rows = [["", "", "seeds", *COLUMNS]]
    for (name, variant), found in results.items():
        values = {}
        for column in COLUMNS:
            numbers = [x[column] for x in found if x.get(column) is not None]
            values[column] = statistics.median(numbers) if numbers else None
        first = results.get((name, "nothing"))
        if first:
            whole = statistics.median(x["fd_vgg16"] for x in first)
            values["of nothing"] = values["fd_vgg16"] / whole
        cells = [written(column, values[column]) for column in COLUMNS]
        distances = sorted(x["fd_vgg16"] for x in found)
        if len(distances) > 1:
            cells[1] += f" ({distances[0]:.3g} to {distances[-1]:.3g})"
        rows.append([name, variant, str(len(found)), *cells])
    rows.insert(1, ["---"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def compare(args) -> None:
    """All trials, and the table."""
    results, names = {}, [name for name in args.sets if name != "emoji" or args.emoji]
    few = {name: x for name, x in sets_of(args).items() if name in names}
    for name in sorted(set(args.sets) - set(names)):
        print(f"{name}: left out, --emoji FOLDER names the pictures")
    for seed in args.seeds:  # of each variant one, before any has two
        for name in names:
            for variant in variants_of(name, args):
                found = trial(name, variant, seed, args)
                if found is None:
                    print(f"{name}, {variant}, seed {seed}: another process is at it", flush=True)
                    continue
                results.setdefault((name, variant), []).append(found)
                text = ", ".join(f"{k} {written(k, found.get(k))}" for k in ("images", *METRICS))
                print(f"{name}, {variant}, seed {seed}: {text}", flush=True)
    order = [(name, variant) for name in names for variant in variants_of(name, args)]
    text = table({key: results[key] for key in order if key in results})
    shares = ", ".join(
        f"{name} {x.pictures / (x.pictures + args.heldout):.2f}" for name, x in few.items()
    )
    about = (
        f"{args.minutes:g} minutes of processor time each, {args.num} images against "
        f"{args.heldout} held-out pictures; medians. near: to a training picture rather than to "
        f"any held-out one, about {shares} where none is a copy."
    )
    (args.out / "table.md").write_text(f"{about}\n\n{text}\n", encoding="utf-8")
    print(f"\n{about}\n\n{text}")


def freezing(args) -> None:
    """Iterations with nothing frozen and with layers that stay, in turn in one process."""
    turns.load_jittor(args)
    import numpy as np

    import train
    from training.run import TrainState
    from training.schedule import Config, phase_at

    frozen = {
        "nothing": {},
        f"--freeze_d {args.freeze_d}": {"freeze_d": args.freeze_d},
        "--freeze_g mapping": {"freeze_g": "mapping"},
        f"--freeze_g mapping,4,8 --freeze_d {args.freeze_d}": {
            "freeze_g": "mapping,4,8",
            "freeze_d": args.freeze_d,
        },
    }
    narrow = {"channel_max": 40, "code_size": 128, "n_mlp": 4, "batch_default": 8}
    runs = {}
    for name, kept in frozen.items():
        config = Config(loss="r1", init_size=64, max_size=64, **narrow, **kept)
        runs[name] = TrainState(config), phase_at(config, 0)
    real = np.random.default_rng(0).standard_normal((8, 3, 64, 64), "float32")
    taken = {name: [] for name in runs}
    for turn in range(args.rounds + 1):  # the first one compiles
        for name, (run, phase) in runs.items():
            start = time.perf_counter()
            for _ in range(args.repeats):
                train.train_iteration(run, phase, real)
            taken[name] += [(time.perf_counter() - start) / args.repeats] * (turn > 0)
    print(f"64 px, 40 channels, batches of 8, medians of {args.rounds} times {args.repeats}\n")
    print("| stays | seconds an iteration | of nothing's, paired |\n|---|---|---|")
    for name, seconds in taken.items():
        ratio = statistics.median(a / b for a, b in zip(seconds, taken["nothing"]))
        print(f"| {name} | {statistics.median(seconds):.3g} | {ratio:.3f} |")


def pair(text: str) -> tuple:
    """Parser type of --network: SET=FILE."""
    name, _, path = text.partition("=")
    if not path or not os.path.isfile(path):
        raise argparse.ArgumentTypeError(f"{text!r} is no SET=FILE of a checkpoint")
    return name, path


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    names, count = "people,emoji,symbols", number(int, 1)
    add = p.add_argument
    add("--out", type=Path, default=Path("few"), help="folder of all trials (default few)")
    add("--sets", default=names, help=f"default {names}")
    add("--variants", default="", help="semicolons between, as the table has them (default all)")
    add("--seeds", default="0,1,2", help="default 0,1,2")
    add("--minutes", type=number(float, 0.0), default=20.0, help="of a run (default 20)")
    text = "pictures more in each set, that no run sees (default 2000)"
    add("--heldout", type=count, default=2000, help=text)
    add("--num", type=number(int, 4), default=2000, help="images measured (default 2000)")
    text = f"what a set is tuned from (default, where it is there: {TUNED_FROM})"
    add("--network", type=pair, action="append", default=[], metavar="SET=FILE", help=text)
    add("--emoji", metavar="FOLDER", help="pictures of emoji (checkpoint/README.md says which)")
    add("--people_style", default="lorelei", help="of the people (default lorelei)")
    text = "images that each size fades in, from nothing to 64 px (default 6000)"
    add("--phase", type=count, default=6000, help=text)
    text = "iterations, where the network is a generator alone (default 500)"
    add("--new_discriminator", type=count, default=500, metavar="K", help=text)
    add("--freeze_d", default="64,32", help="sizes (default 64,32)")
    text = "of train.py, with --augment (default 500000)"
    add("--augment_images", type=count, default=500_000, help=text)
    add("--options", default="", help="more words for train.py, to all runs")
    add("--freezing", action="store_true", help="time frozen layers instead")
    add("--rounds", type=count, default=10, help="of --freezing (default 10)")
    add("--repeats", type=count, default=10, help="iterations a round (default 10)")
    turns.add_device(p)
    args = p.parse_args()
    if args.freezing:
        freezing(args)
        return
    args.sets, args.seeds = args.sets.split(","), list(map(int, args.seeds.split(",")))
    args.variants = [x.strip() for x in args.variants.split(";") if x.strip()]
    ours = {name: turns.ROOT / "checkpoint" / file for name, file in TUNED_FROM.items()}
    there = {name: str(path) for name, path in ours.items() if path.exists()}
    args.network = {**there, **dict(args.network)}
    if set(args.sets) - set(names.split(",")):
        p.error(f"--sets: of {names}")
    args.out.mkdir(parents=True, exist_ok=True)
    compare(args)


if __name__ == "__main__":
    main()
