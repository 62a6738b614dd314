"""YAML as plain data plus the position of every key and value, so that an error can point at it.

PyYAML alone accepts duplicate keys silently and reads `1e-3` as text; both are problems here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from umlbench.errors import UserError, nearest

Key = str | int | float
Loc = tuple[Key, ...]

MAX_VALUES = 100_000  # far above any real file; a few nested aliases can mean billions

_TAG = "tag:yaml.org,2002:"
_KINDS = {"str": "text", "int": "a number", "float": "a number", "bool": "a word", "null": "null"}
_MISREAD = {"timestamp": "a date", "merge": "a merge key", "value": "a default key"}
_Constructor = yaml.constructor.SafeConstructor
_OCTAL = re.compile(r"[-+]?0[0-7_]+$")
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
        """Set one path; parents are made where they are missing or no mappings."""
        for marks in (self.marks, self.keys):
            for at in [at for at in marks if at[: len(loc)] == loc]:
                del marks[at]
        node = self.data
        for part in loc[:-1]:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
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
        text += str(part) if not text else f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def read(path: Path, name: str | None = None, problems: list[Problem] | None = None) -> Located:
    """The YAML mapping in a file, called `name` in messages.

    Raises `ProblemsError` with every problem found. With a list `problems`, what can be read past
    (a duplicate key, `1e-3`) is added to it instead, so that a caller can go on and find the rest.
    """
    source = name or path.name
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        others = [other.name for other in sorted(path.parent.glob("*.y*ml"))]
        what = f"no such file{nearest(path.name, others)}"
        raise ProblemsError([Problem(Mark(source), "", what)]) from None
    except UnicodeDecodeError as error:
        what = f"not UTF-8 text (byte {error.start}): is this a YAML file?"
        raise ProblemsError([Problem(Mark(source), "", what)]) from None
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
        raise ProblemsError([Problem(Mark(source), "", what)]) from None
    return parse(text, source, problems)


def parse(text: str, source: str, problems: list[Problem] | None = None) -> Located:
    """The YAML mapping in `text`; `source` names it in messages. Raises as `read` does."""
    found: list[Problem] = []
    located, empty = _compose(text, source, found)
    if empty:
        found.append(Problem(Mark(source, 1, 1), "", "the file is empty"))
    elif located and not isinstance(located.data, dict):
        what = f"expected a mapping of keys to values, found {_kind(located.data)}"
        found.append(Problem(Mark(source, 1, 1), "", what))
    elif located and (problems is not None or not found):
        (found if problems is None else problems).extend(found)
        return located
    raise ProblemsError(found)


def scalar(text: str, source: str) -> Any:
    """A command-line value by YAML's rules (`0.5`, `true`, `[1, 2]`, `dtd`)."""
    problems: list[Problem] = []
    located, _ = _compose(text, source, problems)
    if problems:
        raise ProblemsError([Problem(Mark(source), p.key, p.what) for p in problems])
    return located.data if located else None


def _compose(text: str, source: str, problems: list[Problem]) -> tuple[Located | None, bool]:
    """What the text holds (None where it is no YAML at all), and whether it holds nothing."""
    located = Located(None)
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None, True
        located.data = _Reader(source, located, problems).value(node, ())
    except yaml.YAMLError as error:
        problems.append(_syntax(error, text, source))
    except RecursionError:
        problems.append(Problem(Mark(source), "", "not valid YAML: nested too deeply"))
    except ValueError as error:  # a malformed %YAML line
        problems.append(Problem(Mark(source), "", f"not valid YAML: {error}"))
    else:
        return located, False
    return None, False


