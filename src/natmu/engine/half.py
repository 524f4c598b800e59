"""Models whose weights are stored in half precision: they are trained in single precision, and rounded at the end."""

from __future__ import annotations

import copy

import torch
from torch import nn

from natmu.engine.compute import Compute
from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted

HALF = (torch.float16, torch.bfloat16)


def in_half(model: nn.Module) -> bool:
    """Whether a model has weights in half precision, in which small steps of training are lost."""
    return any(weight.dtype in HALF for weight in model.parameters())


def in_single(model: nn.Module) -> nn.Module:
    """A model with its half-precision weights and statistics in single precision, in place; others stay as they are."""
    for module in model.modules():
        own = {**module._parameters, **module._buffers}
        for tensor in own.values():
            if tensor is not None and tensor.dtype in HALF:
                tensor.data = tensor.data.float()
    return model


def rounded_as(model: nn.Module, original: nn.Module) -> nn.Module:
    """A model with each parameter and buffer in the precision of the original's, in place."""
    wanted = {**dict(original.named_parameters()), **dict(original.named_buffers())}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if name in wanted:
            tensor.data = tensor.data.to(wanted[name].dtype)
    return model


def require_single(model: nn.Module, image_shape: tuple[int, int, int], compute: Compute) -> None:
    """Refuse a model with weights in half precision that does not work with those in single precision.

    Raises:
        ModelError: It fails on two grey images then.
    """
    if not in_half(model):
        return
    trial = compute.place(in_single(copy.deepcopy(model))).eval()
    try:
        with compute.private_randomness(), torch.no_grad():
            trial(torch.full((2, *image_shape), 0.5, device=compute.device))
    except FAULTS as error:
        raise ModelError(
            f"The weights of {type(model).__name__} are in half precision, which loses small steps, and the model "
            f"fails in single precision ({quoted(error)}). Give model.float(), and let its forward pass convert images "
            "to the type of its weights."
        ) from None
