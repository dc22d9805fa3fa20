"""Makes the paper's figures from a checkpoint of train.py.

    python generate.py checkpoint/train_step-6.model
    python generate.py checkpoint/train_step-6.model --seed 7 --n_row 4 --n_col 8

Writes sample.png, interpolation.png, mixing.png and noise.png into results/.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import device
from grid import save_grid
from schedule import image_size, number, step_of
from store import SIZES, DataError, joined

MEAN_STYLE_LATENTS = 10 * 1024


class Artist:
    """A trained generator, asked in arrays: truncated styles in, images out.

    Every random number follows from (seed, stream, index), so that a figure can be made again.
    """

    def __init__(self, generator, step: int, alpha: float, psi: float, seed: int):
        self.generator, self.step, self.alpha = generator, step, alpha
        self.psi, self.seed = psi, seed
        latents = self.latents("mean", MEAN_STYLE_LATENTS)
        self.mean_style = generator.map_latents(latents).mean(axis=0, keepdims=True)

    def rng(self, stream: str, index: int = 0):
        return np.random.default_rng([self.seed, index, *stream.encode()])

    def latents(self, stream: str, n: int):
        """z (n, code_dim)"""
        shape = (n, self.generator.code_dim)
        return self.rng(stream).standard_normal(shape, dtype="float32")

    def styles(self, z):
        """Truncated w = mean + psi (w - mean) of latents (n, code_dim) (section B)."""
        return self.mean_style + self.psi * (self.generator.map_latents(z) - self.mean_style)

    def noise(self, n: int, index: int = 0):
        """One set of noise maps, the same for n images: step + 1 arrays (n, 1, size, size)."""
        rng = self.rng("noise", index)
        maps = [rng.standard_normal((1, 1, s, s), dtype="float32") for s in SIZES[: self.step + 1]]
        return [np.broadcast_to(m, (n, *m.shape[1:])) for m in maps]

    def draw(self, w, noise=None):
        """Styles (n, code_dim) or (n, step + 1, code_dim) -> images (n, 3, size, size)"""
        noise = self.noise(len(w)) if noise is None else noise
        return self.generator.render(w, noise, self.step, self.alpha)


def sample(artist, n_row: int, n_col: int):
    """n_row x n_col images, each of its own latent -> (n, 3, size, size), columns."""
    return artist.draw(artist.styles(artist.latents("sample", n_row * n_col))), n_col


def interpolation(artist, n_row: int, n_col: int):
    """Four latents in the corners and the bilinear blends of them (in z) between."""
    corners = artist.latents("interpolation", 4).reshape(2, 2, -1)
    down, across = np.linspace(0, 1, n_row), np.linspace(0, 1, n_col)
    weights_down = np.stack([1 - down, down], axis=1)  # (n_row, 2)
    weights_across = np.stack([1 - across, across], axis=1)  # (n_col, 2)
    z = np.einsum("ri,cj,ijd->rcd", weights_down, weights_across, corners)
    z = z.reshape(n_row * n_col, -1).astype("float32")
    return artist.draw(artist.styles(z)), n_col


def mixing(artist, n_row: int, n_col: int, levels=None):
    """Styles mixed: sources above, targets on the left (the original's layout of figure 3).

    Each image takes the source's style on `levels` (first, last) and the target's on the others;
    the coarse ones, 4 and 8 px, unless given (at 8 px only 4, else nothing would be mixed).
    """
    first, last = levels or (0, 1 if artist.step > 1 else 0)
    source = artist.styles(artist.latents("source", n_col))
    target = artist.styles(artist.latents("target", n_row))
    mixed = np.repeat(target[:, None, None], artist.step + 1, axis=2)
    mixed = np.repeat(mixed, n_col, axis=1)  # (n_row, n_col, levels, code_dim)
    mixed[:, :, first : last + 1] = source[None, :, None]
    above, left = artist.draw(source), artist.draw(target)
    cells = artist.draw(mixed.reshape(n_row * n_col, artist.step + 1, -1))
    rows = [np.full_like(above[:1], -1), above]
    for i in range(n_row):
        rows += [left[i : i + 1], cells[i * n_col : (i + 1) * n_col]]
    return np.concatenate(rows), n_col + 1


def noise(artist, n_row: int, n_col: int):
    """Rows of one latent each, under different noise in every column (figure 4)."""
    w = artist.styles(artist.latents("sample", n_row))
    columns = [artist.draw(w, artist.noise(n_row, index)) for index in range(n_col)]
    images = np.stack(columns, axis=1)  # (n_row, n_col, 3, size, size)
    return images.reshape(-1, *images.shape[2:]), n_col


FIGURES = (sample, interpolation, mixing, noise)


def new_artist(args):
    """Loads Jittor and the checkpoint. A size below the checkpoint's is fully grown: alpha 1."""
    if not Path(args.ckpt).is_file():  # a mistake shows before Jittor loads
        raise DataError(f"{args.ckpt}: no such file")
    device.load(args.device, say=print)
    from state import load_generator

    generator, config, size, alpha = load_generator(args.ckpt)
    if size is None:  # another program's checkpoint
        if args.size is None:
            raise DataError(f"{args.ckpt} does not tell its size in pixels: give it with --size")
        return Artist(generator, step_of(args.size), 1.0, args.psi, args.seed)
    if args.size is not None and args.size != size:
        made = [s for s in SIZES if config.init_size <= s <= size]
        if args.size not in made:
            raise DataError(f"{args.ckpt} has not learned {args.size} px: --size {joined(made)}")
        size, alpha = args.size, 1.0
    return Artist(generator, step_of(size), alpha, args.psi, args.seed)


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint (.model) of train.py")
    count = number(int, 1)
    text = "pixels (default: what the checkpoint was training)"
    p.add_argument("--size", type=image_size, help=text)
    p.add_argument("--n_row", type=count, default=5, help="rows of every grid (default 5)")
    p.add_argument("--n_col", type=count, default=10, help="columns of every grid (default 10)")
    text = "truncation, 1 for none, -5 to 5 (default 0.7)"
    p.add_argument("--psi", type=number(float, -5.0, 5.0), default=0.7, help=text)
    text = "same seed, same figures, from 0 (default 0)"
    p.add_argument("--seed", type=number(int, 0), default=0, help=text)
    p.add_argument("--expname", metavar="NAME", help="write into NAME/results instead of results")
    device.add_option(p)
    return p


def main(argv=None) -> int:
    args = parser().parse_args(argv)
    folder = Path(args.expname or ".") / "results"
    try:
        artist = new_artist(args)
        for figure in FIGURES:
            path = folder / f"{figure.__name__}.png"
            images, n_col = figure(artist, args.n_row, args.n_col)
            save_grid(images, path, n_col)
            print(path)
    except device.DeviceError as e:
        print(f"generate.py: {e}", file=sys.stderr)
        return 2
    except (DataError, OSError) as e:
        print(f"generate.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
