"""A generator asked in arrays: its mapping and its synthesis, without derivatives, some images at a
time.
"""

import numpy as np

from backend import device


def map_latents(generator, z, label=None):
    """The mapping, z (n, code_dim) float32, label (n, labels), if any -> w (n, code_dim)."""
    jt = device.load()
    with jt.no_grad():
        known = [] if label is None or not label.shape[1] else [jt.array(label)]
        return generator.mapping(jt.array(z), *known).numpy()


def render(generator, w, noise, step: int, alpha=None, batch: int = 16):
    """The synthesis, `batch` images at a time to bound the memory.

    w (n, code_dim), or (n, step + 1, code_dim) with a style for each level; noise: step + 1 arrays
    (n, 1 or 2, 4 * 2^i, 4 * 2^i) -> images (n, 3, size, size)
    """
    jt, images = device.load(), []
    for i in range(0, len(w), batch):
        rows = slice(i, i + batch)
        styles = w[rows] if w.ndim == 3 else np.repeat(w[rows, None], step + 1, axis=1)
        with jt.no_grad():
            levels = [jt.array(styles[:, level]) for level in range(step + 1)]
            maps = [jt.array(x[rows]) for x in noise]
            images.append(generator.synthesis(levels, maps, step, alpha).numpy())
    return np.concatenate(images)
