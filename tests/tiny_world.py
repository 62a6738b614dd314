"""A data root like a user's, but tiny: the paper's ten image sets, their texts, every encoder.

Photos, split files and descriptions lie in the published layouts under the published names. The
encoders have the paper's ids and the real classes of timm, transformers and open_clip; they are
narrow and shallow, and their weights are random.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import authors_files
import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file

from umlbench.data.sets import SETS
from umlbench.encoders.clip import import_open_clip
from umlbench.encoders.text import import_transformers
from umlbench.encoders.vision import import_timm

COUNTS = {"train": 3, "val": 2, "test": 2}  # photos a class
SENTENCES = 4  # a class
SIDE = 32
SPREAD = 1.0  # of the weights: wide enough for photos of two colours to differ after one layer

# Class names as the splits have them, and the keys of CuPL for them. A class has no text as
# released: face and ball moss go by other names there, and of two homonyms one has it.
CLASSES: dict[str, tuple[tuple[str, str], ...]] = {
    "stanford_cars": (
        ("2012 Audi TTS Coupe", "Audi TTS Coupe 2012"),
        ("2007 Dodge Club Cab", "Dodge Club Cab 2007"),
    ),
    "sun397": (("abbey", "abbey"), ("indoor apse", "apse (indoor)"), ("bow window", "bow window")),
    "fgvc_aircraft": (("707-320", "707-320"), ("F-16A/B", "F-16A/B")),
    "dtd": (("cobwebbed", "cobwebbed"), ("crystalline", "crystalline"), ("knitted", "knitted")),
    "ucf101": (("Apply_Eye_Makeup", "Apply Eye Makeup"), ("Archery", "Archery")),
    "food101": (("apple_pie", "apple pie"), ("foie_gras", "foie gras")),
    "imagenet": (("tench", "tench"), ("sunglasses", "sunglasses"), ("sunglasses", "sunglasses")),
    "oxford_pets": (("abyssinian", "abyssinian"), ("russian_blue", "russian blue")),
    "oxford_flowers": (("passion flower", "passion flower"), ("ball moss", "air plant")),
    "caltech101": (
        ("face", "centered face"),
        ("helicopter", "helicopter"),
        ("ketch", "ketch"),
    ),
}
VARIANTS = {  # of ImageNet: the labels that each holds
    "imagenet_v2": (0, 1, 2),
    "imagenet_sketch": (0, 1, 2),
    "imagenet_a": (0, 2),
    "imagenet_r": (1, 2),
}
WITHOUT_TEXT = {"oxford_flowers": (1,), "caltech101": (0,), "imagenet": (1,)}

VIT = {"depth": 1, "num_heads": 2}  # beside what a ViT's line says
VISION: dict[str, dict[str, Any]] = {
    "vit_base_patch16_224.dino": {"model_name": "vit_base_patch16_224", "embed_dim": 12},
    "vit_base_patch8_224.dino": {"model_name": "vit_base_patch8_224", "embed_dim": 12},
    "vit_small_patch14_dinov2.lvd142m": {
        "model_name": "vit_small_patch14_dinov2",
        "embed_dim": 8,
    },
    "vit_base_patch14_dinov2.lvd142m": {"model_name": "vit_base_patch14_dinov2", "embed_dim": 12},
    "vit_large_patch14_dinov2.lvd142m": {
        "model_name": "vit_large_patch14_dinov2",
        "embed_dim": 16,
    },
    "mobilenetv2_100": {"model_name": "mobilenetv2_035"},
}
LANGUAGE = {
    "openlm-research/open_llama_3b_v2": "Llama",
    "bert-large-uncased": "Bert",
    "roberta-large": "Roberta",
    "gpt2-large": "GPT2",
    "all-MiniLM-L6-v2": "Bert",
}
TEXT_WIDTH = 20
CLIP: dict[str, dict[str, Any]] = {
    "RN50": {"layers": [1, 1, 1, 1], "width": 8},
    "ViT-B-16": {"layers": 1, "width": 16, "head_width": 8, "patch_size": 16},
}
CLIP_WIDTH = 12
SEQUENCES = "multibench"
EVERYTHING = (*CLASSES, *VARIANTS, *VISION, *LANGUAGE, *CLIP, SEQUENCES)


def make(root: Path, names: Collection[str] = EVERYTHING) -> None:
    """The sets and encoders called `names` below `root`, which is then a data root."""
    for name in CLASSES.keys() & names:
        _images(root, name, [label for label, _ in CLASSES[name]])
        _descriptions(root, name, dict.fromkeys(key for _, key in CLASSES[name]))
    for name in VARIANTS.keys() & names:
        _variant(root, name, VARIANTS[name])
    for name in VISION.keys() & names:
        options = VISION[name] | (VIT if name.startswith("vit") else {})
        _vision(root / "encoders", name, options)
    for name in LANGUAGE.keys() & names:
        _language(root / "encoders" / name, LANGUAGE[name])
    if SEQUENCES in names:
        _sequences(root)
    for name in CLIP.keys() & names:
        model = import_open_clip().create_model(name, load_weights=False, force_quick_gelu=True)
        save_file(_random(model, name), root / "encoders" / f"clip-{name}.safetensors")


def _sequences(root: Path) -> None:
    """MultiBench's files in its authors' format, and videos of utterances."""
    widths = {"mosi_data": 20, "mosei_senti_data": 35, "sarcasm": 371, "humor": 371}
    counts = {"train": 12, "valid": 6, "test": 6}
    for name, vision in widths.items():
        content = authors_files.affect(vision=vision, counts=counts)
        for split in content.values():  # -1 and 1 in turn: two classes by any of the label rules
            split["labels"] = np.resize([-1.0, 1.0], len(split["labels"])).reshape(-1, 1, 1)
        authors_files.write(root / "multibench" / f"{name}.pkl", content)
    authors_files.write(root / "multibench" / "im.pk", authors_files.mimic())
    _utterances(root / "mosi" / "mosi_utterances.npz")


def _utterances(path: Path) -> None:
    stream, found = np.random.default_rng(0), dict[str, Any]()
    for split, videos in (("train", 8), ("test", 4)):
        lengths = stream.integers(2, 6, videos)
        padding = np.arange(5) >= lengths[:, None]
        found[f"length_{split}"] = lengths
        found[f"video_id_{split}"] = np.array([f"{split}_{number}" for number in range(videos)])
        found[f"label_{split}"] = np.where(padding, -1, np.arange(5) % 2)
        for name, width in (("text", 100), ("audio", 73), ("video", 100)):
            values = stream.normal(size=(videos, 5, width)).astype(np.float32)
            values[padding] = 0
            found[f"{name}_{split}"] = values
    path.parent.mkdir()
    np.savez(path, **found)


def clip_configs() -> Iterator[tuple[str, dict[str, Any]]]:
    """open_clip's configurations under the published names, to be registered while in use."""
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    for name, tower in CLIP.items():
        vision = {"image_size": 224, **tower}
        yield name, {"embed_dim": CLIP_WIDTH, "vision_cfg": vision, "text_cfg": text}


