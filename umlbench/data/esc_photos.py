"""One photo of each class of ImageNet-ESC: a folder of files `<ImageNet index>_<name>.jpg`.

For a 1-shot auxiliary modality without ImageNet (`esc10`).
"""

from __future__ import annotations

from pathlib import Path

from umlbench.data import layout
from umlbench.data.imagenet_esc import PAIRS
from umlbench.data.images import Place
from umlbench.data.layout import Listing, Malformed

NAME = "imagenet_esc_photos"
ORIGIN = (
    "take a photo a class, for instance from github.com/EliSchwartz/imagenet-sample-images "
    "(licence not stated; ImageNet is for research), and name each <ImageNet index>_<name>.jpg"
)


def place(root: Path) -> Place:
    """The folder below the data root."""
    folder = root / NAME
    return Place(NAME, folder, folder, (folder,), lambda: _listing(folder), ORIGIN)


def _listing(folder: Path) -> Listing:
    """Photos by ImageNet index, the 27 classes by their rank; there is a training split only."""
    labels = {str(pair.index): label for label, pair in enumerate(PAIRS)}
    rows = []
    for photo in layout.photos(folder):
        index, _, rest = photo.name.partition("_")
        if index not in labels or not rest:
            what = "does not begin with the ImageNet index of a class of ImageNet-ESC and '_'"
            raise Malformed(photo, what)
        rows.append((photo.relative_to(folder).as_posix(), labels[index]))
    if not rows:
        raise Malformed(folder, "holds no photos")
    rows.sort(key=lambda row: (row[1], row[0]))
    return Listing(tuple(pair.photo for pair in PAIRS), {"train": rows})
