"""Importing torchvision beside a CPU build of torch.

The package index's torchvision is built for CUDA; beside a CPU-only torch its import stops at
`operator torchvision::nms does not exist`, and with it timm's and open_clip's. Two operator schemas
are all that is missing: with them everything works that an encoder needs (transforms, models).
Only torchvision.ops and its own image decoder stay unusable; PIL decodes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries: list[Any] = []  # a schema lives as long as the library that defined it


def mend_torchvision() -> bool:
    """Make torchvision importable before timm or open_clip are; whether that took a mend."""
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::nms" not in str(error):
            raise
    else:
        return False
    import torch

    for name in [n for n in sys.modules if n == "torchvision" or n.startswith("torchvision.")]:
        del sys.modules[name]
    make_library: Any = torch.library.Library  # has no types
    library = make_library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    _libraries.append(library)
    import_module("torchvision")
    return True
