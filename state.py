"""All that a training run is: configuration, networks, averages, optimisers, counters. Saved and
restored as one.
"""

import dataclasses
import hashlib
import io
import pickle
from pathlib import Path

import numpy as np

import device
from folder import check_finite, replacing
from losses import LOSSES
from model import Discriminator, StyledGenerator
from optimizer import Adam, average
from schedule import Config
from store import DataError

jt = device.load()

VERSION = 1
ENTRIES = (
    "version config images_seen iteration size alpha "
    "generator discriminator g_running g_optimizer d_optimizer"
).split()
TRAILER = b"HCAJSLHD"  # jt.save ends a file with a SHA-1 and this


class CheckpointError(DataError):
    """One sentence naming the file and what is wrong with it."""


def check_parameters(expected: dict, found: dict, path, part: str) -> None:
    """Raises CheckpointError, listing what is missing, unknown or of another shape."""
    wrong = [f"{k} is missing" for k in expected if k not in found]
    wrong += [f"{k} is unknown" for k in found if k not in expected]
    for k in expected:
        if k in found and tuple(found[k].shape) != tuple(expected[k].shape):
            wrong.append(f"{k} is {tuple(found[k].shape)}, not {tuple(expected[k].shape)}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise CheckpointError(f"{path}: {part} does not fit: {'; '.join(wrong[:5])}{more}")


def assign(parameters: dict, arrays: dict) -> None:
    """Gives each parameter the array of its name, as a copy."""
    for name, p in parameters.items():
        p.update(jt.array(np.array(arrays[name], dtype="float32")))
    jt.sync_all()  # a pending array of one element breaks the kernel that Jittor fuses it into


def to_arrays(module) -> dict:
    return {name: p.numpy() for name, p in module.named_parameters()}


class TrainState:
    """A run. `generator`, `discriminator`, `running` (the averaged generator), `g_optimizer`,
    `d_optimizer`, `config`, and the counters `images_seen`, `iteration` and `pictures`.
    """

    def __init__(self, config: Config):
        # Jittor's generator on the CPU gives the same numbers for 0 and 1: spread the seeds out
        seed = int(np.random.SeedSequence(config.seed).generate_state(1)[0] >> 1)
        jt.set_global_seed(seed, different_seed_for_mpi=False)
        self.config = config
        self.generator = new_generator(config)
        self.discriminator = Discriminator(config.from_rgb_activate, config.channel_max)
        self.running = new_generator(config)
        self.g_parameters = dict(self.generator.named_parameters())
        self.running_parameters = dict(self.running.named_parameters())
        assign(self.running_parameters, to_arrays(self.generator))
        self.g_optimizer = Adam(self.g_parameters, lr_mult={"style.": config.mapping_lr_mult})
        self.d_optimizer = Adam(dict(self.discriminator.named_parameters()))
        self.discriminator_loss, self.generator_loss = LOSSES[config.loss]
        self.images_seen = 0
        self.iteration = 0
        self.pictures = None  # how many the data set holds

    def discriminator_step(self, phase, real, latents, crossover, noise, eps=None):
        """One update of the discriminator. real (n, 3, size, size); eps (n, 1, 1, 1) for wgan-gp;
        arrays or Vars.

        Returns the three parts of its loss (real, fake, penalty) as Vars.
        """

        def score(images):
            return self.discriminator(images, phase.step, phase.alpha)

        fake = self.fake_images(phase, latents, crossover, noise).detach()
        eps = None if eps is None else jt.array(eps)
        parts = self.discriminator_loss(score, jt.array(real), fake, self.config.gp_weight, eps)
        names = self.discriminator.used_parameters(phase.step, phase.alpha)
        self.d_optimizer.step(sum(parts), names, phase.lr)
        return parts

    def generator_step(self, phase, latents, crossover, noise):
        """One update of the generator. Returns its loss as a Var."""
        fake = self.fake_images(phase, latents, crossover, noise)
        loss = self.generator_loss(self.discriminator(fake, phase.step, phase.alpha))
        names = self.generator.used_parameters(phase.step, phase.alpha)
        self.g_optimizer.step(loss, names, phase.lr)
        return loss

    def fake_images(self, phase, latents, crossover, noise):
        """latents: one or two (n, code_size) -> (n, 3, size, size)"""
        latents = [jt.array(z) for z in latents]
        noise = [jt.array(x) for x in noise]
        return self.generator(latents, noise, phase.step, phase.alpha, crossover=crossover)

    def average_generator(self) -> None:
        """Moves the running average one iteration on; what has never been trained equals it."""
        trained = [name for name, steps in self.g_optimizer.steps.items() if steps]
        average(self.running_parameters, self.g_parameters, trained, self.config.ema)

    def finish_iteration(self, batch: int) -> None:
        """Counts, and computes all that is still pending: Jittor is lazy, its graph would grow
        without end.
        """
        self.images_seen += batch
        self.iteration += 1
        jt.sync_all()

    def save(self, path, alpha: float, size: int) -> None:
        """Writes all of it. `jt.load` opens the file. size and alpha tell the figures what has been
        trained.

        The file appears complete or not at all. Raises DivergedError, DataError.
        """
        content = {
            "version": VERSION,
            "config": dataclasses.asdict(self.config),
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
        check_finite(content, self.iteration)
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as unfinished:
            jt.save(content, str(unfinished))

    @classmethod
    def load(cls, path, content: dict, config: Config) -> "TrainState":
        """The run as `read_checkpoint` found it in the file at `path`, going on under `config`."""
        run = cls(config)
        for part, module in (
            ("generator", run.generator),
            ("discriminator", run.discriminator),
            ("g_running", run.running),
        ):
            expected = dict(module.named_parameters())
            check_parameters(expected, content[part], path, part)
            assign(expected, content[part])
        for part, optimizer in (("g_optimizer", run.g_optimizer), ("d_optimizer", run.d_optimizer)):
            check_parameters(optimizer.parameters, content[part]["v"], path, part)
            optimizer.load_state_dict(content[part])
        run.images_seen = content["images_seen"]
        run.iteration = content["iteration"]
        return run


def new_generator(config: Config) -> StyledGenerator:
    return StyledGenerator(config.code_size, config.n_mlp, config.channel_max)


class _ArraysOnly(pickle.Unpickler):
    """Reads arrays, numbers, strings and plain containers: a checkpoint from a stranger must not
    run code.
    """

    ALLOWED = {
        ("numpy.core.multiarray", "_reconstruct"),
        ("numpy._core.multiarray", "_reconstruct"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
        ("numpy", "ndarray"),
        ("numpy", "dtype"),
    }

    def find_class(self, module, name):
        if (module, name) not in self.ALLOWED:
            raise CheckpointError(f"it asks for {module}.{name}, which is no array: not read")
        return super().find_class(module, name)


def read_checkpoint(path) -> dict:
    """The content of a checkpoint file of ours: a dict of plain values and NumPy arrays. Raises
    CheckpointError.
    """
    path = Path(path)
    try:
        raw = path.read_bytes()
    except OSError as e:
        raise CheckpointError(f"{path} cannot be read: {e.strerror}") from None
    if raw.endswith(TRAILER) and hashlib.sha1(raw[:-28]).digest() != raw[-28:-8]:
        raise CheckpointError(f"{path} is damaged: its checksum does not fit")
    try:
        content = _ArraysOnly(io.BytesIO(raw)).load()
    except CheckpointError as e:
        raise CheckpointError(f"{path}: {e}") from None
    except Exception:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged") from None
    if not isinstance(content, dict) or not content.keys() >= set(ENTRIES):
        raise CheckpointError(f"{path} is not a checkpoint of train.py")
    if content["version"] > VERSION:
        raise CheckpointError(f"{path} was written by a newer version of this project")
    return content


def config_of(content: dict) -> Config:
    """The configuration in a checkpoint; fields it does not know yet keep their defaults."""
    known = {f.name for f in dataclasses.fields(Config)}
    return Config(**{k: v for k, v in content["config"].items() if k in known})


def load_generator(path):
    """(averaged generator, configuration, size, alpha) of a checkpoint, for the figures. Raises
    CheckpointError.
    """
    content = read_checkpoint(path)
    config = config_of(content)
    generator = new_generator(config)
    expected = dict(generator.named_parameters())
    check_parameters(expected, content["g_running"], path, "g_running")
    assign(expected, content["g_running"])
    return generator, config, content["size"], content["alpha"]
