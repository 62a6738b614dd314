"""The sets of sequences: MultiBench's five, the real utterances of MOSI, and anybody's `.npz`.

A name is one of `NAMES`, `NAME@FILE` for one of them whose file lies elsewhere, or a path that ends
in `.npz` (the format: `sequence_npz`). Finding a set reads its checksum; a published file is opened
when its samples are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from umlbench.data import multibench, sequence_npz
from umlbench.data.digests import FileDigests
from umlbench.data.layout import SPLITS
from umlbench.data.sequences import Sequences, SequenceSet, Splits
from umlbench.errors import MissingInput, unknown

RULES = 1  # in every fingerprint: raised when reading a file gives other numbers

_AFFECT = (
    "from MultiBench's authors: github.com/pliang279/MultiBench, README, Affective Computing "
    "(drive.google.com/drive/folders/1IXZAjOEWFOGLxAK9JKvwlG2D9LThK6c5)"
)
_MIMIC = (
    "from MultiBench's authors, to those whom PhysioNet has given access to MIMIC-III "
    "(physionet.org/content/mimiciii; github.com/pliang279/MultiBench, README, Healthcare)"
)
_UTTERANCES = (
    "made of the utterance features in "
    "github.com/soujanyaporia/contextual-utterance-level-multimodal-sentiment-analysis"
)
_CMU = "licence not stated; CMU-MOSI and CMU-MOSEI: research use"


@dataclass(frozen=True)
class PublishedSequences:
    """One set: its file below the data root, how it is read, where it comes from."""

    name: str
    file: str
    classes: tuple[str, ...]
    read: Callable[[Path], Splits]
    home: str
    licence: str

    @property
    def origin(self) -> str:
        """Where the file comes from, and its licence, on one line."""
        return f"get {Path(self.file).name} {self.home} ({self.licence})"


def _utterances(path: Path) -> Splits:
    """Videos of CMU-MOSI, whose utterances are the steps: text, audio and video, a label a step.

    62 videos to train on, of which `sequence_npz.hold_out` keeps 12 for validation, and 31 to test
    on. The text and video features seem to have seen the labels of all 62: a linear probe on 50 of
    them has 97.9 % (text) and 90.6 % (video) of the utterances of the 12 right, and 74.5 % and
    51.7 % of the test utterances. Validation figures are therefore no estimate of test figures.
    """
    return sequence_npz.read(path, names="video_id")[1]


_SENTIMENT = ("negative", "positive")  # 0 counts as positive
_STAYS = ("without ICD-9 label 7", "with ICD-9 label 7")
_SETS = (
    PublishedSequences(
        "mosi",
        "multibench/mosi_data.pkl",
        _SENTIMENT,
        partial(multibench.affect, positive_from=0, vision=20),
        _AFFECT,
        _CMU,
    ),
    PublishedSequences(
        "mosei",
        "multibench/mosei_senti_data.pkl",
        _SENTIMENT,
        partial(multibench.affect, positive_from=0, vision=35),
        _AFFECT,
        _CMU,
    ),
    PublishedSequences(
        "mustard",
        "multibench/sarcasm.pkl",
        ("not_sarcastic", "sarcastic"),
        partial(multibench.affect, positive_from=1, vision=371, vision_norm=True),
        _AFFECT,
        "features: licence not stated; annotations of MUStARD: MIT",
    ),
    PublishedSequences(
        "ur_funny",
        "multibench/humor.pkl",
        ("no humour", "humour"),
        partial(multibench.affect, positive_from=1, vision=371),
        _AFFECT,
        "licence not stated, research use",
    ),
    PublishedSequences(
        "mimic",
        "multibench/im.pk",
        _STAYS,
        partial(multibench.mimic, clean_test=False),
        _MIMIC,
        "PhysioNet Credentialed Health Data License",
    ),
    # The same stays, tested on those that the official code sets aside and does not use.
    PublishedSequences(
        "mimic_clean_test",
        "multibench/im.pk",
        _STAYS,
        partial(multibench.mimic, clean_test=True),
        _MIMIC,
        "PhysioNet Credentialed Health Data License",
    ),
    PublishedSequences(
        "mosi_utterances",
        "mosi/mosi_utterances.npz",
        _SENTIMENT,
        _utterances,
        _UTTERANCES,
        "licence not stated; CMU-MOSI: research use",
    ),
)

SETS: Mapping[str, PublishedSequences] = {one.name: one for one in _SETS}
NAMES = tuple(SETS)


def is_known(name: str) -> bool:
    """Whether `name` can be a set of sequences."""
    return name.partition("@")[0] in SETS or name.endswith(".npz")


def file(name: str, root: Path) -> Path:
    """Where the file of set `name` must lie; `UserError` for an unknown name."""
    known, _, elsewhere = name.partition("@")
    if known in SETS:
        return Path(elsewhere).expanduser() if elsewhere else root / SETS[known].file
    if name.endswith(".npz"):
        return Path(name).expanduser()
    raise unknown("set of sequences", name, NAMES)


def load(name: str, root: Path, cache: Path) -> SequenceSet:
    """The set called `name`; `cache` is where its file's checksum is remembered.

    The fingerprint has that checksum (sha256) in plain sight. Raises `MissingInput` where the file
    is not there, and `UserError` for an unknown name or a file that is not what it should be: at
    once for a `.npz` of one's own, else when its samples are first asked for.
    """
    path = file(name, root)
    spec = SETS.get(name.partition("@")[0])
    if spec is None:
        classes, splits = sequence_npz.read(path)
        return SequenceSet(f"npz:{path.stem}", classes, splits, _fingerprint("npz", path, cache))
    if not path.is_file():
        hint = f"or say where it lies: {spec.name}@FILE for the data set's name"
        raise MissingInput(f"{spec.name}: {path}: no such file; {spec.origin}", hint)
    later = _Later(path, spec.read)
    return SequenceSet(spec.name, spec.classes, later, _fingerprint(spec.name, path, cache))


def _fingerprint(what: str, path: Path, cache: Path) -> str:
    (checksum,) = FileDigests(path.parent, cache)([path])
    return f"{what} {RULES} sha256:{checksum}"


@dataclass(frozen=True, eq=False)
class _Later(Mapping[str, Mapping[str, Sequences]]):
    """The splits of a file that is read on first use."""

    path: Path
    read: Callable[[Path], Splits]

    @cached_property
    def _found(self) -> Splits:
        return self.read(self.path)

    def __getitem__(self, split: str) -> Mapping[str, Sequences]:
        return self._found[split]

    def __iter__(self) -> Iterator[str]:
        return iter(SPLITS)

    def __len__(self) -> int:
        return len(SPLITS)
