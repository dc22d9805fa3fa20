"""Whether a generator's own images are found again, and why w may not be.

    python benchmarks/projection.py checkpoint/mnist-32.model --steps 300

Images of known latents and noise are searched for from the mean w on, by their pixels. Printed for
each: PSNR at the start and at the end, and how far from its w the search ended, the start being 1.
Then, at the first w: the largest and the smallest singular value of the image's derivative, and how
far the w that best explains other noise is from it, on the same scale.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import device  # noqa: E402
from backend.terminal import number  # noqa: E402
from data.sizes import SIZES  # noqa: E402
from figures.network import load_network  # noqa: E402
from figures.projection import Settings, project, psnr, style_statistics  # noqa: E402
from figures.rendering import map_latents, render  # noqa: E402

DIFFERENCE = 1e-3  # of w, for the derivative


def draw_noise(rng, n: int, step: int):
    return [rng.standard_normal((n, 1, size, size), "float32") for size in SIZES[: step + 1]]


def derivative(generator, w, noise, step, alpha):
    """Of the image in w (1, code_dim), by differences: (numbers of the image, code_dim)"""
    moves = DIFFERENCE * np.eye(w.shape[1], dtype="float32")
    codes = np.concatenate([w + moves, w - moves])
    maps = [np.repeat(x, len(codes), axis=0) for x in noise]
    images = render(generator, codes, maps, step, alpha).reshape(2, w.shape[1], -1)
    return ((images[0] - images[1]) / (2 * DIFFERENCE)).T


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint (.model) of train.py")
    count = number(int, 1)
    p.add_argument("--images", type=count, default=6, help="how many (default 6)")
    p.add_argument("--steps", type=count, default=300, help="iterations (default 300)")
    args = p.parse_args()
    device.load("auto", say=print)
    network = load_network(args.ckpt)
    generator, step, alpha = network.generator, network.step, network.alpha
    rng = np.random.default_rng(5)
    w = map_latents(generator, rng.standard_normal((args.images, generator.code_dim), "float32"))
    noise = draw_noise(rng, args.images, step)
    images, (mean, _) = render(generator, w, noise, step, alpha), style_statistics(generator)
    found = project(generator, images, Settings(steps=args.steps, mse=1.0), step, alpha)

    start = np.linalg.norm(mean - w, axis=1)
    print("PSNR, start:", *psnr(found.start, images).round(1))
    print("PSNR, end:  ", *psnr(found.images, images).round(1))
    print("w left:     ", *(np.linalg.norm(found.w - w, axis=1) / start).round(3))
    first = [x[:1] for x in noise]
    slopes = derivative(generator, w[:1], first, step, alpha)
    values = np.linalg.svd(slopes, compute_uv=False)
    print(f"singular values: {values[0]:.3g} to {values[-1]:.3g}")
    other = render(generator, w[:1], draw_noise(rng, 1, step), step, alpha)
    moved = np.linalg.lstsq(slopes, (other - images[:1]).reshape(-1), rcond=1e-6)[0]
    print(f"w moved by other noise: {np.linalg.norm(moved) / start[0]:.3f}")


if __name__ == "__main__":
    main()
