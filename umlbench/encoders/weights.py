"""Where an encoder's weights lie, and what names them: a checksum or a commit.

A name is looked for in this order: a file or folder that the name itself gives
(`NAME@FILE`, or just the path), `<data root>/encoders/<name>`, then the hub at a pinned revision
(`NAME@<40 hex digits>` pins another). Nothing is downloaded or loaded before it is read.
Only safetensors and `torch.load(weights_only=True)` files are read, and no code from the hub.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

from umlbench.encoders import download
from umlbench.encoders.download import Refused
from umlbench.errors import MissingInput, UserError

SUFFIXES = (".safetensors", ".bin", ".pth", ".pt")
STEMS = ("model", "open_clip_model", "pytorch_model", "open_clip_pytorch_model")  # on the hub
MOST_HEADER = 100_000_000  # bytes: the limit of the format
REVISION = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Published:
    """What is known of weights that the paper or a shipped recipe uses."""

    repo: str  # on the Hugging Face hub; empty: they are fetched by hand from `home`
    size: str
    licence: str
    revision: str = ""  # empty: "main", resolved to a commit, which is then in the key
    width: int | None = None  # columns of a row, for plans without the library that knows
    home: str = ""
    patches: int | None = None  # of a photo at 224 pixels, or positions of the last feature map


_DINO = "Apache-2.0"
PUBLISHED = {
    "vit_base_patch16_224.dino": Published(
        "timm/vit_base_patch16_224.dino", "343 MB", _DINO, width=768, patches=14 * 14
    ),
    "vit_base_patch8_224.dino": Published(
        "timm/vit_base_patch8_224.dino", "343 MB", _DINO, width=768, patches=28 * 28
    ),
    "vit_small_patch14_dinov2.lvd142m": Published(
        "timm/vit_small_patch14_dinov2.lvd142m",
        "88 MB",
        _DINO,
        "4610ca143709d58a633b6397a74412c2c3842454",
        384,
        patches=16 * 16,
    ),
    "vit_base_patch14_dinov2.lvd142m": Published(
        "timm/vit_base_patch14_dinov2.lvd142m",
        "346 MB",
        _DINO,
        "4685c99dabffe5affac90bd99dbffd25801ae58d",
        768,
        patches=16 * 16,
    ),
    "vit_large_patch14_dinov2.lvd142m": Published(
        "timm/vit_large_patch14_dinov2.lvd142m",
        "1.2 GB",
        _DINO,
        "47b73eefe95e8d44ec3623f8890bd894b6ea2d6c",
        1024,
        patches=16 * 16,
    ),
    "mobilenetv2_100": Published(
        "timm/mobilenetv2_100.ra_in1k", "14 MB", "Apache-2.0", width=1280, patches=7 * 7
    ),
    "clip:RN50": Published(
        "timm/resnet50_clip.openai",
        "0.4 GB",
        "MIT",
        "ec3d92cf63a5f9d591f0d611b736895966c73076",
        1024,
    ),
    "clip:ViT-B-16": Published(
        "timm/vit_base_patch16_clip_224.openai",
        "0.6 GB",
        "MIT",
        "977e3dd0ec55ab8da155f2fbeb6b5f54948b6e3d",
        512,
    ),
    "openlm-research/open_llama_3b_v2": Published(
        "openlm-research/open_llama_3b_v2",
        "6.9 GB",
        "Apache-2.0",
        "bce5d60d3b0c68318862270ec4e794d83308d80a",
        3200,
    ),
    "bert-large-uncased": Published(
        "google-bert/bert-large-uncased",
        "1.3 GB",
        "Apache-2.0",
        "6da4b6a26a1877e173fca3225479512db81a5e5b",
        1024,
    ),
    "roberta-large": Published(
        "FacebookAI/roberta-large",
        "1.4 GB",
        "MIT",
        "722cf37b1afa9454edce342e7895e588b6ff1d59",
        1024,
    ),
    "gpt2-large": Published(
        "openai-community/gpt2-large",
        "3.2 GB",
        "MIT",
        "32b71b12589c2f8d625668d2335a01cac3249519",
        1280,
    ),
    "all-MiniLM-L6-v2": Published(
        "sentence-transformers/all-MiniLM-L6-v2",
        "91 MB",
        "Apache-2.0",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        384,
    ),
    "audioclip": Published(
        "",
        "537 MB",
        "MIT",
        width=1024,
        home="AudioCLIP-Partial-Training.pt of github.com/AndreyGuzhov/AudioCLIP, sha256 "
        "1921885b6c3b5de0619f2ef4a9700ecbade758a398b34eb064230c30baef0c75",
    ),
    "laion/clap-htsat-unfused": Published(
        "laion/clap-htsat-unfused",
        "0.6 GB",
        "Apache-2.0",
        "8fa0f1c6d0433df6e97c127f64b2a1d6c0dcda8a",
        512,
    ),
}


@dataclass(frozen=True)
class Download:
    """Weights that the hub has and this machine lacks; the size and licence in words."""

    name: str
    repo: str
    commit: str  # empty: what "main" is then
    size: str
    licence: str

    def __str__(self) -> str:
        pinned = f"@{self.commit[:8]}" if self.commit else ""
        return f"{self.name}: {self.repo}{pinned} from the hub ({self.size}, {self.licence})"


class MissingWeights(MissingInput):
    """Weights that are not on this machine; `download` where the hub was not asked for them."""

    def __init__(self, message: str, hint: str = "", download: Download | None = None) -> None:
        super().__init__(message, hint)
        self.download = download


@dataclass(frozen=True)
class Weights:
    """Found weights: `path` on this machine, or `repo` at `commit` of the hub."""

    name: str
    path: Path | None = None
    repo: str = ""
    commit: str = ""
    offline: bool = False

    def identity(self) -> dict[str, str]:
        """What a key holds: the sha256 of the local files, or the hub's commit; no path."""
        if self.path is not None:
            return {"sha256": fingerprint(self.path)}
        return {"repo": self.repo, "commit": self.commit}

    def file(self, names: Sequence[str]) -> Path:
        """The first of `names` that the hub has, or the local file; downloads what is missing."""
        if self.path is not None:
            return self.path
        for name in names:
            cached = _cached(self.repo, name, self.commit)
            if cached or (cached := self._fetch(name)):
                return cached
        if self.offline:
            raise absent(self.name, [_in_cache(self.repo, self.commit)], self.to_fetch)
        raise absent(
            self.name, [f"{self.repo}@{self.commit} on the hub, which has none of {names}"]
        )

    def folder(self) -> Path:
        """A folder with configuration, tokenizer and weights; downloads what is missing."""
        if self.path is not None:
            return self.path
        found = _cached(self.repo, "config.json", self.commit)
        if found is not None and _complete(found.parent):
            return found.parent
        if self.offline:
            raise absent(self.name, [_in_cache(self.repo, self.commit)], self.to_fetch)
        try:
            return download.snapshot(self.repo, self.commit)
        except Refused as error:
            raise absent(self.name, [f"{self.repo} on the hub: {error}"]) from error

    @property
    def to_fetch(self) -> Download | None:
        """What fetching it means; None for local files."""
        return None if self.path is not None else _download(self.name, self.repo, self.commit)

    def faults(self) -> Iterator[str]:
        """Each file that is not what it should be, and why: `FILE: what`; reads every byte once."""
        for file in self._files():
            what = download.fault(file) or _torn(file)
            if what:
                yield f"{file}: {what}"

    def parameters(self, prefix: str = "") -> int | None:
        """How many numbers the tensors named `prefix...` have; None where no file here says.

        Only safetensors files say, in their first bytes.
        """
        headers = [_header(file) for file in self._files() if file.suffix == ".safetensors"]
        tensors = [t for h in headers for name, t in h.items() if name.startswith(prefix)]
        return sum(prod(tensor["shape"]) for tensor in tensors) if tensors else None

    def _files(self) -> list[Path]:
        """All that is on this machine of them."""
        if self.path is not None:
            found = [self.path] if self.path.is_file() else sorted(self.path.iterdir())
        else:
            names = ("config.json", *(f"{stem}{suffix}" for stem in STEMS for suffix in SUFFIXES))
            some = [path for name in names if (path := _cached(self.repo, name, self.commit))]
            found = sorted({file for path in some for file in path.parent.iterdir()})
        return [file for file in found if file.is_file()]

    def config(self) -> dict[str, Any]:
        """The folder's `config.json`, without its weights."""
        folder = self.path or self.file(["config.json"]).parent
        try:
            found: dict[str, Any] = json.loads((folder / "config.json").read_text("utf-8"))
        except (OSError, ValueError) as error:
            what = f"encoder '{self.name}': {folder / 'config.json'} cannot be read: {error}"
            raise UserError(
                what, "a text encoder is a folder as `save_pretrained` writes"
            ) from error
        return found

    def _fetch(self, name: str) -> Path | None:
        """None where the repository has no such file; `MissingInput` without a connection."""
        if self.offline:
            return None
        try:
            return download.file(self.repo, name, self.commit)
        except Refused as error:
            raise absent(self.name, [f"{self.repo} on the hub: {error}"]) from error


