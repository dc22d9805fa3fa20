"""All that a training run is: configuration, networks, averages, optimisers, counters. Saved and
restored as one.
"""

import contextlib
from pathlib import Path

import numpy as np

from backend import device
from backend.disk import replacing
from fast import accelerate
from formats import rosinality
from formats.files import CheckpointError
from formats.rosinality import NETWORKS, OPTIMIZERS
from model import Discriminator, StyledGenerator, is_fading
from training.augmentation import Augmentation
from training.checkpoint import VERSION, check_parameters
from training.folder import check_finite, writing
from training.losses import LOSSES
from training.optimizer import Adam, average
from training.parameters import (
    draw_weights,
    frozen_parameters,
    take_parameters,
    to_arrays,
    used_parameters,
)
from training.schedule import LATER_FIELDS, NVIDIA_FIELDS, START_FIELDS, Config, names_in

jt = device.load()


def new_generator(config: Config, plain: bool = False) -> StyledGenerator:
    """plain: without fast.py, the layers one by one."""
    settings = config.code_size, config.n_mlp, config.channel_max, config.noise_maps
    details = {"norm_eps": config.norm_eps, "bias_after_blur": config.bias_after_blur}
    generator = StyledGenerator(*settings, labels=len(config.label_names), **details)
    return generator if plain else accelerate(generator)


def new_discriminator(config: Config, plain: bool = False) -> Discriminator:
    """plain: without fast.py, the layers one by one."""
    settings = config.from_rgb_activate, config.channel_max, config.stddev_group
    discriminator = Discriminator(*settings, labels=len(config.label_names))
    return discriminator if plain else accelerate(discriminator)


