"""The figures of a report: its `plot`, and what its analysis or its records bring along.

- `lines`: the report's own `plot`;
- `isolines`: accuracy over two axes of counts, where the report has an exchange rate;
- `planes`: samples of two classes at their boundary, where records hold them;
- `prototypes`: prototypes against texts, where records hold them.

Every one is drawn from stored records and printed numbers alone, in one style (`style`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from umlbench.render.figures import isolines, lines, planes, prototypes, style
from umlbench.reporting import Report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FORMATS = tuple(style.METADATA)
# Of each kind its maker, which is given the report and the metrics asked for.
KINDS: Mapping[str, Callable[[Report, Sequence[str]], Figure | None]] = {
    "lines": lines.make,
    "isolines": isolines.make,
    "planes": planes.make,
    "prototypes": prototypes.make,
}


def draw(
    report: Report,
    folder: Path,
    formats: Sequence[str] = ("png", "svg"),
    *,
    stem: str = "",
    kinds: Sequence[str] = (),
    metrics: Sequence[str] = (),
) -> list[Path]:
    """Write every figure of a report into `folder`; the files, none without anything to draw.

    They are called `stem` (the recipe's id), all but the report's own plot with their kind behind
    it. `kinds` and `metrics` narrow what is drawn; a single kind is called `stem`.
    """
    import matplotlib as mpl

    paths = []
    with mpl.rc_context(style.STYLE):
        for kind in kinds or KINDS:
            figure = KINDS[kind](report, metrics)
            if figure is not None:
                alone = kind == "lines" or len(kinds) == 1
                name = stem or report.recipe.id
                name = name if alone else f"{name}-{kind}"
                paths += style.save(figure, folder, name, formats)
    return paths
