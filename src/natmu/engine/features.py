"""Features of images within a network, whatever it is made of: what each of its blocks is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from natmu.data.images import ImageData
from natmu.data.inputs import inputs
from natmu.engine.compute import Compute
from natmu.engine.modes import evaluating
from natmu.engine.predict import evaluation_batch
from natmu.types import FloatArray, IntArray

FEWEST = 4
"""Blocks below which a network is opened one level deeper."""

MOST = 8
"""Blocks whose features are taken at most, evenly spread, the last among them."""

POOLED: dict[int, tuple[int, ...]] = {2: (), 3: (1,), 4: (2, 3)}
"""Axes of features, tokens and maps over which the mean is taken, by how many axes there are."""


@torch.inference_mode()
def features_of(model: nn.Module, data: ImageData, positions: Tensor, compute: Compute) -> list[FloatArray]:
    """What each block of a network is given for some images, in eval mode and un-augmented.

    Blocks are children with matrices or kernels of weights. A network with fewer than ``FEWEST`` of them is opened
    deeper, level by level. The input of a block is what the activation and the pooling before it have left, so that the
    input of the last one is all that the classifier sees. The first block is left out, because its input is the image,
    and so are blocks that are never called or are given no tensor with one row per image. Maps ``(B, C, H, W)`` and
    tokens ``(B, T, C)`` become their means ``(B, C)``.

    Args:
        model: On the device; each of its modules is left in the mode it came in.
        data: Source of the images.
        positions: int64 ``(M,)``.
        compute: Device and precision.

    Returns:
        One float32 ``(M, D)`` for each block, in the order in which they are called; none where there is one block.
    """
    noted: dict[nn.Module, Tensor] = {}
    pieces: list[list[Tensor]] = []
    with evaluating(model), _noting(_blocks(model), noted), compute.kernels(), compute.autocast():
        for rows in torch.split(positions, evaluation_batch(data)):
            noted.clear()
            model(inputs(data.take(rows).to(compute.device)))
            found = [features for features in [*noted.values()][1:] if len(features) == len(rows)]
            pieces.append([found[place] for place in _spread(len(found))])
    return [torch.cat(block).cpu().numpy() for block in zip(*pieces, strict=True)]


@contextmanager
def _noting(blocks: Sequence[nn.Module], noted: dict[nn.Module, Tensor]) -> Iterator[None]:
    """Inside, the features that a block is given are noted, in the order of the last calls."""

    def note(block: nn.Module, given: tuple[object, ...]) -> None:
        noted.pop(block, None)
        features = given[0] if given else None
        if isinstance(features, Tensor) and features.dim() in POOLED:
            axes = POOLED[features.dim()]
            noted[block] = features.float().mean(axes) if axes else features.float().clone()  # before it is changed

    handles = [block.register_forward_pre_hook(note) for block in blocks]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _blocks(model: nn.Module) -> list[nn.Module]:
    """Modules with weights that the network is made of, on the first level that has enough of them."""
    blocks = [model]
    while len(blocks) < FEWEST:
        opened = [part for block in blocks for part in _parts(block) or [block]]
        if opened == blocks:
            break
        blocks = opened
    return list(dict.fromkeys(blocks))


def _parts(block: nn.Module) -> list[nn.Module]:
    """Children with matrices or kernels of weights; an attention layer never calls its own."""
    if isinstance(block, nn.MultiheadAttention):
        return []
    return [child for child in block.children() if any(weight.dim() > 1 for weight in child.parameters())]


def _spread(count: int) -> IntArray:
    """Places of ``MOST`` blocks, or of all, from the first to the last."""
    return np.unique(np.linspace(0, max(0, count - 1), min(count, MOST)).round().astype(np.int64))
