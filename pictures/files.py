"""Which files below a folder are pictures, and their order."""

import os

EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tiff", ".tif", ".ppm", ".pgm")


def is_picture_name(path):
    """Whether the name says that it is a picture; "._x.png" is what macOS keeps beside x.png."""
    return path.lower().endswith(EXTENSIONS) and not os.path.basename(path).startswith("._")


def find_pictures(folder):
    """Sorted paths of all pictures at any depth below `folder`, the order of the original."""

    def fail(error):
        raise error

    paths = []
    for parent, folders, names in os.walk(folder, onerror=fail, followlinks=True):
        here = os.path.realpath(parent)
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        for name in links:  # to this or a folder above it: would never end
            target = os.path.realpath(os.path.join(parent, name))
            if os.path.commonpath([target, here]) == target:
                folders.remove(name)
        paths += [os.path.join(parent, name) for name in names if is_picture_name(name)]
    # Not pipes and devices, which never end; but links to nowhere, to name them
    return sorted(path for path in paths if os.path.isfile(path) or not os.path.exists(path))
