"""From options as they are typed to options that hold: what was left open follows from the network,
from the files of latents and from the size of the images. Options are never changed in place.
"""

from argparse import Namespace
from pathlib import Path

from backend.disk import check_readable
from backend.terminal import UsageError
from data.sizes import SIZES
from figures import latents
from figures.animation import check_side
from figures.artist import Artist
from figures.figures import FIGURES, tiles
from figures.grid import check_size
from figures.network import Network, open_network
from labels.asked import Asked, figures_of


def changed(options: Namespace, **values) -> Namespace:
    """The same options but for those values."""
    return Namespace(**{**vars(options), **values})


def with_network(options: Namespace, network: Network) -> Namespace:
    """The options with what a network shows: size, alpha, and the checksum of its checkpoint."""
    return changed(options, size=network.size, alpha=network.alpha, checksum=network.checksum)


def results_folder(options: Namespace) -> Path:
    """Where figures are written."""
    return Path(options.expname or ".") / "results"


def open_artist(args: Namespace, load=open_network):
    """(artist, options): an artist for the checkpoint, and for the latents where they come from
    files; options in which size, alpha, checksum, psi, psi_levels and seeds are settled.

    load: from options to a Network. Raises UserError.
    """
    for item in args.latents or ():
        if isinstance(item, str):  # shows before Jittor loads
            check_readable(item, latents.LatentsError)
    network = load(args)
    if args.crop and max(args.crop) > network.size:
        raise UsageError(
            f"--crop {args.crop[0]}x{args.crop[1]} is larger than the images, which are "
            f"{network.size}x{network.size}: give at most that"
        )
    files = latents_files(args, network)
    psi = 1.0 if args.latents else network.config.psi
    options = changed(
        with_network(args, network),
        psi=psi if args.psi is None else args.psi,
        psi_levels=network.config.psi_levels if args.psi_levels is None else args.psi_levels,
        seeds=places(args, files) if files else args.seeds,
    )
    artist = Artist.of(network, options.psi, options.psi_levels, options.batch, files)
    artist.crop, artist.asked = options.crop, Asked.by(options, network)
    return artist, options


def latents_files(args: Namespace, network: Network) -> list:
    """A LatentsFile for each of --latents, be it a path or a seed."""
    code, step, maps = network.generator.code_dim, network.step, network.generator.noise_maps
    files = [
        latents.read(item, code, step, args.latents_are, maps)
        if isinstance(item, str)
        else latents.of_seed(item, code, step, maps)
        for item in args.latents or ()
    ]
    for file in files:
        if file.checkpoint_sha1 not in (None, network.checksum):
            print(f"{file.path} was found with another checkpoint: images may be others")
    return files


def places(args: Namespace, files) -> list:
    """Which of the files' latents are shown: --seeds, else from --seed on."""
    count = sum(len(file.latents) for file in files)
    seeds = args.seeds or list(range(args.seed, count)) or [args.seed]
    if max(seeds) >= count:
        text = f"{max(seeds)} is no place of a latent: --latents holds 0 to {count - 1}"
        raise UsageError(f"--seeds {text}")
    return seeds


def settle(options: Namespace, artist: Artist) -> Namespace:
    """generate.py's options, as from `open_artist`, with those settled that hang on the images:
    the levels to mix, where to interpolate, how many mixing figures, the folder of single images.
    Raises UsageError where the images have none of them, or are too large for the animation.
    """
    step, only = artist.step, figures_of([*FIGURES, "animation"], artist, options)
    size = options.crop or (options.size, options.size)
    for name in () if options.images else only:
        if name == "animation":
            walks = options.walk_rows, options.walk_cols, options.frames
            check_side(options.animation, size, *walks)
        else:
            grid = tiles(options, name, len(artist.asked.rows()))
            check_size(*grid, size, "--n_row or --n_col, or give fewer --seeds")
    levels = options.mixing_levels
    if levels is None:
        levels = (0, 1 if step > 1 else 0)  # at 8 px 0-1 would be everything
    if levels[0] > step:
        raise UsageError(
            f"--mixing_levels begins at {SIZES[levels[0]]} px, but the images have {SIZES[step]}"
        )
    space = options.space or ("z" if options.slerp or artist.knows_z else "w")
    if space == "z" and not artist.knows_z:
        option = "--slerp" if options.slerp else "--space z"
        raise UsageError(f"{option} needs z, but --latents holds w")
    n_mixing = options.n_mixing
    if n_mixing is None:
        shown = options.n_row + options.n_col
        n_mixing = -(-len(options.seeds) // shown) if options.latents else 20
    if options.latents and options.images and options.images > len(options.seeds):
        text = f"--latents has {len(options.seeds)} to show"
        raise UsageError(f"--images {options.images}: {text}")
    out = options.out
    if options.images and not out:
        out = str(results_folder(options) / "images")
    settled = {"mixing_levels": levels, "space": space, "n_mixing": n_mixing, "out": out}
    return changed(options, only=only, **settled)
