"""NVIDIA's TFRecords of pictures (`NAME-r10.tfrecords`): a file for each size, 2^10 px in this one.

A record is its length (8 bytes), a checksum (4), an Example of protocol buffers and a checksum (4).
The Example names `shape`, (3, h, w), and `data`, the bytes of the picture in that order.
"""

import os
import struct

import numpy as np

HEADER = struct.Struct("<QL")


def records(path) -> list:
    """(offset, length) of each Example in a file. ValueError where it is cut off or none."""
    found, size = [], os.path.getsize(path)
    with open(path, "rb") as file:
        place = 0
        while place < size:
            file.seek(place)
            header = file.read(HEADER.size)
            length = HEADER.unpack(header)[0] if len(header) == HEADER.size else size
            end = place + HEADER.size + length + 4
            if end > size:
                raise ValueError(f"record {len(found)} is cut off, or none")
            found.append((place + HEADER.size, length))
            place = end
    return found


def varint(raw, place: int):
    """(number, where it ends) of a number in protocol buffers."""
    value, shift = 0, 0
    while True:
        byte = raw[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place


def fields(raw):
    """(number, value) of each field of a message: bytes, or an int."""
    place = 0
    while place < len(raw):
        key, place = varint(raw, place)
        if key & 7 == 0:
            value, place = varint(raw, place)
        elif key & 7 == 2:
            length, place = varint(raw, place)
            value, place = raw[place : place + length], place + length
        else:
            raise ValueError(f"a field of type {key & 7}")
        yield key >> 3, value


def whole_numbers(raw) -> list:
    """Those of an Int64List, packed or each by itself."""
    numbers = []
    for _, value in fields(raw):
        place = 0
        while isinstance(value, bytes) and place < len(value):
            number, place = varint(value, place)
            numbers.append(number)
        numbers += [value] * isinstance(value, int)
    return numbers


def picture(raw: bytes):
    """The picture in an Example, (h, w) or (h, w, 3) of uint8. ValueError, IndexError or TypeError
    where there is none.
    """
    features = {}
    for _, group in fields(raw):
        for _, entry in fields(group):
            named = dict(fields(entry))
            features[named[1]] = dict(fields(named[2]))
    shape = whole_numbers(features[b"shape"][3])
    (content,) = (value for _, value in fields(features[b"data"][1]))
    array = np.frombuffer(content, "uint8").reshape(shape)
    if array.ndim != 3 or shape[0] not in (1, 3):
        raise ValueError(f"a picture of the shape {tuple(shape)}")
    return array[0] if shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
