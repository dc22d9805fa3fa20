"""How good pictures are, in numbers, named as NVIDIA's stylegan3 names them."""

import argparse
from typing import NamedTuple, Optional

import numpy as np

from backend.bar import Bar
from backend.terminal import UsageError, UserError
from figures.grid import to_bytes
from formats.features import find_weights
from formats.inception import NAME, cached_file
from quality.distances import frechet_distance, kernel_distance, moments, precision_recall
from quality.features import (
    data_features,
    inception_extractor,
    reduced,
    signed,
    vgg16_extractor,
)
from quality.path_length import path_lengths, trimmed_mean
from quality.sets import Data, Folder, chosen

METRICS = ("fid", "fd_vgg16", "kid", "precision", "recall", "ppl_z", "ppl_w", "lpips_diversity")
BY_FEATURES = METRICS[:5]
HIGHER_IS_BETTER = ("precision", "recall", "lpips_diversity")
DEFAULT_NUM = 50_000
NEIGHBOUR = 3  # k of precision and recall


class Stopped(Exception):
    """Somebody wants an end before the numbers are there."""


class Request(NamedTuple):
    """What to measure. metrics: of METRICS, () for the usual ones. num: pictures of each kind, None
    for 50,000 or as many as the data has. full: compare with all of the data. inception, vgg16,
    lpips: files of weights.
    """

    metrics: tuple = ()
    num: Optional[int] = None
    full: bool = False
    batch: int = 16
    inception: Optional[str] = None
    vgg16: Optional[str] = None
    lpips: Optional[str] = None


def metric_list(text: str) -> tuple:
    """Parser type: names of metrics, comma-separated; each once."""
    names = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in names if name not in METRICS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(METRICS)}")
    return names


def settled(request: Request) -> Request:
    """With the metrics named and the Inception file found, if there is one. UsageError for metrics
    that do not go together.
    """
    inception = request.inception or cached_file()
    distance = "fid" if inception else "fd_vgg16"
    metrics = request.metrics or (distance, "kid", "precision", "recall")
    if "fd_vgg16" in metrics:
        if "fid" in metrics:
            raise UsageError("fid and fd_vgg16 see with different networks: ask for them in turn")
        inception = None
    elif "fid" in metrics and not inception:
        raise UsageError(
            f"fid needs pytorch-fid's file {NAME}, where torch.hub keeps it or named with "
            "metrics.py --inception; fd_vgg16 does without"
        )
    return request._replace(metrics=tuple(metrics), inception=inception)


def short(count: int) -> str:
    """50000 -> '50k'"""
    return f"{count // 1000}k" if count % 1000 == 0 else str(count)


