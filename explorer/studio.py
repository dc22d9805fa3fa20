"""Everything that is computed for the page, on the worker's thread: command lines to bytes, by the
functions of generate.py and projector.py, with the networks kept in memory.
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
from explorer.recipes import RESULTS, Network
from figures import directions
from figures.animation import save_animation
from figures.changes import change
from figures.figures import animation
from figures.grid import encode_png, make_grid
from figures.projection import read_target
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


class Loaded(NamedTuple):
    """What load_network finds, and notes of it."""

    found: tuple  # generator, config, step, alpha
    noted: dict


def parsed(parser, command):
    """A command's options. Raises UsageError where the parser would end the program."""

    def refuse(message):
        raise UsageError(message)

    parser.error = refuse
    return parser.parse_args(command)


def checkpoints(folder: Path) -> dict:
    """{name: path} of a folder's, the latest iteration first."""
    found = [p for p in folder.iterdir() if p.suffix in SUFFIXES and p.is_file()]
    found.sort(key=lambda p: (-iteration_of(p), p.name))
    return {path.name: path for path in found}


class Studio:
    """Checkpoints, asked by command lines.

    scripts: the modules generate and projector, for no room may import them. ckpt: a checkpoint, or
    a folder of them; options: those that every command has, like --size. Raises UserError.
    """

    def __init__(self, generate, projector, ckpt, options=()):
        self.generate, self.projector, self.options = generate, projector, tuple(options)
        self.given = Path(ckpt)
        self.folder = self.given if self.given.is_dir() else self.given.parent
        found = self.checkpoints()
        if not found:
            raise CheckpointError(f"{ckpt} holds no checkpoint: name one of train.py")
        self.first = self.given.name if self.given.name in found else next(iter(found))
        self.loaded = OrderedDict()  # (path, time, size): Loaded, the one used last at the end

    # What there is, for any thread

    def checkpoints(self) -> dict:
        """{name: path}, the latest iteration first."""
        found = checkpoints(self.folder)
        if self.given != self.folder:
            found.setdefault(self.given.name, self.given)
        return found

    def path(self, name) -> Path:
        """The checkpoint of that name. Raises UserError."""
        found = self.checkpoints()
        if name not in found:
            raise CheckpointError(f"{self.folder} holds no checkpoint {str(name)[:80]!r}")
        return found[name]

    def pictures(self) -> list:
        """Names of the latents in results/."""
        return sorted(path.stem for path in RESULTS.glob("*.npz"))

    # What the worker does

    def load(self, args, say=None) -> tuple:
        """As generate.load_network, but once for each checkpoint."""
        path = Path(args.ckpt)
        key = str(path), path.stat().st_mtime_ns, args.size
        if key not in self.loaded:
            while len(self.loaded) >= NETWORKS_KEPT:
                self.loaded.popitem(last=False)
            found = self.generate.load_network(args, say=say)
            noted = {name: getattr(args, name) for name in ("size", "alpha", "checksum")}
            self.loaded[key] = Loaded(found, noted)
        self.loaded.move_to_end(key)
        found, noted = self.loaded[key]
        vars(args).update(noted)
        return found

    def network(self, name, say=None) -> Network:
        """What the page has to know of a checkpoint. say: see load_network."""
        path = str(self.path(name))
        args = parsed(self.generate.parser(), [path, *self.options])
        _, config, step, _ = self.load(args, say)
        return Network(path, step, config.psi, config.psi_levels, self.options)

    def ready(self, command):
        """(artist, options) of a command line of generate.py."""
        args = parsed(self.generate.parser(), command)
        self.generate.check_usage(args)
        artist = self.generate.new_artist(args, load=self.load)
        artist.generator.stored_mean = artist.mean_style  # found once
        change(args, artist, DIRECTIONS)
        self.generate.settle(args, artist)
        return artist, args

    def picture(self, command) -> Picture:
        """The image that generate.py writes as `--images 1`."""
        artist, args = self.ready(command)
        args.out = args.out or str(RESULTS / "images")
        ((pixels, path, text),) = self.generate.single_images(artist, args)
        file, name = io.BytesIO(), path.stem
        encode_png(pixels, file, text)
        if args.latents:
            name = "-".join(Path(str(item)).stem for item in args.latents)
        return Picture(f"{name[:60]}.png", file.getvalue(), command)

    def directions(self, name, pause):
        """figures.directions.Directions of a checkpoint; None if it was stopped."""
        args = parsed(self.generate.parser(), [self.network(name).path, *self.options])
        generator, *_ = self.load(args)
        return directions.of(generator, args.checksum, DIRECTIONS, pause)

    def walk(self, command, pause, report):
        """Writes the animation that generate.py writes, under a free name in results/: its path;
        None if it was stopped. report: called with (frames drawn, frames in all).
        """
        artist, args = self.ready(command)
        frames = []
        for images in animation(artist, args):
            frames.append(Image.fromarray(make_grid(images, args.walk_cols)))
            report((len(frames), args.frames))
            if pause():
                return None
        path = free("walk", f".{args.animation}")
        save_animation(frames, path, args.fps)
        return path

    def keep(self, upload) -> Path:
        """A copy of an uploaded picture in results/pictures, under a name that is free."""
        upload = Path(upload)
        stem = re.sub(r"[^A-Za-z0-9_-]+", "-", upload.stem)[:40].strip("-") or "picture"
        suffix = upload.suffix.lower() if re.fullmatch(r"\.\w{1,5}", upload.suffix) else ""
        taken = {p.stem for p in (RESULTS / "pictures").glob("*")} | set(self.pictures())
        names = (stem, *(f"{stem}-{k}" for k in range(2, 10_000)))
        name = next(x for x in names if x not in taken and not x.isdecimal())
        path = RESULTS / "pictures" / f"{name}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(upload, path)
        return path

    def project(self, command, pause, report):
        """Does what projector.py does for one picture: what it says of it; None if it was stopped,
        and then nothing is written. report: called with each Progress.
        """
        args = parsed(self.projector.parser(), command)
        self.projector.check_usage(args)
        weights = self.projector.lpips_weights(args)
        network = self.load(args)
        lpips = self.projector.load_lpips(weights)
        (path,) = args.paths
        targets = read_target(path, args.size)[None]

        def watch(seen):
            report(seen)
            return pause()

        bar = tqdm(disable=True)
        found, film = self.projector.search(args, network, targets, lpips, bar, watch)
        if found.iterations < args.step:
            return None
        return self.projector.write(args, path, Path(path).stem, 0, targets, found, film)


def free(stem: str, suffix: str) -> Path:
    """A path in results/ at which nothing is."""
    names = (stem, *(f"{stem}-{k}" for k in range(2, 10_000)))
    return next(p for p in (RESULTS / f"{x}{suffix}" for x in names) if not p.exists())
