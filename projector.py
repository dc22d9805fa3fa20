"""Finds the latent and the noise that a generator makes a given picture from.

    python projector.py checkpoint/train_step-6.model me.jpg you.png
    python projector.py checkpoint/train_step-6.model me.jpg --w_plus --compare --animation webp
    python generate.py checkpoint/train_step-6.model --latents results/me.npz results/you.npz

Writes into results/, for each picture, NAME-project.png, the image found, and NAME.npz, its w and
noise maps, which generate.py shows with --latents. Pictures are made square and small as by
prepare_data.py. Images are compared by LPIPS (pip install --no-deps -r requirements-metrics.txt)
and, with --mse, pixel by pixel. The same command writes the same bytes on a CPU.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)
import argparse

import numpy as np
from tqdm import tqdm

from backend import terminal
from figures.network import open_network
from figures.projection import read_target
from figures.search import (
    check_usage,
    lpips_weights,
    output_names,
    projector_parser,
    save_projection,
    search,
    with_paths,
)
from figures.settling import results_folder, with_network
from training.beginning import check_alone, check_folder


def projector(args) -> None:
    """Projects what the command line names."""
    check_alone("projector.py")
    options = with_paths(args)
    check_usage(options)
    check_folder(results_folder(options))
    weights = lpips_weights(options)
    network = open_network(options)
    from quality.lpips import load_lpips  # imports Jittor, for the device chosen above

    lpips, options = load_lpips(weights), with_network(options, network)
    targets = np.stack([read_target(path, options.size) for path in options.paths])
    names = output_names(options.paths)
    with tqdm(total=len(names) * options.step, unit="img", disable=None) as bar:
        for first in range(0, len(names), options.batch):
            batch = targets[first : first + options.batch]
            projection, film = search(options, network, batch, lpips, bar)
            for i in range(len(batch)):
                path, name = options.paths[first + i], names[first + i]
                bar.write(save_projection(options, path, name, i, batch, projection, film))


def parser() -> argparse.ArgumentParser:
    return projector_parser(__doc__)


def main(argv=None) -> int:
    return terminal.run("projector.py", projector, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
