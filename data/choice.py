"""Which files are pictures, by their names, their order, and the one function that opens them."""

import contextlib
import functools
import importlib
import os
import warnings
from collections import Counter

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from backend import machine
from backend.terminal import printable

# Known by their first bytes, so that a wrong name does no harm. Others count by their names.
BY_CONTENT = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF", "JXL")
# EPS starts Ghostscript, WMF the system's own drawing, IPTC opens whatever lies in it, an EPS too;
# the rest Pillow knows but cannot decode
NEVER = {"EPS", "WMF", "IPTC", "BUFR", "GRIB", "HDF5", "MPEG"}
PLUGINS = {"pillow_heif": "register_heif_opener", "pillow_avif": "", "pillow_jxl": ""}
FIRST_EXTENSIONS = ".png .jpg .jpeg .webp .bmp .gif .tiff .tif .ppm .pgm".split()
# What systems keep beside people's files; anything that begins with a dot is hidden too
SYSTEM = (
    """__macosx @eadir @recycle @recently-snapshot @__thumb #recycle #snapshot $recycle.bin
    lost+found thumbs.db ehthumbs.db desktop.ini""".split()
    + ["system volume information"]
)
EXTENSIONS_NAMED = 6  # of what was left out; the rest are counted together
# Bytes of memory for each pixel that a picture may have: 16 where it is transparent (itself, its
# background, the two blended, the result), and several pictures are decoded at once
PIXEL_BYTES = 4 * 16
LEAST_PIXELS, LEAST_TEXT = 2**28, 2**26  # taken with any memory; the second in bytes


@functools.lru_cache(maxsize=None)
def formats():
    """{extension: format} of what Pillow decodes, with those of its plugins that are installed."""
    Image.init()
    for module, register in PLUGINS.items():
        with contextlib.suppress(Exception):  # not installed, or made for another Pillow
            plugin = importlib.import_module(module)
            if register:
                getattr(plugin, register)()
    known = {**Image.registered_extensions(), ".mpo": "JPEG"}
    return {e: f for e, f in known.items() if f in Image.OPEN and f not in NEVER}


def most_pixels():
    """How many a picture may have that is read."""
    return max(LEAST_PIXELS, (machine.memory() or 0) // PIXEL_BYTES)


@functools.lru_cache(maxsize=None)
def set_limits():
    """Puts limits by this machine's memory in the place of Pillow's, which refuse large scans and
    long texts (profiles, XMP) in PNGs, and silences its warnings about files that it can read.
    """
    Image.MAX_IMAGE_PIXELS = most_pixels() // 2  # it refuses more than twice as many
    text = max(LEAST_TEXT, (machine.memory() or 0) // PIXEL_BYTES)
    PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = text
    warnings.filterwarnings("ignore", module=r"PIL\.")


def extension(name):
    return os.path.splitext(name)[1].lower()


def open_picture(file, name, only=()):
    """A path or file as a picture, not yet decoded: nothing else opens one. `name` decides only
    where the content does not; formats whose decoders may run programs are not tried.

    only: Pillow's names of the formats that it can have.
    """
    set_limits()
    known = formats()  # loads all of Pillow's plugins
    wanted = only or (*BY_CONTENT, known.get(extension(name)))
    return Image.open(file, formats=[f for f in wanted if f in Image.OPEN])


def error_text(error):
    """What an exception says, in one line and without a file's name."""
    if isinstance(error, UnidentifiedImageError):
        return "no picture of a known format"
    if isinstance(error, Image.DecompressionBombError):
        pixels = str(error).split(",")[0]  # "Image size (3 pixels) exceeds limit of 2 pixels"
        return f"{pixels}, which this machine's memory sets: shrink it with another program"
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return printable(" ".join(text.split())) or type(error).__name__


def is_hidden(name):
    return name.startswith(".") or name.lower() in SYSTEM


def visible(folder):
    """Names of what is in a folder, without what systems leave there by themselves."""
    return [name for name in os.listdir(folder) if not is_hidden(name)]


class Choice:
    """Takes pictures by their names and counts what it leaves out.

    `earlier`: as the sets were chosen that did not note their rules.
    """

    def __init__(self, earlier=False):
        self.earlier = earlier
        self.extensions, self.hidden = Counter(), set()
        self.endless = []  # paths of pipes and devices with a picture's name, which are not read

    def takes_folder(self, path):
        """Whether to look into the folder at `path`, below the one that was named."""
        if self.earlier or not is_hidden(os.path.basename(path)):
            return True
        self.hidden.add(path)
        return False

    def takes_file(self, path):
        """Whether the file at `path` is a picture to take."""
        name = os.path.basename(path)
        if self.earlier:
            return name.lower().endswith(tuple(FIRST_EXTENSIONS)) and not name.startswith("._")
        if extension(name) not in formats():
            if not is_hidden(name):
                self.extensions[extension(name) or "without extension"] += 1
            return False
        if is_hidden(name):
            self.hidden.add(path)
            return False
        return True

    def takes(self, path):
        """The same of a file in an archive, whose folders nobody has looked at."""
        *folders, name = path.replace("\\", "/").split("/")
        for i, folder in enumerate(folders):
            if not self.earlier and is_hidden(folder) and folder not in (".", ".."):
                self.hidden.add("/".join(folders[: i + 1]))
                return False
        return self.takes_file(path) if name else False

    def left_out(self):
        """What was left out, by kind: '2 .heic, 1 .psd, 3 hidden', or ''."""
        counts = sorted(self.extensions.items(), key=lambda item: (-item[1], item[0]))
        named = [f"{count:,} {printable(name)}" for name, count in counts[:EXTENSIONS_NAMED]]
        others = sum(count for _, count in counts[EXTENSIONS_NAMED:])
        named += [f"{others:,} of other kinds"] * bool(others)
        named += [f"{len(self.hidden):,} hidden"] * bool(self.hidden)
        if self.endless:
            of_kind = "pipes or devices, such as" if self.endless[1:] else "pipe or device,"
            named.append(f"{len(self.endless):,} {of_kind} {printable(min(self.endless))}")
        return ", ".join(named)


def goes_round(target, above):
    """Whether a link's target holds a folder that the walk is in: to follow it would never end."""
    return any(os.path.commonpath([target, path]) == target for path in above)


def is_folder(entry):
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def find_pictures(folder, choice=None):
    """Sorted paths of all pictures at any depth below `folder`, the order of the original."""
    choice = choice or Choice()
    paths, todo = [], [(folder, (os.path.realpath(folder),))]
    while todo:
        parent, (*jumps, here) = todo.pop()  # real paths: where links were followed, and this
        with os.scandir(parent) as entries:
            for entry in entries:
                if not is_folder(entry):
                    paths += [entry.path] * choice.takes_file(entry.path)
                elif not choice.takes_folder(entry.path):
                    continue
                elif not entry.is_symlink():
                    todo.append((entry.path, (*jumps, os.path.join(here, entry.name))))
                elif not goes_round(target := os.path.realpath(entry.path), (*jumps, here)):
                    todo.append((entry.path, (*jumps, here, target)))
    # Links to nowhere, too, to name them
    files = {path for path in paths if os.path.isfile(path) or not os.path.exists(path)}
    choice.endless += [path for path in paths if path not in files]
    return sorted(files)
