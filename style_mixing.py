"""The paper's figure 3: images that take their coarse, middle or fine styles from another.

    python style_mixing.py checkpoint/train_step-6.model
    python style_mixing.py -e faces faces/checkpoint/train_step-6.model --rows 3 --cols 5

Sources B are above, sources A on the left; each image has A's styles but for one band of levels,
which it has from B: coarse (4 and 8 px) in the first rows, middle (16 and 32 px) in the next, fine
(64 px and more) in the last, as far as the images have them. Written to results/style_mixing.png,
or with -e to NAME/style_mixing/style_mixing.png.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))  # PYTHONSAFEPATH leaves it out
import backend.supported  # noqa: F401  # isort:skip (says so where this Python is too old)


from backend import terminal
from backend.bar import Bar
from backend.begun import check_alone
from backend.terminal import Parser, number
from figures.figures import LEVELS, header, mixing_rows, seeds_of, styles_and_noise
from figures.grid import check_place, check_size, save_png, stack
from figures.options import add_image_options
from figures.settling import open_artist
from figures.writing import is_figure, notes


def figure(artist, options):
    """Rows of images: B's, then for each band `rows` of A mixed with every B."""
    bands = [levels for levels in LEVELS.values() if levels[0] <= artist.step]
    rows = [options.cols + i * options.rows for i in range(len(bands))]
    seeds = seeds_of(options, options.cols + len(bands) * options.rows)
    source, *targets = styles_and_noise(artist, seeds, *rows)
    yield header(artist, source)
    for levels, target in zip(bands, targets):
        yield from mixing_rows(artist, target, source, levels)


def style_mixing(args) -> None:
    """Writes the figure."""
    folder = Path(args.expname) / "style_mixing" if args.expname else Path("results")
    path = folder / "style_mixing.png"
    check_alone("style_mixing.py")
    check_place(path, is_figure, "--expname")
    artist, options = open_artist(args)
    bands = sum(first <= artist.step for first, _ in LEVELS.values())
    tiles = 1 + bands * args.rows, 1 + args.cols
    check_size(*tiles, args.crop or (options.size, options.size), "--rows or --cols")
    with Bar(unit="img") as artist.bar:
        pixels = stack(figure(artist, options))
        text = notes(artist, options, "style_mixing", options.seeds or [options.seed])
        save_png(pixels, path, {**text, **artist.asked.notes("style_mixing")})
        artist.bar.write(str(path))


def parser() -> Parser:
    p = Parser(__doc__)
    add_image_options(p)
    text = "write into NAME/style_mixing instead of results"
    p.add_argument("-e", "--expname", metavar="NAME", help=text)
    count = number(int, 1, 10_000)
    p.add_argument("--rows", type=count, default=2, help="rows of each band (default 2)")
    p.add_argument("--cols", type=count, default=6, help="sources above (default 6)")
    return p


def main(argv=None) -> int:
    return terminal.run("style_mixing.py", style_mixing, parser, argv)


if __name__ == "__main__":
    terminal.leave(main())
