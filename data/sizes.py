"""The sizes of images, in pixels: powers of two from 4 to 1024, each one step of the growth."""

import argparse

SIZES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
DEFAULT_SIZES = SIZES[1:]  # of a prepared set: the paper and the original begin at 8


def step_of(size: int) -> int:
    """log2(size) - 2: 4 -> 0, 1024 -> 8."""
    return size.bit_length() - 3


def joined(sizes) -> str:
    """Sizes as people read them and as `--sizes` takes them: '8,16,32'."""
    return ",".join(map(str, sizes))


def image_size(text) -> int:
    """Parser type: one of SIZES."""
    if text not in map(str, SIZES):
        raise argparse.ArgumentTypeError(f"{text[:40]} is no size: a power of two from 4 to 1024")
    return int(text)


def default_sizes(side):
    """8 up to the largest size that a picture of `side` pixels fills."""
    return [size for size in DEFAULT_SIZES if size <= side]


def size_list(text) -> list:
    """Parser type: some of SIZES, or 'all' of DEFAULT_SIZES; sorted."""
    if text == "all":
        return list(DEFAULT_SIZES)
    try:
        sizes = sorted({image_size(size) for size in text.split(",")})
    except argparse.ArgumentTypeError:
        sizes = []
    if not sizes:
        raise argparse.ArgumentTypeError(f"'{text}' is not 'all' or some of {joined(SIZES)}")
    return sizes
