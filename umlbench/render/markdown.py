"""Reports as GitHub-flavoured markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from umlbench.render.layout import Cell, table, verdict_lines
from umlbench.reporting import Report


def render(reports: Sequence[Report]) -> str:
    """Every report one below the other."""
    return "\n".join(_report(report) for report in reports)


def _report(report: Report) -> str:
    """Title, command, table, claims, notes. Notes may hold markdown of their own."""
    printed = table(report)
    lines = [f"# {escape(f'{report.recipe.id}: {report.recipe.file.title}')}", ""]
    lines += [f"`umlbench run {report.recipe.source}`", ""]
    lines.append(_row(escape(name) for name in printed.header))
    lines.append(_row([":--"] * printed.labels + ["--:"] * (len(printed.header) - printed.labels)))
    lines += [_row(map(_cell, row)) for row in printed.rows]
    claims = [escape(line) for line in verdict_lines(report)]
    for heading, items in (("Claims", claims), ("Notes", report.notes())):
        if items:
            lines += ["", f"## {heading}", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    return f"**{text}**" if cell.strong and text else text


def escape(text: str) -> str:
    """Plain text for one line or table cell: what markdown would read as markup is escaped."""
    return re.sub(r"([\\|*<>`\[\]])", r"\\\1", " ".join(text.split()))
