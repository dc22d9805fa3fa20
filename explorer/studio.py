"""Everything that is computed for the page, on the worker's thread: command lines to bytes, by what
generate.py and projector.py do too, with the networks kept in memory.
"""

import io
import re
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from tqdm import tqdm

from backend.terminal import UsageError
from explorer.recipes import RESULTS, Checkpoint
from figures import directions, search
from figures.animation import save_animation
from figures.artist import mean_of_styles
from figures.changes import change
from figures.figures import animation
from figures.grid import encode_png, make_grid
from figures.network import Network, open_network
from figures.options import check_usage, figure_parser
from figures.projection import read_target
from figures.settling import open_artist, settle, with_network
from figures.writing import single_images
from formats.files import CheckpointError
from training.history import iteration_of

NETWORKS_KEPT = 3
DIRECTIONS = RESULTS / "directions"
SUFFIXES = (".model", ".pkl", ".pth", ".pt")  # of the checkpoints that a folder offers


class Picture(NamedTuple):
    """An image as generate.py writes it."""

    name: str  # of its file
    png: bytes
    command: list


def parsed(parser, command):
    """A command's options. Raises UsageError where the parser would end the program."""

    def refuse(message):
        raise UsageError(message)

    parser.error = refuse
    return parser.parse_args(command)


def checkpoints(folder: Path) -> dict:
    """{name: path} of a folder's, the latest iteration first."""
    paths = [p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()]
    paths.sort(key=lambda p: (-iteration_of(p), p.name))
    return {path.name: path for path in paths}


class Studio:
    """Checkpoints, asked by command lines.

    ckpt: a checkpoint, or a folder of them; options: those that every command has, like --size.
    Raises UserError.
    """

    def __init__(self, ckpt, options=()):
        self.options, self.given = tuple(options), Path(ckpt)
        self.folder = self.given if self.given.is_dir() else self.given.parent
        paths = self.checkpoints()
        if not paths:
            raise CheckpointError(f"{ckpt} holds no checkpoint: name one of train.py")
        self.first = self.given.name if self.given.name in paths else next(iter(paths))
        self.networks = OrderedDict()  # (path, time, size): Network, the one used last at the end

    # What there is, for any thread

    def checkpoints(self) -> dict:
        """{name: path}, the latest iteration first."""
        paths = checkpoints(self.folder)
        if self.given != self.folder:
            paths.setdefault(self.given.name, self.given)
        return paths

    def path(self, name) -> Path:
        """The checkpoint of that name. Raises UserError."""
        paths = self.checkpoints()
        if name not in paths:
            raise CheckpointError(f"{self.folder} holds no checkpoint {str(name)[:80]!r}")
        return paths[name]

    def pictures(self) -> list:
        """Names of the latents in results/."""
        return sorted(path.stem for path in RESULTS.glob("*.npz"))

    # What the worker does

    def load(self, args, say=None) -> Network:
        """As `open_network`, but once for each checkpoint; it then knows its mean style."""
        path = Path(args.ckpt)
        key = str(path), path.stat().st_mtime_ns, args.size
        if key not in self.networks:
            while len(self.networks) >= NETWORKS_KEPT:
                self.networks.popitem(last=False)
            network = open_network(args, say=say)
            if network.mean_style is None:
                network = network._replace(mean_style=mean_of_styles(network.generator))
            self.networks[key] = network
        self.networks.move_to_end(key)
        return self.networks[key]

    def checkpoint(self, name, say=None) -> Checkpoint:
        """What the page has to know of a checkpoint. say: see `open_network`."""
        path = str(self.path(name))
        network = self.load(parsed(figure_parser(), [path, *self.options]), say)
        usual, labels = network.config, tuple(network.config.label_names)
        return Checkpoint(path, network.step, usual.psi, usual.psi_levels, self.options, labels)

    def ready(self, command):
        """(artist, settled options) of a command line of generate.py."""
        args = parsed(figure_parser(), command)
        check_usage(args)
        artist, options = open_artist(args, self.load)
        change(options, artist, DIRECTIONS)
        return artist, settle(options, artist)

    def picture(self, command) -> Picture:
        """The image that generate.py writes as `--images 1`."""
        artist, options = self.ready(command)
        ((pixels, path, text),) = single_images(artist, options)
        file, name = io.BytesIO(), path.stem
        encode_png(pixels, file, text)
        if options.latents:
            name = "-".join(Path(str(item)).stem for item in options.latents)
        return Picture(f"{name[:60]}.png", file.getvalue(), command)

    def directions(self, name, pause):
        """figures.directions.Directions of a checkpoint; None if it was stopped."""
        path = str(self.path(name))
        network = self.load(parsed(figure_parser(), [path, *self.options]))
        return directions.of(network.generator, network.checksum, DIRECTIONS, pause)

    def walk(self, command, pause, report):
        """Writes the animation that generate.py writes, under a free name in results/: its path;
        None if it was stopped. report: called with (frames drawn, frames in all).
        """
        artist, options = self.ready(command)
        frames = []
        for images in animation(artist, options):
            frames.append(Image.fromarray(make_grid(images, options.walk_cols)))
            report((len(frames), options.frames))
            if pause():
                return None
        path = free("walk", f".{options.animation}")
        save_animation(frames, path, options.fps)
        return path

    def keep(self, upload) -> Path:
        """A copy of an uploaded picture in results/pictures, under a name that is free."""
        upload = Path(upload)
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", upload.stem)[:40].strip("-") or "picture"
        suffix = upload.suffix.lower() if re.fullmatch(r"\.\w{1,5}", upload.suffix) else ""
        used = {p.stem for p in (RESULTS / "pictures").glob("*")} | set(self.pictures())
        used |= {p.name.rpartition("-project.")[0] for p in RESULTS.glob("*-project.*")}
        names = (stem, *(f"{stem}-{k}" for k in range(2, 10_000)))
        name = next(x for x in names if x not in used and not x.isdecimal())
        path = RESULTS / "pictures" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(upload, path)
        return path

    def project(self, command, pause, report):
        """Does what projector.py does for one picture: what it says of it; None if it was stopped,
        and then nothing is written. report: called with each Progress.
        """
        options = search.with_paths(parsed(search.projector_parser(), command))
        search.check_usage(options)
        weights = search.lpips_weights(options)
        network = self.load(options)
        from quality.lpips import load_lpips  # imports Jittor

        lpips, options = load_lpips(weights), with_network(options, network)
        (path,) = options.paths
        targets = read_target(path, options.size)[None]

        def watch(progress):
            report(progress)
            return pause()

        bar = tqdm(disable=True)
        projection, film = search.search(options, network, targets, lpips, bar, watch)
        if projection.iterations < options.step:
            return None
        name = Path(path).stem
        return search.save_projection(options, path, name, 0, targets, projection, film)


def free(stem: str, suffix: str) -> Path:
    """A path in results/ at which nothing is."""
    names = (stem, *(f"{stem}-{k}" for k in range(2, 10_000)))
    return next(p for p in (RESULTS / f"{x}{suffix}" for x in names) if not p.exists())
