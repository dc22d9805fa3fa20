"""The Inception network of the FID (Heusel et al. 2017, arXiv 1706.08500): TensorFlow's of
2015-12-05, as pytorch-fid has it. Differentiable to any order in the images.

What is its own, against the Inception v3 of other places: average pooling counts only what is
inside, the last block pools by maximum, bilinear resizing puts pixels' centres, not corners, onto
each other.
"""

import numpy as np

from backend import device
from operators import activations, convolution, products, resampling
from quality.lpips import constant, variable

jt = device.load()

SIZE = 299
UNPADDED = ("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_4a_3x3")
HALVING = (
    "Conv2d_1a_3x3 Mixed_6a.branch3x3 Mixed_6a.branch3x3dbl_3 "
    "Mixed_7a.branch3x3_2 Mixed_7a.branch7x7x3_4"
).split()  # stride 2, unpadded


def bilinear(n_in: int, n_out: int):
    """Matrix (n_out, n_in) that resizes a line of pixels, their centres at (i + 1/2) / n."""
    place = np.maximum((np.arange(n_out) + 0.5) * (n_in / n_out) - 0.5, 0)
    below = np.minimum(place.astype(int), n_in - 1)
    fraction = place - below
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix, (np.arange(n_out), below), 1 - fraction)
    np.add.at(matrix, (np.arange(n_out), np.minimum(below + 1, n_in - 1)), fraction)
    return matrix


def resize(x, size: int):
    """Bilinear, without smoothing first: (n, c, h, w) -> (n, c, size, size)."""
    n, c, h, w = x.shape
    x = products.linear(x.reshape(-1, w), constant(bilinear(w, size)))  # (n c h, size)
    x = x.reshape(n, c, h, size).transpose(0, 1, 3, 2).reshape(-1, h)
    x = products.linear(x, constant(bilinear(h, size)))  # (n c size, size)
    return x.reshape(n, c, size, size).transpose(0, 1, 3, 2)


class Inception:
    """weights: name -> (kernel, bias), as formats.inception.read_inception gives them."""

    def __init__(self, weights: dict):
        self.layers = {name: (constant(k), constant(b, len(b))) for name, (k, b) in weights.items()}

    def pooled(self, images):
        """images (n, 3, h, w) in [-1, 1], array or Var -> the last average pooling (n, 2048)."""
        return self.places(images).mean(dims=(2, 3))

    def places(self, images):
        """What is averaged: images as above -> (n, 2048, 8, 8)."""
        x = resize(variable(images), SIZE)
        x = self.chain(x, "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3")
        x = resampling.max_pool2d(x, 3, 2)
        x = resampling.max_pool2d(self.chain(x, "Conv2d_3b_1x1", "Conv2d_4a_3x3"), 3, 2)
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self.mixed_5(x, name)
        x = self.mixed_6a(x)
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            x = self.mixed_6(x, name)
        x = self.mixed_7a(x)
        x = self.mixed_7(x, "Mixed_7b", resampling.mean_of_neighbours(x))
        return self.mixed_7(x, "Mixed_7c", resampling.max_pool2d(x, 3, 1, 1))

    def layer(self, x, name: str):
        """A convolution with its batch norm and ReLU."""
        kernel, bias = self.layers[name]
        padded = name not in UNPADDED and name not in HALVING
        padding = tuple(k // 2 for k in kernel.shape[2:]) if padded else 0
        stride = 2 if name in HALVING else 1
        return activations.relu(convolution.conv2d(x, kernel, padding, stride=stride) + bias)

    def chain(self, x, *names):
        for name in names:
            x = self.layer(x, name)
        return x

    def branch(self, x, block: str, name: str, count: int):
        """The layers {name}_1 to {name}_{count} of a block."""
        return self.chain(x, *(f"{block}.{name}_{i + 1}" for i in range(count)))

    def mixed_5(self, x, name: str):
        outputs = [
            self.layer(x, f"{name}.branch1x1"),
            self.branch(x, name, "branch5x5", 2),
            self.branch(x, name, "branch3x3dbl", 3),
            self.layer(resampling.mean_of_neighbours(x), f"{name}.branch_pool"),
        ]
        return jt.concat(outputs, dim=1)

    def mixed_6a(self, x):
        wide = self.layer(x, "Mixed_6a.branch3x3")
        double = self.branch(x, "Mixed_6a", "branch3x3dbl", 3)
        return jt.concat([wide, double, resampling.max_pool2d(x, 3, 2)], dim=1)

    def mixed_6(self, x, name: str):
        outputs = [
            self.layer(x, f"{name}.branch1x1"),
            self.branch(x, name, "branch7x7", 3),
            self.branch(x, name, "branch7x7dbl", 5),
            self.layer(resampling.mean_of_neighbours(x), f"{name}.branch_pool"),
        ]
        return jt.concat(outputs, dim=1)

    def mixed_7a(self, x):
        wide = self.branch(x, "Mixed_7a", "branch3x3", 2)
        wider = self.branch(x, "Mixed_7a", "branch7x7x3", 4)
        return jt.concat([wide, wider, resampling.max_pool2d(x, 3, 2)], dim=1)

    def mixed_7(self, x, name: str, pool):
        single = self.branch(x, name, "branch3x3", 1)
        double = self.branch(x, name, "branch3x3dbl", 2)
        outputs = [
            self.layer(x, f"{name}.branch1x1"),
            self.layer(single, f"{name}.branch3x3_2a"),
            self.layer(single, f"{name}.branch3x3_2b"),
            self.layer(double, f"{name}.branch3x3dbl_3a"),
            self.layer(double, f"{name}.branch3x3dbl_3b"),
            self.layer(pool, f"{name}.branch_pool"),
        ]
        return jt.concat(outputs, dim=1)
