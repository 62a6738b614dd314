"""The paper's image data sets (Table 3, section B.1) in the folder layout of CoOp: facts only.

Every path is relative to the data root. Class counts and split sizes are those of tables/table3,
so they are not repeated here; the variants of ImageNet, which Table 3 leaves out, bring their own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

from umlbench.data.hub import HubCopy

Layout = Literal["split_json", "aircraft_lists", "class_folders"]

COOP = "github.com/KaiyangZhou/CoOp, DATASETS.md"
CROSS_MODAL = "github.com/linzhiqiu/cross_modal_adaptation"
_RESEARCH = "non-commercial research only"
_UNSTATED = "licence not stated, research use"
_OXFORD = "www.robots.ox.ac.uk/~vgg/data"


@dataclass(frozen=True)
class ImageSet:
    """Where one data set lies and where it comes from.

    `photos` is the image folder inside `folder`; ids are relative to it. `files` are the split
    and name files that must lie in `folder`. `gigabytes` is the size on disk, None where unknown.
    `rows_digest` pins the rows of the published split and their order, on which a few-shot draw
    depends.
    """

    name: str
    folder: str
    photos: str
    layout: Layout
    files: tuple[str, ...]
    licence: str
    home: str
    gigabytes: float | None = None
    hub: HubCopy | None = None
    rows_digest: str = ""
    split_home: str = COOP
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def origin(self) -> str:
        """Where the photos and the split come from, their size and licence, on one line."""
        size = f"about {self.gigabytes:g} GB" if self.gigabytes else "size unknown"
        return f"photos from {self.home} ({size}; {self.licence}), lists from {self.split_home}"

    @property
    def family(self) -> str:
        """The set whose classes, templates and descriptions this one shares."""
        return "imagenet" if self.name.startswith("imagenet") else self.name

    def images(self, root: Path) -> Path:
        """The folder that ids are relative to."""
        return root / self.folder / self.photos

    def expected(self) -> Mapping[str, int]:
        """Published counts: `classes` and the splits' sizes, as far as they are known exactly."""
        return self.sizes or _table3(self.name)


def default_root() -> Path:
    """The folder that holds the data sets: `UMLBENCH_DATA`, else `data` in the current folder."""
    return Path(os.environ.get("UMLBENCH_DATA", "data"))


@cache
def _table3(name: str) -> dict[str, int]:
    """The row of Table 3; ImageNet's training size is printed rounded, so it is left out."""
    from umlbench import paper

    row = next(row for row in paper.load("table3").rows if row.at["dataset"] == name)
    rounded = {"train"} if name == "imagenet" else set()
    return {
        str(key): int(value)
        for key, value in row.values.items()
        if value is not None and key not in rounded
    }


_SETS = (
    ImageSet(
        name="stanford_cars",
        folder="stanford_cars",
        photos="",
        layout="split_json",
        files=("split_zhou_StanfordCars.json",),
        licence=_RESEARCH,
        home="ai.stanford.edu/~jkrause/cars/car_dataset.html",
        gigabytes=2,
        hub=HubCopy("mteb/StanfordCars", "09ffe9bc7864d3f1e851529e5c4b7e05601a04fb"),
        rows_digest="002994563ac24f07",
    ),
    ImageSet(
        name="sun397",
        folder="sun397",
        photos="SUN397",
        layout="split_json",
        files=("split_zhou_SUN397.json",),
        licence=_UNSTATED,
        home="vision.princeton.edu/projects/2010/SUN",
        gigabytes=37,
        hub=HubCopy(
            "mteb/sun397", "c684cff33166060e2ae05525a5c4abdf5e6d7bce", "split differs from CoOp's"
        ),
    ),
    ImageSet(
        name="fgvc_aircraft",
        folder="fgvc_aircraft",
        photos="images",
        layout="aircraft_lists",
        files=(
            "variants.txt",
            "images_variant_train.txt",
            "images_variant_val.txt",
            "images_variant_test.txt",
        ),
        licence=_RESEARCH,
        home=f"{_OXFORD}/fgvc-aircraft (folder data of fgvc-aircraft-2013b)",
        gigabytes=2.7,
        hub=HubCopy(
            "mteb/FGVCAircraftZeroShot", "2d33d00400099b87bfec8b04f2876fb10ca07487", "by variant"
        ),
        split_home="the same archive",
    ),
    ImageSet(
        name="dtd",
        folder="dtd",
        photos="images",
        layout="split_json",
        files=("split_zhou_DescribableTextures.json",),
        licence=_RESEARCH,
        home=f"{_OXFORD}/dtd",
        gigabytes=0.6,
        hub=HubCopy("mteb/dtd", "96726183040de9e64a590d08eaac8de940dfcbdf"),
        rows_digest="d7f996e4b46fa09c",
    ),
    ImageSet(
        name="ucf101",
        folder="ucf101",
        photos="UCF-101-midframes",
        layout="split_json",
        files=("split_zhou_UCF101.json",),
        licence=_UNSTATED,
        home=f"{COOP} (the middle frame of each clip)",
        hub=HubCopy(
            "mteb/ucf101",
            "e0618988874f6ffbf90af69fa6dccecb9be3deb3",
            "every frame of a clip; the paper uses the middle one",
        ),
        rows_digest="f5503a8b1a74fdb5",
    ),
    ImageSet(
        name="food101",
        folder="food-101",
        photos="images",
        layout="split_json",
        files=("split_zhou_Food101.json",),
        licence=_UNSTATED,
        home="data.vision.ee.ethz.ch/cvl/datasets_extra/food-101",
        gigabytes=5,
        hub=HubCopy("mteb/food101", "7cca05bfde8fdad4a9b39ed14a881c800cc1dca2", "no CoOp split"),
    ),
    ImageSet(
        name="oxford_pets",
        folder="oxford_pets",
        photos="images",
        layout="split_json",
        files=("split_zhou_OxfordPets.json",),
        licence="CC BY-SA 4.0",
        home=f"{_OXFORD}/pets",
        gigabytes=0.8,
        hub=HubCopy("mteb/OxfordPets", "557b480fae8d69247be74d9503b378a09425096f"),
        rows_digest="55bd5546bb446294",
    ),
    ImageSet(
        name="oxford_flowers",
        folder="oxford_flowers",
        photos="jpg",
        layout="split_json",
        files=("split_zhou_OxfordFlowers.json",),
        licence=_UNSTATED,
        home=f"{_OXFORD}/flowers/102",
        gigabytes=0.35,
        hub=HubCopy(
            "mteb/oxford-flowers",
            "df976877feae05654b0fcd8b394baff731b00652",
            "its label names are in string order",
        ),
        rows_digest="a3339052625dcd3b",
    ),
    ImageSet(
        name="caltech101",
        folder="caltech-101",
        photos="101_ObjectCategories",
        layout="split_json",
        files=("split_zhou_Caltech101.json",),
        licence="CC BY 4.0",
        home="data.caltech.edu (Caltech 101)",
        gigabytes=0.14,
        hub=HubCopy(
            "mteb/Caltech101",
            "011e51e5fb01f0c820824734edb7a539ab8e6650",
            "VTAB's split with a background class, not CoOp's",
        ),
        rows_digest="7c6647444cee4066",
    ),
    ImageSet(
        name="imagenet",
        folder="imagenet",
        photos="images",
        layout="split_json",
        files=("split_ImageNet.json", "classnames.txt"),
        licence=_RESEARCH + ", on request",
        home="www.image-net.org",
        gigabytes=150,
        split_home=f"{CROSS_MODAL} (split_ImageNet.json) and {COOP} (classnames.txt)",
    ),
    ImageSet(
        name="imagenet_v2",
        folder="imagenetv2",
        photos="imagenetv2-matched-frequency-format-val",
        layout="class_folders",
        files=("classnames.txt",),
        licence="MIT",
        home="github.com/modestyachts/ImageNetV2",
        sizes={"classes": 1000, "test": 10000},
    ),
    ImageSet(
        name="imagenet_sketch",
        folder="imagenet-sketch",
        photos="images",
        layout="class_folders",
        files=("classnames.txt",),
        licence="MIT",
        home="github.com/HaohanWang/ImageNet-Sketch",
        sizes={"classes": 1000, "test": 50889},
    ),
    ImageSet(
        name="imagenet_a",
        folder="imagenet-adversarial",
        photos="imagenet-a",
        layout="class_folders",
        files=("classnames.txt",),
        licence="MIT",
        home="github.com/hendrycks/natural-adv-examples",
        sizes={"classes": 200, "test": 7500},
    ),
    ImageSet(
        name="imagenet_r",
        folder="imagenet-rendition",
        photos="imagenet-r",
        layout="class_folders",
        files=("classnames.txt",),
        licence="MIT",
        home="github.com/hendrycks/imagenet-r",
        sizes={"classes": 200, "test": 30000},
    ),
)

SETS: Mapping[str, ImageSet] = {one.name: one for one in _SETS}
