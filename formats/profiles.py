"""Colours that an ICC profile describes, as sRGB."""

import functools
import io

import numpy as np
from PIL import Image, ImageCms

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # of a picture, by its profile's colour space
ROUNDING = 2  # of 255: by so much those of different makers differ that all are sRGB


def convert(picture, transform):
    picture = ImageCms.applyTransform(picture, transform)
    picture.info.pop("icc_profile", None)  # holds the time of day
    return picture


def samples(mode):
    """A picture with all greys or with colours of the whole cube."""
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    steps = np.linspace(0, 255, 16).round().astype(np.uint8)
    cube = np.stack(np.meshgrid(steps, steps, steps), axis=-1)
    return Image.fromarray(np.ascontiguousarray(cube.reshape(64, 64, 3)))


def changes(transform, mode):
    """Whether the transform from RGB or L does more than round."""
    before = samples(mode)
    after = np.asarray(convert(before, transform)).astype(int)
    return np.abs(after - np.asarray(before.convert("RGB"))).max() > ROUNDING


@functools.lru_cache(maxsize=8)
def transform_of(profile, mode):
    """(transform to sRGB, mode that it takes) of a profile (bytes) in a picture of `mode`; None
    where the profile is broken, does not fit the picture, or is sRGB's own.
    """
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        takes = MODES[opened.profile.xcolor_space.strip()]
        if (takes == "CMYK") != (mode == "CMYK") or (takes == "L" and mode not in ("1", "L", "LA")):
            return None
        transform = ImageCms.buildTransform(opened, ImageCms.createProfile("sRGB"), takes, "RGB")
        return (transform, takes) if takes == "CMYK" or changes(transform, takes) else None
    except Exception:  # whatever is wrong with it, viewers show the picture without
        return None


@functools.lru_cache(maxsize=1)
def lab_transform():
    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, srgb, "LAB", "RGB")


def to_srgb(picture, profile):
    """An opaque picture as RGB, as its profile (bytes, or None) says."""
    if picture.mode == "LAB":
        return convert(picture, lab_transform())
    found = profile and transform_of(profile, picture.mode)
    if not found:
        return picture if picture.mode == "RGB" else picture.convert("RGB")
    transform, takes = found
    return convert(picture if picture.mode == takes else picture.convert(takes), transform)
