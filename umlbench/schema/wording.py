"""pydantic's errors in plain words, each at its place in the file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from umlbench.errors import nearest
from umlbench.schema.located import Loc, Located, Problem, dotted

_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}
_FIELD_FIRST = re.compile(r"([A-Za-z]\w*)((?:\.\w+|\[\d+\])*): (.+)", re.DOTALL)


def explain(
    error: ValidationError | Iterable[ErrorDetails],
    raw: Located,
    model: type[BaseModel],
    prefix: Loc = (),
    places: Mapping[str, Loc] | None = None,
    also: Iterable[str] = (),
) -> list[Problem]:
    """One problem per wrong place of `raw`, from an error or some of its details.

    `prefix` is where the validated mapping stands in the file; a field named in `places` stands
    there instead (an axis' value is validated as a setting). `also` are keys that may stand at the
    top beside the model's. A rule over several fields may begin its message with one of them
    (`batch_size: is odd`): the problem is then shown at that field.
    """
    values: dict[Loc, list[ErrorDetails]] = {}
    problems = []
    details = error.errors() if isinstance(error, ValidationError) else error
    for detail in details:
        at = detail["loc"]
        moved = (places or {}).get(str(at[0]), prefix + at[:1]) + at[1:] if at else prefix
        if _is_key(detail):
            problems.append(_key_problem(raw, moved, detail, model, also))
        elif detail["type"] == "value_error" and not at:
            problems.append(_rule_problem(raw, prefix, detail, model, places or {}))
        else:  # a union has one error per type tried
            values.setdefault(_path(raw.data, moved), []).append(detail)
    found = [Problem(raw.mark(at), dotted(at), _what(tried)) for at, tried in values.items()]
    return problems + found


def _is_key(detail: ErrorDetails) -> bool:
    of_keys = ("extra_forbidden", "missing", "invalid_key")
    return detail["type"] in of_keys or detail["loc"][-1:] == ("[key]",)


def _key_problem(
    raw: Located, loc: Loc, detail: ErrorDetails, model: type[BaseModel], also: Iterable[str]
) -> Problem:
    at = _path(raw.data, loc[:-1])
    if detail["type"] == "missing":
        return Problem(raw.mark(at, key=True), dotted(at + loc[-1:]), "is missing")
    if loc[-1] == "[key]":
        return Problem(raw.mark(at, key=True), dotted(at), f"the key {_what([detail])}")
    # An unknown axis is found at its first value.
    at = at if isinstance(loc[-1], int) and at else at + loc[-1:]
    if detail["type"] == "invalid_key":
        return Problem(raw.mark(loc, key=True), dotted(loc), "the key must be text")
    name = detail["loc"][-1]
    known = [*_fields(model, detail["loc"][:-1]), *(also if len(detail["loc"]) == 1 else ())]
    return Problem(
        raw.mark(at, key=True), dotted(at), f"unknown key '{name}'{nearest(name, known)}"
    )


def _rule_problem(
    raw: Located,
    prefix: Loc,
    detail: ErrorDetails,
    model: type[BaseModel],
    places: Mapping[str, Loc],
) -> Problem:
    what = _what([detail])
    match = _FIELD_FIRST.match(what)
    if match is None or match[1] not in model.model_fields:
        return Problem(raw.mark(prefix), dotted(prefix), what)
    parts = re.findall(r"\.(\w+)|\[(\d+)\]", match[2])
    inside: Loc = tuple(int(index) if index else name for name, index in parts)
    loc = places.get(match[1], prefix + (match[1],)) + inside
    return Problem(raw.mark(loc), dotted(loc), match[3])


def _what(details: list[ErrorDetails]) -> str:
    detail = details[0]
    if len(details) > 1 or detail["type"] in _EXPECTED or detail["type"] == "literal_error":
        return _unlike(details)
    context = detail.get("ctx", {})
    if detail["type"] == "too_short":
        return "must not be empty"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        return _wrong_tag(context)
    if detail["type"] in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"]))
    said = detail["msg"].replace("Input should", "must")
    return f"{said}, not {_shown(detail['input'])}"


def _unlike(details: list[ErrorDetails]) -> str:
    """`must be A or B, not X` for the types and words that were tried."""
    value, wanted, words = details[0]["input"], dict[str, None](), list[str]()
    for detail in details:
        if detail["type"] == "literal_error":
            expected = str(detail.get("ctx", {})["expected"])
            words += re.findall(r"'([^']*)'", expected)
            wanted |= dict.fromkeys(re.split(r", | or ", expected))
        elif detail["type"] in _EXPECTED:
            wanted[_EXPECTED[detail["type"]]] = None
        else:
            said = detail["msg"].removeprefix("Input should be ")
            wanted[said] = None
    *most, last = wanted
    choices = f"{', '.join(most)} or {last}" if most else last
    close = nearest(value, words) if isinstance(value, str) else ""
    return f"must be {choices}, not {_shown(value)}{close}"


def _wrong_tag(context: Mapping[str, Any]) -> str:
    name = context["discriminator"]
    if "tag" not in context:
        return f"{name} is missing"
    known = re.findall(r"'([^']*)'", str(context["expected_tags"]))
    tag = context["tag"]
    return f"{name} must be one of {', '.join(known)}, not {tag}{nearest(tag, known)}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f"the text '{value}'"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "a mapping"
    return str(value)


def _path(data: Any, loc: Loc) -> Loc:
    """`loc` without the parts not in the data: pydantic names the tried types of unions."""
    path: Loc = ()
    for part in loc:
        try:
            data = data[part]
        except (KeyError, IndexError, TypeError):
            continue
        path += (part,)
    return path


def _fields(model: type[BaseModel], loc: Loc) -> list[str]:
    """The field names of the model that stands at `loc` inside `model`."""
    inside = [model]
    for part in loc:
        tagged = [m for m in inside if _has_tag(m, part)]
        nested = [f for m in inside if (f := m.model_fields.get(str(part)))]
        inside = tagged or [m for f in nested for m in _models_in(f.annotation)] or inside
    return list(inside[0].model_fields)


def _has_tag(model: type[BaseModel], part: object) -> bool:
    """Whether `part` is the word that picks `model` out of a union."""
    annotations = (field.annotation for field in model.model_fields.values())
    return any(get_origin(a) is Literal and get_args(a) == (part,) for a in annotations)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
