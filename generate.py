"""Makes the paper's figures from a checkpoint.

    python generate.py checkpoint/train_step-6.model
    python generate.py checkpoint/train_step-6.model --only sample,truncation --seeds 3,7,20-29
    python generate.py checkpoint/train_step-6.model --images 1000 --out pictures
    python generate.py checkpoint/010000.model --label 7     # of a network that knows labels
    python generate.py checkpoint/train_step-6.model --latents results/me.npz results/you.npz

Writes sample.png, interpolation.png, mixing_{k}.png, noise.png, noise_levels.png, truncation.png
and an animation into results/, and labels.png of a network that knows labels. A seed stands for a
latent and the noise that goes with it; latents may come from files instead. The same command writes
the same bytes on a CPU; each PNG notes seeds, psi and the checkpoint's checksum.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)

from backend import terminal
from backend.bar import Bar
from backend.begun import check_alone
from backend.terminal import Parser
from figures.changes import change
from figures.options import check_usage, figure_parser
from figures.settling import open_artist, results_folder, settle
from figures.writing import (
    check_folders,
    check_places,
    save_latents,
    write_animation,
    write_figure,
    write_images,
)


def generate(args) -> None:
    """Writes what the command line asks for."""
    check_alone("generate.py")
    check_usage(args)
    folder = results_folder(args)
    check_folders(args, folder)
    artist, options = open_artist(args)
    change(options, artist, folder / "directions")
    options = settle(options, artist)
    check_places(artist, options, folder)
    with Bar(unit="img") as artist.bar:
        if options.save_latents:
            save_latents(artist, options)
        if options.images:
            write_images(artist, options)
            artist.bar.write(options.out)
            return
        for name in options.only:
            artist.bar.set_description(name)
            if name == "animation":
                write_animation(artist, options, folder)
            else:
                write_figure(artist, options, name, folder)


def parser() -> Parser:
    return figure_parser(__doc__)


def main(argv=None) -> int:
    return terminal.run("generate.py", generate, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
