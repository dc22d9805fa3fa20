"""What may be changed of all images that a generator makes, as options and in an Artist: noise, the
styles of some levels, steps along the directions of w.
"""

import argparse
import re
from pathlib import Path

from backend.terminal import UsageError, is_digits, number, seed_number
from data.sizes import SIZES
from figures import directions
from figures.figures import LEVELS

CHANGES = ("noise_seed", "noise_strength", "mix", "directions")  # the options; None: as it is


def level_range(text: str):
    """Parser type: '0-1', '3' or a name of LEVELS -> (first, last)."""
    if text in LEVELS:
        return LEVELS[text]
    first, dash, last = text.partition("-")
    last = last if dash else first
    if not ("0" <= first <= last <= "8" and len(first) == len(last) == 1):
        names = ", ".join(LEVELS)
        raise argparse.ArgumentTypeError(
            f"{text[:40]!r} is none of {names} nor levels like 0-1, 0 to 8"
        )
    return int(first), int(last)


def mix_list(text: str):
    """Parser type: 'middle:7,6:3' -> [(levels, seed)]."""
    pairs = [item.rpartition(":") for item in text.split(",")]
    if not all(is_digits(seed) for _, _, seed in pairs):
        wrong = f"{text[:40]!r} is no list of LEVELS:SEED like middle:7,fine:12"
        raise argparse.ArgumentTypeError(wrong)
    return [(level_range(levels), seed_number(seed)) for levels, _, seed in pairs]


def direction_list(text: str):
    """Parser type: '0:2.5,4:-1:0-3' -> Moves; without levels they are of all."""
    moves = []
    for item in text.split(","):
        found = re.fullmatch(r"([0-9]+|.+\.npy):([^:]+)(?::(.*))?", item, re.DOTALL | re.IGNORECASE)
        if not found:
            wrong = f"{text[:40]!r} is no list of NUMBER:DEVIATIONS[:LEVELS] like 0:2.5,4:-1:0-3, "
            wrong += "or of FILE.npy:TIMES[:LEVELS] like smile.npy:2:0-3"
            raise argparse.ArgumentTypeError(wrong)
        name, deviations, levels = found.groups()
        moves.append(
            directions.Move(
                number(int, 0, 10_000)(name) if is_digits(name) else name,
                number(float, -100.0, 100.0)(deviations),
                level_range(levels) if levels is not None else (0, 8),
            )
        )
    return moves


def add_changes(p) -> None:
    g = p.add_argument_group("changes to every image")
    text = "the noise of this seed for all (default: each has its own)"
    g.add_argument("--noise_seed", type=seed_number, metavar="SEED", help=text)
    text = "factor of the noise, 0 for none, at most 100 (default 1)"
    g.add_argument("--noise_strength", type=number(float, 0.0, 100.0), metavar="X", help=text)
    text = "levels that have another seed's style, LEVELS:SEED,... like middle:7,fine:12, in "
    text += "--images or sample"
    g.add_argument("--mix", type=mix_list, metavar="LIST", help=text)
    text = "steps along the principal directions of w, in standard deviations, NUMBER:DEVIATIONS"
    text += "[:LEVELS],... like 0:2.5,4:-1:0-3; or along one in a file, (code,) or (levels, code), "
    text += "in times its length, like smile.npy:2:0-3"
    g.add_argument("--directions", type=direction_list, metavar="LIST", help=text)


def change(options, artist, folder: Path) -> None:
    """What CHANGES ask of all images; the network's directions are kept in `folder`."""
    artist.noise_seed = options.noise_seed
    artist.noise_strength = 1.0 if options.noise_strength is None else options.noise_strength
    artist.mixed = options.mix or ()
    for (first, _), seed in artist.mixed:
        if first > artist.step:
            size = SIZES[artist.step]
            raise UsageError(f"--mix begins at {SIZES[first]} px, but the images have {size}")
        if options.latents and seed >= len(artist.given):
            raise UsageError(f"--mix {seed}: --latents holds 0 to {len(artist.given) - 1}")
    if options.directions:
        principal, code = None, artist.generator.code_dim
        if any(isinstance(move.number, int) for move in options.directions):
            principal = directions.of(artist.generator, options.checksum, folder)
        artist.offset = directions.offset(principal, options.directions, artist.step, code)
