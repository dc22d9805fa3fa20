"""Files of `jt.save`: a pickle, its SHA-1 and a mark. Our own checkpoints are such files."""

import hashlib

from formats.standins import Refused

TRAILER = b"HCAJSLHD"


def pickle_end(raw: bytes) -> int:
    """Where the pickle in a file ends: at a checksum, which has to fit, or with the file."""
    if not raw.endswith(TRAILER):
        return len(raw)
    end = len(raw) - 20 - len(TRAILER)
    if hashlib.sha1(memoryview(raw)[:end]).digest() != raw[end : -len(TRAILER)]:
        raise Refused("its checksum does not fit")
    return end
