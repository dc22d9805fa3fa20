"""What other programs wrap a StyleGAN's networks in: dictionaries in dictionaries, and prefixes of
names. From the values of a file to its networks and the states of their optimisers.

A network is known by the names of its parameters. What stands before all of them is a wrapper's:
`module.`, `_orig_mod.`, `netG.`, `online_model.` or anything else, any number of them. Where there
are several, the words on the way tell which is which.
"""

import re
from typing import NamedTuple

import numpy as np

from formats.files import CheckpointError

WRAPPER = r"(?:(?:module|_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.)*"
PARAMETER = re.compile(
    rf"(?P<prefix>(?:\w+\.)*?)(?:"
    rf"(?P<generator>generator\.{WRAPPER}(?:progression|to_rgb)\.|style\.{WRAPPER}\d+\.)"
    rf"|(?:progression|from_rgb)\.{WRAPPER}\d+\.|linear\.{WRAPPER}linear\.)",
    re.ASCII,
)
WORDS = {  # by which a network or an optimiser is called one of these
    "g_running": "ema avg average averaged running shadow smooth smoothed gs r".split(),
    "generator": "g gen generator".split(),
    "discriminator": "d dis disc discr discriminator critic".split(),
    "optimizer": "opt optim optimizer optimiser adam".split(),
}
DEEPEST = 5  # dictionaries in dictionaries
LONGEST = 500  # characters of a name


class Candidate(NamedTuple):
    """A network, or the state of an optimiser."""

    place: str  # keys and prefix on the way to it
    role: str  # "generator", "discriminator" or "optimizer"
    values: dict

    def is_called(self, name: str) -> bool:
        return bool(words(self.place) & set(WORDS[name]))


def words(place: str) -> set:
    """Lower-case words of names like netG_ema, g_optim, avg_model.module."""
    return set(re.findall("[a-z]+", re.sub("(?<=[a-z])(?=[A-Z])", "_", place).lower()))


def networks_in(named: dict, place: str):
    """The networks whose parameters have names in one dictionary, their wrappers taken off."""
    groups, others = {}, []
    for name, value in named.items():
        match = PARAMETER.match(name) if isinstance(name, str) and len(name) < LONGEST else None
        if match and isinstance(value, np.ndarray):
            role = "generator" if match["generator"] else "discriminator"
            groups.setdefault((role, match["prefix"]), {})[name[len(match["prefix"]) :]] = value
        elif not isinstance(value, dict):
            others.append((name, value))
    for prefix in [p for role, p in groups if role == "discriminator"]:
        group = groups["discriminator", prefix]
        if ("generator", prefix) in groups and not any(k.startswith("from_rgb.") for k in group):
            groups["generator", prefix].update(groups.pop(("discriminator", prefix)))  # its blurs
    bare = next((group for (_, prefix), group in groups.items() if not prefix), None)
    for name, value in others if bare is not None else ():
        if isinstance(value, np.ndarray):  # told as unknown later; beside wrappers, not ours
            bare[name] = value
    for (role, prefix), group in groups.items():
        own = {re.sub(rf"(^|(?<=\.)){WRAPPER}", "", str(k)): a for k, a in group.items()}
        yield Candidate(f"{place}{prefix}".rstrip("./"), role, own)


def search(values):
    """Every Candidate in the values of a file."""
    waiting, seen = [(values, "", 0)], set()
    while waiting:
        value, place, depth = waiting.pop()
        if id(value) in seen or depth > DEEPEST:
            continue
        seen.add(id(value))
        if isinstance(value, (list, tuple)):
            value = dict(enumerate(value[:LONGEST]))
        if not isinstance(value, dict):
            continue
        if isinstance(value.get("state"), dict) and words(place) & set(WORDS["optimizer"]):
            yield Candidate(place.rstrip("/"), "optimizer", value)
            continue
        yield from networks_in(value, place)
        for key, inner in value.items():
            if isinstance(inner, (dict, list, tuple)):
                waiting.append((inner, f"{place}{str(key)[:LONGEST]}/", depth + 1))


def only(candidates, path):
    """The values of the one candidate, None if there is none. CheckpointError for several."""
    if len(candidates) > 1:
        places = " and ".join(ascii(c.place)[1:-1][:80] or "its top" for c in candidates[:2])
        raise CheckpointError(
            f"{path} holds several networks of a kind, {places}: save the one that is wanted alone"
        )
    return candidates[0].values if candidates else None


def content_in(values, path) -> dict:
    """`generator`, `discriminator`, `g_running`, `g_optimizer` and `d_optimizer`, each as the file
    has it or None. A generator that nothing is said of is an average when it stands alone. Raises
    CheckpointError.
    """
    candidates = list(search(values))
    generators = [c for c in candidates if c.role == "generator"]
    averages = [c for c in generators if c.is_called("g_running")]
    plain = [c for c in generators if c not in averages]
    if len(plain) > 1:
        plain = [c for c in plain if c.is_called("generator")] or plain
    discriminators = [c for c in candidates if c.role == "discriminator"]
    if len(discriminators) > 1:
        discriminators = [c for c in discriminators if not c.is_called("g_running")]
    generator, average = only(plain, path), only(averages, path)
    alone = not average and not discriminators and not any(c.is_called("generator") for c in plain)
    if alone:
        generator, average = None, generator
    content = {
        "generator": generator,
        "discriminator": only(discriminators, path),
        "g_running": average,
    }
    for name, network in (("g_optimizer", "generator"), ("d_optimizer", "discriminator")):
        states = [c for c in candidates if c.role == "optimizer" and c.is_called(network)]
        content[name] = states[0].values if len(states) == 1 else None
    return content
