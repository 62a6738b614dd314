"""`python -m umlbench.cli`."""

from umlbench.cli import main

main()
