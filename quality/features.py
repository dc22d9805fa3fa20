"""Features of pictures: what a network makes of them, by which sets are compared. Those of the data
are kept in the user's cache.
"""

import hashlib
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from backend.disk import our_cache, replacing
from backend.terminal import reason
from formats.features import find_weights
from formats.inception import read_inception
from quality.sets import Collection

LARGEST = 256  # pixels; of larger images VGG16 and LPIPS see averages, as StyleGAN's code has it


class Extractor(NamedTuple):
    """name: inception or vgg16. pooled: Var (n, 3, h, w) in [-1, 1] -> Var (n, d). key: which
    weights they are.
    """

    name: str
    pooled: Callable
    key: str

    def __call__(self, pixels):
        """uint8 (n, 3, h, w) -> (n, d) float32."""
        from operators.convolution import jt  # imports Jittor

        with jt.no_grad():
            return self.pooled(signed(pixels)).numpy()


def signed(pixels):
    """uint8 (n, 3, h, w) -> Var in [-1, 1]."""
    from operators.convolution import jt

    return jt.array(pixels).float32() / 127.5 - 1


def reduced(images):
    """Images as Vars, at most 256 px: means of 2 x 2, again and again."""
    from operators.resampling import avg_pool2

    while max(images.shape[2:]) > LARGEST and not any(size % 2 for size in images.shape[2:]):
        images = avg_pool2(images)
    return images


def fingerprint(arrays) -> str:
    digest = hashlib.sha1()
    for array in arrays:
        digest.update(np.ascontiguousarray(array))
    return digest.hexdigest()


def vgg16_extractor(path=None) -> Extractor:
    """Means of VGG16's conv5_3 over the image: 512 numbers."""
    weights = find_weights("vgg16", path)
    from quality.lpips import FeatureNetwork  # imports Jittor

    network = FeatureNetwork(weights)
    key = fingerprint(array for pair in weights.convolutions for array in pair)
    return Extractor("vgg16", lambda images: network.pooled(reduced(images)), key)


def inception_extractor(path) -> Extractor:
    """The 2048 numbers of the FID Inception of a file."""
    weights = read_inception(path)
    from quality.inception import Inception  # imports Jittor

    key = fingerprint(array for pair in weights.values() for array in pair)
    return Extractor("inception", Inception(weights).pooled, key)


def features_of(batches, extractor: Extractor, bar):
    """Of batches of pixels (n, 3, h, w): (all, d) float32. The bar counts the pictures."""
    features = []
    for pixels in batches:
        features.append(extractor(pixels))
        bar.update(len(pixels))
    return np.concatenate(features)


def kept_file(collection: Collection, indices, extractor: Extractor) -> Path:
    """Where the features of these pictures are kept: another file for other content."""
    key = hashlib.sha1((collection.fingerprint(indices) + extractor.key).encode()).hexdigest()
    size = "x".join(map(str, collection.size[::-1]))
    name = f"features-{extractor.name}-{size}-{len(indices)}-{key[:16]}.npy"
    return our_cache() / name


def data_features(collection: Collection, indices, extractor: Extractor, batches, bar):
    """Features of some pictures of the data (n, d), from the cache if they are there, else of
    `batches` of their pixels. Without room for them there they are computed each time, after a line
    that says so.
    """
    path = kept_file(collection, indices, extractor)
    try:
        features = np.load(path, allow_pickle=False)
        if features.dtype == np.float32 and features.ndim == 2 and len(features) == len(indices):
            bar.update(len(indices))
            return features
    except (OSError, ValueError, EOFError):  # not there, or damaged
        pass
    features = features_of(batches, extractor, bar)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished, open(unfinished, "wb") as f:
            np.save(f, features)
    except OSError as e:
        bar.write(f"{path} cannot be written ({reason(e)}): the data's features are not kept")
    return features