def write(path, content: dict) -> None:
    """Writes a checkpoint, complete or not at all. Raises UserError."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path), replacing(path) as unfinished:
        jt.save(content, str(unfinished))


class TrainState:
    """A run. `generator`, `discriminator`, `running` (the averaged generator), `g_optimizer`,
    `d_optimizer`, `config`, and the counters `images_seen`, `iteration` and `pictures`.
    """

    def __init__(self, config: Config, plain: bool = False):
        """plain: without fast.py, the layers one by one."""
        self.config = config
        self.generator = new_generator(config, plain)
        self.discriminator = new_discriminator(config, plain)
        draw_weights((self.generator, self.discriminator), config.seed)
        self.running = new_generator(config, plain)
        self.g_parameters = dict(self.generator.named_parameters())
        self.running_parameters = dict(self.running.named_parameters())
        for name, p in self.running_parameters.items():
            p.update(self.g_parameters[name].detach())  # no copy, until it is trained
        self.g_optimizer = Adam(self.g_parameters, lr_mult={"style.": config.mapping_lr_mult})
        self.d_optimizer = Adam(dict(self.discriminator.named_parameters()))
        self.frozen = {
            *frozen_parameters(self.generator, names_in(config.freeze_g)),
            *frozen_parameters(self.discriminator, names_in(config.freeze_d)),
        }
        self.discriminator_loss, self.generator_loss = LOSSES[config.loss]
        self.augmentation = Augmentation(config)
        self.scores = {}  # of this iteration's images, where augmentation goes by them
        self.images_seen = 0
        self.iteration = 0
        self.pictures = None  # how many the data set holds
        self.mean_style = None  # as it came with the networks, until they are trained
        self.compiled = set()  # kinds of iterations that have been
        self.names = {}  # of what is trained, by network and kind of phase
        self.make_grey()

    @contextlib.contextmanager
    def whole_iteration(self, phase, crossover):
        """If an iteration fails, which it may where it compiles, it leaves no half of itself."""
        r1, held = self.penalty_weight() > 0, self.holds_generator()
        variant = phase.step, phase.alpha < 1, phase.batch, crossover, r1, held
        variant += (self.augmentation.p > 0,)
        copy = None
        if self.compiled and variant not in self.compiled:  # before the first, nothing is lost
            names = self.trained_names(self.discriminator, phase)
            copy = self.d_optimizer.copy(names)
        try:
            yield
        except RuntimeError:
            if copy:
                self.d_optimizer.take_back(copy)
            raise
        self.compiled.add(variant)

    def trained_names(self, network, phase) -> list:
        """Of a network's parameters those that `phase` trains."""
        key = network is self.generator, phase.step, is_fading(phase.step, phase.alpha)
        if key not in self.names:
            used = used_parameters(network, phase.step, phase.alpha)
            self.names[key] = [name for name in used if name not in self.frozen]
        return self.names[key]

    def holds_generator(self) -> bool:
        """Whether this iteration trains a new discriminator alone."""
        return self.iteration < self.config.new_discriminator

    def discriminator_step(self, phase, real, latents, crossover, noise, eps=None, label=None):
        """One update of the discriminator. real (n, 3, size, size); eps (n, 1, 1, 1) for wgan-gp;
        label (n, labels) of the real images, which the others get too; arrays or Vars.

        Returns the three terms of its loss (real, fake, penalty) as Vars.
        """

        def score(images, role):
            images = self.augmentation.seen(images, role, self.images_seen)
            scores = self.discriminator(images, phase.step, phase.alpha, label)
            if self.config.augment:
                self.scores[role] = scores.detach()
            return scores

        eps, label = (None if x is None else jt.array(x) for x in (eps, label))
        fake = self.fake_images(phase, latents, crossover, noise, label).stop_grad()
        fake.sync()  # else its activations would wait with the discriminator's
        losses = self.discriminator_loss(score, jt.array(real), fake, self.penalty_weight(), eps)
        names = self.trained_names(self.discriminator, phase)
        real, fake, penalty = losses
        self.d_optimizer.step([[real, penalty], [fake]], names, phase.lr)
        return losses

    def generator_step(self, phase, latents, crossover, noise, label=None):
        """One update of the generator, unless all of it stays. Returns its loss as a Var."""
        label = None if label is None else jt.array(label)
        fake = self.fake_images(phase, latents, crossover, noise, label)
        fake = self.augmentation.seen(fake, "generated", self.images_seen)
        loss = self.generator_loss(self.discriminator(fake, phase.step, phase.alpha, label))
        names = [] if self.holds_generator() else self.trained_names(self.generator, phase)
        if not names:
            return loss.stop_grad()
        self.g_optimizer.step([[loss]], names, phase.lr)
        self.mean_style = None
        return loss

    def fake_images(self, phase, latents, crossover, noise, label=None):
        """latents: one or two (n, code_size) -> (n, 3, size, size)"""
        latents = [jt.array(z) for z in latents]
        noise, more = [jt.array(x) for x in noise], {"crossover": crossover, "label": label}
        images = self.generator(latents, noise, phase.step, phase.alpha, **more)
        return images.mean(dim=1, keepdims=True).broadcast(images) if self.config.grey else images

    def penalty_weight(self) -> float:
        """Of this iteration. R1 in every k-th alone is k times as strong there (StyleGAN2, appendix
        B; in one step with the loss, so that the rates stay as they are).
        """
        every = self.config.r1_every
        return 0.0 if (self.iteration + 1) % every else self.config.gp_weight * every

    def average_generator(self, batch: int) -> None:
        """Moves the running average one iteration on; what has never been trained equals it, but
        for frozen parameters, which it began apart from. With `ema_rampup`, half of its weight is
        at most that share of the images seen old (StyleGAN2-ADA's implementation).
        """
        steps = self.g_optimizer.steps
        if self.holds_generator() or not any(steps.values()):
            return
        trained = [name for name in steps if steps[name] or name in self.frozen]
        decay, share = self.config.ema, self.config.ema_rampup
        if share:
            decay = min(decay, 0.5 ** (batch / max(share * self.images_seen, 1e-8)))
        average(self.running_parameters, self.g_parameters, trained, decay)

    def make_grey(self) -> None:
        """With `grey`, gives what to_rgb has for each channel the mean of all: trained with images
        that are averaged over the channels, it then stays equal, bit by bit.
        """
        if not self.config.grey:
            return
        for arrays in (self.g_parameters, self.running_parameters, self.g_optimizer.v):
            for name, p in arrays.items():
                if name.startswith("generator.to_rgb."):
                    x = p.numpy()
                    if (x != x[:1]).any():
                        p.update(jt.array(np.repeat(x.mean(0, keepdims=True), len(x), axis=0)))

    def finish_iteration(self, batch: int) -> None:
        """Counts, and computes all that is still pending: Jittor is lazy, its graph would grow
        without end. Lets augmentation follow, but not a discriminator that is trained alone.
        """
        held = self.holds_generator()
        self.images_seen += batch
        self.iteration += 1
        jt.sync_all()
        scores, self.scores = self.scores, {}
        if self.config.augment and not held:
            real, fake = (scores[role].numpy() for role in ("real", "fake"))
            self.augmentation.note(real, fake, self.iteration, batch)

    def save(self, path, alpha: float, size: int) -> None:
        """Writes all of it. `jt.load` opens the file. size and alpha tell the figures what has been
        trained.

        The file appears complete or not at all. Raises DivergedError, UserError.
        """
        config = self.config.saved()
        later = config.keys() & {*START_FIELDS, *NVIDIA_FIELDS, *LATER_FIELDS}
        content = {
            "version": VERSION if later else 1,
            "config": config,
            "images_seen": self.images_seen,
            "iteration": self.iteration,
            "pictures": self.pictures,
            "size": size,
            "alpha": float(alpha),
            "generator": to_arrays(self.generator),
            "discriminator": to_arrays(self.discriminator),
            "g_running": to_arrays(self.running),
            "g_optimizer": self.g_optimizer.state_dict(),
            "d_optimizer": self.d_optimizer.state_dict(),
        }
        if self.mean_style is not None:
            content["mean_style"] = self.mean_style.astype("float32")
        if config.get("augment"):
            content["augmentation"] = self.augmentation.state_dict()
        check_finite(content, self.iteration)
        write(path, content)

    @classmethod
    def load(cls, path, content: dict, config: Config, plain: bool = False) -> "TrainState":
        """The run as `read_checkpoint` found it in the file at `path`, going on under `config`.

        Optimisers that the file lacks start afresh. Raises CheckpointError for what does not fit.
        """
        run = cls.with_networks(path, content, config, plain)
        for part in OPTIMIZERS:
            run.load_optimizer(part, path, content)
        run.images_seen = content["images_seen"]
        run.iteration = content["iteration"]
        if config.augment and content["augmentation"]:
            run.augmentation.load_state_dict(content["augmentation"])
        return run

    @classmethod
    def with_networks(
        cls, path, content: dict, config: Config, plain: bool = False, new_discriminator=False
    ) -> "TrainState":
        """A new run that begins with the networks of another, but for a new discriminator. Raises
        CheckpointError.
        """
        parts = [x for x in NETWORKS.values() if x != "discriminator" or not new_discriminator]
        missing = [part for part in parts if content[part] is None]
        if missing:
            raise CheckpointError(
                f"{path} holds no {' and no '.join(missing)}: it makes figures, but training "
                "cannot go on from it; train.py --tune --new_discriminator K begins with it"
            )
        run = cls(config, plain)
        networks = {
            "generator": run.generator,
            "discriminator": run.discriminator,
            "g_running": run.running,
        }
        for part in parts:
            take_parameters(networks[part], content, part, path)
        run.mean_style = content["mean_style"]
        run.make_grey()
        return run

    def load_optimizer(self, part: str, path, content: dict) -> bool:
        """Takes the state of "g_optimizer" or "d_optimizer", if there is one: whether there is.
        Raises CheckpointError.
        """
        optimizer = getattr(self, part)
        state = rosinality.adam_state(content, part, optimizer.parameters, path)
        if state is not None:
            check_parameters(optimizer.parameters, state["v"], path, part)
            optimizer.load_state_dict(state)
            self.make_grey()
        return state is not None
