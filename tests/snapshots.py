"""Snapshots as NVIDIA's code pickles them, with random variables of any size."""

import math
import pickle
import sys
import types

import numpy as np


def network_class(module: str, name: str = "Network"):
    """A class that pickles under a stranger's name, while `dumps` runs."""
    return type(name, (), {"__module__": module, "__qualname__": name})


def dumps(values, *classes, protocol: int = 4) -> bytes:
    """A pickle of objects of `network_class`es."""
    own = dict(sys.modules)
    try:
        for c in classes:
            for i in range(c.__module__.count(".") + 1):
                sys.modules[c.__module__.rsplit(".", i)[0]] = types.ModuleType("stand-in")
        for c in classes:
            setattr(sys.modules[c.__module__], c.__name__, c)
        return pickle.dumps(values, protocol)
    finally:
        sys.modules.clear()
        sys.modules.update(own)


NETWORK = network_class("dnnlib.tflib.network")


def network(function: str, variables: dict, options: dict, components=None, cls=NETWORK):
    result = cls()
    result.__dict__.update(
        version=3,
        name=function,
        static_kwargs=options,
        components=components or {},
        build_module_src="raise SystemExit('this text is never looked at')",
        build_func_name=function,
        variables=list(variables.items()),
    )
    return result


def levels(size: int, fmap_max: int):
    """(size, channels below, channels) of each level above 4 px."""
    channels = {s: min(8192 // (s // 2), fmap_max) for s in [4 * 2**i for i in range(9)]}
    return [(s, channels[s // 2], channels[s]) for s in channels if 4 < s <= size], channels


def synthesis(size: int, fmap_max: int, code: int, draw) -> dict:
    last, (above, channels) = int(math.log2(size)) - 2, levels(size, fmap_max)
    found = {"lod": np.float32(0)}
    for i in range(2 * last + 2):
        found[f"noise{i}"] = draw(1, 1, 4 * 2 ** (i // 2), 4 * 2 ** (i // 2))

    def epilogue(name, c):
        found[f"{name}/Noise/weight"] = draw(c)
        found[f"{name}/bias"] = draw(c)
        found[f"{name}/StyleMod/weight"] = draw(code, 2 * c)
        found[f"{name}/StyleMod/bias"] = draw(2 * c)

    found["4x4/Const/const"] = draw(1, channels[4], 4, 4)
    epilogue("4x4/Const", channels[4])
    found["4x4/Conv/weight"] = draw(3, 3, channels[4], channels[4])
    epilogue("4x4/Conv", channels[4])
    for s, below, c in above:
        found[f"{s}x{s}/Conv0_up/weight"] = draw(3, 3, below, c)
        epilogue(f"{s}x{s}/Conv0_up", c)
        found[f"{s}x{s}/Conv1/weight"] = draw(3, 3, c, c)
        epilogue(f"{s}x{s}/Conv1", c)
    for lod in range(last + 1):
        found[f"ToRGB_lod{lod}/weight"] = draw(1, 1, channels[size >> lod], 3)
        found[f"ToRGB_lod{lod}/bias"] = draw(3)
    return found


def discriminator(size: int, fmap_max: int, draw) -> dict:
    last, (above, channels) = int(math.log2(size)) - 2, levels(size, fmap_max)
    found = {"lod": np.float32(0)}

    def layer(name, *shape):
        found[f"{name}/weight"], found[f"{name}/bias"] = draw(*shape), draw(shape[-1])

    for lod in range(last + 1):
        layer(f"FromRGB_lod{lod}", 1, 1, 3, channels[size >> lod])
    for s, below, c in above:
        layer(f"{s}x{s}/Conv0", 3, 3, c, c)
        layer(f"{s}x{s}/Conv1_down", 3, 3, c, below)
    c = channels[4]
    layer("4x4/Conv", 3, 3, c + 1, c)
    layer("4x4/Dense0", 16 * c, c)
    layer("4x4/Dense1", c, 1)
    return found


def generator(size: int, fmap_max: int, code: int, options: dict, draw, n_mlp: int = 8):
    mapping = {}
    for i in range(n_mlp):
        mapping[f"Dense{i}/weight"], mapping[f"Dense{i}/bias"] = draw(code, code) * 100, draw(code)
    parts = {
        "synthesis": network("G_synthesis", synthesis(size, fmap_max, code, draw), options),
        "mapping": network("G_mapping", mapping, options),
    }
    own = {"lod": np.float32(0), "dlatent_avg": draw(code)}
    return network("G_style", own, options, parts)


def snapshot(size: int = 8, fmap_max: int = 4, code: int = 8, seed: int = 0, **more):
    """(G, D, Gs); `more` are options that are given to all three."""
    rng = np.random.default_rng(seed)

    def draw(*shape):
        return rng.standard_normal(shape, dtype="float32")

    widths = dict.fromkeys(("latent_size", "dlatent_size", "mapping_fmaps"), code)
    options = {"num_channels": 3, "resolution": size, "fmap_max": fmap_max, **widths, **more}
    g, gs = (generator(size, fmap_max, code, options, draw, n_mlp=8) for _ in range(2))
    return g, network("D_basic", discriminator(size, fmap_max, draw), options), gs
