"""A report as text: console, markdown, csv, json; and its figure as PNG and SVG.

Every format is a pure function of the report, so that rendering again gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable

from umlbench.errors import unknown
from umlbench.render import csv, json, markdown
from umlbench.reporting import Report

FORMATS: dict[str, tuple[str, Callable[[Report], str]]] = {  # name: (file ending, function)
    "markdown": ("md", markdown.render),
    "csv": ("csv", csv.render),
    "json": ("json", json.render),
}


def render(report: Report, form: str) -> str:
    """The report in one of `FORMATS`; ends with a newline."""
    if form not in FORMATS:
        raise unknown("format", form, ["console", *FORMATS])
    return FORMATS[form][1](report)