def split_name(name: str) -> tuple[str, str]:
    """`NAME@WHERE` in its two parts; a plain path is its own WHERE and gives its stem as NAME."""
    model, _, where = name.partition("@")
    path = Path(model)
    if not where and (path.suffix in SUFFIXES or (path.is_absolute() and path.is_dir())):
        return (path.name if path.is_dir() else path.stem), model
    return model, where


def resolve(
    name: str,
    *,
    root: Path | None,
    offline: bool,
    local: Sequence[str],
    beside: Sequence[str] = (),
    repo: str = "",
    probes: Sequence[str] = ("model.safetensors",),
) -> Weights:
    """The weights of encoder `name`; nothing is read but what says which they are.

    `local` are the names below `<root>/encoders` in order, `beside` those below `<root>`, `repo`
    its place on the hub where `PUBLISHED` has none, `probes` the hub's files of which one must be
    there to run offline.
    Raises `MissingInput` with every place that was looked at.
    """
    model, where = split_name(name)
    revision = where if REVISION.fullmatch(where) else ""
    if where and not revision:
        path = Path(where).expanduser()
        if path.exists():
            return Weights(model, path.resolve())
        raise absent(model, [str(path)])
    looked = []
    if root is not None:
        looked = [root / "encoders" / one for one in local] + [root / one for one in beside]
    if not revision:
        for path in looked:
            if path.exists():
                return Weights(model, path)
    return _on_hub(model, revision, [str(path) for path in looked], offline, repo, probes)