class Judge:
    """Measures pictures against data. Loads Jittor and the networks that the request needs; the
    features of the data are computed when they are first asked for.

    stop: asked between batches; where it is true, Stopped is raised. others: more data to compare
    the same images with, as many pictures of each.
    """

    def __init__(self, data: Data, request: Request, stop=lambda: False, others=()):
        self.sets, self.request, self.stop = (data, *others), settled(request), stop
        least = min(x.length for x in self.sets)
        self.num = self.request.num or min(DEFAULT_NUM, least)
        self.metrics, self.real_features = self.request.metrics, {}
        needed = NEIGHBOUR + 1
        if min(self.num, least) < needed:
            raise UserError(f"{data.path}: at least {needed} pictures are needed to measure")
        self.extractor = self.distance = self.pair_distance = None
        if set(self.metrics) & set(BY_FEATURES):
            path = self.request.inception
            self.extractor = (
                inception_extractor(path) if path else vgg16_extractor(self.request.vgg16)
            )
        if {"ppl_z", "ppl_w"} & set(self.metrics):
            self.distance = perceptual_distance("vgg16", self.request.vgg16, self.request.lpips)
        if "lpips_diversity" in self.metrics:
            self.pair_distance = perceptual_distance("alexnet")

    def bar(self, total: int, text: str):
        return Bar(total=total, desc=text, unit="img", mininterval=1, leave=False)

    def unless_stopped(self, batches):
        for batch in batches:
            if self.stop():
                raise Stopped
            yield batch

    def real(self, data: Data, size):
        """(features of one of the sets at a size (height, width), the part of a name that says
        which).
        """
        if (data, size) not in self.real_features:
            collection = data.at(size)
            count = data.length if self.request.full else self.num
            indices = chosen(collection.length, count)
            pixels = self.unless_stopped(collection.batches(indices, self.request.batch))
            with self.bar(len(indices), "data") as bar:
                features = data_features(collection, indices, self.extractor, pixels, bar)
            full = "_full" if len(features) == data.length else ""
            self.real_features[data, size] = features, full + data.ending
        return self.real_features[data, size]

    def measure_artist(self, artist, seed: int = 0) -> dict:
        """Of a generator's images of `num` seeds from `seed` on: {metric: {name: value}}."""
        artist.asked.shares = self.sets[0].shares(artist.asked.names)
        seeds = range(seed, seed + self.num)
        size = 4 * 2**artist.step
        batches = (
            to_bytes(artist.draw(artist.styles(batch), artist.noise(batch)))
            for batch in in_batches(seeds, self.request.batch)
        )
        results = self.measure_pixels(batches, self.num, (size, size))
        for space in ("z", "w"):
            if f"ppl_{space}" in self.metrics:
                results[f"ppl_{space}"] = self.measure_paths(artist, space, seeds)
        return {metric: results[metric] for metric in self.metrics}

    def measure_folder(self, folder: Folder) -> dict:
        """Of the pictures of a folder, at most `num`."""
        indices = chosen(folder.length, self.num)
        if len(indices) <= NEIGHBOUR:
            raise UserError(f"{folder.path}: at least {NEIGHBOUR + 1} pictures are needed")
        batches = folder.batches(indices, self.request.batch)
        results = self.measure_pixels(batches, len(indices), folder.size)
        return {metric: results[metric] for metric in self.metrics}

    def measure_pixels(self, batches, count: int, size) -> dict:
        """Of batches of pixels, uint8 (n, 3, height, width), `count` in all."""
        if not (self.extractor or self.pair_distance):
            return {}
        reals = [self.real(data, size) for data in self.sets] if self.extractor else []
        features, distances, waiting = [], [], np.empty((0, 3, *size), "uint8")
        with self.bar(count, "images") as bar:
            for pixels in self.unless_stopped(batches):
                if self.extractor:
                    features.append(self.extractor(pixels))
                if self.pair_distance:
                    waiting = np.concatenate([waiting, pixels])
                    paired = waiting[: len(waiting) // 2 * 2]
                    waiting = waiting[len(paired) :]
                    if len(paired):
                        distances.append(self.pair_distance(paired[::2], paired[1::2]))
                bar.update(len(pixels))
        results = {}
        for real in reals:
            for metric, named in self.compared(*real, np.concatenate(features)).items():
                results.setdefault(metric, {}).update(named)
        if self.pair_distance:
            mean = float(np.concatenate(distances).mean())
            results["lpips_diversity"] = {f"lpips_diversity{short(count)}": mean}
        return results

    def compared(self, real, full: str, generated) -> dict:
        """What the metrics by features say; `full` ends their names."""
        results, count = {}, short(len(generated))
        network = "" if self.extractor.name == "inception" else f"_{self.extractor.name}_"
        if "fid" in self.metrics or "fd_vgg16" in self.metrics:
            value = frechet_distance(moments(real), moments(generated))
            name = f"fd{network}{count}{full}" if network else f"fid{count}{full}"
            results["fd_vgg16" if network else "fid"] = {name: value}
        if "kid" in self.metrics:
            results["kid"] = {f"kid{network}{count}{full}": kernel_distance(real, generated)}
        if {"precision", "recall"} & set(self.metrics):
            name = f"pr_{self.extractor.name}_k{NEIGHBOUR}_{count}{full}"
            for metric, value in zip(
                ("precision", "recall"), precision_recall(real, generated, NEIGHBOUR)
            ):
                results[metric] = {f"{name}_{metric}": value}
        return results

    def measure_paths(self, artist, space: str, seeds) -> dict:
        """ppl_{space}full and ppl_{space}end, of as many paths as there are seeds."""
        results = {}
        for end, whole in (("full", True), ("end", False)):
            name, lengths = f"ppl_{space}{end}", []
            with self.bar(len(seeds), name) as bar:
                for batch in self.unless_stopped(in_batches(seeds, self.request.batch)):
                    lengths.append(path_lengths(artist, self.distance, space, whole, batch))
                    bar.update(len(batch))
            results[name] = trimmed_mean(np.concatenate(lengths))
        return results


def in_batches(sequence, count: int):
    """Yields up to `count` of it at a time."""
    for i in range(0, len(sequence), count):
        yield sequence[i : i + count]


def perceptual_distance(network: str, path=None, linear_path=None):
    """LPIPS between two batches, of pixels or of images in [-1, 1]: (n,) array."""
    weights = find_weights(network, path, linear_path)
    from operators.convolution import jt  # imports Jittor
    from quality.lpips import LPIPS

    distance = LPIPS(weights)

    def between(a, b):
        with jt.no_grad():
            a, b = (signed(x) if x.dtype == np.uint8 else jt.array(x) for x in (a, b))
            return distance(reduced(a), reduced(b)).numpy()

    return between
