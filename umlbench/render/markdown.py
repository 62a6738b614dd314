"""A report as GitHub-flavoured markdown."""

from __future__ import annotations

from umlbench.render.layout import table, verdict_lines
from umlbench.reporting import Report


def render(report: Report) -> str:
    """Title, command, table, claims, notes."""
    printed = table(report)
    lines = [f"# {report.recipe.id}: {report.recipe.file.title}", ""]
    lines += [f"`umlbench run {report.recipe.source}`", ""]
    lines.append(_row(printed.header))
    aligns = [":--"] * printed.labels + ["--:"] * (len(printed.header) - printed.labels)
    lines.append(_row(aligns))
    lines += [_row(row) for row in printed.rows]
    for heading, items in (("Claims", verdict_lines(report)), ("Notes", report.notes())):
        if items:
            lines += ["", f"## {heading}", "", *(f"- {item}" for item in items)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