def _on_hub(
    name: str, revision: str, looked: list[str], offline: bool, repo: str, probes: Sequence[str]
) -> Weights:
    """At the pinned revision, else at the commit that "main" is here or there."""
    offline = is_offline(offline)
    known = PUBLISHED.get(name)
    repo = known.repo if known else repo
    if not repo:
        raise absent(name, looked)
    commit = revision or (known.revision if known else "")
    cached = [path for probe in probes if (path := _cached(repo, probe, commit or "main"))]
    if cached:
        return Weights(name, repo=repo, commit=commit or cached[0].parent.name, offline=offline)
    if offline:
        raise absent(name, [*looked, _in_cache(repo, commit)], _download(name, repo, commit))
    return Weights(name, repo=repo, commit=commit or _main(name, repo, tuple(looked)))


@cache
def _main(name: str, repo: str, looked: tuple[str, ...]) -> str:
    """The commit that `main` is now; asked once a process."""
    try:
        return download.commit_of(repo)
    except Refused as error:
        raise absent(name, [*looked, f"{repo} on the hub: {error}"]) from error


def is_offline(asked: bool) -> bool:
    """Whether no socket may be opened: by our option or by HF_HUB_OFFLINE."""
    from huggingface_hub import constants

    return asked or bool(constants.HF_HUB_OFFLINE)


