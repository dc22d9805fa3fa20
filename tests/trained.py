"""Networks with random weights whose images look like a trained one's."""

import numpy as np

from data.sizes import SIZES
from figures.artist import many_styles
from figures.rendering import render
from operators.convolution import jt


def spread_out(generator, step=3):
    """Noise that shows, and images about [-1, 1], as a trained network has them."""
    rng = np.random.default_rng(0)
    for name, p in generator.named_parameters():
        if ".noise" in name:
            p.update(jt.full(p.shape, 0.1))
    noise = [rng.standard_normal((16, 1, size, size), "float32") for size in SIZES[: step + 1]]
    deviation = render(generator, many_styles(generator)[:16], noise, step).std()
    for name, p in generator.named_parameters():
        if ".to_rgb" in name or name.startswith("generator.to_rgb"):
            p.update(p * (0.4 / float(deviation)))
    jt.sync_all()
