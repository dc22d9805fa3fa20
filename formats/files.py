"""Any checkpoint file, read without running what is in it.

values, file_format, sha1 = read("some.model")
"""

import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

from backend.disk import content_of
from backend.terminal import UserError
from formats import jittor, pytorch
from formats.standins import Refused
from formats.unpickler import Unpickler, check_plain


class CheckpointError(UserError):
    """What is wrong with a checkpoint file."""


class Content(NamedTuple):
    """What a file holds: plain values and NumPy arrays."""

    values: Any
    file_format: str  # "pickle" (Jittor's and ours), "PyTorch, zip" or "PyTorch, legacy"
    sha1: str  # of the file, in hexadecimal


def _read_any(raw):
    if raw.startswith(b"PK\3\4"):
        return pytorch.read_zip(raw), "PyTorch, zip"
    end, stream = jittor.pickle_end(raw), io.BytesIO(raw)
    values = Unpickler(stream, len(raw)).load()
    if type(values) is int and values == pytorch.LEGACY_MAGIC:
        return pytorch.read_legacy(raw, stream), "PyTorch, legacy"
    if stream.tell() != end:
        raise Refused("it goes on after its end")
    return values, "pickle"


def read(path) -> Content:
    """The content of a checkpoint file of Jittor or PyTorch, whatever its name; it is read once.

    Arrays may be read-only and share memory. bfloat16 comes as float32. Runs no code of the file.
    Raises CheckpointError.
    """
    path = Path(path)
    raw = content_of(path, CheckpointError)
    try:
        values, file_format = _read_any(raw)
        check_plain(values, 4 * len(raw))
    except Refused as e:
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged: {e}") from None
    except Exception:  # whatever a broken file drives the pickle machine to
        raise CheckpointError(f"{path} is not a checkpoint, or is damaged") from None
    return Content(values, file_format, hashlib.sha1(raw).hexdigest())
