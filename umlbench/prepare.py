"""Prepare: everything that a recipe reads, fetched where that can be done, and looked through.

Photos are not fetched: their licences ask the user, and hub copies have other splits (`data.hub`).
Each need is present, missing (where to get it), or broken (which files), all of them at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from umlbench import data, protocols
from umlbench.data.sequences import Sequences
from umlbench.data.sets import SETS
from umlbench.encoders.weights import Download, MissingWeights, Weights, is_offline
from umlbench.errors import MissingInput, UserError
from umlbench.jobs import Context
from umlbench.needs import DatasetNeed, EncoderNeed, Need, SequencesNeed, TextsNeed
from umlbench.planning import Plan, together
from umlbench.recipe import Bundle

State = Literal["present", "missing", "broken"]


@dataclass(frozen=True)
class Found:
    """What was found of one need; `lines` say what is there, or what is wrong and what to do."""

    kind: str
    name: str
    state: State
    lines: tuple[str, ...] = ()
    downloaded: bool = False

    def plain(self) -> dict[str, Any]:
        """For `--json`."""
        return {**vars(self), "lines": list(self.lines)}


def needs(bundle: Bundle) -> tuple[Need, ...]:
    """Everything that the cells of a recipe or suite read, each once."""
    cells = (
        protocols.reads(recipe.protocol, recipe.settings(cell))
        for recipe in bundle.recipes
        for cell in recipe.cells()
    )
    return together(cells).needs


def prepare(bundle: Bundle, context: Context, *, deep: bool = True) -> list[Found]:
    """Look for every need, download weights unless offline.

    `deep` opens photos and sequences, and hashes weights.
    """
    order = (DatasetNeed.kind, SequencesNeed.kind, TextsNeed.kind, EncoderNeed.kind)
    found = sorted(needs(bundle), key=lambda need: order.index(need.kind))
    return [_look(need, context, deep) for need in found]


def download(plan: Plan, context: Context) -> None:
    """Fetch the weights that a plan lacks; `MissingInput` names all that did not come."""
    lacking = {one.name for one in plan.downloads}
    wanted = [need for part in plan.parts for need in part.reads.needs]
    encoders = [n for n in dict.fromkeys(wanted) if isinstance(n, EncoderNeed)]
    found = [_look(need, context, deep=False) for need in encoders if need.label in lacking]
    faults = [line for one in found if one.state != "present" for line in one.lines]
    if faults:
        raise MissingInput("\n".join(faults), "the next attempt goes on where this one ended")


def _look(need: Need, context: Context, deep: bool) -> Found:
    if isinstance(need, DatasetNeed):
        return _dataset(need, context, deep)
    if isinstance(need, SequencesNeed):
        return _found(need, lambda: _sequences(need, context, deep))
    if isinstance(need, TextsNeed):
        return _found(need, lambda: _texts(need, context))
    return _weights(need, context, deep)


def _dataset(need: DatasetNeed, context: Context, deep: bool) -> Found:
    context.say(f"data set {need}: looking through its files")
    faults = data.problems(need.dataset, context.data, decode=deep)
    if faults:
        absent = need.is_absent(context)
        lines = [*map(str, faults), *(_places(need, context) if absent else ())]
        return Found(need.kind, str(need), "missing" if absent else "broken", tuple(lines))
    found = need.find(context)
    counts = ", ".join(f"{len(samples)} {split}" for split, samples in found.splits.items())
    return Found(
        need.kind,
        str(need),
        "present",
        (f"{len(found.classes)} classes, {counts}", *found.notices),
    )


def _places(need: DatasetNeed, context: Context) -> Iterable[str]:
    """Exactly what belongs where."""
    if need.dataset in SETS:
        spec = SETS[need.dataset]
        yield f"photos go to {spec.images(context.data)}"
        yield f"{', '.join(spec.files)} to {context.data / spec.folder}"


def _found(need: SequencesNeed | TextsNeed, look: Callable[[], Iterable[str]]) -> Found:
    """Present with the lines that `look` tells, or why it could not."""
    try:
        return Found(need.kind, str(need), "present", tuple(look()))
    except UserError as error:
        state: State = "missing" if isinstance(error, MissingInput) else "broken"
        return Found(need.kind, str(need), state, _lines(error))


def _sequences(need: SequencesNeed, context: Context, deep: bool) -> Iterable[str]:
    """Counts and widths, where `deep` has the file read; its checksum always."""
    context.say(f"sequences {need}: looking through its file")
    found = need.find(context)
    if deep:
        counts = (f"{_counts(split)} {name}" for name, split in found.splits.items())
        widths = (f"{name} {one.width}" for name, one in found.splits["train"].items())
        yield f"{len(found.classes)} classes, {', '.join(counts)}; {', '.join(widths)} wide"
        yield from found.notices
    yield found.fingerprint


def _counts(split: Mapping[str, Sequences]) -> str:
    """Samples of a split, more than one number where modalities have their own."""
    return "/".join(dict.fromkeys(str(len(one)) for one in split.values()))


def _texts(need: TextsNeed, context: Context) -> Iterable[str]:
    found = need.find(context)
    return (f"{len(found)} sentences", *found.notices)


def _weights(need: EncoderNeed, context: Context, deep: bool) -> Found:
    """Present, downloaded, or why not."""
    fetched: Download | None = None
    try:
        try:
            encoder = need.find(_offline(context))
        except MissingWeights as error:
            fetched = error.download
            if fetched is None or is_offline(context.offline):
                raise
            context.say(f"downloading {fetched}")
            encoder = need.find(context)
        if deep and need.tokens:
            _ = encoder.width  # refused where the model has no such tokens
    except UserError as error:
        state: State = "missing" if isinstance(error, MissingInput) else "broken"
        return Found(need.kind, str(need), state, _lines(error))
    weights = getattr(encoder, "weights", None)
    if not isinstance(weights, Weights):
        return Found(need.kind, str(need), "present", ("comes with the package",))
    faults = tuple(weights.faults()) if deep else ()
    if faults:
        hint = "delete such a file and prepare again, or fetch it from its source again"
        return Found(need.kind, str(need), "broken", (*faults, hint))
    where = str(weights.path) if weights.path else f"{weights.repo}@{weights.commit[:8]}"
    return Found(need.kind, str(need), "present", (where,), fetched is not None)


def _offline(context: Context) -> Context:
    return Context(context.device, context.cache, context.data, True, context.say)


def _lines(error: UserError) -> tuple[str, ...]:
    return tuple(filter(None, (error.message, error.hint)))
