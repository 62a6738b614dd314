"""umlbench: every table and figure of the UML paper (arXiv 2510.08492), re-made and compared.

    import umlbench
    recipe = umlbench.load_recipe("figure3")
    umlbench.plan("figure3").todo       # how many jobs have no record yet
    umlbench.run("figure3")             # trains them, stores records, writes the tables
    print(umlbench.report("figure3"))   # markdown; form="csv" or "json" for scripts
    for checked in umlbench.check("figure3"):
        print(*checked.lines(), sep="\\n")
    umlbench.run("table17", heads="results")    # also keeps the heads, which then read photos:
    umlbench.predict("table17", "photos", only=["dataset=dtd,shots=16,method=uml"], seed=1)

Everything is imported on first use, so that `import umlbench` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from umlbench.api import check, load_recipe, plan, plot, predict, report, run

__all__ = ["check", "load_recipe", "plan", "plot", "predict", "report", "run"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("umlbench.api"), name)
    raise AttributeError(f"module 'umlbench' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
