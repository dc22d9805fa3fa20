"""Frames on their way into one file that plays: webp, gif or mp4."""

import itertools
from pathlib import Path

from PIL import Image

from backend.disk import replacing
from backend.terminal import UsageError
from figures.grid import PADDING, check_size, is_grid, shows_grid

LARGEST_SIDE = {"webp": 16383, "gif": 65535}  # pixels, of the formats


def check_side(form: str, size, rows: int, cols: int, frames: int) -> None:
    """UsageError if a grid of images of a size (width, height) is larger than the format can be, or
    all of them than fits into memory."""
    for count, length in zip((cols, rows), size):
        side = count * (length + PADDING) + PADDING
        largest = LARGEST_SIDE.get(form, side)
        if side > largest:
            raise UsageError(
                f"{count} images of {length} px side by side are {side} pixels, and {form} has at "
                f"most {largest}: lower --walk_rows or --walk_cols, or choose another --animation"
            )
    options = "--walk_rows, --walk_cols or --frames"
    check_size(rows, cols, size, options, 1 if form == "mp4" else frames, rows)


def is_own(path, crop=None) -> bool:
    """Whether an animation is one of ours, which have no notes: its first frame is a grid.
    crop: see `shows_grid`.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        return is_grid(path, crop)
    try:
        frames = import_ffmpeg().read_frames(str(path))
        size = next(frames)["size"]
        return shows_grid(Image.frombytes("RGB", size, next(frames)), crop)
    except Exception:  # whatever another file drives ffmpeg to
        return False


def save_animation(frames, path, fps: int) -> None:
    """Writes PIL images of one size as the kind of file that the path's ending names: webp, gif,
    mp4, the last of them one by one. It appears complete or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix[1:]
    with replacing(path) as unfinished:
        if suffix == "mp4":
            write_mp4(frames, unfinished, fps)
            return
        frames = list(frames)
        options = {"lossless": True} if suffix == "webp" else {}
        playing = {"save_all": True, "append_images": frames[1:], "loop": 0}
        frames[0].save(unfinished, format=suffix, duration=round(1000 / fps), **playing, **options)


def import_ffmpeg():
    """The optional package for mp4; UsageError that names it."""
    try:
        import imageio_ffmpeg
    except ImportError:
        text = "--animation mp4 needs a package: run `pip install imageio-ffmpeg`, or choose webp"
        raise UsageError(text) from None
    return imageio_ffmpeg


def write_mp4(frames, path: Path, fps: int) -> None:
    """frames: PIL images of one size, each asked for when the one before is written."""
    frames = iter(frames)
    first = next(frames)
    even = [side + side % 2 for side in first.size]  # as the codec wants them
    options = {"fps": fps, "macro_block_size": 1, "quality": 8, "output_params": ["-f", "mp4"]}
    writer = import_ffmpeg().write_frames(str(path), even, **options)
    writer.send(None)
    for frame in itertools.chain([first], frames):
        padded = Image.new("RGB", even)
        padded.paste(frame)
        writer.send(padded.tobytes())
    writer.close()
