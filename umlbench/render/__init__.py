"""Reports as text: console, markdown, csv, json; and their figures as PNG and SVG.

Every format is a pure function of the reports, so that rendering again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from umlbench.errors import unknown
from umlbench.render import csv, json, markdown
from umlbench.reporting import Report

FORMATS: dict[
    str, tuple[str, Callable[[Sequence[Report]], str]]
] = {  # name: (file ending, function)
    "markdown": ("md", markdown.render),
    "csv": ("csv", csv.render),
    "json": ("json", json.render),
}


def render(reports: Sequence[Report], form: str) -> str:
    """The reports as one text in one of `FORMATS`; ends with a newline."""
    check_format(form, *FORMATS)
    return FORMATS[form][1](reports)


def check_format(form: str, *known: str) -> None:
    """Raise `UserError` for a format that is not one of `known`."""
    if form not in known:
        raise unknown("format", form, known)
