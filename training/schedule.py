"""What a run is told, and its growth as a pure function of the number of images seen (ProGAN,
appendix A).
"""

import dataclasses
from typing import NamedTuple

from backend.terminal import is_digits
from data.sizes import SIZES, step_of

LOSS_NAMES = ("wgan-gp", "r1")  # of losses.py, which needs Jittor
# Fields of Config that a checkpoint notes only where they are not the default
START_FIELDS = ("start_size", "start_used", "start_images", "start_iteration")
NVIDIA_FIELDS = ("norm_eps", "bias_after_blur", "noise_maps", "stddev_group", "psi", "psi_levels")
# --tune inherits none of these
TUNE_FIELDS = "new_discriminator freeze_d freeze_g heldout augment augment_images".split()
LATER_FIELDS = ("r1_every", "grey", "ema_rampup", "batch_at", "labels", *TUNE_FIELDS)
# What is done to images that the discriminator sees, in this order, if `augment` names it
TURNING, COLOURING = ("flip", "rotate"), ("hue", "saturation")
AUGMENTATIONS = (*TURNING, "translate", "brightness", "contrast", "luma_flip", *COLOURING)
# What fields of Config may name, comma-separated; sizes in pixels are layers that stay
LISTS = {
    "freeze_d": tuple(map(str, SIZES)),
    "freeze_g": ("mapping", *map(str, SIZES)),
    "augment": AUGMENTATIONS,
}
LEARNING_RATES = {128: 0.0015, 256: 0.002, 512: 0.003, 1024: 0.003}  # with --sched, by size
BATCHES = {4: 512, 8: 256, 16: 128, 32: 64, 64: 32, 128: 32, 256: 32}


@dataclasses.dataclass(frozen=True)
class Config:
    """What determines a run; the defaults reproduce the original."""

    loss: str = "wgan-gp"
    mixing: bool = False
    gp_weight: float = 10.0
    phase: int = 600_000
    init_size: int = 8
    max_size: int = 1024
    lr: float = 0.001
    mapping_lr_mult: float = 0.01
    sched: bool = False
    batch_default: int = 32
    ema: float = 0.999
    code_size: int = 512
    n_mlp: int = 8
    channel_max: int = 512
    from_rgb_activate: bool = True
    flip: bool = True
    seed: int = 0
    fade_first: bool = False  # the first stage fades in too, on top of what a checkpoint learned
    # Where the growth began, when that was in the middle of a run (`continued`, `restarted`)
    start_size: int = 0  # pixels; 0: at init_size, with the run
    start_used: int = 0  # images that this stage had seen
    start_images: int = 0  # images that the run had seen
    start_iteration: int = 0

    # What NVIDIA's own networks do otherwise (formats/nvidia.py)
    norm_eps: float = 1e-5  # of the instance norm
    bias_after_blur: bool = False  # in the convolutions that upsample; else before
    noise_maps: int = 1  # a level; 2: each of its layers has its own
    stddev_group: int = 0  # images whose deviation the discriminator sees; 0: the whole batch
    psi: float = 0.7  # truncation of the figures
    psi_levels: int = 8  # the last level that is truncated

    # What later papers found to pay, and one that the data may allow
    r1_every: int = 1  # iterations from one penalty of R1 to the next
    ema_rampup: float = (
        0.0  # share of the images seen that the average reaches back at most; 0: any
    )
    grey: bool = False  # the three channels are one

    batch_at: str = ""  # "SIZE:IMAGES,..", the batches of some sizes
    labels: str = ""  # their names in the order of their numbers, comma-separated

    # How a network that exists is trained on few pictures
    new_discriminator: int = 0  # iterations that train it alone, with the generator held
    freeze_d: str = ""  # of LISTS, as the next and `augment`
    freeze_g: str = ""
    heldout: float = 0.0  # pictures kept out of training, below 1 their share
    augment: str = ""
    augment_images: int = 500_000  # in which the probability of each can rise from 0 to 1

    @property
    def first_size(self) -> int:
        """Of the stage that the growth begins with."""
        return self.start_size or self.init_size

    @property
    def label_names(self) -> list:
        return self.labels.split(",") if self.labels else []

    def saved(self) -> dict:
        """What a checkpoint notes: all but what few runs have otherwise than version 1 had it."""
        values, rare = dataclasses.asdict(self), {*START_FIELDS, *NVIDIA_FIELDS, *LATER_FIELDS}
        return {k: v for k, v in values.items() if k not in rare or v != getattr(Config, k)}


