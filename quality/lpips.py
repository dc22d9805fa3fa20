"""VGG16 and AlexNet up to their last convolution, and LPIPS, the distance of two pictures to the
eye (Zhang et al. 2018, arXiv 1801.03924, equation 1, version 0.1 of its weights).

distance = LPIPS(find_weights("vgg16"))
distance(x, y)                      # (n, 3, h, w) in [-1, 1] -> (n,)
"""

import numpy as np

from backend import device
from backend.terminal import UserError
from formats.features import BLOCKS, Weights
from operators import activations, convolution, resampling

jt = device.load()

MEAN = (-0.030, -0.088, -0.188)  # of ImageNet's channels in [-1, 1], as LPIPS rounds them
DEVIATION = (0.458, 0.448, 0.450)
POOLING = {  # (kernel, stride) of the max pooling before each block
    "vgg16": [None, (2, 2), (2, 2), (2, 2), (2, 2)],
    "alexnet": [None, (3, 2), (3, 2), None, None],
}
SMALLEST = {"vgg16": 16, "alexnet": 32}  # pixels; of less, poolings would leave nothing


def variable(images):
    """An array (n, 3, h, w) as a Var, on which derivatives are not asked for; a Var as it is."""
    return images if isinstance(images, jt.Var) else jt.array(images)


def constant(numbers, channels=None):
    """Numbers as a Var without a gradient; one for each channel as (1, channels, 1, 1)."""
    array = np.asarray(numbers, "float32")
    return jt.array(array if channels is None else array.reshape(1, channels, 1, 1)).stop_grad()


class FeatureNetwork:
    """The convolutions of `Weights`. Differentiable to any order in the images, not in its weights.

    Images smaller than 16 px (AlexNet: 32) are enlarged to that, nearest neighbours.
    """

    def __init__(self, weights: Weights):
        self.network = weights.network
        self.layers = [
            tuple(jt.array(x).stop_grad() for x in pair) for pair in weights.convolutions
        ]
        mean, deviation = (np.float32(x).reshape(1, 3, 1, 1) for x in (MEAN, DEVIATION))
        self.mean, self.deviation = jt.array(mean).stop_grad(), jt.array(deviation).stop_grad()

    def convolution(self, x, kernel, bias):
        size = kernel.shape[-1]
        stride, padding = (4, 2) if size == 11 else (1, size // 2)
        y = convolution.conv2d(x, kernel, padding, stride=stride)
        return activations.relu(y + bias.reshape(1, -1, 1, 1))

    def features(self, images) -> list:
        """images (n, 3, h, w) in [-1, 1], array or Var -> what comes out of each of five blocks,
        after its ReLU: (n, c, h', w').
        """
        x = variable(images)
        while min(x.shape[2:]) < SMALLEST[self.network]:
            x = resampling.upsample2(x)
        x, layers, outputs = (x - self.mean) / self.deviation, iter(self.layers), []
        for block, pooling in zip(BLOCKS[self.network], POOLING[self.network]):
            x = resampling.max_pool2d(x, *pooling) if pooling else x
            for _ in block:
                x = self.convolution(x, *next(layers))
            outputs.append(x)
        return outputs

    def pooled(self, images):
        """Means over the last block's places: images as above -> (n, c); VGG16's conv5_3, 512."""
        return self.features(images)[-1].mean(dims=(2, 3))


class LPIPS(FeatureNetwork):
    """The distance. UserError where the weights of its linear layers are missing."""

    def __init__(self, weights: Weights):
        super().__init__(weights)
        if weights.linear is None:
            raise UserError(
                "LPIPS needs the weights of its linear layers too: name its vgg.pth with --lpips"
            )
        self.linear = [constant(x, len(x)) for x in weights.linear]

    def __call__(self, x, y):
        """Images (n, 3, h, w) in [-1, 1], arrays or Vars -> (n,)."""
        return self.distance(self.features(x), self.features(y))

    def embedding(self, images):
        """Images as above -> (n, d): points whose squared distances are the distances."""
        parts = []
        for x, weight in zip(self.features(images), self.linear):
            n, _, h, w = x.shape
            parts.append((unit(x) * jt.sqrt(weight / (h * w))).reshape(n, -1))
        return jt.concat(parts, dim=1)

    def distance(self, a, b):
        """The same from what `features` gave, of n images or of one for all: (n,)."""
        first, *others = (
            (apart(fa, fb) * weight).sum(dim=1).mean(dims=(1, 2))
            for fa, fb, weight in zip(a, b, self.linear)
        )
        return sum(others, first)


def load_lpips(weights):
    """The distance by `Weights`, or None of None. Raises UserError."""
    return None if weights is None else LPIPS(weights)


def unit(x):
    """Each place's channels to length 1: (n, c, h, w), as x. Zeros stay, with a gradient of 0."""
    return x / jt.sqrt((x * x).sum(dim=1, keepdims=True) + 1e-20)


def apart(a, b):
    """Squared differences of unit channels (n, c, h, w)."""
    difference = unit(a) - unit(b)
    return difference * difference
