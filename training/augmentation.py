"""Adaptive discriminator augmentation (Karras et al. 2020, StyleGAN2-ADA, arXiv 2006.06676): the
discriminator sees real and generated images transformed, so that it cannot learn few pictures by
heart; no more than it takes, for images become like what is transformed too often.
"""

import numpy as np

from backend import device
from operators.processes import averaged_numbers
from operators.transformations import colour_changes, moved, recoloured
from training.schedule import AUGMENTATIONS, Config, names_in

AUGMENT_STREAM = 5  # third word of the seeds, beside those of batches.py, train.py and gap.py
# Fourth word, by what is scored; the penalty of wgan-gp is taken as if between were real
ROLES = {"real": 0, "between": 0, "fake": 1, "generated": 2}
LARGEST_SHIFT = 0.125  # of the size
BRIGHTNESS, CONTRAST, SATURATION = 0.2, 0.5, 1.0  # standard deviations; of the last two's log2
MOST = 0.8  # of p: above it images may become like what is transformed
CHECK_EVERY = 4  # iterations, where nothing is held out
TARGET_SIGN = 0.6  # of real pictures' scores, the mean
TARGET_GAP = 0.2  # of quality/gap.py


def draw(rng, names, p: float, n: int, size: int) -> tuple:
    """What transformations of these names do to n images, each to each with probability p: the
    arguments, by name, of `moved` and of `colour_changes`. The same numbers are drawn for any.
    """
    chosen = {name: x & (name in names) for name, x in zip(AUGMENTATIONS, rng.random((8, n)) < p)}
    coins, turns, angles = rng.random((2, n)) < 0.5, rng.integers(4, size=n), rng.random(n)
    shifts = np.rint(rng.uniform(-LARGEST_SHIFT, LARGEST_SHIFT, (n, 2)) * size).astype(int)
    brightness, contrast, saturation = rng.standard_normal((3, n))
    moves = {
        "flips": chosen["flip"] & coins[0],
        "turns": np.where(chosen["rotate"], turns, 0),
        "shifts": np.where(chosen["translate"][:, None], shifts, 0),
    }
    colours = {
        "brightness": np.where(chosen["brightness"], BRIGHTNESS * brightness, 0),
        "contrast": np.where(chosen["contrast"], 2 ** (CONTRAST * contrast), 1),
        "luma_flips": chosen["luma_flip"] & coins[1],
        "hue": np.where(chosen["hue"], (2 * angles - 1) * np.pi, 0),
        "saturation": np.where(chosen["saturation"], 2 ** (SATURATION * saturation), 1),
    }
    return moves, colours


class Augmentation:
    """What a run's discriminator sees of images. p: the probability of each transformation for each
    image. images: seen since p was last decided on; signs: of the scores of the real among them,
    the sum.
    """

    def __init__(self, config: Config):
        self.config, self.names = config, names_in(config.augment)
        self.p, self.signs, self.images = 0.0, 0.0, 0

    def seen(self, images, role: str, images_seen: int):
        """Of images (n, 3, size, size), this process's part of a batch, in the iteration after
        `images_seen`; role: of ROLES.
        """
        if not self.p:
            return images
        rng = np.random.default_rng([self.config.seed, images_seen, AUGMENT_STREAM, ROLES[role]])
        n, _, _, size = images.shape
        drawn = draw(rng, self.names, self.p, n * device.ranks(), size)
        own = slice(device.rank(), None, device.ranks())
        moves, colours = ({name: x[own] for name, x in part.items()} for part in drawn)
        if self.config.grey:  # without rounding that differs between the channels
            colours["contrast"] = np.where(colours["luma_flips"], -1, 1) * colours["contrast"]
            colours["luma_flips"] = np.zeros(n, bool)
        return recoloured(moved(images, **moves), *colour_changes(**colours))

    def note(self, real, fake, iteration: int, batch: int) -> None:
        """The scores of this process's part of a batch, as arrays, after an iteration. By the sign
        of real ones p rises or falls, where nothing is held out. Those of wgan-gp have no zero: the
        middle between the means of real and fake is theirs.
        """
        self.images += batch
        if self.config.heldout:
            return
        middle = 0.0
        if self.config.loss == "wgan-gp":
            middle = sum(averaged_numbers([real.mean(), fake.mean()])) / 2
        self.signs += batch * averaged_numbers([np.sign(real - middle).mean()])[0]
        if iteration % CHECK_EVERY == 0:
            self.decide(self.signs / self.images - TARGET_SIGN)

    def note_gap(self, gap) -> None:
        """When it was measured, by the first process, whose gap counts; p rises or falls by it, or
        stays where there is none (None).
        """
        share = np.nan if gap is None else gap * device.ranks()
        self.decide(averaged_numbers([0.0 if device.rank() else share])[0] - TARGET_GAP)

    def decide(self, excess: float) -> None:
        """p rises where that is above 0 and falls below, by 1 in `augment_images`."""
        step = self.images / self.config.augment_images
        p = self.p + (step if excess > 0 else -step if excess < 0 else 0.0)
        self.p, self.signs, self.images = min(max(p, 0.0), MOST), 0.0, 0

    def state_dict(self) -> dict:
        return {"p": self.p, "signs": self.signs, "images": self.images}

    def load_state_dict(self, state: dict) -> None:
        self.p, self.signs, self.images = (state[name] for name in ("p", "signs", "images"))
