"""Features of frozen encoders: encoded once, kept on disk, trusted because they can be checked.

`store` makes and reads entries, `upkeep` lists, verifies and prunes them, `imported` takes in
features that were made elsewhere, `layout` says what an entry consists of, `files` writes whole
files or none. `mapped` leaves the tokens of an entry on disk, `tokens` makes sequences of photos
and sentences. Listing and checking the cache does not import torch.
"""

from umlbench.features.imported import Imported, import_file, imported
from umlbench.features.layout import SHARD_SIZE, Entry, default_root
from umlbench.features.store import Features, FeatureStore
from umlbench.features.upkeep import Problem, Pruned, entries, prune, verify

__all__ = [
    "SHARD_SIZE",
    "Entry",
    "FeatureStore",
    "Features",
    "Imported",
    "Problem",
    "Pruned",
    "default_root",
    "entries",
    "import_file",
    "imported",
    "prune",
    "verify",
]
