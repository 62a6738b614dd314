"""Predictions as text: a table for the terminal, csv, json."""

from __future__ import annotations

import csv as csv_format
import io
import json as json_format
from collections.abc import Callable

from rich import box
from rich.markup import escape
from rich.table import Table

from umlbench.prediction import Predictions

DIGITS = 4  # of a probability


def console(found: Predictions) -> Table:
    """One line per photo."""
    table = Table("photo", "class", box=box.SIMPLE, show_edge=False, pad_edge=False)
    table.add_column("probability", justify="right")
    for one in found.photos:
        table.add_row(escape(one.photo), escape(one.name), f"{one.probability:.{DIGITS}f}")
    return table


def csv(found: Predictions) -> str:
    """Columns photo, class, probability; photos that could not be read have no line."""
    out = io.StringIO()
    writer = csv_format.writer(out, lineterminator="\n")
    writer.writerow(["photo", "class", "probability"])
    writer.writerows([one.photo, one.name, f"{one.probability:.{DIGITS}f}"] for one in found.photos)
    return out.getvalue()


def json(found: Predictions) -> str:
    """The head's job, every photo, and why others could not be read."""
    plain = found.plain()
    for one in plain["photos"]:
        one["probability"] = round(one["probability"], DIGITS)
    return json_format.dumps(plain, indent=1, ensure_ascii=False) + "\n"


FORMATS: dict[str, Callable[[Predictions], str]] = {"csv": csv, "json": json}
