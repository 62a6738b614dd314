"""How fast things are here, each beside what a user would do without umlbench, in one run.

`sweep` measures many linear heads at once, `trunk` a shared trunk, `extraction` the way from photos
to features, `machine` says on what.
"""
