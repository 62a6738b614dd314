"""pydantic's errors in plain words, each at its place in the file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

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
    "none_required": "null",
}


def explain(
    error: ValidationError,
    raw: Located,
    model: type[BaseModel],
    prefix: Loc = (),
    places: Mapping[str, Loc] | None = None,
) -> list[Problem]:
    """One problem per wrong place of `raw`.

    `prefix` is where the validated mapping stands in the file; a field named in `places` stands
    there instead (an axis' value is validated as a setting).
    """
    grouped: dict[tuple[Loc, bool], list[ErrorDetails]] = {}
    for detail in error.errors():
        at = detail["loc"]
        place = (places or {}).get(str(at[0])) if at else None
        loc = place + at[1:] if place else prefix + at
        is_key = detail["type"] in ("extra_forbidden", "missing")
        loc = _path(raw.data, loc[:-1]) + loc[-1:] if is_key else _path(raw.data, loc)
        grouped.setdefault((loc, is_key), []).append(detail)
    return [_problem(raw, loc, details, model) for (loc, _), details in grouped.items()]


def _problem(
    raw: Located, loc: Loc, details: list[ErrorDetails], model: type[BaseModel]
) -> Problem:
    detail = details[0]
    if detail["type"] == "extra_forbidden":
        known = _fields(model, detail["loc"][:-1])
        at = loc[:-1] if isinstance(loc[-1], int) else loc  # an axis' first value stands for it
        what = f"unknown key '{detail['loc'][-1]}'{nearest(detail['loc'][-1], known)}"
        return Problem(raw.mark(at, key=True), dotted(at), what)
    if detail["type"] == "missing":
        return Problem(raw.mark(loc[:-1], key=True), dotted(loc), "is missing")
    return Problem(raw.mark(loc), dotted(loc), _what(details))


def _what(details: list[ErrorDetails]) -> str:
    expected = [_EXPECTED[d["type"]] for d in details if d["type"] in _EXPECTED]
    if expected:
        names = list(dict.fromkeys(expected))
        wanted = " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
        return f"must be {wanted}, not {_shown(details[0]['input'])}"
    detail = details[0]
    context = detail.get("ctx", {})
    if detail["type"] == "literal_error":
        known = [
            part.strip(" '") for part in str(context["expected"]).replace(" or ", ",").split(",")
        ]
        value = detail["input"]
        return f"must be {context['expected']}, not {_shown(value)}{nearest(value, known)}"
    if detail["type"] == "too_short":
        return "must not be empty"
    if detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        known = [tag.strip(" '") for tag in str(context.get("expected_tags", "")).split(",")]
        name, tag = context["discriminator"], context.get("tag", "nothing")
        wanted = f"must be one of {', '.join(known)}" if known[0] else "is missing"
        return (
            f"{name} {wanted}, not {tag}{nearest(tag, known)}" if known[0] else f"{name} {wanted}"
        )
    if detail["type"] in ("value_error", "assertion_error"):
        return str(context.get("error", detail["msg"]))
    return f"{detail['msg'].replace('Input should', 'must')}, not {_shown(detail['input'])}"


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
    for part in loc:
        if isinstance(part, str) and part in model.model_fields:
            found = _model_in(model.model_fields[part].annotation)
            if found:
                model = found
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((m for a in get_args(annotation) if (m := _model_in(a))), None)
