"""ImageNet-ESC in its real layouts, but tiny: sounds of all 50 classes, photos, texts, encoders.

Clips last a twentieth of a second. AudioCLIP's tower and the encoders of `tiny_world` are the real
classes, narrow and shallow, with random weights. As in the paper, text is the widest of the
unaligned modalities, and the aligned ones are as wide as each other.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import generated_tower
import numpy as np
import pytest
import soundfile
import tiny_world
import torch

from umlbench import data, features
from umlbench.data.imagenet_esc import ESC10, PAIRS
from umlbench.encoders import logmel
from umlbench.encoders.audio import audioclip, encoder, tower
from umlbench.encoders.sounds import Form

RATE = 44100
SECONDS = 0.05  # that encoders hear: two frames of a spectrogram
CLIP = RATE // 20  # samples
TOWER = tower.Shape(
    blocks=(1, 1, 1, 1), stem=8, groups=2, group_width=4, embedding=tiny_world.CLIP_WIDTH
)
ENCODERS = (
    "vit_small_patch14_dinov2.lvd142m",
    "openlm-research/open_llama_3b_v2",
    "RN50",
    "mobilenetv2_100",
    "all-MiniLM-L6-v2",
)
OTHER = sorted({f"other_{number}" for number in range(19)})
SOUNDS = sorted({pair.sound for pair in PAIRS} | {*ESC10, *OTHER})  # 50


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make the encoders of sounds tiny and quick while `patch` lasts, in this process."""
    patch.setattr(tower, "SHAPE", TOWER)
    patch.setattr(audioclip, "Form", partial(Form, seconds=SECONDS))
    patch.setattr(logmel, "FORM", Form(seconds=SECONDS))
    for module in (encoder, logmel):
        patch.setattr(module, "workers_for", lambda device: 0)


def make(root: Path) -> None:
    """A data root with everything that the recipes of ImageNet-ESC read."""
    tiny_world.make(root, ENCODERS)
    sounds(root / "esc-50" / "ESC-50-master")
    names = ["tench", *(pair.photo for pair in PAIRS), "bolete"]
    tiny_world._images(root, "imagenet", names)
    tiny_world._descriptions(root, "imagenet", dict.fromkeys(names))
    for pair in PAIRS:
        photo = root / "imagenet_esc_photos" / f"{pair.index}_{pair.photo.split()[0]}.jpg"
        tiny_world._photo(photo, "imagenet", names.index(pair.photo))
    state = {f"audio.{key}": value for key, value in generated_tower.state(TOWER).items()}
    torch.save(state, root / "esc-50" / "AudioCLIP-Partial-Training.pt")


def sounds(folder: Path) -> None:
    """ESC-50's clips: tones that tell the classes apart, under noise."""
    assert len(SOUNDS) == 50
    stream, time = np.random.default_rng(0), np.arange(CLIP) / RATE
    for path, target in table(folder, SOUNDS):
        tone = 0.4 * np.sin(2 * np.pi * (150 + 70 * target) * time)
        soundfile.write(path, tone + 0.1 * stream.standard_normal(CLIP), RATE)


def unheard(root: Path, cache: Path) -> None:
    """ESC-10 and a photo a class as files that nobody opens, and `imported:mine` rows of both."""
    for path, _ in table(root / "esc-50", ESC10):
        path.write_bytes(path.name.encode())
    for pair in PAIRS:
        photo = root / "imagenet_esc_photos" / f"{pair.index}_a.jpg"
        photo.parent.mkdir(exist_ok=True)
        photo.write_bytes(photo.name.encode())
    for name, width in (("esc50", 12), ("imagenet_esc_photos", 8)):
        found = data.load(name, root, cache=cache)
        stream = np.random.default_rng(width)
        means = stream.normal(size=(len(found.classes), width))
        for split, samples in found.splits.items():
            x = means[samples.labels] + stream.normal(size=(len(samples), width))
            file = root / f"{name}-{split}.npz"
            np.savez(file, x=x.astype(np.float32), y=samples.labels, ids=np.array(samples.ids))
            features.import_file(file, root=cache, dataset=found, split=split, encoder_name="mine")


def table(folder: Path, classes: Sequence[str]) -> Iterator[tuple[Path, int]]:
    """Write the table, 8 clips a class in 5 folds; the clips yet to be made, with their targets."""
    (folder / "audio").mkdir(parents=True)
    (folder / "meta").mkdir()
    rows = []
    for fold in range(1, 6):
        for target, name in enumerate(classes):
            for clip in range(8):
                clip_name = f"{fold}-{1000 + 100 * target + clip}-A-{target}.wav"
                rows.append([clip_name, fold, target, name, name in ESC10, 1000 + clip, "A"])
    with (folder / "meta" / "esc50.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["filename", "fold", "target", "category", "esc10", "src_file", "take"])
        writer.writerows(sorted(rows))
    yield from ((folder / "audio" / row[0], row[2]) for row in rows)
