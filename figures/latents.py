"""Latents in files: what projector.py and generate.py --save_latents write, and plain arrays.

A .npz holds `w`, (n, code_size) or (n, levels, code_size) with a style for each level, as the
mapping network gives it, free of truncation (or `z` instead), and for each image the noise maps
`noise_4`, `noise_8` ..., (n, 1, 4, 4) ..., where they are known. A .npy holds z or w alone. The .pt
of the PyTorch original's projector.py holds z, which it calls `latent`, and noise of each picture.
Other programs give w as (n, 2 levels, code_size), a style for each layer; two layers of a level
have one here.
"""

import hashlib
import io
from pathlib import Path
from typing import Dict, NamedTuple, Optional

import numpy as np

from backend.disk import content_of, replacing
from backend.terminal import UsageError, UserError
from data.sizes import SIZES
from figures.artist import draw_latents, draw_noise
from formats import files

TORCH = (".pt", ".pth")

SEEDS = ""  # what latents of no picture were made from


class LatentsError(UserError):
    """What is wrong with a file of latents."""


class Latent(NamedTuple):
    """One image's: z or w is there, and some noise maps or none."""

    z: Optional[np.ndarray]  # (code_size,)
    w: Optional[np.ndarray]  # (code_size,) or (levels, code_size)
    noise: Dict[int, np.ndarray]  # size: (1, size, size)


class LatentsFile(NamedTuple):
    path: Path
    sha1: str
    latents: list  # of Latent
    checkpoint_sha1: Optional[str]  # of the network that they were found with, where it is told


def projected(path: Path):
    """({name: array}, checksum) of a .pt of the original's projector.py, as of an .npz."""
    values, _, sha1 = files.read(path)
    pictures = values.values() if isinstance(values, dict) else ()
    pictures = [x for x in pictures if isinstance(x, dict) and "latent" in x]
    try:
        arrays = {"": np.stack([picture["latent"] for picture in pictures])}
        for maps in zip(*(picture.get("noise", ()) for picture in pictures)):
            arrays[f"noise_{maps[0].shape[-1]}"] = np.concatenate(maps)
    except (ValueError, TypeError, AttributeError, IndexError):
        raise LatentsError(
            f"{path} holds no latents as projector.py of the original does"
        ) from None
    return arrays, sha1


def read_arrays(path: Path):
    """({name: array}, checksum): a .npy's only array is called "". Runs nothing that is in it."""
    if path.suffix in TORCH:
        return projected(path)
    raw = content_of(path, LatentsError)
    try:
        content = np.load(io.BytesIO(raw), allow_pickle=False)
        arrays = {"": content} if isinstance(content, np.ndarray) else dict(content)
    except Exception:  # whatever a broken file drives NumPy to
        text = f"{path} is no .npz or .npy of NumPy arrays of numbers, or is damaged"
        raise LatentsError(text) from None
    return arrays, hashlib.sha1(raw).hexdigest()


def checked(array, path, name: str, shapes: str, fits):
    """The array as float32, if its shape fits; LatentsError otherwise."""
    which = f"{path}: {name}" if name else f"{path}"
    if array.dtype.kind != "f":
        raise LatentsError(f"{which} holds {array.dtype}, not floating-point numbers")
    if not fits(array.shape):
        raise LatentsError(f"{which} has the shape {array.shape}, not {shapes}")
    with np.errstate(over="ignore"):
        array = array.astype("float32")
    if not np.isfinite(array).all():
        raise LatentsError(f"{which} holds NaN or infinite numbers")
    return array


def check_codes(array, path, name: str, code_size: int, step: int):
    """z or w for images of a step."""
    levels = step + 1

    def fits(shape):
        inner = shape[1:-1] in ((), (levels,)) if name != "z" else shape[1:-1] == ()
        return len(shape) > 1 and shape[0] > 0 and shape[-1] == code_size and inner

    shapes = f"(n, {code_size})"
    if name != "z":
        shapes += f" or (n, {levels}, {code_size}), which this network takes at {SIZES[step]} px"
    return checked(array, path, name, shapes, fits)