# Photos and words


def _images(root: Path, name: str, classes: Sequence[str]) -> None:
    spec = SETS[name]
    folder = root / spec.folder
    rows: dict[str, list[list[Any]]] = {part: [] for part in COUNTS}
    for part, count in COUNTS.items():
        for label, words in enumerate(classes):
            for number in range(count):
                photo = _place(name, part, label, words, number)
                _photo(folder / spec.photos / photo, name, label)
                rows[part].append([photo, label, words])
    if spec.layout == "aircraft_lists":
        (folder / "variants.txt").write_text("".join(f"{words}\n" for words in classes))
        for part, listed in rows.items():
            lines = [f"{Path(photo).stem} {words}\n" for photo, _, words in listed]
            (folder / f"images_variant_{part}.txt").write_text("".join(lines))
        return
    (folder / spec.files[0]).write_text(json.dumps(rows))
    if name == "imagenet":
        lines = [f"{_wnid(label)} {words}\n" for label, words in enumerate(classes)]
        (folder / "classnames.txt").write_text("".join(lines))


def _variant(root: Path, name: str, labels: Sequence[int]) -> None:
    """Photos of ImageNet's colours in folders named by wnid, those of V2 by index."""
    spec = SETS[name]
    for label in labels:
        folder = str(label) if name == "imagenet_v2" else _wnid(label)
        for number in range(COUNTS["test"]):
            photo = root / spec.folder / spec.photos / folder / f"{name}_{label}_{number}.jpg"
            _photo(photo, "imagenet", label)
    names = (root / "imagenet" / "classnames.txt").read_bytes()
    (root / spec.folder / "classnames.txt").write_bytes(names)


