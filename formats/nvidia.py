"""NVIDIA's own StyleGAN (v1): pickles of (G, D, Gs) by their TensorFlow code, under our names.

A network is an object with the options that were given to its building function, its variables and,
for a generator, a mapping and a synthesis network. It is told by the function's name. The source
text beside it is never looked at. k of a variable is 4x4 to 1024x1024 in its name; convolutions are
stored as (h, w, in, out), dense layers as (in, out).
"""

import math
import re

import numpy as np

from formats.files import CheckpointError
from formats.standins import Network

CONSTANT = "generator.progression.0.conv1.input"
LR_MULTIPLIER = 0.01  # of the mapping, unless a network says otherwise
LAST_STEP = 8  # 1024 px: our discriminator's lists start with it
DEFAULTS = {  # of the building functions: options that change what a network computes
    "use_styles": True,
    "const_input_layer": True,
    "use_noise": True,
    "use_pixel_norm": False,
    "use_instance_norm": True,
    "use_wscale": True,
    "normalize_latents": True,
    "nonlinearity": "lrelu",
    "mapping_nonlinearity": "lrelu",
    "fused_scale": "auto",
    "blur_filter": [1, 2, 1],
    "fmap_base": 8192,
    "fmap_decay": 1.0,
    "mbstd_num_features": 1,
    "num_channels": 3,
    "label_size": 0,
    "dtype": "float32",
}
FUNCTIONS = ("G_style", "D_basic", "G_style")  # of a snapshot: G, D and G's average


def networks_in(values) -> list:
    """NVIDIA's networks among a file's values."""
    if isinstance(values, dict):
        values = list(values.values())
    values = values if isinstance(values, (list, tuple)) else [values]
    return [value for value in values if isinstance(value, Network)]


def field(network, name: str, value_type, path):
    """What a network holds under a name. CheckpointError if that is nothing of this type."""
    state = network.state if isinstance(network, Network) else None
    value = state.get(name) if isinstance(state, dict) else None
    if not isinstance(value, value_type):
        raise CheckpointError(f"{path} is damaged: a network's {name} is missing or something else")
    return value


def check_snapshot(networks: list, path) -> None:
    """CheckpointError that names what it is, unless it is a generator, a discriminator and the
    generator's average of StyleGAN v1.
    """
    if any(not network.name.startswith("dnnlib.") for network in networks):
        raise CheckpointError(
            f"{path} holds networks of NVIDIA's Progressive GAN: StyleGAN's (v1) alone are known"
        )
    functions = [field(network, "build_func_name", str, path) for network in networks]
    later = [f for f in functions if f.startswith("G_main") or "stylegan2" in f]
    if later:
        raise CheckpointError(
            f"{path} holds networks of NVIDIA's StyleGAN2 or later ({later[0][:40]!a}): StyleGAN's "
            "(v1) alone are known"
        )
    if tuple(functions) == FUNCTIONS:
        return
    known = [f for f in functions if f in (*FUNCTIONS, "G_mapping", "G_synthesis")]
    if len(functions) == 1 and known:
        raise CheckpointError(
            f"{path} holds a single network, made by {known[0]}: a snapshot holds three, G, D and "
            "the average of G"
        )
    if not known:
        origin = f"made by {functions[0][:40]!a}, as NVIDIA's metrics use"
        raise CheckpointError(f"{path} holds a network {origin}, and no StyleGAN")
    raise CheckpointError(f"{path} holds other networks than G, D and the average of G")


def options_of(network, path) -> dict:
    """The options given to a network's building function. CheckpointError for those that make
    another network of it.
    """
    options = field(network, "static_kwargs", dict, path)
    for name, default in DEFAULTS.items():
        value = options.get(name, default)
        value = list(value) if isinstance(value, tuple) else value
        if isinstance(value, np.ndarray) or value != default:
            conditional = "conditional on labels, " if name == "label_size" else ""
            raise CheckpointError(
                f"{path} holds a network {conditional}made with {name} {ascii(value)[:40]}, and "
                f"not {default}: such are not known"
            )
    return options


