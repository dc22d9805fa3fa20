"""Frames on their way into one file that plays: webp, gif or mp4."""

from pathlib import Path

from PIL import Image

from backend.disk import replacing
from backend.terminal import UsageError


def save_animation(frames, path, fps: int) -> None:
    """Writes PIL images of one size as the kind of file that the path's ending names: webp, gif,
    mp4. It appears complete or not at all.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    suffix = path.suffix[1:]
    with replacing(path) as unfinished:
        if suffix == "mp4":
            write_mp4(frames, unfinished, fps)
            return
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
    """frames: PIL images of one size."""
    even = [side + side % 2 for side in frames[0].size]  # as the codec wants them
    options = {"fps": fps, "macro_block_size": 1, "quality": 8, "output_params": ["-f", "mp4"]}
    writer = import_ffmpeg().write_frames(str(path), even, **options)
    writer.send(None)
    for frame in frames:
        padded = Image.new("RGB", even)
        padded.paste(frame)
        writer.send(padded.tobytes())
    writer.close()
