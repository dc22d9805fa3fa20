"""One picture on its way into a set: square and at each size, as the original's or nearly so."""

import io
from typing import NamedTuple

from PIL import Image

from data.decode import draft, to_rgb

LARGEST_RESIZED = 2**28  # pixels; more is a sliver, enlarged beyond memory
HAMMING_FROM = 512  # px: below, Lanczos with its threefold weights costs little


class Encoded(NamedTuple):
    values: list  # bytes of the picture at each size
    enlarged: bool  # one of them is larger than the picture
    dim: bool  # see Decoded


def shape(width, height, size):
    """(width, height) with the shorter one `size`, rounded as by torchvision."""
    if width <= height:
        resized = size, int(size * height / width)
    else:
        resized = int(size * width / height), size
    if resized[0] * resized[1] > LARGEST_RESIZED:
        raise ValueError(f"too long and narrow: {width:.0f} x {height:.0f} pixels")
    return resized


def central(picture, size):
    """The square in the middle, rounded as by torchvision."""
    if picture.size == (size, size):
        return picture
    left = int(round((picture.width - size) / 2.0))
    top = int(round((picture.height - size) / 2.0))
    return picture.crop((left, top, left + size, top + size))


def resize(picture, size):
    """Shorter side to `size` with Lanczos, then the central square."""
    wanted = shape(*picture.size, size)
    if picture.size != wanted:
        picture = picture.resize(wanted, Image.LANCZOS)
    return central(picture, size)


def resize_fast(picture, box, sizes):
    """`resize` at each of the ascending sizes, nearly: each made from the next larger one.

    box: the part of the picture that counts. What shrinks sixfold and more is averaged first; what
    shrinks to HAMMING_FROM and more gets a simpler filter.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    side, squares = min(width, height), []
    for size in reversed(sizes):
        method = Image.HAMMING if HAMMING_FROM <= size < side else Image.LANCZOS
        wanted, resized = shape(width, height, size), picture
        if (0, 0, *wanted) != box:
            resized = picture.resize(wanted, method, box, reducing_gap=3.0)
        squares.append(central(resized, size))
        if size <= side:  # the next size is at most half of this one
            picture, box = resized, (0, 0, *wanted)
    return squares[::-1]


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


def kept_info(info, output_format):
    """Of what Pillow has read beside the pixels and would write with them: nothing, but for the
    comment that the original's JPEGs have from it.
    """
    comment = info.get("comment")
    kept = output_format == "jpeg" and isinstance(comment, (str, bytes))
    return {"comment": comment} if kept else {}


def saved(picture, options):
    """Its bytes, with the options of Image.save."""
    file = io.BytesIO()
    try:
        picture.save(file, **options)
    except OSError:
        if list(picture.info) != ["comment"]:
            raise
        picture.info = {}  # the comment is longer than the JPEG's encoder can take
        return saved(picture, options)
    return file.getvalue()


def encode(picture, settings):
    """The picture as the settings want it. ValueError if it is too small."""
    sizes, background = settings["sizes"], tuple(settings["background"])
    side = (max if settings["pad"] else min)(picture.size)
    if side < sizes[-1] and not settings["enlarge"]:
        raise ValueError("{} x {} pixels: smaller than the sizes".format(*picture.size))
    # Sets that were begun without these three settings go on without
    stretch, rules = settings.get("stretch", False), settings.get("rules", 1)
    fast = settings.get("fast", False)
    box = draft(picture, 2 * sizes[-1]) if fast and not settings["pad"] else None
    picture, dim = to_rgb(picture, background, stretch, rules)
    if rules > 2:
        picture.info = kept_info(picture.info, settings["format"])
    if settings["pad"] and picture.width != picture.height:
        picture = pad(picture, background)
    if fast:
        squares = resize_fast(picture, box or (0, 0, *picture.size), sizes)
    else:
        squares = (resize(picture, size) for size in sizes)
    values = [saved(square, save_options(settings)) for square in squares]
    return Encoded(values, side < sizes[-1], dim)
