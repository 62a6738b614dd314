"""What changes a recipe file before it is checked: `extends`, `--set`, `--only`, `--seeds`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from umlbench.errors import UserError, nearest, unknown
from umlbench.recipe.model import RecipeFile
from umlbench.resources import folder
from umlbench.schema import Scalar, located
from umlbench.schema.located import Loc, Located, Mark, Problem, ProblemsError, dotted


def read(path: Path, seen: tuple[Path, ...] = ()) -> Located:
    """A file laid over the files it extends."""
    name = _shown(path)
    child = located.read(path, name)
    if "extends" not in child.data:
        return child
    base, mark = child.data.pop("extends"), child.mark(("extends",))
    if not isinstance(base, str):
        raise ProblemsError([Problem(mark, "extends", "must be the name of one recipe file")])
    target = path.parent / f"{base.removesuffix('.yaml')}.yaml"
    if not target.is_file():  # a copied recipe still finds the built-in base
        target = folder("recipes") / f"{base.removesuffix('.yaml')}.yaml"
    if target.resolve() in (*seen, path.resolve()):
        raise ProblemsError([Problem(mark, "extends", f"'{base}' extends itself in a circle")])
    if not target.is_file():
        known = [other.stem for other in target.parent.glob("*.yaml")]
        what = f"no recipe file '{base}'{nearest(base, known)}"
        raise ProblemsError([Problem(mark, "extends", what)])
    return read(target, (*seen, path.resolve())).under(child)


def _shown(path: Path) -> str:
    built_in = folder("recipes")
    return f"recipes/{path.relative_to(built_in)}" if built_in in path.parents else str(path)


def override(raw: Located, text: str) -> None:
    """Apply `key=value`: a dotted path, or a bare name of a setting, grid name or axis."""
    source = f"--set {text}"
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ProblemsError([Problem(Mark(source), "", "expected key=value")])
    new = located.scalar(value, source)
    loc: Loc = tuple(key.strip().split("."))
    if len(loc) == 1 and loc[0] not in RecipeFile.model_fields:
        loc = (_section(raw, str(loc[0])), *loc)
    if loc[0] in ("grid", "axes") and len(loc) == 2 and not isinstance(new, list):
        new = [new]
    if not isinstance(raw.data.get(loc[0], {}), dict) and len(loc) > 1:
        raise ProblemsError([Problem(Mark(source), dotted(loc), f"'{loc[0]}' has no parts")])
    raw.put(loc, new, Mark(source))


def _section(raw: Located, name: str) -> str:
    for section in ("axes", "grid"):
        if name in (raw.data.get(section) or {}):
            return section
    return "settings"


def seed_list(text: str) -> list[int]:
    """`1,2,5` or `1-5` (or both) as a list of seeds."""
    seeds: list[int] = []
    for part in text.split(","):
        low, dash, high = part.strip().partition("-")
        if not (low.isdigit() and (high.isdigit() or not dash)):
            raise UserError(f"--seeds {text}: '{part}' is not a seed", "write 1,2,3 or 1-5")
        seeds += range(int(low), int(high or low) + 1)
    return seeds


def narrow(file: RecipeFile, only: Sequence[str]) -> RecipeFile:
    """Keep the axis values named by `--only axis=value[,value][,axis=value]`."""
    wanted: dict[str, list[Scalar]] = {}
    axis = ""
    for part in ",".join(only).split(","):
        name, equals, value = part.partition("=")
        axis, text = (name.strip(), value) if equals else (axis, name)
        if axis not in file.axes:
            raise unknown("axis", axis or part, file.axes)
        wanted.setdefault(axis, []).append(_axis_value(file.axes[axis], axis, text.strip()))
    kept = {
        name: [value for value in values if value in wanted.get(name, values)]
        for name, values in file.axes.items()
    }
    return file.model_copy(update={"axes": kept})


def _axis_value(values: Iterable[Scalar], axis: str, text: str) -> Scalar:
    for value in values:
        if text == str(value) or text == located.dump_scalar(value):
            return value
    raise unknown(f"value of axis '{axis}':", text, values)
