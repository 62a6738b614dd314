"""Text corpora: sentences about the classes of a data set, unpaired with its images.

Templates of prompts, the GPT-3 descriptions of CuPL (section B.2), or a user's own sentences. Text
is matched to labels by class name, as the released code does; what finds no partner is reported.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from umlbench.data.archives import Spot, first
from umlbench.data.dataset import few
from umlbench.data.samples import Samples
from umlbench.errors import MissingInput, UserError

Aliases = Literal["none", "mapped"]

VANILLA = ("a photo of a {}.",)
CLASSNAME = ("{}",)
HAND_CRAFTED: Mapping[str, Sequence[str]] = {  # those of Tip-Adapter
    "stanford_cars": VANILLA,
    "sun397": VANILLA,
    "caltech101": VANILLA,
    "fgvc_aircraft": ("a photo of a {}, a type of aircraft.",),
    "dtd": ("{} texture.",),
    "ucf101": ("a photo of a person doing {}.",),
    "food101": ("a photo of {}, a type of food.",),
    "oxford_pets": ("a photo of a {}, a type of pet.",),
    "oxford_flowers": ("a photo of a {}, a type of flower.",),
    "imagenet": (
        "itap of a {}.",
        "a bad photo of the {}.",
        "a origami {}.",
        "a photo of the large {}.",
        "a {} in a video game.",
        "art of the {}.",
        "a photo of the small {}.",
    ),
}
SYNONYMS = {"gpt3_cupl": "cupl"}  # a corpus may go by the released code's name
CUPL_SETS = tuple(HAND_CRAFTED)  # CuPL describes the same ten sets
CUPL_HOME = "the folder descriptions/cupl of the paper's released code"
# Names that CuPL gives to a class of the data set (protocol choice `aliases: mapped`).
ALIASES: Mapping[str, Mapping[str, str]] = {
    "caltech101": {"centered_face": "face", "off-center_face": "face"},
    "oxford_flowers": {"air_plant": "ball_moss"},
}


@dataclass(frozen=True, eq=False)
class Corpus(Samples):
    """Sentences with their labels; `notices` says which classes and which texts stay alone."""

    without_text: tuple[int, ...] = ()
    notices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Target:
    """What a corpus is about: a data set's name, its family in this table, its classes by label.

    `partial`: the corpus is known to be about more classes.
    """

    name: str
    family: str
    classes: tuple[str, ...]
    partial: bool = False


def names(family: str) -> list[str]:
    """The corpora that every machine can make, and those with files, of one family of sets."""
    crafted = ["hand_crafted"] if family in HAND_CRAFTED else []
    return ["vanilla", "classname", *crafted, *(["cupl"] if family in CUPL_SETS else [])]


def is_path(corpus: str) -> bool:
    """Whether a corpus name is a user's JSON file or folder of text files."""
    return "/" in corpus or corpus.endswith(".json")


def build(target: Target, corpus: str, root: Path, aliases: Aliases = "none") -> Corpus:
    """The corpus called `corpus`, one of `names(target.family)` or a path."""
    if is_path(corpus):
        return own(target, Path(corpus).expanduser())
    if corpus == "cupl":
        return cupl(target, root, aliases)
    templates = {"vanilla": VANILLA, "classname": CLASSNAME}
    return from_templates(target, templates.get(corpus) or HAND_CRAFTED[target.family])


def from_templates(target: Target, templates: Sequence[str]) -> Corpus:
    """Each template with each class name, underscores as spaces; ids like `12/0`."""
    rows = [
        (f"{label}/{number}", label, template.replace("{}", name.replace("_", " ")))
        for label, name in enumerate(target.classes)
        for number, template in enumerate(templates)
    ]
    return _corpus(rows, (), ())


def cupl(target: Target, root: Path, aliases: Aliases = "none") -> Corpus:
    """GPT-3 descriptions, verbatim and in the file's order, repeated sentences kept.

    As released, names that differ from the data set's stay unused, and text of a name that two
    classes share goes to one of them: here the higher label, where the released code leaves it to
    the interpreter's hash seed. `aliases="mapped"` mends both.
    """
    spot, body = locate(target.name, target.family, root)
    file = f"descriptors_{target.family}.json"
    texts = _keyed(_read(str(spot), body), lambda key: _cupl_name(key, target.family), file)
    renamed = ALIASES.get(target.family, {}) if aliases == "mapped" else {}
    return _match(target, texts, renamed, everywhere=aliases == "mapped", source=file)


def locate(name: str, family: str, root: Path) -> tuple[Spot, bytes]:
    """CuPL's file for the data set `name`, and its bytes; `MissingInput` says where to get it."""
    file = f"descriptors_{family}.json"
    spots = [
        Spot(root / "cupl" / file),
        Spot(root / "descriptions" / "cupl" / file),
        Spot(root / "descriptions" / file),
        Spot(root / "cupl.tar.gz", f"cupl/{file}"),
    ]
    found = first(spots)
    if found is None:
        looked = ", ".join(str(spot) for spot in spots)
        raise MissingInput(
            f"{name}: no descriptions of CuPL; looked for {looked}",
            f"get {file} from {CUPL_HOME} (licence not stated, about 1 MB)",
        )
    return found


