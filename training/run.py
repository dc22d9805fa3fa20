"""All that a training run is: configuration, networks, averages, optimisers, counters. Saved and
restored as one; checkpoints of the PyTorch original and of its other Jittor ports are read too.

    python state.py checkpoint/train_step-6.model                      # what it holds
    python state.py checkpoint/train_step-6.model --export torch.pth   # for the original
"""

import argparse
import dataclasses
import json
import math
import operator
import os
import re
import sys
from pathlib import Path

import numpy as np

from backend import device
from formats import unpickler as weights
from training.folder import check_finite, replacing
from training.losses import LOSSES
from model import FUSED_FROM, MAX_STEP, Discriminator, StyledGenerator, widths
from training.optimizer import Adam, average
from training.schedule import Config
from pictures.store import SIZES, DataError
from formats.unpickler import CheckpointError

jt = device.load()

VERSION = 1
ENTRIES = (
    "version config images_seen iteration size alpha "
    "generator discriminator g_running g_optimizer d_optimizer"
).split()
PARTS = {"g": "generator", "d": "discriminator", "r": "g_running"}  # by the ports' file suffixes
OPTIMIZERS = {"g_optimizer": "generator", "d_optimizer": "discriminator"}


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
        self.discriminator = new_discriminator(config)
        self.running = new_generator(config)
        self.g_parameters = dict(self.generator.named_parameters())
        self.running_parameters = dict(self.running.named_parameters())
        for name, p in self.running_parameters.items():
            p.update(self.g_parameters[name].detach())  # no copy, until it is trained
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

        fake = self.fake_images(phase, latents, crossover, noise).stop_grad()
        fake.sync()  # else its activations would wait with the discriminator's
        eps = None if eps is None else jt.array(eps)
        parts = self.discriminator_loss(score, jt.array(real), fake, self.config.gp_weight, eps)
        names = self.discriminator.used_parameters(phase.step, phase.alpha)
        real, fake, penalty = parts
        self.d_optimizer.step([[real, penalty], [fake]], names, phase.lr)
        return parts

    def generator_step(self, phase, latents, crossover, noise):
        """One update of the generator. Returns its loss as a Var."""
        fake = self.fake_images(phase, latents, crossover, noise)
        loss = self.generator_loss(self.discriminator(fake, phase.step, phase.alpha))
        names = self.generator.used_parameters(phase.step, phase.alpha)
        self.g_optimizer.step([[loss]], names, phase.lr)
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
        """The run as `read_checkpoint` found it in the file at `path`, going on under `config`.

        Optimisers that the file lacks start afresh. Raises CheckpointError for what does not fit.
        """
        missing = [part for part in PARTS.values() if content[part] is None]
        if missing:
            raise CheckpointError(
                f"{path} holds no {' and no '.join(missing)}: it makes figures, but training "
                "cannot go on from it"
            )
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
            state = adam_state(content, part, optimizer.parameters, path)
            if state is not None:
                check_parameters(optimizer.parameters, state["v"], path, part)
                optimizer.load_state_dict(state)
        run.images_seen = content["images_seen"]
        run.iteration = content["iteration"]
        return run


def new_generator(config: Config) -> StyledGenerator:
    return StyledGenerator(config.code_size, config.n_mlp, config.channel_max)


def new_discriminator(config: Config) -> Discriminator:
    return Discriminator(config.from_rgb_activate, config.channel_max)


# Reading


def read_checkpoint(path) -> dict:
    """The content of a checkpoint: plain values and NumPy arrays under the names of ENTRIES, and
    `written_by`. Raises CheckpointError.

    In another's, `written_by` is not "train.py"; `config` holds what the shapes tell; the counters
    are 0; version, size, alpha and the parts that it lacks are None; an optimiser is as PyTorch's
    Adam gives it. Without an average, `g_running` is the generator.
    """
    path = Path(path)
    values, kind = weights.read(path)
    if not isinstance(values, dict):
        raise CheckpointError(f"{path} is not a checkpoint: it holds no dictionary")
    if values.keys() >= {"version", "config"}:
        content = {**values, "written_by": "train.py"}
        check_own(content, path)
    else:
        content = foreign_content(values, path)
        content["written_by"] = f"another program ({kind})"
    widths_found = infer_widths(content["g_running"], path)
    for name, width in widths_found.items():
        if content["config"].setdefault(name, width) != width:
            raise CheckpointError(
                f"{path} contradicts itself: {name} is {content['config'][name]} in its config and "
                f"{width} in its weights"
            )
    return content


