"""Checkpoints of the PyTorch original and of its Jittor ports: their parts, the names of their
parameters, the states of their optimisers. From what `files.read` found in a file to what it is.

The original's optimiser numbers the parameters, in groups; its networks keep constants beside them.
"""

import itertools
import operator
import re
from pathlib import Path

import numpy as np

from formats import files, wrappings
from formats.files import CheckpointError
from formats.standins import Inert

NETWORKS = {"g": "generator", "d": "discriminator", "r": "g_running"}  # by ports' file suffixes
WIDEST = 512  # channels of the original's widest level
NETWORK_WORDS = {"model", "net", *itertools.chain(*wrappings.WORDS.values())}
BETA2 = 0.99  # of the original's Adam
OPTIMIZERS = {"g_optimizer": "generator", "d_optimizer": "discriminator"}


def is_count(value) -> bool:
    return type(value) is int and 0 <= value < 2**63


def is_arrays(part) -> bool:
    """Whether it is a dictionary of arrays, by names that a module can have."""
    return isinstance(part, dict) and all(
        isinstance(value, np.ndarray) and re.fullmatch(r"[\w.]{1,200}", str(name), re.ASCII)
        for name, value in part.items()
    )


def recognised(values, path: Path) -> dict:
    """The parts and optimisers that a file's values hold, under our names; else None. Without an
    average, `g_running` is the generator. Raises CheckpointError.
    """
    content = wrappings.content_in(values, path)
    networks = [part for part in NETWORKS.values() if content[part] is not None]
    if not networks:
        raise CheckpointError(f"{path} is not a checkpoint of a StyleGAN{whole_object(values)}")
    if len(networks) == 1:
        content.update(separate_files(content[networks[0]], networks[0], path))
    for part in NETWORKS.values():
        if content[part] is not None:
            content[part] = own_parameters(content[part], path, part)
    for name in OPTIMIZERS:  # Jittor's has other names, and no count for each parameter
        if content[name] is not None:
            content[name] = {"param_groups": (), **content[name]}
    content["g_running"] = content["g_running"] or content["generator"]
    if content["g_running"] is None:
        raise CheckpointError(f"{path} holds a discriminator alone: its generator is needed too")
    return content


def whole_object(values) -> str:
    """Advice where a network was saved as an object of its class."""
    for key, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, Inert) and wrappings.words(str(key)) & NETWORK_WORDS:
            name = ascii(f"{key} is an object of {value.name}")[1:-1][:200]
            return f": its {name}, whose state_dict() can be read instead"
    return ""


def separate_files(named: dict, part: str, path: Path) -> dict:
    """The part that a file of bare weights holds, with those beside it when they are called
    NAME-g, NAME-d and NAME-r, as some ports save generator, discriminator and average.
    """
    suffix = re.fullmatch("(.+)-([gdr])", path.stem)
    if suffix is None or (suffix[2] == "d") != (part == "discriminator"):
        return {}
    content = dict.fromkeys(NETWORKS.values())
    for letter, name in NETWORKS.items():
        file = path.with_name(f"{suffix[1]}-{letter}{path.suffix}")
        if letter == suffix[2]:
            content[name] = named
        elif file.is_file():
            other = wrappings.content_in(files.read(file).values, file)
            generator = other["generator"] or other["g_running"]
            content[name] = other["discriminator"] if letter == "d" else generator
    return content


def own_parameters(named, path, part: str) -> dict:
    """A state dict of an original or a port as one of ours. Raises CheckpointError.

    Without what is derived: blur kernels, a `weight` beside the `weight_orig` that it is made of,
    the constant `multiplier` of a fused resampling.
    """
    if not is_arrays(named):
        raise CheckpointError(f"{path}: {part} is no dictionary of arrays")

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
    if "label.weight" in generator and mapping and mapping[0].ndim == 2:
        mapping[0] = mapping[0][:, :code_size]  # beside what is learned of the label
    shapes = {a.shape for a in mapping} | {constant.shape}
    if (
        not code_size
        or not 1 <= channel_max <= WIDEST
        or shapes != {(code_size, code_size), (1, channel_max, 4, 4)}
    ):
        raise CheckpointError(
            f"{path} holds no generator of a StyleGAN: style.1.linear.weight_orig or "
            "generator.progression.0.conv1.input is missing, or their shapes are no generator's"
        )
    return {"code_size": code_size, "n_mlp": len(mapping), "channel_max": channel_max}


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
        if not all(map(is_plain_adam, state["param_groups"])):
            raise CheckpointError(f"{path}: {optimizer} is not the original's Adam")
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


def is_plain_adam(group: dict) -> bool:
    """Whether a group has the original's mean of squares, and no weight decay, where it tells."""
    decays = group.get("weight_decay") or group.get("decoupled_weight_decay")
    return not decays and group.get("betas", (0, BETA2))[1] == BETA2


def torch_adam(state, names, lr: float, mapping_lr_mult: float) -> dict:
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
    for group, mult in zip(names, (1.0, mapping_lr_mult)):
        start = sum(len(g["params"]) for g in groups)
        options = {"lr": lr * mult, "betas": (0.0, BETA2), "eps": 1e-8, "weight_decay": 0}
        numbers = list(range(start, start + len(group)))
        groups.append({**options, "amsgrad": False, "mult": mult, "params": numbers})
    return {"state": saved, "param_groups": groups}


def blur_kernels(shapes: dict) -> dict:
    """The constants that the original saves with a network's parameters, whose shapes are given by
    name: a blur after each convolution that upsamples, before each that downsamples.
    """
    channels = {}
    for name, shape in shapes.items():
        after = re.fullmatch(r"(generator\..*\.conv1)\.(\d)(\.conv)?\.bias", name)
        before = re.fullmatch(r"(progression\..*\.conv2)\.1(\.conv)?\.bias", name)
        if after:
            channels[f"{after[1]}.{int(after[2]) + 1}"] = shape[0]
        elif before:
            channels[f"{before[1]}.0"] = shape[0]
    kernel = np.outer([1, 2, 1], [1, 2, 1]).astype("float32") / 16
    return {
        f"{layer}.{name}": np.tile(kernel, (n, 1, 1, 1))
        for layer, n in channels.items()
        for name in ("weight", "weight_flip")
    }
