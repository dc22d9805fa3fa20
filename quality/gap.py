"""Does the discriminator know its training pictures by heart?

    gap = (D(train) - D(held-out)) / (D(train) - D(fake))

Means of its scores over pictures that it was trained on, over others of the same set, over images
of the generator. About 0: it takes all pictures alike, as it should; 1: those that it has not seen
are as false to it as generated ones. Then it teaches the generator single pictures.
"""

import shlex

import numpy as np

from data.batches import to_network
from figures.artist import Artist
from labels.table import labels_of
from training.folder import check_finite

EVERY = 100  # iterations
IMAGES = 64  # of each kind, or a few less: whole batches
GAP_STREAM = 6  # third word of the seeds, beside those of batches.py, parameters.py and train.py
FEW = 100, 1000  # pictures, from and below: what was seen of 100 and 500 is said


class Gap:
    """The gap of a run now and then. seen, unseen: the pictures that it trains on, and those held
    out.
    """

    def __init__(self, seen, unseen):
        self.seen, self.unseen = seen, unseen

    def __call__(self, run, phase, tell):
        """After an iteration of `phase`, every EVERY iterations; tell(line) adds to the log. What
        is looked at follows from (seed, images seen). Returns `gap_of` it, or None.
        """
        if run.iteration % EVERY:
            return None
        rng = np.random.default_rng([run.config.seed, run.images_seen, GAP_STREAM])
        n = self.group(run, phase)
        count = max(1, IMAGES // n) * n
        d_train, d_heldout = (
            self.score(run, phase, n, *self.drawn(run, pictures, phase.size, rng, count))
            for pictures in (self.seen, self.unseen)
        )
        d_fake = self.score(run, phase, n, *self.fakes(run, phase, rng, count))
        scores = {"d_train": d_train, "d_heldout": d_heldout, "d_fake": d_fake}
        check_finite(scores, run.iteration)
        line = {"iteration": run.iteration, "images": run.images_seen, "size": phase.size}
        gap = gap_of(d_train, d_heldout, d_fake)
        tell({**line, **scores, "gap": gap})
        return gap

    def group(self, run, phase) -> int:
        """Images that are scored together, of all three kinds alike: the score hangs on how much a
        batch differs. As many as train, where enough are held out.
        """
        n, group = min(phase.batch, self.seen.length, self.unseen.length), run.config.stddev_group
        return n - n % group if group and n > group else n

    def drawn(self, run, pictures, size: int, rng, count: int):
        """Pictures of a set, none again before all were there: (count, 3, size, size), and their
        labels (count, labels), None without.
        """
        epochs = -(-count // pictures.length)
        order = np.concatenate([rng.permutation(pictures.length) for _ in range(epochs)])[:count]
        labels = labels_of(pictures, run.config.label_names)
        images = to_network(np.stack([np.asarray(pictures.read(i, size)) for i in order]))
        return images, labels and labels.of(order)

    def fakes(self, run, phase, rng, count: int):
        """The same of the generator that is trained, not of its average."""
        untruncated = np.zeros((1, run.config.code_size), "float32")
        shown = run.generator, phase.step, phase.alpha
        artist = Artist(*shown, psi=1.0, mean_style=untruncated)
        seeds = [int(seed) for seed in rng.integers(0, 2**63, count)]
        labels = labels_of(self.seen, run.config.label_names)
        artist.asked.shares = labels and labels.shares
        images = artist.draw(artist.styles(seeds), artist.noise(seeds))
        return images, artist.asked.of(seeds) if labels else None

    def score(self, run, phase, n: int, images, labels=None) -> float:
        """The mean score of images, n at a time."""
        from operators.convolution import jt  # imports Jittor

        scores = []
        for i in range(0, len(images), n):
            with jt.no_grad():
                batch = jt.array(images[i : i + n])
                known = () if labels is None else (jt.array(labels[i : i + n]),)
                scores.append(run.discriminator(batch, phase.step, phase.alpha, *known).numpy())
        return float(np.concatenate(scores).mean(dtype="float64"))


def gap_of(d_train: float, d_heldout: float, d_fake: float):
    """None where the discriminator does not tell training pictures from generated ones at all."""
    return (d_train - d_heldout) / (d_train - d_fake) if d_train > d_fake else None


def advice(pictures: int, path: str) -> str:
    """What a set of few pictures is enough for, and the next command; "" for other numbers. What is
    said was seen in trials on a CPU, with one seed each.
    """
    if not FEW[0] <= pictures < FEW[1]:
        return ""
    return (
        "few pictures: 500 at 32 px were enough for a narrow network (--channel_max 40), which had "
        "not learned them by heart after 120,000 images; 100 at 16 px were not. In 11 minutes 500 "
        "people at 64 px came to an fd_vgg16 of 41 from another network, of 70 from nothing. With "
        "any network as CKPT (docs/resume.md):\n"
        f"    python train.py {shlex.quote(path)} --expname tuned --ckpt CKPT --tune --heldout "
        f"{pictures // 10}"
    )