def variables_of(network, path) -> dict:
    """Arrays by name; a number is an array without dimensions."""
    arrays = {}
    for pair in field(network, "variables", list, path):
        if not isinstance(pair, tuple) or len(pair) != 2 or not isinstance(pair[0], str):
            raise CheckpointError(f"{path} is damaged: a network's variables have no names")
        array = pair[1] if isinstance(pair[1], np.ndarray) else np.asarray(pair[1])
        if array.dtype.kind not in "fiu" or pair[0] in arrays:
            raise CheckpointError(f"{path} is damaged: {ascii(pair[0])[:80]} is no array, or twice")
        arrays[pair[0]] = array
    return arrays


# Variables to our parameters, in float64 where a factor would round them


def conv(w):
    """(h, w, in, out) -> (out, in, h, w)"""
    return w.transpose(3, 2, 0, 1)


def dense(w, factor: float = 1 / math.sqrt(2)):
    """(in, out) -> (out, in); by default without the factor sqrt(2) that our layers have."""
    return w.astype("float64").T * factor


def rgb(w):
    """As `conv`, and without our factor sqrt(2)."""
    return conv(w).astype("float64") / math.sqrt(2)


def fused_up(w):
    """(h, w, in, out) -> (in, out, h, w), of which our layer takes a fourth."""
    return 4 * w.transpose(2, 3, 0, 1)


def whole_image(w):
    """A dense layer over (in, 4, 4) as a convolution of (out, in, 4, 4)."""
    return w.T.reshape(w.shape[1], -1, 4, 4)


def strength(s):
    """Of noise, by channel, as our equalised (1, channels, 1, 1)."""
    return (s.astype("float64") * math.sqrt(len(s) / 2)).reshape(1, -1, 1, 1)


