"""One picture on its way into a set: square and at each size, as the original's."""

import io
from typing import NamedTuple

from PIL import Image

from pictures.decode import to_rgb

LARGEST_RESIZED = 2**28  # pixels; more is a sliver, enlarged beyond memory


class Encoded(NamedTuple):
    values: list  # bytes of the picture at each size
    enlarged: bool  # one of them is larger than the picture
    dim: bool  # see Decoded


def resize(picture, size):
    """Shorter side to `size` with Lanczos, then the central square, rounded as by torchvision."""
    width, height = picture.size
    if width <= height:
        width, height = size, int(size * height / width)
    else:
        width, height = int(size * width / height), size
    if width * height > LARGEST_RESIZED:
        raise ValueError("too long and narrow: {} x {} pixels".format(*picture.size))
    left, top = int(round((width - size) / 2.0)), int(round((height - size) / 2.0))
    picture = picture.resize((width, height), Image.LANCZOS)
    return picture.crop((left, top, left + size, top + size))


def pad(picture, background):
    """The picture in the middle of the smallest square around it."""
    side = max(picture.size)
    square = Image.new("RGB", (side, side), background)
    square.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return square


def save_options(settings):
    """Keyword arguments of Image.save."""
    options = {"jpeg": {"quality": settings["quality"]}, "webp": {"lossless": True}, "png": {}}
    return {"format": settings["format"], **options[settings["format"]]}


def encode(picture, settings):
    """The picture as the settings want it. ValueError if it is too small."""
    sizes, background = settings["sizes"], tuple(settings["background"])
    side = (max if settings["pad"] else min)(picture.size)
    if side < sizes[-1] and not settings["enlarge"]:
        raise ValueError("{} x {} pixels: smaller than the sizes".format(*picture.size))
    # Sets that were begun without these two settings go on without
    stretch, profiles = settings.get("stretch", False), settings.get("rules", 1) > 1
    picture, dim = to_rgb(picture, background, stretch, profiles)
    if settings["pad"] and picture.width != picture.height:
        picture = pad(picture, background)
    values, options = [], save_options(settings)
    for size in sizes:
        file = io.BytesIO()
        resize(picture, size).save(file, **options)
        values.append(file.getvalue())
    return Encoded(values, side < sizes[-1], dim)
