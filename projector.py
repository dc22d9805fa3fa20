"""Finds the latent and the noise that a generator makes a given picture from.

    python projector.py checkpoint/train_step-6.model me.jpg you.png family/
    python projector.py checkpoint/train_step-6.model me.jpg --w_plus --compare --animation webp
    python generate.py checkpoint/train_step-6.model --latents results/me.npz results/you.npz

Writes into results/, for each picture, NAME-project.png, the image found, and NAME.npz, its w and
noise maps, which generate.py shows with --latents. Pictures are made square and small as by
prepare_data.py. Images are compared by LPIPS (pip install --no-deps -r requirements-metrics.txt)
and, with --mse, pixel by pixel. The same command writes the same bytes on a CPU. On Ctrl-C what was
found until then is written, but where an earlier result lies.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

import numpy as np

from backend import signals, terminal
from backend.bar import Bar
from backend.begun import check_alone
from backend.disk import check_folder
from backend.terminal import Parser
from figures.network import open_network
from figures.projection import read_target
from figures.search import (
    check_places,
    check_usage,
    lpips_weights,
    output_names,
    projector_parser,
    save_projection,
    search,
    with_paths,
)
from figures.settling import results_folder, with_network


def project_batch(options, network, batch, lpips, bar, caught) -> bool:
    """Searches for a batch of (path, name of what is written) and writes what is found. False where
    a signal has ended it: what was found until then is written where nothing lies yet.
    """
    targets = np.stack([read_target(path, options.size) for path, _ in batch])
    projection, film = search(
        options, network, targets, lpips, bar, lambda _: signals.heard(caught)
    )
    finished = projection.iterations == options.step
    for i, (path, name) in enumerate(batch):
        found = targets, projection, film
        bar.write(save_projection(options, path, name, i, *found, stopped=not finished))
    if not finished:
        bar.write(f"stopped after {projection.iterations} of {options.step} iterations")
    return finished


def projector(args) -> int:
    """Projects what the command line names. Returns the exit code."""
    check_alone("projector.py")
    options = with_paths(args)
    check_usage(options)
    check_folder(results_folder(options))
    names = output_names(options.paths, results_folder(options))
    check_places(options, names)
    weights = lpips_weights(options)
    network = open_network(options)
    from quality.lpips import load_lpips  # imports Jittor, for the device chosen above

    lpips, options = load_lpips(weights), with_network(options, network)
    for path in options.paths:  # what is wrong with one shows before the first is searched for
        read_target(path, options.size)
    with Bar(total=len(names) * options.step, unit="img") as bar, signals.noted() as caught:
        for first in range(0, len(names), options.batch):
            batch = list(zip(options.paths, names))[first : first + options.batch]
            with signals.held_back():
                finished = project_batch(options, network, batch, lpips, bar, caught)
            if caught or not finished:
                return 128 + caught[0]
    return 0


def parser() -> Parser:
    return projector_parser(__doc__)


def main(argv=None) -> int:
    return terminal.run("projector.py", projector, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
