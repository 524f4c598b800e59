"""Which weights of a model its answer depends on."""

from __future__ import annotations

import copy

import torch
from torch import nn

from natmu.engine.compute import Compute
from natmu.engine.passes import detached


def reached(model: nn.Module, image_shape: tuple[int, int, int], compute: Compute) -> set[int]:
    """The parameters that take part in a model's answer in eval mode, frozen ones among them, as their ``id``.

    Auxiliary heads, or layers that were left over when a head was replaced, do not.

    Args:
        model: It is not changed.
        image_shape: Channels, height, width.
        compute: The device.
    """
    trial = compute.place(detached(copy.deepcopy(model))).eval().requires_grad_(True)
    with compute.private_randomness(), torch.enable_grad():
        answer = trial(torch.full((2, *image_shape), 0.5, device=compute.device))
        gradients = torch.autograd.grad(answer.float().sum(), list(trial.parameters()), allow_unused=True)
    found = zip(model.parameters(), gradients, strict=True)
    return {id(parameter) for parameter, gradient in found if gradient is not None}