def check_own(content: dict, path) -> None:
    """Raises CheckpointError for what train.py does not write."""
    missing = [name for name in ENTRIES if name not in content]
    if missing:
        raise CheckpointError(f"{path} is not a checkpoint of train.py: {missing[0]} is missing")
    expected = {"version": is_count, "images_seen": is_count, "iteration": is_count}
    expected["size"] = lambda size: type(size) is int and size in SIZES
    expected["alpha"] = lambda alpha: type(alpha) is float and 0 <= alpha <= 1
    expected["config"] = is_config
    expected.update(dict.fromkeys(PARTS.values(), is_arrays))
    expected.update(dict.fromkeys(OPTIMIZERS, is_adam))
    for name, holds in expected.items():
        if not holds(content[name]):
            raise CheckpointError(f"{path} is damaged: its {name} is not one of train.py")
    if content["version"] > VERSION:
        raise CheckpointError(f"{path} was written by a newer version of this project")


def is_count(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_arrays(part) -> bool:
    """Whether it is a dictionary of arrays, by names that a module can have."""
    return isinstance(part, dict) and all(
        isinstance(value, np.ndarray) and re.fullmatch(r"[\w.]{1,200}", str(name), re.ASCII)
        for name, value in part.items()
    )


def is_adam(state) -> bool:
    """Whether it is what `Adam.state_dict` gives."""
    if not isinstance(state, dict) or not is_arrays(state.get("v")):
        return False
    steps = state.get("step")
    return (
        isinstance(steps, dict)
        and steps.keys() == state["v"].keys()
        and all(map(is_count, steps.values()))
    )


def is_config(values) -> bool:
    """Whether the fields that are known have values that Config can have."""
    if not isinstance(values, dict):
        return False
    config = {**dataclasses.asdict(Config()), **values}
    for f in dataclasses.fields(Config):
        value, kinds = config[f.name], (type(f.default), int)[: 1 + (type(f.default) is float)]
        if type(value) not in kinds:
            return False
        if type(value) in (int, float) and not (math.isfinite(value) and 0 <= value < 2**63):
            return False
    positive = ("phase", "batch_default", "code_size", "n_mlp", "channel_max")
    return (
        all(config[name] for name in positive)
        and config["loss"] in LOSSES
        and config["init_size"] in SIZES
        and config["max_size"] in SIZES
    )


def infer_widths(generator: dict, path) -> dict:
    """code_size, n_mlp and channel_max from the shapes of a generator's parameters.

    Raises CheckpointError when they cannot be one's; networks of these widths are then about as
    large as what is in the file.
    """
    mapping = [
        a for k, a in generator.items() if re.fullmatch(r"style\.\d+\.linear\.weight_orig", k)
    ]
    constant = generator.get("generator.progression.0.conv1.input", np.empty(0))
    code_size = len(mapping[0]) if mapping and mapping[0].ndim else 0
    channel_max = constant.shape[1] if constant.ndim == 4 else 0
    shapes = {a.shape for a in mapping} | {constant.shape}
    if (
        not code_size
        or not 1 <= channel_max <= max(widths(512))
        or shapes != {(code_size, code_size), (1, channel_max, 4, 4)}
    ):
        raise CheckpointError(
            f"{path} holds no generator of a StyleGAN: style.1.linear.weight_orig or "
            "generator.progression.0.conv1.input is missing, or their shapes are no generator's"
        )
    return {"code_size": code_size, "n_mlp": len(mapping), "channel_max": channel_max}


def foreign_content(values: dict, path: Path) -> dict:
    """What `read_checkpoint` returns of another program's checkpoint, but for its widths."""
    content = dict.fromkeys(ENTRIES)
    content.update(images_seen=0, iteration=0, config={"fade_first": True})
    if values.keys() & set(PARTS.values()):
        found = {part: values[part] for part in PARTS.values() if values.get(part) is not None}
        for name in OPTIMIZERS:  # Jittor's has other names, and no count for each parameter
            state = values.get(name)
            if isinstance(state, dict) and isinstance(state.get("state"), dict):
                content[name] = {"param_groups": (), **state}
    else:
        found = separate_parts(values, path)
    for part, named in found.items():
        content[part] = own_parameters(named, path, part)
    content["g_running"] = content["g_running"] or content["generator"]
    if content["g_running"] is None:
        raise CheckpointError(f"{path} holds a discriminator alone: its generator is needed too")
    if content["discriminator"] is not None:
        activated = "from_rgb.0.conv.bias" not in content["discriminator"]
        content["config"]["from_rgb_activate"] = activated
    return content


def separate_parts(values: dict, path: Path) -> dict:
    """The part that a file of bare weights holds, with those beside it when they are called
    NAME-g, NAME-d and NAME-r, as some ports save generator, discriminator and average.
    """
    names = [re.sub(r"^module\.", "", str(name)) for name in values]
    is_generator = any(name.startswith(("generator.", "style.")) for name in names)
    if not is_generator and not any(
        name.startswith(("progression.", "from_rgb.")) for name in names
    ):
        raise CheckpointError(f"{path} is not a checkpoint of a StyleGAN")
    suffix = re.fullmatch("(.+)-([gdr])", path.stem)
    if suffix is None or (suffix[2] == "d") == is_generator:
        return {"g_running" if is_generator else "discriminator": values}
    found = {}
    for letter, part in PARTS.items():
        file = path.with_name(f"{suffix[1]}-{letter}{path.suffix}")
        if letter == suffix[2]:
            found[part] = values
        elif file.is_file():
            found[part], _ = weights.read(file)
    return found


def own_parameters(named, path, part: str) -> dict:
    """A state dict of an original or a port as one of ours. Raises CheckpointError.

    Without a prefix `module.`, and without what is derived: blur kernels, a `weight` beside the
    `weight_orig` that it is made of, the constant `multiplier` of a fused resampling.
    """
    if not is_arrays(named):
        raise CheckpointError(f"{path}: {part} is no dictionary of arrays")
    named = {re.sub(r"^module\.", "", name): array for name, array in named.items()}

    def is_derived(name, array):
        layer, _, last = name.rpartition(".")
        is_blur = array.shape[1:] == (1, 3, 3) and f"{layer}.bias" not in named
        return (
            (last == "weight" and f"{layer}.weight_orig" in named)
            or (last in ("weight", "weight_flip") and is_blur)
            or (last == "multiplier" and array.size == 1)
        )

    return fold_norms({name: a for name, a in named.items() if not is_derived(name, a)})


def fold_norms(named: dict) -> dict:
    """A state dict in which the instance norms of AdaIN have no scale a and shift b of their own,
    as they do in a port that leaves Jittor's default: they become part of the style.

        gamma (a x + b) + beta = (a gamma) x + (b gamma + beta)
    """
    named = dict(named)
    for name in [name for name in named if name.endswith(".norm.weight")]:
        block = name[: -len(".norm.weight")]
        style = [f"{block}.style.linear.weight_orig", f"{block}.style.linear.bias"]
        a, b, *layer = (named.get(n, np.empty(0)) for n in (name, f"{block}.norm.bias", *style))
        if any(x.shape[:1] != (2 * len(a),) for x in layer) or a.shape != b.shape or a.ndim != 1:
            continue  # told as unknown later
        for key, rows in zip(style, layer):
            gamma, beta = np.split(rows.T, 2, axis=-1)
            named[key] = np.concatenate([a * gamma, b * gamma + beta], axis=-1).T
        del named[name], named[f"{block}.norm.bias"]
    return named


def config_of(content: dict) -> Config:
    """The configuration in a checkpoint; fields it does not know yet keep their defaults."""
    known = {f.name for f in dataclasses.fields(Config)}
    return Config(**{k: v for k, v in content["config"].items() if k in known})


def load_generator(path):
    """(averaged generator, configuration, size, alpha) of a checkpoint, for the figures; size None
    where it does not tell. Raises CheckpointError.
    """
    content = read_checkpoint(path)
    config = config_of(content)
    generator = new_generator(config)
    expected = dict(generator.named_parameters())
    check_parameters(expected, content["g_running"], path, "g_running")
    assign(expected, content["g_running"])
    return generator, config, content["size"], content["alpha"]


# PyTorch's Adam: parameters by number, in groups


def parameter_groups(names, optimizer: str):
    """Lists of names in the order in which the original gives them to PyTorch's Adam."""
    if optimizer == "d_optimizer":
        return [list(names)]
    return [[n for n in names if n.startswith(prefix)] for prefix in ("generator.", "style.")]


def adam_state(content: dict, optimizer: str, parameters: dict, path):
    """The state of "g_optimizer" or "d_optimizer" as `Adam.load_state_dict` takes it, whoever saved
    it; None where there is none. Raises CheckpointError.
    """
    state = content[optimizer]
    if state is None or "param_groups" not in state:
        return state
    names = parameter_groups(parameters, optimizer)
    result = {"step": {}, "v": {}}
    try:
        numbers = [list(map(operator.index, group["params"])) for group in state["param_groups"]]
        if list(map(len, numbers)) != list(map(len, names)):
            raise CheckpointError(f"{path}: {optimizer} is one of other networks")
        for name, number in zip(sum(names, []), sum(numbers, [])):
            one = state["state"].get(number)
            result["step"][name] = int(float(one["step"])) if one else 0
            v = one["exp_avg_sq"] if one else np.zeros(parameters[name].shape, "float32")
            result["v"][name] = v.astype("float32")
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError):
        raise CheckpointError(f"{path}: {optimizer} is no state of PyTorch's Adam") from None
    if not all(map(is_count, result["step"].values())):
        raise CheckpointError(f"{path}: {optimizer} counts no steps")
    return result


