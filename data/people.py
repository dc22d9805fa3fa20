"""Drawn people, each of another seed: hair, beard, glasses, expression, skin, clothes.

DiceBear's packages choose the parts and put them together as SVG, resvg makes pixels of it, both
alike on every machine. A style's own file tells its licence: those in the public domain are taken.
"""

import io
import json
import sys
from importlib import metadata

from backend.terminal import UsageError
from data.choice import open_picture
from data.reading import Source
from data.store import DataError

SIZE, COUNT = 128, 20_000  # unless others are asked for
STYLE = "open-peeps"
BACKGROUNDS = ("#b6e3f4", "#c0aede", "#d1d4f9", "#ffd5dc", "#ffdfbf")
MOST_BACKGROUNDS = 128  # of one call of DiceBear's
LICENCE = "CC0 1.0"
OLDEST = (3, 10)  # of the Pythons that DiceBear takes
PACKAGES = ("dicebear-core", "dicebear-styles", "resvg_py")


class People(Source):
    """`count` people of a style of DiceBear's, those of the seeds from `first` on, `side` pixels
    wide and high. Each is before one of the `backgrounds`, texts like '#ffd5dc'.
    """

    def __init__(self, style, backgrounds, side, first, count):
        drawing = definition(style)
        from dicebear import Style

        self.style, self.backgrounds, self.side = Style(drawing), list(backgrounds), side
        self.seeds = range(first, first + count)
        self.names = [f"{style} {seed}" for seed in self.seeds]
        self.about = {
            "people_style": style,
            "people_backgrounds": self.backgrounds,
            "licence": "{}, {}, {}".format(*licence(drawing)),
            "packages": [f"{name} {metadata.version(name)}" for name in PACKAGES],
        }

    def load(self, i):
        import resvg_py
        from dicebear import Avatar

        options = {"backgroundColor": self.backgrounds, "backgroundColorFill": "solid"}
        avatar = Avatar(self.style, {"seed": str(self.seeds[i]), **options})
        svg, side = avatar.to_string(), self.side
        png = resvg_py.svg_to_bytes(svg, width=side, height=side, skip_system_fonts=True)
        return open_picture(io.BytesIO(png), self.names[i], only=("PNG",))

    def size(self, i):
        return self.side, self.side

    def notes(self):
        return self.about


def definitions():
    """DiceBear's file of each style, by name. DataError where its packages cannot be used."""
    if sys.version_info[:2] < OLDEST:
        version = "{}.{}".format(*sys.version_info)
        raise DataError(f"people needs Python 3.10 or newer, for DiceBear; this is {version}.")
    try:
        from importlib.resources import files  # of Python 3.9

        import dicebear  # noqa: F401
        import dicebear_styles
        import resvg_py  # noqa: F401
    except ImportError as error:
        install = "pip install --no-deps -r requirements-people.txt"
        raise DataError(f"people needs DiceBear and resvg ({error}): run `{install}`.") from None
    suffix = ".json"
    return {
        file.name[: -len(suffix)]: file
        for file in sorted(files(dicebear_styles).iterdir(), key=lambda file: file.name)
        if file.name.endswith(suffix)
    }


def licence(drawing):
    """(title and creator, name, address) of the licence in a style's definition."""
    about = drawing["meta"]
    title = f"{about['source']['name']} by {about['creator']['name']}"
    return title, about["license"]["name"], about["license"]["url"]


def refusal(drawing):
    """Why the style of a definition is not taken, or ''."""
    name = licence(drawing)[1]
    if name != LICENCE:
        return f"is not in the public domain ({name})"
    if '"name": "text"' in json.dumps(drawing):
        return "writes with the fonts of each machine"
    return ""


def definition(style):
    """A style's definition. UsageError for one that is not known or not taken."""
    files = definitions()
    read = {name: json.loads(file.read_text("utf-8")) for name, file in files.items()}
    why = refusal(read[style]) if style in read else "is none of DiceBear's"
    if why:
        others = ", ".join(name for name in read if not refusal(read[name]))
        raise UsageError(f"--people_style {style[:40]} {why}: choose one of {others}")
    return read[style]