def as_styles(w, levels: int, one_picture: bool, path):
    """w with a style for each level, where it has one for each level or layer of one picture,
    (levels, code_size) or (2 levels, code_size), or for each layer of n, (n, 2 levels, code_size).
    """
    w = w[None] if one_picture and w.ndim == 2 else w
    if w.ndim != 3 or w.shape[1] != 2 * levels:
        return w
    if not np.array_equal(w[:, ::2], w[:, 1::2]):
        raise LatentsError(
            f"{path} gives the two layers of a level different styles, {w.shape}, where this "
            "network has one for both: keep one of them, as w[:, ::2]"
        )
    return w[:, ::2]


def read(path, code_size: int, step: int, plain: Optional[str] = None, maps: int = 1):
    """The latents in a file, a LatentsFile, for a network of that code size, images of that step
    and that many noise maps a level.

    plain: "z" or "w", what a .npy of (n, code_size) holds, or "w+" if its rows are the levels of
    one picture. A noise map of a size that is not shown is left out. Raises LatentsError, and
    UsageError if `plain` is needed.
    """
    path = Path(path)
    arrays, sha1 = read_arrays(path)
    if "" in arrays:
        array = arrays.pop("")
        if path.suffix in TORCH:
            plain = plain or "z"
        if plain is None and array.ndim == 2:
            raise UsageError(
                f"{path} may hold z or w: say which with --latents_are z or w, or w+ where its "
                "rows are the levels of one picture"
            )
        arrays["z" if array.ndim == 2 and plain == "z" else "w"] = array
        if array.ndim == 2 and plain == "w" and len(array) in (step + 1, 2 * step + 2):
            print(f"{path}: taken as {len(array)} pictures, as one with --latents_are w+")
    name = "w" if "w" in arrays else "z"
    if name not in arrays:
        names = ", ".join(sorted(arrays)) or "nothing"
        raise LatentsError(f"{path} holds neither w nor z, but {names}")
    if name == "w":
        arrays["w"] = as_styles(arrays["w"], step + 1, plain == "w+", path)
    codes = check_codes(arrays[name], path, name, code_size, step)
    noise = {}
    for size in SIZES[: step + 1]:
        if f"noise_{size}" in arrays:
            shape = (len(codes), maps, size, size)
            array = arrays[f"noise_{size}"]
            noise[size] = checked(array, path, f"noise_{size}", str(shape), shape.__eq__)
    latents = [
        Latent(
            **{"z": None, "w": None, name: code}, noise={size: x[i] for size, x in noise.items()}
        )
        for i, code in enumerate(codes)
    ]
    made_with = arrays.get("checkpoint_sha1")
    return LatentsFile(path, sha1, latents, None if made_with is None else str(made_with))


def of_seed(seed: int, code_size: int, step: int, maps: int = 1) -> LatentsFile:
    """A seed's latent and noise as if a file held them."""
    noise = {x.shape[-1]: x[0] for x in draw_noise([seed], step, maps)}
    latent = Latent(draw_latents([seed], code_size)[0], None, noise)
    return LatentsFile(Path(str(seed)), "a seed", [latent], None)


def made_from(path) -> Optional[str]:
    """What a file of our latents was made from: a picture's path, or SEEDS; None of others."""
    try:
        arrays, _ = read_arrays(Path(path))
    except LatentsError:
        return None
    return str(arrays.get("target", SEEDS)) if "checkpoint_sha1" in arrays else None


def save(path, w, noise, **more) -> None:
    """Writes w (n, code_size) or (n, levels, code_size) and a list of noise maps (n, 1, size, size)
    as a .npz, all or nothing; makes the folder. more: strings to keep beside them.
    """
    maps = {f"noise_{x.shape[-1]}": x for x in noise}
    write_arrays(path, w=w, **maps, **more)


def write_arrays(path, **arrays) -> None:
    """Writes a .npz, all or nothing; makes the folder. Its bytes are put together before: on a full
    disk Python's zipfile would complain once more when it is thrown away.
    """
    path, content = Path(path), io.BytesIO()
    np.savez(content, **arrays)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as unfinished:
        unfinished.write_bytes(content.getbuffer())
