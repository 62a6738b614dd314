"""A report for the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table as Grid

from umlbench.render.layout import Cell, Table, table, verdict_lines
from umlbench.reporting import Report

GAP = 3  # between two columns


def show(report: Report, console: Console) -> None:
    """Print title, table, claims and notes; a table wider than the terminal in several parts."""
    console.print(f"\n[bold]{escape(report.recipe.id)}[/]: {escape(report.recipe.file.title)}")
    for part in split(table(report), console.width):
        console.print()
        console.print(_grid(part))
    for heading, items in (("Claims", verdict_lines(report)), ("Notes", report.notes())):
        if items:
            console.print(f"\n[bold]{heading}[/]")
        for item in items:
            hanging = Grid.grid(padding=(0, 1))
            hanging.add_row("-", escape(item))
            console.print(hanging)


def split(whole: Table, width: int) -> Iterator[Table]:
    """The table, or where it is wider than `width` parts that repeat the row labels.

    Headers are then folded to the width of their column; a number is never folded or cut.
    """
    columns = list(zip(whole.header, *whole.rows, strict=True))
    full = [max(_length(cell) for cell in column) for column in columns]
    if sum(full) + GAP * (len(full) - 1) <= width:
        yield whole
        return
    least = [_least(column) for column in columns]
    folded = [
        "\n".join(textwrap.wrap(name, size, break_long_words=False)) if name else name
        for name, size in zip(whole.header, least, strict=True)
    ]
    labels = list(range(whole.labels))
    for part in _parts(least, whole.labels, width):
        kept = labels + part
        rows = [[row[i] for i in kept] for row in whole.rows]
        yield Table([folded[i] for i in kept], rows, whole.labels)


def _parts(widths: list[int], labels: int, width: int) -> Iterator[list[int]]:
    """Indices of the columns of each part: as many as fit beside the labels, at least one."""
    room = width - sum(size + GAP for size in widths[:labels])
    part: list[int] = []
    used = 0
    for index in range(labels, len(widths)):
        need = widths[index] + (GAP if part else 0)
        if part and used + need > room:
            yield part
            part, used, need = [], 0, widths[index]
        part.append(index)
        used += need
    yield part


def _length(cell: str | Cell) -> int:
    return cell_len(cell if isinstance(cell, str) else cell.text)


def _least(column: tuple[str | Cell, ...]) -> int:
    """The width of a column whose header is folded at its spaces."""
    name, *cells = column
    return max([_length(word) for word in str(name).split()] + [_length(cell) for cell in cells])


def _grid(part: Table) -> Grid:
    grid = Grid(box=box.SIMPLE, show_edge=False, pad_edge=False)
    for index, name in enumerate(part.header):
        right = index >= part.labels
        grid.add_column(
            escape(name), justify="right" if right else "left", vertical="bottom", no_wrap=right
        )
    above: list[Cell] = []
    for row in part.rows:
        repeated = _same_start(above, row[: part.labels])
        above = row
        grid.add_row(*([""] * repeated), *(_cell(cell) for cell in row[repeated:]))
    return grid


def _same_start(above: list[Cell], labels: list[Cell]) -> int:
    """How many of a row's labels the row above has too; the last label always stands."""
    count = 0
    while above and count < len(labels) - 1 and labels[count] == above[count]:
        count += 1
    return count


def _cell(cell: Cell) -> str:
    return f"[bold]{escape(cell.text)}[/]" if cell.strong else escape(cell.text)