def _place(name: str, part: str, label: int, words: str, number: int) -> str:
    """A photo's path as the published splits have it."""
    stem = f"{part}_{label}_{number}"
    if name == "imagenet":
        return f"{'val' if part == 'test' else 'train'}/{_wnid(label)}/{stem}.JPEG"
    if name == "sun397":
        kind, _, scene = words.rpartition(" ")
        return "/".join(filter(None, (words[0], scene, kind, f"sun_{stem}.jpg")))
    if name == "stanford_cars":
        return f"cars_{'test' if part == 'test' else 'train'}/{stem}.jpg"
    flat = ("fgvc_aircraft", "oxford_pets", "oxford_flowers")
    return f"{stem}.jpg" if name in flat else f"{words}/{stem}.jpg"


def _wnid(label: int) -> str:
    return f"n{label:08d}"


def _photo(path: Path, name: str, label: int) -> None:
    """A colour that says the class, under noise."""
    colour = np.random.default_rng(zlib.crc32(f"{name} {label}".encode())).integers(40, 215, 3)
    noise = np.random.default_rng(zlib.crc32(path.name.encode())).integers(-40, 41, (SIDE, SIDE, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((colour + noise).astype(np.uint8)).save(path, "JPEG")


def _descriptions(root: Path, name: str, keys: dict[str, None]) -> None:
    texts = {key: [f"A {key} photo, number {n}." for n in range(SENTENCES)] for key in keys}
    (root / "cupl").mkdir(exist_ok=True)
    (root / "cupl" / f"descriptors_{name}.json").write_text(json.dumps(texts))


# Encoders


def _random(model: torch.nn.Module, name: str) -> dict[str, torch.Tensor]:
    """Weights from a stream of their own: the libraries draw theirs from the global one."""
    stream = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    state = model.state_dict()
    for key, value in state.items():
        if value.is_floating_point():
            noise = torch.randn(value.shape, generator=stream)
            state[key] = noise.abs() + 0.5 if "var" in key else noise * SPREAD
    return {key: value.contiguous() for key, value in state.items()}


def _vision(folder: Path, name: str, options: dict[str, Any]) -> None:
    """DINOv2's at its native 518 pixels, as published."""
    folder.mkdir(exist_ok=True)
    arguments = {key: value for key, value in options.items() if key != "model_name"}
    model = import_timm().create_model(options["model_name"], num_classes=0, **arguments)
    save_file(_random(model, name), folder / f"{name}.safetensors")
    (folder / f"{name}.json").write_text(json.dumps(options))


def _language(folder: Path, kind: str) -> None:
    transformers = import_transformers()
    sizes = {"hidden_size": TEXT_WIDTH, "num_hidden_layers": 1, "num_attention_heads": 2}
    if kind == "GPT2":
        sizes = {"n_embd": TEXT_WIDTH, "n_layer": 1, "n_head": 2, "n_positions": 40}
    else:
        sizes |= {"intermediate_size": 24, "max_position_embeddings": 40}
    config = getattr(transformers, f"{kind}Config")(
        **sizes, vocab_size=128, bos_token_id=0, eos_token_id=2, pad_token_id=1
    )
    model = getattr(transformers, f"{kind}Model")(config)
    model.load_state_dict(_random(model, kind))
    model.save_pretrained(folder)
    _tokenizer().save_pretrained(folder)


def _tokenizer() -> Any:
    """Characters as tokens, a begin token before them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    characters = [chr(number) for number in range(32, 127)]
    words = ["<s>", "<pad>", "</s>", "<unk>", *characters]
    made = Tokenizer(models.WordLevel({word: n for n, word in enumerate(words)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", 0)]
    )
    return import_transformers().PreTrainedTokenizerFast(
        tokenizer_object=made,
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        model_max_length=32,
    )
