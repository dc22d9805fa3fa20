"""Whether this project works on this GPU, and how fast: one command, about ten minutes.

    python benchmarks/gpu_check.py
    python benchmarks/gpu_check.py --torch FOLDER --python TORCH_PYTHON    # beside the original
    python benchmarks/gpu_check.py --device cpu --quick                    # whether the check works

Needs what requirements.txt and requirements-test.txt install. Builds Jittor, compares networks,
penalties and second derivatives with the numbers recorded from the original, trains at each size,
goes on from a checkpoint, and times training and figures at the schedule's batches; with --torch
(see train_step.py) beside the original. Every part is a process of its own. Prints a report in
Markdown and writes it to results/gpu_check.md; exit code 1 when a bar is missed.
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import turns
import yardsticks

BENCHMARKS = Path(__file__).resolve().parent
VALUES, DERIVATIVES = 1e-4, 1e-2  # bars in strict float32, relative
RATIO = 0.8  # bar on time and memory, ours / original's


class Report:
    """Lines of Markdown, and whether all bars were met."""

    def __init__(self):
        self.lines, self.missed = [], []

    def say(self, line: str = "") -> None:
        self.lines.append(line)
        print(line, flush=True)

    def check(self, met: bool, line: str) -> None:
        self.say(f"- {line}{'' if met else ' **(bar missed)**'}")
        if not met:
            self.missed.append(line)


def parity(args) -> dict:
    """Largest relative errors against the recording, by what was compared."""
    turns.load_jittor(args)
    sys.path.insert(0, str(turns.ROOT / "tests"))
    import numpy as np
    import test_parity as recorded

    from fast import accelerate
    from model import Discriminator, StyledGenerator

    jt = recorded.jt
    steps = (0, 1) if args.quick else recorded.STEPS
    generator = accelerate(recorded.fill(StyledGenerator(), "G."))
    discriminator = accelerate(recorded.fill(Discriminator(), "D."))
    errors = {"images": [], "scores": [], "penalties": [], "second derivatives": []}
    for step in steps:
        z = jt.array(recorded.named("z", (2, 512)))
        noise = recorded.noise(f"gen{step}", step, 2, generator)
        mean = jt.array(recorded.FORWARD["mean_style"].astype("float32"))
        truncated = {"mean_style": mean, "style_weight": 0.7}
        for key in recorded.FORWARD.files:
            if not key.startswith(f"gen/step{step}/") or "|" in key or "/mix" in key:
                continue
            case = key.split("/")[2]
            options = {"alpha": float(case[5:])} if case.startswith("alpha") else truncated
            with jt.no_grad():
                image = generator(z, noise=noise, step=step, **{"alpha": 1, **options}).numpy()
            errors["images"].append(relative(image, recorded.FORWARD[key]))
        for key in recorded.FORWARD.files:
            if key.startswith(f"dis/activate1/step{step}/") and "|" not in key:
                images = jt.array(recorded.images(f"dis{step}", 4, step))
                with jt.no_grad():
                    score = discriminator(images, step, float(key.split("/")[3][5:])).numpy()
                errors["scores"].append(relative(score, recorded.FORWARD[key]))
        for kind in ("r1", "gp"):
            penalty, gradients = recorded.penalty_and_gradients(discriminator, kind, step)
            stem = f"{kind}/step{step}"
            value = recorded.FORWARD[f"{stem}/penalty"]
            errors["penalties"].append(abs(penalty - value) / abs(value))
            probes = {k: recorded.FORWARD[f"{stem}/d_grad/D.{k}"] for k in gradients}
            largest = max(norm for norm, _ in probes.values())
            for key, gradient in gradients.items():
                difference = np.abs(recorded.probe("D.", key, gradient) - probes[key]).max()
                error = difference / max(probes[key][0], 0.1 * largest)
                errors["second derivatives"].append(float(error))
    return {name: max(map(float, values)) for name, values in errors.items()}


def relative(ours, theirs) -> float:
    """Largest difference over the largest value."""
    return float(abs(ours - theirs).max() / abs(theirs).max())


def load(args) -> dict:
    """What Jittor was loaded for, or why it was not."""
    turns.use_folder(turns.ROOT)
    from backend import device

    said = []
    try:
        device.load(args.device, said.append, args.precision)
    except device.DeviceError as e:
        return {"error": str(e)}
    return {"error": "", "chosen": said[-1]}


def run(*command) -> str:
    """The output of one of our scripts; it has to succeed."""
    done = subprocess.run(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=turns.ROOT,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout[-3000:]}")
    return done.stdout


def check_build(report: Report, args) -> None:
    report.say("## Machine\n")
    report.lines += run("-m", "backend.device").splitlines()
    print(*report.lines[1:], sep="\n")
    start = time.perf_counter()
    words = ["--device", args.device, "--precision", args.precision, "--measure", "load"]
    said = turns.measured(sys.executable, __file__, *words)
    if said["error"]:
        sys.exit(f"gpu_check.py: {said['error']}")
    report.say(f"\nchosen: {said['chosen']}; loaded after {time.perf_counter() - start:.0f} s\n")


def check_parity(report: Report, args) -> None:
    report.say("## Against the recorded numbers\n")
    for precision in precisions(args):
        words = ["--device", args.device, "--precision", precision, *["--quick"] * args.quick]
        errors = turns.measured(sys.executable, __file__, "--measure", "parity", *words)
        for name, error in errors.items():
            bar = VALUES if name in ("images", "scores") else DERIVATIVES
            line = f"{precision}: {name} {error:.1e}"
            strict = precision == "float32"
            report.check(error <= bar or not strict, line + (f" (bar {bar:.0e})" * strict))
    report.say()


def check_training(report: Report, args) -> None:
    """Each size on noise, then on from the last checkpoint."""
    import numpy as np
    from PIL import Image

    report.say("## Training\n")
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "pictures").mkdir()
        rng = np.random.RandomState(0)
        for i in range(300):
            coarse = Image.fromarray(rng.randint(0, 256, (8, 8, 3), dtype="uint8"))
            coarse.resize((128, 128), Image.BICUBIC).save(folder / "pictures" / f"{i}.png")
        run(turns.ROOT / "prepare_data.py", folder / "pictures", "--out", folder / "lmdb")
        train = [turns.ROOT / "train.py", folder / "lmdb", "--device", args.device]
        train += ["--precision", args.precision]
        for size in args.sizes:
            name = folder / f"run{size}"
            options = ["--loss", "r1", "--mixing", "--init_size", size, "--max_size", size]
            options += ["--batch_default", 2] if args.quick else ["--sched"]
            start = time.perf_counter()
            run(*train, "--expname", name, *options, "--max_iters", args.iterations)
            lines = losses(name)
            finite = len(lines) > 0 and all(math.isfinite(x) for line in lines for x in line[1:])
            report.check(
                finite and lines[-1][0] == args.iterations,
                f"{size} px: {lines[-1][0]} iterations in {time.perf_counter() - start:.0f} s, "
                f"losses finite; at the end G {lines[-1][1]:.3f}, penalty {lines[-1][2]:.3f}",
            )
        last = args.iterations + 10
        said = run(*train, "--expname", name, "--ckpt", "latest", "--max_iters", last)
        report.check(
            f"iteration {args.iterations}" in said and losses(name)[-1][0] == last,
            f"goes on from iteration {args.iterations} to {last}",
        )
    report.say()


def losses(folder: Path) -> list:
    """(iteration, generator's loss, penalty) of each line of a run's log."""
    lines = map(json.loads, (folder / "log.jsonl").read_text().splitlines())
    return [(x["iteration"], x["g"], x["penalty"]) for x in lines if "iteration" in x]


def check_speed(report: Report, args) -> None:
    """Iterations at the schedule's batches, ours and the original's in turn."""
    sys.path.insert(0, str(turns.ROOT))
    from training.schedule import BATCHES

    names = turns.contenders(args)
    report.say("## An iteration (r1, mixing, fading)\n")
    report.say("| size | batch | precision | | s | images/s | GB | first s |")
    report.say("|---|---|---|---|---|---|---|---|")
    for size in args.sizes:
        batch = 2 if args.quick else BATCHES[size]
        for precision in precisions(args):
            found = {}
            for name, python in names.items():
                words = ["--sizes", size, "--batch", batch, "--repeats", 1 if args.quick else 10]
                words += ["--device", args.device, "--precision", precision]
                words += ["--torch", args.torch] if args.torch else []
                script = BENCHMARKS / "train_step.py"
                result = turns.measured(python, script, "--measure", name, *words)[str(size)]
                seconds = statistics.median(result["seconds"])
                found[name] = (seconds, result["peak"])
                report.say(
                    f"| {size} px | {batch} | {precision} | {name} | {seconds:.3g} "
                    f"| {batch / seconds:.3g} | {result['peak']:.2f} | {result['first']:.1f} |"
                )
            if args.torch:
                ratios = [a / b for a, b in zip(*found.values())]
                marks = [f"{r:.2f}{'' if r <= RATIO else ' **(bar missed)**'}" for r in ratios]
                report.say(f"| | | | ratio | {marks[0]} | | {marks[1]} | |")
                report.missed += [f"{size} px, {precision}: {r:.2f}" for r in ratios if r > RATIO]
    report.say("\nPublished by others, images/s of training at full width:\n")
    for line in yardsticks.published_table():
        report.say(line)
    report.say("\n## Figures\n")
    sizes = ",".join(map(str, args.sizes))
    words = ["--measure", "ours", "--sizes", sizes, "--repeats", 1 if args.quick else 5]
    words += ["--device", args.device, "--precision", args.precision]
    found = turns.measured(sys.executable, BENCHMARKS / "generate.py", *words)
    for size, seconds in found.items():
        report.say(f"- {size} px: {16 / statistics.median(seconds):.1f} images/s, batches of 16")


def precisions(args) -> list:
    """Strict float32, and TF32 where CUDA is asked for."""
    return ["float32", "tf32"] if args.device == "cuda" else ["float32"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    turns.add_options(parser)
    turns.add_device(parser)
    parser.set_defaults(device="cuda")
    parser.add_argument("--sizes", default="8,16,32,64,128", help="in pixels (default 8 to 128)")
    parser.add_argument(
        "--iterations", type=int, default=200, help="at each size, tens (default 200)"
    )
    parser.add_argument("--quick", action="store_true", help="8 and 16 px, ten iterations of two")
    parser.add_argument("--measure", choices=["load", "parity"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        print(json.dumps(load(args) if args.measure == "load" else parity(args)))
        return
    if args.iterations < 10 or args.iterations % 10:
        parser.error(f"--iterations {args.iterations}: train.py logs every tenth, give tens")
    if args.quick:
        args.sizes, args.iterations = "8,16", 10
    args.sizes = [int(size) for size in args.sizes.split(",")]
    report, start = Report(), time.perf_counter()
    for part in (check_build, check_parity, check_training, check_speed):
        part(report, args)
    report.say(f"\n{time.perf_counter() - start:.0f} s in all; bars missed: {len(report.missed)}")
    path = turns.ROOT / "results" / "gpu_check.md"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(report.lines) + "\n", encoding="utf-8")
    sys.exit(1 if report.missed else 0)


if __name__ == "__main__":
    main()
