"""A few of NatMU's hybrids as arrays, for a picture."""

from __future__ import annotations

import numpy as np
import torch

from natmu.data.batches import render
from natmu.data.thumbnails import displayed
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
        forget=displayed(data, data.take(blend.others[rows])),
        partner=displayed(data, data.take(hybrids.positions[rows])),
        mask=blend.weights[blend.masks[rows]].numpy(),
        hybrid=displayed(data, render(data, hybrids, rows)),
        forget_names=np.array([names[int(label)] for label in data.labels[blend.others[rows]]], np.str_),
        partner_names=np.array([names[int(label)] for label in hybrids.labels[rows]], np.str_),
    )