def style_bias(b):
    """Ours scales by gamma, NVIDIA's by 1 + gamma."""
    return b.astype("float64") + (np.arange(len(b)) < len(b) // 2)


def unchanged(b):
    return b


def with_bias(pattern: str, name: str, change, weight: str = "weight_orig") -> tuple:
    """The two rules of a layer's weight and bias."""
    return (f"{pattern}/weight", f"{name}.{weight}", change), (
        f"{pattern}/bias",
        f"{name}.bias",
        unchanged,
    )


# (variable's name, our name, change): the number is a size or lod, from which the step follows
ANY_SIZE, SMALL_SIZE, LARGE_SIZE = r"(\d+)x\1", r"(8|16|32|64)x\1", r"(128|256|512|1024)x\1"
G_BLOCK, D_BLOCK = "generator.progression.{step}", "progression.{place}"
FIRST_LAYER, SECOND_LAYER = "(?:Const|Conv0_up)", "(?:Conv|Conv1)"
SYNTHESIS = (
    *(
        rule
        for layer, n in ((FIRST_LAYER, 1), (SECOND_LAYER, 2))
        for rule in (
            (f"{ANY_SIZE}/{layer}/Noise/weight", f"{G_BLOCK}.noise{n}.weight_orig", strength),
            (
                f"{ANY_SIZE}/{layer}/StyleMod/weight",
                f"{G_BLOCK}.adain{n}.style.linear.weight_orig",
                dense,
            ),
            (
                f"{ANY_SIZE}/{layer}/StyleMod/bias",
                f"{G_BLOCK}.adain{n}.style.linear.bias",
                style_bias,
            ),
        )
    ),
    (f"{ANY_SIZE}/Const/const", f"{G_BLOCK}.conv1.input", unchanged),
    *with_bias(f"{SMALL_SIZE}/Conv0_up", f"{G_BLOCK}.conv1.1.conv", conv),
    *with_bias(f"{LARGE_SIZE}/Conv0_up", f"{G_BLOCK}.conv1.0", fused_up, "weight"),
    *with_bias(f"{ANY_SIZE}/{SECOND_LAYER}", f"{G_BLOCK}.conv2.conv", conv),
    *with_bias(r"ToRGB_lod(\d)", "generator.to_rgb.{step}.conv", rgb),
)
DISCRIMINATOR = (
    *with_bias(r"FromRGB_lod(\d)", "from_rgb.{place}.0.conv", conv),
    *with_bias(f"{ANY_SIZE}/(?:Conv|Conv0)", f"{D_BLOCK}.conv1.0.conv", conv),
    *with_bias(f"{SMALL_SIZE}/Conv1_down", f"{D_BLOCK}.conv2.1.conv", conv),
    *with_bias(f"{LARGE_SIZE}/Conv1_down", f"{D_BLOCK}.conv2.1", conv, "weight"),
    *with_bias("(4)x4/Dense0", f"{D_BLOCK}.conv2.0.conv", whole_image),
    *with_bias("(4)x4/Dense1", "linear.linear", dense),
)
NO_PARAMETER = re.compile(r"lod|dlatent_avg|noise\d+")


def parameters(variables: dict, rules, last: int, path) -> dict:
    """Our parameters by name, of variables that `rules` know. last: step of the largest size."""
    named = {}
    for name, array in variables.items():
        if NO_PARAMETER.fullmatch(name):
            continue
        matches = ((re.fullmatch(pattern, name), *rule) for pattern, *rule in rules)
        match, ours, change = next((rule for rule in matches if rule[0]), (None, "", unchanged))
        if match is None:
            raise CheckpointError(
                f"{path} holds another network than StyleGAN's (v1): its variable "
                f"{ascii(name)[:80]} is unknown"
            )
        number = int(match[1])
        step = last - number if "_lod" in name else number.bit_length() - 3
        try:
            named[ours.format(step=step, place=LAST_STEP - step)] = change(array)
        except (ValueError, TypeError, IndexError):
            raise CheckpointError(
                f"{path} is damaged: its variable {name} is {array.shape}"
            ) from None
    return named


def generator_parameters(network, last: int, path) -> dict:
    """Of a G_style."""
    components = field(network, "components", dict, path)
    mapping, synthesis = (components.get(name) for name in ("mapping", "synthesis"))
    factor = options_of(mapping, path).get("mapping_lrmul", LR_MULTIPLIER)
    options_of(synthesis, path)
    if not isinstance(factor, float):
        raise CheckpointError(f"{path} is damaged: its mapping_lrmul is no number")
    return {
        **mapping_parameters(variables_of(mapping, path), factor, path),
        **synthesis_parameters(variables_of(synthesis, path), last, path),
    }


def mapping_parameters(variables: dict, factor: float, path) -> dict:
    """Of a mapping network whose variables count `factor` times."""
    named = {}
    for name, array in variables.items():
        match = re.fullmatch(r"Dense(\d{1,3})/(weight|bias)", name)
        if match is None or array.ndim != (2 if match[2] == "weight" else 1):
            raise CheckpointError(
                f"{path} holds another mapping network than StyleGAN's (v1): its variable "
                f"{ascii(name)[:80]} is unknown"
            )
        ours = "weight_orig" if match[2] == "weight" else "bias"
        named[f"style.{2 * int(match[1]) + 1}.linear.{ours}"] = dense(array, factor)
    return named


def synthesis_parameters(variables: dict, last: int, path) -> dict:
    """Of a synthesis network, with the number of what it adds to the constant taken in."""
    variables = dict(variables)
    bias = variables.pop("4x4/Const/bias", None)
    named = parameters(variables, SYNTHESIS, last, path)
    constant = named.get(CONSTANT)
    if bias is None or constant is None or constant.shape[1:2] != bias.shape:
        raise CheckpointError(
            f"{path} is damaged: its constant has no bias, or one of another size"
        )
    named[CONSTANT] = constant.astype("float64") + bias.reshape(1, -1, 1, 1)
    return named


def noise_of(values) -> list:
    """The noise maps of the average of G for each size, (1, 2, 4 * 2^i, 4 * 2^i), which NVIDIA's
    code uses without `randomize_noise`. values: of a file that `recognised` takes.
    """
    variables = variables_of(networks_in(values)[2].state["components"]["synthesis"], "the file")
    maps = [
        variables[f"noise{i}"] for i in range(sum(name.startswith("noise") for name in variables))
    ]
    return [np.concatenate(maps[i : i + 2], axis=1) for i in range(0, len(maps), 2)]


# A snapshot


def resolution(networks, path) -> int:
    """Pixels of the images of G, D and the average of G."""
    sizes = [
        options.get("resolution", default)
        for options, default in zip([options_of(n, path) for n in networks], (1024, 32, 1024))
    ]
    size = sizes[0]
    if type(size) is not int or size not in [4 * 2**step for step in range(LAST_STEP + 1)]:
        raise CheckpointError(
            f"{path} holds networks of {ascii(size)[:40]} px: 4 to 1024 are known"
        )
    if sizes != [size] * 3:
        raise CheckpointError(f"{path} holds networks of different sizes: {sizes} px"[:300])
    return size


def code_size(options: dict, path) -> int:
    """Of z and w and of all layers between, which have to be alike."""
    sizes = {options.get(k, 512) for k in ("latent_size", "dlatent_size", "mapping_fmaps")}
    if len(sizes) > 1:
        raise CheckpointError(
            f"{path} holds a mapping network of different widths, {sorted(map(str, sizes))}: "
            "one for all of latent_size, dlatent_size and mapping_fmaps is known"
        )
    return sizes.pop()


def truncation(options: dict, path) -> dict:
    """psi and psi_levels: NVIDIA counts layers, two a level."""
    psi, cutoff = options.get("truncation_psi", 0.7), options.get("truncation_cutoff", 8)
    if psi is None or cutoff == 0:
        return {"psi": 1.0}
    cutoff = 2 * LAST_STEP + 2 if cutoff is None else cutoff
    if type(psi) not in (int, float) or not 0 <= psi <= 5 or type(cutoff) is not int or cutoff < 0:
        raise CheckpointError(f"{path} is damaged: its truncation_psi is no number")
    return {"psi": float(psi), "psi_levels": min((cutoff - 1) // 2, LAST_STEP)}


def generator_config(options: dict, size: int, path) -> dict:
    """What a generator does otherwise than the PyTorch original's."""
    return {
        "init_size": size,
        "max_size": size,
        "norm_eps": 1e-8,
        "bias_after_blur": True,
        "noise_maps": 2,
        **truncation(options, path),
    }


def recognised(values, path) -> dict:
    """What a snapshot holds: generator, discriminator, g_running; size and alpha, which `lod`
    tells; `mean_style` (code_size,); `config`, what the networks do otherwise than the PyTorch
    original. Raises CheckpointError.

    Only the levels up to the snapshot's size are there.
    """
    networks = networks_in(values)
    check_snapshot(networks, path)
    size = resolution(networks, path)
    last, (g, d, average) = size.bit_length() - 3, networks
    options, variables = options_of(average, path), variables_of(average, path)
    width = code_size(options, path)
    group = options_of(d, path).get("mbstd_group_size", 4)
    lod, mean = float(variables.get("lod", np.zeros(1)).item()), variables.get("dlatent_avg")
    if not 0 <= lod <= last or mean is None or mean.shape != (width,) or type(group) is not int:
        raise CheckpointError(f"{path} is damaged: its lod, dlatent_avg or group size is none")
    if not 1 < group < 2**31:
        raise CheckpointError(f"{path} holds a discriminator without the deviation of a batch")
    return {
        "generator": generator_parameters(g, last, path),
        "discriminator": parameters(variables_of(d, path), DISCRIMINATOR, last, path),
        "g_running": generator_parameters(average, last, path),
        "size": 4 * 2 ** (last - int(lod)),
        "alpha": 1 - lod % 1,
        "mean_style": mean,
        "config": {**generator_config(options, size, path), "stddev_group": group},
    }
