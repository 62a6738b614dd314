"""The command line: parse, call one function, print. Nothing heavy is imported above a body.

Importing the modules of commands registers them, in the order of the help page.
"""

from umlbench.cli import recipes, running, reading, bench, features  # isort: skip
from umlbench.cli import options, printing
from umlbench.cli.app import app, main

__all__ = [
    "app",
    "bench",
    "features",
    "main",
    "options",
    "printing",
    "reading",
    "recipes",
    "running",
]
