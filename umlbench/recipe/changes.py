"""What changes a recipe file before it is checked: `extends`, `--set`, `--only`, `--seeds`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from umlbench.errors import UserError, nearest, unknown
from umlbench.recipe.model import RecipeFile
from umlbench.resources import folder
from umlbench.schema import Scalar, located
from umlbench.schema.located import Key, Loc, Located, Mark, Problem, ProblemsError, dotted

VARIED = ("settings", "axes", "grid")  # where the name of a setting may stand, in one of them
MAX_SEEDS = 1000  # a slip such as 1-50000 would plan for hours

_SEEDS = re.compile(r"([0-9]{1,9})(?:-([0-9]{1,9}))?")


def is_built_in(path: Path) -> bool:
    """Whether a file is one of the recipes that come with umlbench."""
    return path.resolve().parent == folder("recipes").resolve()


def read(path: Path, problems: list[Problem], seen: tuple[Path, ...] = ()) -> Located:
    """A file laid over the files it extends; `problems` gathers what can be read past.

    The nearest file decides whether a name is a setting, an axis or in the grid: an axis of the
    base that the file sets to one value is an axis no more. Raises `ProblemsError` where there is
    nothing to go on with.
    """
    child = located.read(path, _shown(path), problems)
    if "extends" not in child.data:
        return child
    name, mark = child.data.pop("extends"), child.mark(("extends",))
    if not isinstance(name, str):
        what = "must be the name of one recipe file"
        raise ProblemsError([*problems, Problem(mark, "extends", what)])
    seen = (*seen, path.resolve())
    try:
        target = _base(name, path, seen)
    except UserError as error:
        raise ProblemsError([*problems, Problem(mark, "extends", error.message)]) from None
    base = read(target, problems, seen)
    for section in VARIED:
        for setting in _section(child, section):
            _forget(base, setting, keep=section)
    return base.under(child)


def _base(name: str, path: Path, seen: Sequence[Path]) -> Path:
    """The file called `name` beside `path`, or the built-in (for a copied recipe)."""
    stem = name.removesuffix(".yaml")
    places = [path.parent, folder("recipes")]
    found = [file for place in places if (file := place / f"{stem}.yaml").is_file()]
    if not found:
        known = [other.stem for place in places for other in sorted(place.glob("*.yaml"))]
        raise UserError(f"no recipe file '{name}'{nearest(stem, known)}")
    fresh = [file for file in found if file.resolve() not in seen]
    if not fresh:
        raise UserError(f"'{name}' extends itself in a circle")
    return fresh[0]


def _shown(path: Path) -> str:
    """A path as it was given; a built-in's as `recipes/NAME.yaml`."""
    return f"recipes/{path.name}" if is_built_in(path) else str(path)


def _section(raw: Located, name: str) -> dict[Key, Any]:
    found = raw.data.get(name)
    return found if isinstance(found, dict) else {}


def _forget(raw: Located, setting: Key, keep: str) -> None:
    """Take a setting out of every other section, and out of what the axes' presets say."""
    for section in VARIED:
        if section != keep:
            _section(raw, section).pop(setting, None)
    presets = _section(raw, "presets")
    if keep != "axes":
        presets.pop(setting, None)
    for values in presets.values():
        for preset in values.values() if isinstance(values, dict) else ():
            if isinstance(preset, dict):
                preset.pop(setting, None)