def torch_adam(state, names, config: Config) -> dict:
    """`Adam.state_dict` as PyTorch has it. names: see `parameter_groups`; state may be None."""
    steps, v = (state["step"], state["v"]) if state else ({}, {})
    order = sum(names, [])
    saved = {
        i: {
            "step": steps[name],
            "exp_avg": np.zeros(v[name].shape, "float32"),  # beta1 is 0: never read
            "exp_avg_sq": v[name].astype("float32"),
        }
        for i, name in enumerate(order)
        if steps.get(name)
    }
    groups = []
    for group, mult in zip(names, (1.0, config.mapping_lr_mult)):
        start = sum(len(g["params"]) for g in groups)
        options = {"lr": config.lr * mult, "betas": (0.0, 0.99), "eps": 1e-8, "weight_decay": 0}
        numbers = list(range(start, start + len(group)))
        groups.append({**options, "amsgrad": False, "mult": mult, "params": numbers})
    return {"state": saved, "param_groups": groups}


# As a tool


def blur_kernels(config: Config, part: str) -> dict:
    """The constants that the original saves with a network's parameters."""
    c = widths(config.channel_max)
    if part == "discriminator":
        channels = {f"progression.{MAX_STEP - i}.conv2.0": c[i - 1] for i in range(1, MAX_STEP + 1)}
    else:
        channels = {
            f"generator.progression.{i}.conv1.{1 if i >= FUSED_FROM else 2}": c[i]
            for i in range(1, MAX_STEP + 1)
        }
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype("float32") / 16
    return {
        f"{layer}.{name}": np.tile(kernel, (n, 1, 1, 1))
        for layer, n in channels.items()
        for name in ("weight", "weight_flip")
    }


