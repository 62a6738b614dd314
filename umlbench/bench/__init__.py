"""How fast things train here, each beside the loop a user would write, in one run.

`sweep` measures many linear heads at once, `trunk` a shared trunk, `machine` says on what.
"""