def settings_given(given: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """`{"shots": [1, 2]}` as `--set` says it; what is said like that already stays."""
    if not isinstance(given, Mapping):
        return list(given)
    return [f"{name}={located.dump_scalar(value)}" for name, value in given.items()]


def cells_given(given: Sequence[str] | Mapping[str, Any]) -> list[str]:
    """`{"shots": [1, 2]}` or `{"shots": 1}` as `--only` says it."""
    if not isinstance(given, Mapping):
        return list(given)
    each = {a: v if isinstance(v, list | tuple) else [v] for a, v in given.items()}
    return [f"{axis}={','.join(map(located.dump_scalar, v))}" for axis, v in each.items()]


def seeds_given(given: str | int | Iterable[int] | None) -> str | None:
    """A seed or several as `--seeds` says them."""
    if given is None or isinstance(given, str):
        return given
    return ",".join(map(str, [given] if isinstance(given, int) else given))


def override(raw: Located, text: str) -> None:
    """Apply `key=value`: a dotted path, or a bare name of a setting, grid name or axis.

    Raises `ProblemsError`. One value given for an axis or a name of the grid leaves that value.
    """
    mark = Mark(f"--set {text}")
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ProblemsError([Problem(mark, "", "expected key=value")])
    new = located.scalar(value, mark.source)
    if parts[0] == "extends":
        raise ProblemsError([Problem(mark, "extends", "cannot be set: write it in a file")])
    if len(parts) == 1 and parts[0] not in RecipeFile.model_fields:
        parts = [_home(raw, parts[0]), *parts]
    loc = _existing(raw, parts, mark)
    if loc[0] in ("grid", "axes") and len(loc) == 2 and not isinstance(new, list):
        new = [new]
    if loc[0] in VARIED and len(loc) == 2:
        _forget(raw, loc[1], keep=str(loc[0]))
    raw.put(loc, new, mark)


def _home(raw: Located, name: str) -> str:
    return next((at for at in ("axes", "grid") if name in _section(raw, at)), "settings")


def _existing(raw: Located, parts: Sequence[str], mark: Mark) -> Loc:
    """`parts` as they are keyed in the data (a key may be a number)."""
    loc: Loc = ()
    node: Any = raw.data
    for part in parts:
        if not isinstance(node, dict | None):
            raise ProblemsError([Problem(mark, dotted(loc), "has no parts to set")])
        key = next((key for key in node or {} if str(key) == part), part)
        loc, node = (*loc, key), (node or {}).get(key)
    return loc


def seed_list(text: str) -> list[int]:
    """`1,2,5` or `1-5` (or both) as a list of seeds; raises `ProblemsError`."""
    seeds: list[int] = []
    for part in text.split(","):
        match = _SEEDS.fullmatch(part.strip())
        if match is None:
            raise _no_seeds(text, f"'{part}' is not a seed: write 1,2,3 or 1-5")
        low, high = int(match[1]), int(match[2] or match[1])
        if high < low:
            raise _no_seeds(text, f"'{part}' is empty: write {high}-{low}")
        if len(seeds) + high - low >= MAX_SEEDS:
            raise _no_seeds(text, f"more than {MAX_SEEDS} seeds")
        seeds += range(low, high + 1)
    return seeds


def _no_seeds(text: str, what: str) -> ProblemsError:
    return ProblemsError([Problem(Mark(f"--seeds {text}"), "", what)])


def narrow(file: RecipeFile, only: Sequence[str]) -> RecipeFile:
    """Keep the axis values named by `--only axis=value[,value][,axis=value]`.

    Raises `UserError` for an axis or a value that the recipe does not have.
    """
    wanted: dict[str, list[Scalar]] = {}
    axis = ""
    for part in ",".join(only).split(","):
        name, equals, text = part.partition("=")
        axis, text = (name.strip(), text) if equals else (axis, name)
        if not axis:
            message = f"--only {part}: expected axis=value"
            raise UserError(message, f"axes: {', '.join(file.axes)}")
        if axis not in file.axes:
            raise _no_cell(part, unknown("axis", axis, file.axes))
        wanted.setdefault(axis, []).append(_axis_value(file.axes[axis], axis, text.strip(), part))
    kept = {
        name: [value for value in values if value in wanted.get(name, values)]
        for name, values in file.axes.items()
    }
    return file.model_copy(update={"axes": kept})


def _axis_value(values: Iterable[Scalar], axis: str, text: str, part: str) -> Scalar:
    shown = {located.dump_scalar(value): value for value in values}
    for name, value in shown.items():
        if text in (name, str(value)) or _same_number(text, value):
            return value
    raise _no_cell(part, unknown(f"value of axis '{axis}':", text, shown))


def _same_number(text: str, value: Scalar) -> bool:
    """Whether `1`, `1.0` or `1e-3` on the command line means this number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return float(text) == value
    except ValueError:
        return False


def _no_cell(part: str, error: UserError) -> UserError:
    return UserError(f"--only {part}: {error.message}", error.hint)
