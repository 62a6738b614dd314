"""YAML as plain data plus the position of every key and value, so that an error can point at it.

PyYAML alone accepts duplicate keys silently and reads `1e-3` as text; both are problems here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from umlbench.errors import UserError

Loc = tuple[str | int | float, ...]

_NUMBER_LIKE = re.compile(r"[-+]?(\d[\d_]*)?\.?\d+[eE][-+]?\d+$|[-+]?\d+\.[eE][-+]?\d+$")


@dataclass(frozen=True)
class Mark:
    """Where something stands: a file with line and column (from 1), or a command-line option."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass(frozen=True)
class Problem:
    """One thing wrong with one key of a file."""

    mark: Mark
    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.key}: {self.what}" if self.key else f"{self.mark}: {self.what}"


class ProblemsError(UserError):
    """All problems of a file at once, one line each."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = sorted(
            dict.fromkeys(problems), key=lambda p: (p.mark.source, p.mark.line, p.mark.column)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass
class Located:
    """Plain data (`dict`, `list`, scalars) and where every key and value of it stands."""

    data: Any
    marks: dict[Loc, Mark] = field(default_factory=dict)  # of values
    keys: dict[Loc, Mark] = field(default_factory=dict)

    def mark(self, loc: Loc, key: bool = False) -> Mark:
        """The mark of the deepest known part of `loc`: of its value, or of its key."""
        for end in range(len(loc), -1, -1):
            known = (self.keys if key else self.marks).get(loc[:end]) or self.marks.get(loc[:end])
            if known:
                return known
        return Mark("?")

    def put(self, loc: Loc, value: Any, mark: Mark) -> None:
        """Set one path (its parents are made where they are missing)."""
        for marks in (self.marks, self.keys):
            for at in [at for at in marks if at[: len(loc)] == loc]:
                del marks[at]
        node = self.data
        for part in loc[:-1]:
            node = node.setdefault(part, {})
        node[loc[-1]] = value
        self.marks[loc] = mark

    def under(self, child: Located) -> Located:
        """`child` laid over this base: mappings merge key by key, everything else is replaced."""
        merged = Located(_overlay(self.data, child.data), dict(child.marks), dict(child.keys))
        for mine, target in ((self.marks, merged.marks), (self.keys, merged.keys)):
            for at, mark in mine.items():
                if at not in target and _same(self.data, merged.data, at):
                    target[at] = mark
        return merged


def dotted(loc: Loc) -> str:
    """`axes.shots[2]` for `("axes", "shots", 2)`."""
    text = ""
    for part in loc:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read(path: Path, name: str | None = None) -> Located:
    """The YAML mapping in a file; raises `ProblemsError` with every problem found."""
    source = name or path.name
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise ProblemsError([Problem(Mark(source), "", "no such file")]) from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text (byte {error.start}): is this a YAML file?"
        raise ProblemsError([Problem(Mark(source), "", what)]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ProblemsError([Problem(Mark(source), "", what)]) from None
    return parse(text, source)


def parse(text: str, source: str) -> Located:
    """The YAML mapping in `text`; `source` names it in messages."""
    located, problems = Located(None), list[Problem]()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            raise ProblemsError([Problem(Mark(source, 1, 1), "", "the file is empty")])
        located.data = _Reader(source, located, problems).value(node, ())
    except yaml.YAMLError as error:
        problems.append(_syntax(error, source))
    except RecursionError:
        problems.append(Problem(Mark(source), "", "an alias (*name) contains itself"))
    except ValueError as error:
        problems.append(Problem(Mark(source), "", f"not YAML: {error}"))
    if not problems and not isinstance(located.data, dict):
        what = f"expected a mapping of keys to values, found {_kind(located.data)}"
        problems.append(Problem(Mark(source, 1, 1), "", what))
    if problems:
        raise ProblemsError(problems)
    return located


def scalar(text: str, source: str) -> Any:
    """A command-line value by YAML's rules (`0.5`, `true`, `[1, 2]`, `dtd`)."""
    value, problems = None, list[Problem]()
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is not None:
            value = _Reader(source, Located(None), problems).value(node, ())
    except yaml.YAMLError as error:
        problems.append(Problem(Mark(source), "", f"not a YAML value: {_first_line(error)}"))
    if problems:
        raise ProblemsError([Problem(Mark(source), p.key, p.what) for p in problems])
    return value


@dataclass
class _Reader:
    """Builds plain data from YAML nodes, noting marks and problems on the way."""

    source: str
    into: Located
    problems: list[Problem]

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self.into.marks[loc] = self._mark(node)
        if isinstance(node, yaml.MappingNode):
            return dict(self._items(node, loc))
        if isinstance(node, yaml.SequenceNode):
            return [self.value(child, loc + (i,)) for i, child in enumerate(node.value)]
        return self._scalar(node, loc)

    def _items(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[str | int | float, Any]]:
        seen: dict[str | int | float, int] = {}
        for key_node, value_node in node.value:
            key, mark = self._scalar(key_node, loc), self._mark(key_node)
            if not isinstance(key, str | int | float) or isinstance(key, bool):
                what = f"a key must be a word, found {_kind(key)} '{key_node.value}' (quote it)"
                self.problems.append(Problem(mark, dotted(loc), what))
            elif key in seen:
                what = f"duplicate key, first on line {seen[key]}"
                self.problems.append(Problem(mark, dotted(loc + (key,)), what))
            else:
                seen[key] = mark.line
                self.into.keys[loc + (key,)] = mark
                yield key, self.value(value_node, loc + (key,))

    def _scalar(self, node: yaml.Node, loc: Loc) -> Any:
        try:
            value = yaml.SafeLoader("").construct_object(node, deep=True)
        except (yaml.YAMLError, ValueError) as error:
            self.problems.append(Problem(self._mark(node), dotted(loc), _first_line(error)))
            return None
        plain = isinstance(node, yaml.ScalarNode) and node.style is None
        if isinstance(value, str) and plain and _NUMBER_LIKE.match(value):
            what = f"YAML reads {value} as text, not as a number: write {_with_point(value)}"
            self.problems.append(Problem(self._mark(node), dotted(loc), what))
        return value

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)


def dump_scalar(value: Any) -> str:
    """A scalar as YAML writes it (`true`, `null`, `0.5`)."""
    return yaml.safe_dump(value, default_flow_style=True).split("\n")[0]


def _with_point(text: str) -> str:
    """`1.0e-3` for `1e-3`: the spelling that YAML 1.1 reads as a number."""
    mantissa, exponent = re.split("[eE]", text)
    whole = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{whole}e{exponent if exponent[0] in '+-' else '+' + exponent}"


def _syntax(error: yaml.YAMLError, source: str) -> Problem:
    mark = getattr(error, "problem_mark", None)
    where = Mark(source, mark.line + 1, mark.column + 1) if mark else Mark(source)
    return Problem(where, "", f"not valid YAML: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "true/false", int: "a number"}
    return "nothing" if value is None else names.get(type(value), "a number")


def _overlay(base: Any, child: Any) -> Any:
    if not (isinstance(base, Mapping) and isinstance(child, Mapping)):
        return child
    merged = dict(base)
    for key, value in child.items():
        merged[key] = _overlay(base[key], value) if key in base else value
    return merged


def _same(base: Any, merged: Any, loc: Loc) -> bool:
    """Whether the base's value at `loc` survived the overlay."""
    for part in loc:
        try:
            base, merged = base[part], merged[part]
        except (KeyError, IndexError, TypeError):
            return False
    return type(base) is type(merged) and (isinstance(base, dict) or base == merged)
