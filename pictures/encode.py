"""One picture on its way into a set: upright, RGB, square and at each size, as the original's."""

import io

import numpy as np
from PIL import Image, ImageOps

LARGEST_RESIZED = 2**28  # pixels; more is a sliver, enlarged beyond memory
ORIENTATION = 0x0112  # EXIF tag


def to_rgb(picture, background):
    """A picture as Pillow opened it, as RGB: upright, over `background` where it is transparent.

    Of an animation, the first frame.
    """
    if picture.mode.startswith(("I", "F")):
        picture = to_8_bits(picture)
    if picture.getexif().get(ORIENTATION, 1) != 1:
        picture = ImageOps.exif_transpose(picture)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        below = Image.new("RGBA", picture.size, background)
        picture = Image.alpha_composite(below, picture)
    return picture.convert("RGB")


def to_8_bits(picture):
    """Grey of 16 bits as mode L. Pillow's own conversion would make nearly all of it white."""
    values = np.asarray(picture)
    if picture.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError("32 bits per pixel: save it with 8 or 16")
    if picture.mode == "I" and values.max() < 256:  # 8 bits that were kept in 32
        return Image.fromarray(values.astype("uint8"))
    return Image.fromarray((values >> 8).astype("uint8"))


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
    """[bytes] of the picture at each size, and whether any of them is larger than the picture."""
    sizes, background = settings["sizes"], tuple(settings["background"])
    side = (max if settings["pad"] else min)(picture.size)
    if side < sizes[-1] and not settings["enlarge"]:
        raise ValueError("{} x {} pixels: smaller than the sizes".format(*picture.size))
    picture = to_rgb(picture, background)
    if settings["pad"] and picture.width != picture.height:
        picture = pad(picture, background)
    encoded, options = [], save_options(settings)
    for size in sizes:
        file = io.BytesIO()
        resize(picture, size).save(file, **options)
        encoded.append(file.getvalue())
    return encoded, side < sizes[-1]
