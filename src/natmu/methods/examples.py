"""A few of NatMU's hybrids as arrays, for a picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.data.batches import render
from natmu.methods.natmu import NatMU
from natmu.methods.problem import Problem
from natmu.records.study import Hybrids

EXAMPLES = 4


def hybrid_examples(method: NatMU, problem: Problem) -> Hybrids:
    """Forget images, masks, partners and hybrids of a few forget samples, one rank each.

    Args:
        method: NatMU with its settings.
        problem: What it is to forget; its model chooses the classes.
    """
    data, forget = problem.data, problem.forget
    hybrids = method.preview(problem)
    blend = hybrids.blend
    assert blend is not None, "NatMU blends"
    count = min(EXAMPLES, len(forget))
    ranks = len(hybrids) // len(forget)
    spread = torch.linspace(0, len(forget) - 1, count).round().long()
    rows = spread * ranks + torch.arange(count) % ranks
    names = data.class_names
    return Hybrids(
        forget=_pixels(data.take(blend.others[rows])),
        partner=_pixels(data.take(hybrids.positions[rows])),
        mask=blend.weights[blend.masks[rows]].numpy(),
        hybrid=_pixels(render(data, hybrids, rows).mul(255).round().to(torch.uint8)),
        forget_names=np.array([names[int(label)] for label in data.labels[blend.others[rows]]], np.str_),
        partner_names=np.array([names[int(label)] for label in hybrids.labels[rows]], np.str_),
    )


def _pixels(images_BCHW: Tensor) -> npt.NDArray[np.uint8]:
    """Grey images as ``(B, H, W)``, colour images as ``(B, H, W, 3)``."""
    pixels: npt.NDArray[np.uint8] = images_BCHW.cpu().permute(0, 2, 3, 1).contiguous().numpy()
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels
