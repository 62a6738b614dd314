"""Tiny photos in the exact layouts of the paper's data sets."""

import io
import json
import random

import pytest
from PIL import Image

from umlbench.data.sets import SETS

WNIDS = ("n01440764", "n01443537", "n01484850")
CLASSES = {  # what one split names, and the folder (or stem) of its photos
    "stanford_cars": (("2012 Audi TTS Coupe", "cars_{part}/"), ("2007 Dodge Club Cab", "")),
    "sun397": (("abbey", "a/abbey/"), ("indoor apse", "a/apse/indoor/")),
    "dtd": (("banded", "banded/"), ("bumpy", "bumpy/")),
    "ucf101": (("Apply_Eye_Makeup", "Apply_Eye_Makeup/v_"), ("Archery", "Archery/v_")),
    "food101": (("apple_pie", "apple_pie/"), ("foie_gras", "foie_gras/")),
    "oxford_pets": (("abyssinian", "Abyssinian_"), ("american_bulldog", "american_bulldog_")),
    "oxford_flowers": (("pink primrose", "image_1"), ("ball moss", "image_2")),
    "caltech101": (("face", "Faces/image_"), ("leopard", "Leopards/image_")),
    "imagenet": (("tench", "{folder}/n01440764/n01440764_"), ("goldfish", "{folder}/n01443537/")),
}
COUNTS = {"train": 5, "val": 2, "test": 3}  # photos a class


def jpeg(number):
    """A small photo of noise, one for each number."""
    noise = random.Random(number).randbytes(3 * 16 * 16)
    stream = io.BytesIO()
    Image.frombytes("RGB", (16, 16), noise).save(stream, "JPEG")
    return stream.getvalue()


class DataRoot:
    """A data root to fill; photos are numbered as they are made."""

    def __init__(self, path):
        self.path = path
        self.cache = path / "cache"
        self.count = 0

    def photo(self, path):
        self.count += 1
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(self.count))

    def write(self, path, text):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if isinstance(text, str) else json.dumps(text))

    def make(self, name):
        """One of the paper's sets with two classes, or ImageNet's three folders."""
        spec = SETS[name]
        folder = self.path / spec.folder
        if spec.layout == "class_folders":
            self.variant(spec, folder)
        elif spec.layout == "aircraft_lists":
            self.aircraft(spec, folder)
        else:
            self.split(spec, folder)
        return folder

    def variant(self, spec, folder):
        by_index = spec.name == "imagenet_v2"
        for label in (0, 2) if spec.name in ("imagenet_a", "imagenet_r") else (0, 1, 2):
            place = folder / spec.photos / (str(label) if by_index else WNIDS[label])
            for number in range(2):
                self.photo(place / f"photo_{number}.JPEG")
        self.write(folder / spec.photos / "README.txt", "not a photo")
        self.names(folder, ("tench", "goldfish", "great white shark"))

    def names(self, folder, names):
        lines = [f"{wnid} {name}" for wnid, name in zip(WNIDS, names, strict=False)]
        self.write(folder / "classnames.txt", "\n".join(lines) + "\n")

    def aircraft(self, spec, folder):
        variants = ("707-320", "F-16A/B", "Gulfstream V")
        self.write(folder / "variants.txt", "\n".join(variants) + "\n")
        for part, count in COUNTS.items():
            lines = []
            for variant in variants:
                for _ in range(count):
                    name = f"{self.count:07d}"
                    self.photo(folder / "images" / f"{name}.jpg")
                    lines.append(f"{name} {variant}")
            self.write(folder / f"images_variant_{part}.txt", "\n".join(lines) + "\n")

    def split(self, spec, folder):
        split = {part: [] for part in COUNTS}
        for part, count in COUNTS.items():
            place = {"part": "test" if part == "test" else "train"}
            place["folder"] = "val" if part == "test" else "train"
            for label, (name, stem) in enumerate(CLASSES[spec.name]):
                stem = stem or CLASSES[spec.name][0][1]
                for _ in range(count):
                    photo = stem.format(**place) + f"{self.count:05d}.jpg"
                    self.photo(folder / spec.photos / photo)
                    split[part].append([photo, label, name])
        self.write(folder / spec.files[0], split)
        if spec.name == "imagenet":
            self.names(folder, ("tench", "goldfish"))

    def own(self, name="mine", parts=COUNTS, classes=("cat", "dog")):
        folder = self.path / name
        for part, count in parts.items():
            for label in classes:
                for number in range(count):
                    self.photo(folder / part / label / f"{number}.png")
        return folder


@pytest.fixture
def root(tmp_path):
    return DataRoot(tmp_path)