def _complete(folder: Path) -> bool:
    """Whether a folder has its weights, every shard of them."""
    for stem in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{stem}.index.json"
        if index.is_file():
            shards = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
            return all((folder / shard).is_file() for shard in shards)
        if (folder / stem).is_file():
            return True
    return False


def _cached(repo: str, file: str, revision: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repo, file, revision=revision)
    return Path(found) if isinstance(found, str) else None


def _download(name: str, repo: str, commit: str) -> Download:
    known = PUBLISHED.get(name)
    about = (known.size, known.licence) if known else ("size unknown", "licence unknown")
    return Download(name, repo, commit, *about)


def _in_cache(repo: str, commit: str) -> str:
    return f"the hub's cache ({repo}@{commit[:8] or 'main'}), offline"


def _torn(path: Path) -> str:
    """Why a file is not whole: a safetensors header says how long it must be, an archive ends."""
    if path.suffix != ".safetensors":
        return _torn_archive(path)
    try:
        header = _header(path)
        ends = [one["data_offsets"][1] for one in header.values()]
        expected = _header_end(path) + max(ends, default=0)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        return f"is no safetensors file ({type(error).__name__})"
    size = path.stat().st_size
    return "" if size == expected else f"has {size} bytes, not the {expected} of its header"


def _torn_archive(path: Path) -> str:
    """Why a file that begins as torch's zip archive is not whole."""
    with path.open("rb") as file:
        begun = file.read(4) == b"PK\x03\x04"
    return "is no whole archive" if begun and not zipfile.is_zipfile(path) else ""


def _header_end(path: Path) -> int:
    """Where the tensors of a safetensors file begin."""
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def _header(path: Path) -> dict[str, Any]:
    """The tensors of a safetensors file by name: dtype, shape and place."""
    length = _header_end(path) - 8
    with path.open("rb") as file:
        file.seek(8)
        found: dict[str, Any] = json.loads(file.read(min(length, MOST_HEADER)))
    return {name: tensor for name, tensor in found.items() if name != "__metadata__"}


def absent(name: str, looked: Sequence[str], fetch: Download | None = None) -> MissingWeights:
    """The error for weights that are not there: where they were looked for, where to get them."""
    known = PUBLISHED.get(name)
    places = "; ".join(_short(looked)) or "no place: it names neither a file nor a hub model"
    hint = f"give a file or folder as {name}@PATH, or put it into <data root>/encoders"
    if known and not known.repo:
        hint = f"get {known.home} ({known.size}, {known.licence}); {hint}"
    elif known:
        pin = f" --revision {known.revision}" if known.revision else ""
        hint = f"`hf download {known.repo}{pin}` ({known.size}, {known.licence}); or {hint}"
    what = f"weights of encoder '{name}' not found; looked for {places}"
    return MissingWeights(what, hint, fetch)


def _short(looked: Sequence[str]) -> list[str]:
    """One place for files that differ in their suffix only."""
    stems: dict[str, list[str]] = {}
    for place in looked:
        suffix = next((one for one in SUFFIXES if place.endswith(one)), "")
        stems.setdefault(place.removesuffix(suffix), []).append(suffix)
    return [f"{stem}{' or '.join(filter(None, found))}" for stem, found in stems.items()]


# Checksums


def fingerprint(path: Path) -> str:
    """The sha256 (hex) of a file, or of the names and sums of a folder's model files."""
    if path.is_file():
        return download.sha256(path)
    wanted = {".json", ".txt", ".model", ".safetensors"}
    if not any(path.glob("*.safetensors")):
        wanted.add(".bin")
    files = sorted(f for f in path.iterdir() if f.suffix in wanted and f.is_file())
    lines = "".join(f"{file.name} {download.sha256(file)}\n" for file in files)
    return hashlib.sha256(lines.encode()).hexdigest()
