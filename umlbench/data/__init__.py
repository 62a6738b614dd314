"""Where samples come from: `digits`, the paper's image sets, ESC-50, your folders, text corpora.

A data set's name is one of `NAMES` (images), of `SOUNDS` or of `SAMPLES` (a photo a class), or a
path with a slash: a folder of your own photos. The paper's sets lie below a data root,
`UMLBENCH_DATA` or `./data`. Nothing here imports torch or decodes a photo or sound: planning reads
lists and fingerprints. Sequences, which no photo protocol could read, have a door of their own:
`sequence_sets`.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from umlbench.data import corpora, imagenet_esc
from umlbench.data.corpora import Aliases, Corpus, Target
from umlbench.data.dataset import Dataset, Problem, missing
from umlbench.data.draws import Draw, draw
from umlbench.data.sets import SETS, default_root
from umlbench.errors import unknown

if TYPE_CHECKING:
    from umlbench.data import images

__all__ = [
    "NAMES",
    "SAMPLES",
    "SOUNDS",
    "Corpus",
    "Dataset",
    "Draw",
    "Problem",
    "default_root",
    "draw",
    "folder",
    "is_known",
    "load",
    "problems",
    "require",
    "texts",
]

NAMES = ("digits", *SETS)
SOUNDS = ("esc50",)
SAMPLES = ("imagenet_esc_photos",)


def is_known(name: str) -> bool:
    """Whether `name` can be a data set of images: one of `NAMES`, or a path with a slash."""
    return name in NAMES or "/" in name


def load(name: str, root: Path | None = None, *, cache: Path | None = None) -> Dataset:
    """The data set called `name`; every file its lists name is there, though not yet opened.

    `cache` is where digests of files are remembered, the feature cache by default. Raises
    `MissingInput` that lists everything the set lacks, `UserError` for an unknown name.
    """
    if name == "digits":
        from umlbench.data import digits

        return digits.load()
    from umlbench.data import images

    return images.load(_place(name, root), cache or _default_cache())


def problems(name: str, root: Path | None = None, *, decode: bool = False) -> list[Problem]:
    """Everything that keeps data set `name` from being used; `decode` opens every file (slow)."""
    if name == "digits":
        return []
    from umlbench.data import images

    return images.problems(_place(name, root), decode=decode)


def folder(name: str, root: Path | None = None) -> Path:
    """Where data set `name` must lie; not for `digits`, which comes with scikit-learn."""
    return _place(name, root).folder


def require(names: Iterable[str], root: Path | None = None) -> None:
    """Raise one `MissingInput` that lists what all of these data sets lack, before any training."""
    found = [problem for name in dict.fromkeys(names) for problem in problems(name, root)]
    if found:
        raise missing(found)


def texts(
    name: str,
    corpus: str = "descriptions",
    root: Path | None = None,
    *,
    aliases: Aliases = "none",
) -> Corpus:
    """Sentences about the classes of data set `name`, unpaired with its images.

    `corpus` is one of the set's corpora, a JSON file `{class name: [sentences]}`, or a folder of
    `<class>.txt` files. `aliases="mapped"` gives text to classes that CuPL calls otherwise.
    """
    corpus = corpora.SYNONYMS.get(corpus, corpus)
    if name in imagenet_esc.NAMES:
        return imagenet_esc.texts(name, corpus, root or default_root())
    own = name == "digits" and corpus == "descriptions"
    family = SETS[name].family if name in SETS else name
    known = (["descriptions"] if name == "digits" else []) + corpora.names(family)
    if corpus not in known and not corpora.is_path(corpus):
        raise unknown(f"text corpus of {name}", corpus, known)
    if own:
        from umlbench.data import digits

        return digits.texts(corpus)
    target = Target(name, family, _classes(name, root))
    return corpora.build(target, corpus, root or default_root(), aliases)


def _default_cache() -> Path:
    from umlbench.features import default_root as cache_root

    return cache_root()


def _classes(name: str, root: Path | None) -> tuple[str, ...]:
    if name == "digits":
        from umlbench.data import digits

        return digits.CLASSES
    from umlbench.data import images

    return images.classes(_place(name, root))


def _place(name: str, root: Path | None) -> images.Place:
    from umlbench.data import images

    if name in SETS:
        return images.published(SETS[name], root or default_root())
    if name in SOUNDS:
        from umlbench.data import esc

        return esc.place(root or default_root())
    if name in SAMPLES:
        from umlbench.data import esc_photos

        return esc_photos.place(root or default_root())
    if "/" in name:
        return images.own_folder(Path(name))
    raise unknown("dataset", name, (*NAMES, *SOUNDS, *SAMPLES))