@dataclass
class _Reader:
    """Builds plain data from YAML nodes, noting marks and problems on the way.

    Tags are never obeyed, so no file can make an object; aliases are expanded up to `MAX_VALUES`.
    """

    source: str
    into: Located
    problems: list[Problem]
    inside: list[yaml.Node] = field(default_factory=list)  # the collections being built
    size: int = 0

    def value(self, node: yaml.Node, loc: Loc) -> Any:
        self.into.marks[loc] = self._mark(node)
        self.size += 1
        if self.size > MAX_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"aliases make more than {MAX_VALUES} values", problem_mark=node.start_mark
            )
        return (
            self._scalar(node, loc) if isinstance(node, yaml.ScalarNode) else self._all(node, loc)
        )

    def _all(self, node: yaml.Node, loc: Loc) -> Any:
        if node.tag not in (_TAG + "map", _TAG + "seq"):
            self._problem(node, loc, f"the YAML tag {_short(node.tag)} is not allowed")
            return None
        if any(node is outer for outer in self.inside):
            self._problem(node, loc, "an alias (*name) contains itself")
            return None
        self.inside.append(node)
        try:
            if isinstance(node, yaml.MappingNode):
                return dict(self._items(node, loc))
            return [self.value(child, loc + (i,)) for i, child in enumerate(node.value)]
        finally:
            self.inside.pop()

    def _items(self, node: yaml.MappingNode, loc: Loc) -> Iterator[tuple[Key, Any]]:
        seen: dict[Key, int] = {}
        for key_node, value_node in node.value:
            key, mark = self._key(key_node, loc), self._mark(key_node)
            if key is None:
                continue
            if key in seen:
                self._problem(key_node, loc + (key,), f"duplicate key, first on line {seen[key]}")
                continue
            seen[key] = mark.line
            self.into.keys[loc + (key,)] = mark
            yield key, self.value(value_node, loc + (key,))

    def _key(self, node: yaml.Node, loc: Loc) -> Key | None:
        if not isinstance(node, yaml.ScalarNode):
            what = "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
            self._problem(node, loc, f"a key must be a word, not {what}")
            return None
        if node.tag == _TAG + "merge":
            self._problem(node, loc, "merge keys (<<) are not read: use extends")
            return None
        if node.tag not in (_TAG + "str", _TAG + "int", _TAG + "float"):
            self._problem(node, loc, f"a key must be a word, not {node.value or 'null'}: quote it")
            return None
        key = self._scalar(node, loc)
        return key if isinstance(key, str | int | float) else None

    def _scalar(self, node: yaml.ScalarNode, loc: Loc) -> Any:
        """The value; a misread number or word is noted and read as it was meant."""
        kind, plain = node.tag.removeprefix(_TAG), node.style is None
        if kind in _MISREAD and plain:
            self._problem(node, loc, f"YAML reads {node.value} as {_MISREAD[kind]}: quote it")
            return node.value
        if kind not in _KINDS:
            self._problem(node, loc, f"the YAML tag {_short(node.tag)} is not allowed")
            return None
        try:
            value = node.value if kind == "str" else _Constructor().construct_object(node)
        except (ValueError, KeyError, IndexError) as error:
            self._problem(node, loc, f"not {_KINDS[kind]}: {_first_line(error)}")
            return None
        if plain:
            self._misread(node, loc, value)
        number_like = plain and isinstance(value, str) and _NUMBER_LIKE.match(value)
        return float(value) if number_like else value

    def _misread(self, node: yaml.ScalarNode, loc: Loc, value: Any) -> None:
        """Notes what YAML 1.1 reads otherwise than most people do."""
        text = node.value
        if isinstance(value, str):
            if not _NUMBER_LIKE.match(value):
                return
            what = f"as text, not as a number: write {_with_point(text)}"
        elif isinstance(value, bool):
            if text.lower() in ("true", "false"):
                return
            said = dump_scalar(value)
            what = f"as {said}: write {said}, or quote the word"
        elif isinstance(value, int | float) and ":" in text:
            what = f"as the number {value} (base 60): quote it, or write {value}"
        elif isinstance(value, int) and _OCTAL.match(text):
            what = f"as the octal number {value}: write it without the leading zero"
        else:
            return
        self._problem(node, loc, f"YAML reads {text} {what}")

    def _problem(self, node: yaml.Node, loc: Loc, what: str) -> None:
        self.problems.append(Problem(self._mark(node), dotted(loc), what))

    def _mark(self, node: yaml.Node) -> Mark:
        return Mark(self.source, node.start_mark.line + 1, node.start_mark.column + 1)


def dump(value: Any) -> str:
    """A plain value as YAML that `parse` reads back as the same value."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def dump_scalar(value: Any) -> str:
    """A scalar as YAML writes it (`true`, `null`, `0.5`); a list or mapping in brackets."""
    flow = yaml.dump(value, Dumper=_Dumper, width=math.inf, default_flow_style=True)
    return flow.split("\n")[0]


class _Dumper(yaml.SafeDumper):
    """Writes each value where it stands, and quotes text that would be read otherwise."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def _represent_text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    """Quotes `1e-3` (see `_NUMBER_LIKE`) and the line breaks that PyYAML writes but folds away."""
    style = '"' if _NUMBER_LIKE.match(value) or set(value) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar(_TAG + "str", value, style=style)


_Dumper.add_representer(str, _represent_text)


def _with_point(text: str) -> str:
    """`1.0e-3` for `1e-3`: the spelling that YAML 1.1 reads as a number."""
    mantissa, exponent = re.split("[eE]", text)
    whole = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{whole}e{exponent if exponent[0] in '+-' else '+' + exponent}"


_UNCLOSED = "found unexpected end of stream"
_REMEDIES = {
    _UNCLOSED: "a quote that is never closed",
    "found character '\\t' that cannot start any token": "a tab: indent with spaces",
    "mapping values are not allowed here": "a second ': ' on the line: quote the text",
}


def _syntax(error: yaml.YAMLError, text: str, source: str) -> Problem:
    where, said = Mark(source), _first_line(error)
    mark = getattr(error, "context_mark" if said == _UNCLOSED else "problem_mark", None)
    if mark:
        where = Mark(source, mark.line + 1, mark.column + 1)
    elif isinstance(error, yaml.reader.ReaderError):
        before = text[: error.position]
        where = Mark(source, before.count("\n") + 1, error.position - before.rfind("\n"))
    context = getattr(error, "context", None) or ""
    said = f"{context}, {said}" if said.startswith("but ") else said
    return Problem(where, "", f"not valid YAML: {_REMEDIES.get(said, said)}")


def _first_line(error: Exception) -> str:
    return str(getattr(error, "problem", None) or error).split("\n")[0]


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")


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
