"""The one look of every figure, and how it becomes a file.

Lines differ in colour, dash and marker, and maps rise in lightness, so that figures can be read by
colour-blind readers and in grey print. Metadata and hash salt are fixed: the files are byte-stable
for one version of matplotlib.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "axes.titlesize": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.handlelength": 3.5,
    "lines.markersize": 4.5,
    "image.cmap": "cividis",
    "svg.hashsalt": "umlbench",
    "savefig.dpi": 150,
}
# Okabe and Ito's colours in an order of falling darkness. Counts without a common factor: as many
# lines as the three have in all look different.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")
DASHES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DARK = "#333333"

METADATA: dict[str, dict[str, Any]] = {  # by format: nothing that tells when or by what
    "png": {"Software": None},
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}


def look(number: int) -> dict[str, Any]:
    """Colour, dash and marker of the line with this number."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number % len(DASHES)],
        "marker": MARKERS[number % len(MARKERS)],
    }


def panels(count: int, across: int, size: tuple[float, float]) -> tuple[Figure, list[Axes]]:
    """A figure with `count` axes, at most `across` in a row, each of `size` (inches)."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = min(count, across)
    rows = -(-count // columns)
    shape = (size[0] * columns + 0.4, size[1] * rows + 0.2)
    figure = Figure(figsize=shape, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(rows, columns, n + 1) for n in range(count)]


def colour_bar(axes: Axes, mappable: Any, label: str) -> None:
    """A bar beside `axes` that says what the colours mean."""
    figure: Any = axes.figure
    figure.colorbar(mappable, ax=axes, label=label, shrink=0.8)


def logarithmic(axes: Axes) -> None:
    """A logarithmic y axis with plain numbers."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def legend(figure: Figure) -> None:
    """One legend below all panels, each label once."""
    found: dict[str, Any] = {}
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        for handle, label in zip(handles, labels, strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    across = max(1, int(figure.get_figwidth() // 1.3))
    figure.legend(
        list(found.values()), list(found), loc="outside lower center", ncols=min(across, len(found))
    )


def save(figure: Figure, folder: Path, stem: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure in some of `METADATA`'s formats; the files."""
    paths = [folder / f"{stem}.{form}" for form in formats]
    for path, form in zip(paths, formats, strict=True):
        figure.savefig(path, format=form, metadata=METADATA[form])
    return paths
