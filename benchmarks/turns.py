"""Contenders that measure in turn, each in a process of its own: what our benchmarks share."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def add_options(parser) -> None:
    parser.add_argument("--torch", metavar="FOLDER", help="checkout of the PyTorch original")
    parser.add_argument("--python", default=sys.executable, help="interpreter with PyTorch")


def add_device(parser) -> None:
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="default cpu")
    parser.add_argument("--precision", choices=["float32", "tf32"], default="float32")


def contenders(args) -> dict:
    """Interpreters of those that take part, by name: "ours" and perhaps "original"."""
    return {"ours": sys.executable, **({"original": args.python} if args.torch else {})}


def measured(python: str, script, *arguments):
    """What the script, in a process of its own, prints as its last line of JSON."""
    command = [python, str(script), *map(str, arguments)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def load_jittor(args):
    """Our modules can be imported afterwards."""
    use_folder(ROOT)
    from backend import device

    return device.load(args.device, precision=args.precision)


def load_torch(args):
    """The original's model.py can be imported afterwards."""
    use_folder(args.torch)
    import torch

    torch.backends.cuda.matmul.allow_tf32 = args.precision == "tf32"
    torch.backends.cudnn.allow_tf32 = args.precision == "tf32"
    return torch


def use_folder(folder) -> None:
    """Modules are found there first: model.py is ours or the original's."""
    sys.path.insert(0, str(folder))
