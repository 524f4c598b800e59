"""Makes torchvision importable, and timm with it, where its compiled operators cannot be loaded.

The wheel of torchvision is compiled for the CUDA build of PyTorch and its operators do not load beside the CPU build.
No classifier uses them, but torchvision describes two of them as it is imported and fails where they are unknown. Call
``operators`` before the first import of torchvision or timm.
"""

import functools
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import library

OPERATORS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


@functools.cache
def operators() -> library.Library | None:
    """Load torchvision's operators, or name those that it describes; what is returned has to be kept."""
    package = find_spec("torchvision")
    for folder in package.submodule_search_locations:
        try:
            torch.ops.load_library(str(Path(folder) / "_C.so"))
        except (OSError, RuntimeError):
            known = library.Library("torchvision", "DEF")
            for operator in OPERATORS:
                known.define(operator)
            return known
    return None