def export(content: dict, path, out) -> None:
    """Writes what the original's scripts load in PyTorch; parts that are missing stay so. Raises
    CheckpointError when what was read at `path` does not fit.
    """
    config = config_of(content)
    generator = dict(new_generator(config).named_parameters())
    discriminator = dict(new_discriminator(config).named_parameters())
    values = {}
    for part in PARTS.values():
        if content[part] is not None:
            expected = discriminator if part == "discriminator" else generator
            check_parameters(expected, content[part], path, part)
            arrays = {name: content[part][name].astype("float32") for name in expected}
            values[part] = {**arrays, **blur_kernels(config, part)}
    for name, network in OPTIMIZERS.items():
        if network in values:
            parameters = discriminator if network == "discriminator" else generator
            state = adam_state(content, name, parameters, path)
            if state is not None:
                check_parameters(parameters, state["v"], path, name)
            values[name] = torch_adam(state, parameter_groups(parameters, name), config)
    weights.write_torch(out, values)


def describe(content: dict) -> str:
    """What a checkpoint holds, for people."""
    config = config_of(content)
    rows = {"written by": content["written_by"]}
    if content["size"] is not None:
        rows["counters"] = f"iteration {content['iteration']}, {content['images_seen']} images seen"
        rows["stage"] = f"{content['size']} px, alpha {content['alpha']:.3g}"
        rows["config"] = json.dumps(dataclasses.asdict(config))
    names = ("code_size", "n_mlp", "channel_max", "from_rgb_activate")
    rows["networks"] = ", ".join(f"{name} {getattr(config, name)}" for name in names)
    for part in PARTS.values():
        arrays = content[part]
        if arrays is not None:
            count = sum(array.size for array in arrays.values())
            rows[part] = f"{count:,} parameters in {len(arrays)} arrays"
    for name in OPTIMIZERS:
        state = content[name]
        if state is not None:
            trained = (
                [s for s in state["step"].values() if s] if "step" in state else state["state"]
            )
            rows[name] = f"moments of {len(trained)} trained arrays"
    missing = [name for name in (*PARTS.values(), *OPTIMIZERS) if name not in rows]
    rows.update(dict.fromkeys(missing, "-"))
    return "\n".join(f"{name:15}{text}" for name, text in rows.items())


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description="Tells what a checkpoint holds, ours or another's, and exports it to PyTorch.",
        allow_abbrev=False,
    )
    p.add_argument("ckpt", metavar="CKPT", help="checkpoint")
    text = "write it as the original's generate.py and train.py --ckpt load it in PyTorch"
    p.add_argument("--export", metavar="OUT", help=text)
    p.add_argument("--overwrite", action="store_true", help="replace OUT when it exists")
    return p


def main(argv=None) -> int:
    args = parser().parse_args(argv)
    if args.export and os.path.exists(args.export) and not args.overwrite:
        print(f"state.py: {args.export} exists: give --overwrite to replace it", file=sys.stderr)
        return 2
    try:
        content = read_checkpoint(args.ckpt)
        print(describe(content))
        if args.export:
            export(content, args.ckpt, args.export)
            print(f"wrote {args.export}")
    except (DataError, OSError) as e:
        print(f"state.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