def names_in(text: str) -> list:
    """Those in a field of LISTS."""
    return text.split(",") if text else []


class Phase(NamedTuple):
    """What an iteration trains."""

    size: int  # pixels
    step: int  # log2(size) - 2
    alpha: float  # 0..1, how far this size has faded in
    batch: int  # images
    lr: float
    used: int  # images seen in this stage before this iteration


def batches_of(text: str) -> dict:
    """{size: images} of `batch_at`. ValueError where it is none: two numbers with a colon between
    for each size.
    """
    words = [pair.split(":") for pair in text.split(",")] if text else []
    if not all(is_digits(word) for pair in words for word in pair):
        raise ValueError(text)
    pairs = [tuple(map(int, pair)) for pair in words]
    if any(len(pair) != 2 or pair[0] not in SIZES or pair[1] < 1 for pair in pairs):
        raise ValueError(text)
    if len(dict(pairs)) < len(pairs):
        raise ValueError(text)
    return dict(sorted(pairs))


def batch_at(config: Config, size: int) -> int:
    """Images per iteration at a size."""
    given = batches_of(config.batch_at)
    if size in given:
        return given[size]
    return BATCHES.get(size, config.batch_default) if config.sched else config.batch_default


def batch_advice(config: Config, size: int) -> str:
    """How another batch is asked for at a size."""
    if size in batches_of(config.batch_at):
        return "change --batch_at"
    if config.sched and size in BATCHES:
        return "leave --sched out, which sets it, or give another --max_size"
    return "change --batch_default"


def stage_iterations(config: Config, size: int) -> int:
    """Iterations of a stage that is not the last: it ends at the first one that finds more than 2 *
    phase images used.
    """
    return max(0, (2 * config.phase - used_before(config, size)) // batch_at(config, size) + 1)


def used_before(config: Config, size: int) -> int:
    """Images that a stage had seen before the growth began: of the first stage only."""
    return config.start_used if size == config.first_size else 0


def phase_at(config: Config, images_seen: int) -> Phase:
    """The phase of the iteration that starts after `images_seen` images of the run.

    The first stage does not fade in, but for `fade_first`.
    """
    size, used = config.first_size, images_seen - config.start_images + config.start_used
    while size < config.max_size:
        end = stage_iterations(config, size) * batch_at(config, size) + used_before(config, size)
        if used < end:
            break
        used -= end
        size *= 2
    alpha = min(1.0, (used + 1) / config.phase)
    if size == config.first_size and not config.fade_first:
        alpha = 1.0
    lr = LEARNING_RATES.get(size, config.lr) if config.sched else config.lr
    return Phase(size, step_of(size), alpha, batch_at(config, size), lr, used)


def images_at(config: Config, iteration: int) -> int:
    """Images seen after that many iterations of a run, from where its growth began."""
    size, images = config.first_size, config.start_images
    iteration -= config.start_iteration
    while size < config.max_size and iteration > stage_iterations(config, size):
        iteration -= stage_iterations(config, size)
        images += stage_iterations(config, size) * batch_at(config, size)
        size *= 2
    return images + iteration * batch_at(config, size)


def continued(was: Config, now: Config, images_seen: int, iteration: int) -> Config:
    """`now`, with its growth going on from the place that a run under `was` has reached: the same
    size and alpha, the same share of the stage, whatever batches and phases are from here on.
    """
    place = phase_at(was, images_seen)
    used = -(-(place.used + 1) * now.phase // was.phase) - 1  # rounded up: alpha stays 1
    return dataclasses.replace(
        now,
        init_size=was.init_size,
        max_size=max(now.max_size, place.size),
        fade_first=was.fade_first or place.size != was.first_size,
        start_size=place.size,
        start_used=used,
        start_images=images_seen,
        start_iteration=iteration,
    )


def restarted(config: Config, size: int, fades: bool, images_seen: int, iteration: int) -> Config:
    """`config`, with its growth beginning anew at a size."""
    return dataclasses.replace(
        config,
        fade_first=fades,
        start_size=size,
        start_used=0,
        start_images=images_seen,
        start_iteration=iteration,
    )


def ends_stage(config: Config, phase, following) -> bool:
    """Whether `phase` was its stage's last iteration; the last one ends as if another followed."""
    if following.size > phase.size:
        return True
    length = 2 * config.phase
    return phase.size == config.max_size and phase.used <= length < following.used
