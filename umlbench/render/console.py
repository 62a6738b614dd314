"""A report for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from umlbench.render.layout import table, verdict_lines
from umlbench.reporting import Report


def show(report: Report, console: Console) -> None:
    """Print title, table, claims and notes; as wide as the table needs where output is piped."""
    printed = table(report)
    console.print(f"\n[bold]{report.recipe.id}[/]: {escape(report.recipe.file.title)}")
    grid = Table(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for index, name in enumerate(printed.header):
        right = index >= printed.labels
        grid.add_column(escape(name), justify="right" if right else "left", no_wrap=not right)
    for row in printed.rows:
        grid.add_row(*(_cell(text) for text in row))
    console.print(grid)
    for heading, items in (("Claims", verdict_lines(report)), ("Notes", report.notes())):
        if items:
            console.print(f"[bold]{heading}[/]")
        for item in items:
            console.print(f"- {escape(item)}", highlight=False)


def _cell(text: str) -> str:
    """Markdown's bold as the terminal's."""
    bare = text.removeprefix("**").removesuffix("**")
    return f"[bold]{escape(bare)}[/]" if bare != text else escape(text)
