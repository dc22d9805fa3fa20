"""What the page's controls say, as command lines: `python generate.py` with them writes the bytes
that the page shows.

A source of styles is a seed, or the name of a picture whose latents lie in results/NAME.npz.
"""

import math
import shlex
from pathlib import Path
from typing import NamedTuple, Optional

from backend.terminal import LARGEST_SEED, UserError, is_digits
from figures.figures import LEVELS

RESULTS = Path("results")
MOST_KEYS = 16  # of a walk
OWN = -1  # for a noise seed: each image's own noise


class Checkpoint(NamedTuple):
    """What the page has to know of a checkpoint."""

    path: str
    step: int  # of its images
    psi: float  # truncation that is usual for it, and up to which level
    psi_levels: int
    options: tuple = ()  # that every command with it needs
    labels: tuple = ()  # names of those that it knows


class Look(NamedTuple):
    """How images look whatever their styles are."""

    psi: Optional[float] = None  # None: as is usual
    psi_levels: Optional[int] = None
    noise_seed: int = OWN
    noise_strength: float = 1.0
    label: str = ""  # its name; "": drawn by the seed


def whole(value, name: str, low: int = 0, high: int = LARGEST_SEED) -> int:
    """A control's value as a whole number. Raises UserError."""
    fits = isinstance(value, (int, float)) and math.isfinite(value) and value == int(value)
    if isinstance(value, bool) or not fits or not low <= value <= high:
        raise UserError(f"{name}: a whole number from {low} to {high}, not {str(value)[:40]!r}")
    return int(value)


def real(value, name: str, low: float, high: float) -> str:
    """A control's value as the command line has it. Raises UserError."""
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not low <= value <= high:
        raise UserError(f"{name}: a number from {low:g} to {high:g}, not {str(value)[:40]!r}")
    return f"{round(value, 4) + 0.0:.10g}"


def file_of(name: str) -> Path:
    return RESULTS / f"{name}.npz"


def source(seed, picture, pictures):
    """The one chosen: a picture's name where there is one, else the seed. Raises UserError."""
    if not picture:
        return whole(seed, "seed")
    if picture not in pictures:
        raise UserError(f"{str(picture)[:40]!r} is no picture that was found: {RESULTS} has none")
    return picture


def sources_options(sources):
    """(options, seeds) with which generate.py shows those: where one is a picture, all are
    latents, and seeds their places.
    """
    if all(isinstance(x, int) for x in sources):
        return [], list(sources)
    items = [str(x) if isinstance(x, int) else str(file_of(x)) for x in sources]
    return ["--latents", *items], list(range(len(items)))


def look_options(look: Look, checkpoint: Checkpoint, sources=()) -> list:
    """sources: what is shown; to a picture's w a label says nothing."""
    psi = checkpoint.psi if look.psi is None else look.psi
    options = ["--psi", real(psi, "psi", -5, 5)]
    usual = min(checkpoint.psi_levels, checkpoint.step)
    levels = usual if look.psi_levels is None else whole(look.psi_levels, "up to level", 0, 8)
    if min(levels, checkpoint.step) != usual:
        options += ["--psi_levels", str(levels)]
    if look.noise_seed != OWN:
        options += ["--noise_seed", str(whole(look.noise_seed, "noise seed"))]
    if look.noise_strength != 1:
        options += ["--noise_strength", real(look.noise_strength, "noise strength", 0, 100)]
    if look.label and checkpoint.labels and any(isinstance(x, int) for x in sources):
        options.append(f"--label={str(look.label)[:200]}")
    return options


def beginning(checkpoint: Checkpoint) -> list:
    """Of every command with a checkpoint."""
    return [checkpoint.path, *checkpoint.options]


def single(checkpoint: Checkpoint, source, look: Look, more=()) -> list:
    """One image."""
    latents, seeds = sources_options([source])
    options = latents or ["--seed", str(seeds[0])]
    options = [*options, *look_options(look, checkpoint, [source]), *more]
    return [*beginning(checkpoint), "--images", "1", *options]


def bands(checkpoint: Checkpoint) -> dict:
    """Those of LEVELS that its images have."""
    return {name: levels for name, levels in LEVELS.items() if levels[0] <= checkpoint.step}


def mixed(checkpoint: Checkpoint, sources, look: Look) -> list:
    """One image whose coarse, middle and fine styles are those of sources; of the first is the
    noise. Bands that the images lack are left out.
    """
    names = list(bands(checkpoint))
    sources = sources[: len(names)]
    latents, (first, *others) = sources_options(sources)
    options = latents or ["--seed", str(first)]
    if others:
        mixed_levels = (f"{name}:{seed}" for name, seed in zip(names[1:], others))
        options = [*options, "--mix", ",".join(mixed_levels)]
    options = [*options, *look_options(look, checkpoint, sources)]
    return [*beginning(checkpoint), "--images", "1", *options]


def moved(checkpoint: Checkpoint, source, look: Look, steps, levels) -> list:
    """One image moved by steps, in standard deviations, along the directions 0, 1 ... of w, on
    levels (first, last).
    """
    first, last = (whole(x, "level", 0, 8) for x in levels)
    if first > last:
        raise UserError(f"levels {first} to {last}: the first is above the last")
    band = "" if (first, last >= checkpoint.step) == (0, True) else f":{first}-{last}"
    moves = [
        f"{i}:{real(far, f'direction {i}', -100, 100)}{band}" for i, far in enumerate(steps) if far
    ]
    return single(checkpoint, source, look, ["--directions", ",".join(moves)] if moves else [])


def keys_of(text: str, pictures) -> list:
    """'3, 17, me' -> [3, 17, 'me']: seeds and names of pictures. Raises UserError."""
    keys = [key.strip() for key in str(text)[:1000].split(",") if key.strip()]
    if not 1 <= len(keys) <= MOST_KEYS:
        raise UserError(f"a walk goes through 1 to {MOST_KEYS} latents: seeds like 3, 17, 40")
    unknown = [key for key in keys if not is_digits(key) and key not in pictures]
    if unknown:
        raise UserError(f"{unknown[0][:40]!r} is neither a seed nor the name of a picture")
    return [whole(int(key), "seed") if is_digits(key) else key for key in keys]


def walk(checkpoint: Checkpoint, keys, look: Look, frames, fps, space, suffix: str) -> list:
    """A closed walk through the keys."""
    latents, seeds = sources_options(keys)
    options = latents or ["--seeds", ",".join(map(str, seeds))]
    options += ["--n_walk", str(len(keys)), "--walk_rows", "1", "--walk_cols", "1"]
    options += ["--frames", str(whole(frames, "frames", 1, 1000))]
    options += ["--fps", str(whole(fps, "frames a second", 1, 50))]
    if space not in ("z", "w") or suffix not in ("webp", "gif", "mp4"):
        raise UserError("a walk is in z or w, and a webp, gif or mp4")
    options += ["--space", "w" if latents else space, "--animation", suffix]
    options += look_options(look, checkpoint, keys)
    return [*beginning(checkpoint), "--only", "animation", *options]


def projection(checkpoint: Checkpoint, path, steps, w_plus: bool, mse, lpips: bool) -> list:
    """The search for a picture's latent."""
    options = ["--step", str(whole(steps, "iterations", 1, 100_000))]
    options += ["--mse", real(mse, "weight of the pixels", 0, 1e6)]
    options += ["--w_plus"] * bool(w_plus) + ["--no_lpips"] * (not lpips)
    return [*beginning(checkpoint), str(path), *options]


def shown(script: str, command) -> str:
    """As it is typed."""
    return "python " + shlex.join([script, *command])
