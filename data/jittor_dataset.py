"""Prepared pictures as a data set of Jittor."""

from backend import device
from data.store import DataError, open_pictures

device.load()  # before the first import of Jittor

from jittor.dataset import Dataset  # noqa: E402


class MultiResolutionDataset(Dataset):
    """Prepared pictures at one size: `dataset[i]` is picture i, passed through `transform`.

    path: an LMDB or a tree of sizes (see store.py). transform: from a PIL RGB image; without one
    `dataset[i]` is that image. `len(dataset)` is the number of pictures. Iterating gives batches,
    as with every data set of Jittor: `dataset.set_attrs(batch_size=16, shuffle=True)`. DataError
    where there is no prepared set at `path`, or none of that size.
    """

    def __init__(self, path, transform=None, resolution: int = 8):
        super().__init__()
        self.pictures = open_pictures(path)
        try:
            self.pictures.require([resolution])
        except DataError:
            self.close()
            raise
        self.resolution, self.transform = resolution, transform
        self.set_attrs(total_len=len(self))

    def __len__(self):
        return self.pictures.length

    def __getitem__(self, index):
        if not 0 <= index < len(self):
            raise IndexError(f"picture {index} of {len(self)}")
        picture = self.pictures.read(index, self.resolution)
        return self.transform(picture) if self.transform else picture

    def close(self) -> None:
        """Closes the LMDB."""
        self.pictures.close()