def own(target: Target, path: Path) -> Corpus:
    """A user's sentences: a JSON file `{class name: [sentences]}`, or a folder of `<class>.txt`.

    A text file has one sentence a line. A class name with a slash has an underscore in its place
    in a file's name. Text of a name that two classes share goes to both.
    """
    if path.is_dir():
        read = {file.stem: _sentences(file) for file in sorted(path.glob("*.txt"))}
        target = Target(target.name, target.family, tuple(_file_name(c) for c in target.classes))
    elif path.is_file():
        read = _read(str(path), path.read_bytes())
    else:
        hint = "give a JSON file {class name: [sentences]}, or a folder with a <class>.txt each"
        raise MissingInput(f"no text corpus at {path}", hint)
    return _match(target, _keyed(read, plain, path.name), {}, everywhere=True, source=path.name)


def _keyed(
    read: Mapping[str, list[str]], form: Callable[[str], str], source: str
) -> dict[str, list[str]]:
    """Texts by the compared form of their names; `UserError` where two names have one form."""
    found: dict[str, list[str]] = {}
    for key, sentences in read.items():
        if form(key) in found:
            raise UserError(f"{source}: '{key}' and another entry are one class name, {form(key)}")
        found[form(key)] = sentences
    return found


def _match(
    target: Target,
    texts: Mapping[str, Sequence[str]],
    aliases: Mapping[str, str],
    *,
    everywhere: bool,
    source: str,
) -> Corpus:
    """Sentences in the order of `texts`; ids like `face/03`, counted per key and label."""
    labels: dict[str, list[int]] = defaultdict(list)
    for label, name in enumerate(target.classes):
        labels[plain(name)].append(label)
    partners = {key: labels.get(aliases.get(key, key), []) for key in texts}
    rows = [
        (f"{key}@{label}/{n:02d}" if len(partners[key]) > 1 else f"{key}/{n:02d}", label, text)
        for key, sentences in texts.items()
        for label in (partners[key] if everywhere else partners[key][-1:])
        for n, text in enumerate(sentences)
    ]
    if not rows:
        example = few(target.classes)
        raise UserError(f"{source} has no text for any class of {target.name}", f"e.g. {example}")
    silent = tuple(sorted(set(range(len(target.classes))) - {label for _, label, _ in rows}))
    owner = "each of them" if everywhere else "the highest label only"
    return _corpus(rows, silent, _notices(target, partners, silent, owner, source))


def _notices(
    target: Target,
    partners: Mapping[str, Sequence[int]],
    silent: Sequence[int],
    owner: str,
    source: str,
) -> tuple[str, ...]:
    """Classes without text, text without a class, and text that several classes could claim."""
    lonely = [target.classes[label] for label in silent]
    unused = [key for key, found in partners.items() if not found and not target.partial]
    shared = [f"'{k}' ({', '.join(map(str, v))})" for k, v in partners.items() if len(v) > 1]
    lines = [
        f"{target.name}: no text for {few(lonely)}" if lonely else "",
        f"{source}: no class of {target.name} is called {few(unused)}" if unused else "",
        f"{source}: text of labels with one name goes to {owner}: {few(shared)}" if shared else "",
    ]
    return tuple(line for line in lines if line)


def _corpus(
    rows: Sequence[tuple[str, int, str]], silent: tuple[int, ...], notices: tuple[str, ...]
) -> Corpus:
    ids, labels, items = zip(*rows, strict=True)
    return Corpus(ids, np.asarray(labels), items, without_text=silent, notices=notices)


def plain(name: str) -> str:
    """The form in which names are compared."""
    return name.replace(" ", "_").lower()


def _file_name(name: str) -> str:
    return name.replace("/", "_")


def _cupl_name(key: str, family: str) -> str:
    """A key of CuPL in the form of the split's class names, then `plain`.

    Cars end in the year where the split begins with it; scenes have their kind in brackets where
    the split has it first.
    """
    if family == "stanford_cars":
        model, _, year = key.rpartition(" ")
        key = f"{year} {model}"
    if family == "sun397" and key.endswith(")"):
        scene, _, kind = key[:-1].partition(" (")
        key = f"{kind} {scene}"
    return plain(key)


def _read(source: str, body: bytes) -> dict[str, list[str]]:
    """`{class name: [sentences]}`; `UserError` for anything else, or a name that occurs twice."""
    try:
        raw = json.loads(body, object_pairs_hook=_pairs)
    except ValueError as error:
        raise UserError(f"{source} is not JSON with one entry a class: {error}") from error
    if not isinstance(raw, dict) or not raw:
        raise UserError(f"{source} is not an object {{class name: [sentences]}}")
    for key, value in raw.items():
        if not isinstance(value, list) or not all(isinstance(t, str) and t for t in value):
            raise UserError(f"{source}: '{key}' is not a list of sentences")
    return raw


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"'{twice}' occurs twice")
    return found


def _sentences(file: Path) -> list[str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UserError(f"cannot read {file}: {error}", "save it as UTF-8 text") from error
    return [line.strip() for line in lines if line.strip()]
