"""A trained network as figures need it: from a checkpoint, ours or another program's, to a
generator and what is known of it.
"""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import numpy as np

from backend import device
from backend.disk import check_readable
from backend.terminal import UsageError
from data.sizes import SIZES, joined, step_of
from formats.files import CheckpointError
from training.checkpoint import config_of, read_checkpoint
from training.schedule import Config


class Network(NamedTuple):
    """A generator, and at which size it is shown."""

    generator: Any  # model.StyledGenerator, the average
    config: Config
    size: int  # pixels of its images
    step: int  # log2(size) - 2
    alpha: float  # how far that size has faded in, 1 for wholly
    checksum: str  # SHA-1 of the checkpoint, in hexadecimal
    name: str  # of its file
    images_seen: int  # in training; 0 where that is not told
    mean_style: Optional[np.ndarray]  # (1, code_size), the centre of truncation, where it is told


def load_network(path, size: Optional[int] = None, plain: bool = False) -> Network:
    """The averaged generator of a checkpoint, which is read once. size: in pixels, instead of the
    one that it was training at; a smaller one is fully grown, alpha 1. plain: without fast.py.

    Raises CheckpointError; UsageError where neither the checkpoint nor `size` tells the size.
    """
    content = read_checkpoint(path)
    config = config_of(content)
    generator = built(content, config, path, plain)
    size, alpha = size_and_alpha(content, config, path, size)
    mean = content["mean_style"]
    return Network(
        generator=generator,
        config=config,
        size=size,
        step=step_of(size),
        alpha=alpha,
        checksum=content["sha1"],
        name=Path(path).name,
        images_seen=content["images_seen"],
        mean_style=None if mean is None else mean.astype("float32").reshape(1, -1),
    )


def built(content: dict, config: Config, path, plain: bool):
    """The generator with the weights of the average, as every figure uses it. Loads Jittor. Raises
    CheckpointError for weights that do not fit.
    """
    from training.parameters import take_parameters  # imports Jittor
    from training.run import new_generator

    generator = new_generator(config, plain)
    take_parameters(generator, content, "g_running", path)
    return generator


def size_and_alpha(content: dict, config: Config, path, size: Optional[int]):
    """(size, alpha) to show. Raises CheckpointError for a size that has not been learned."""
    told = content["size"]
    if size is None and told is None:  # another program's checkpoint
        raise UsageError(f"{path} does not tell its size in pixels: give it with --size")
    if size is None or size == told:
        return told, content["alpha"]
    if told is not None:
        learned = [s for s in SIZES if config.init_size <= s <= told]
        if size not in learned:
            raise CheckpointError(f"{path} has not learned {size} px: --size {joined(learned)}")
    return size, 1.0


def open_network(args, say=print) -> Network:
    """The network that a command line names, on the device that it names. say: gets the line about
    the device.
    """
    check_readable(args.ckpt, CheckpointError)  # a mistake shows before Jittor loads
    device.load(args.device, say, args.precision, args.threads)
    return load_network(args.ckpt, args.size, args.plain)
