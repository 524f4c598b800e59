"""Which weights of a model its outputs depends on."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from natmu.engine.compute import Compute
from natmu.engine.passes import detached
from natmu.errors import ModelError
from natmu.models.faults import FAULTS, quoted


def reached(model: nn.Module, image_shape: tuple[int, int, int], compute: Compute) -> set[int]:
    """The parameters that take part in a model's outputs in eval mode, frozen ones among them, as their ``id``.

    Auxiliary heads, or layers that were left over when a head was replaced, do not.

    Args:
        model: It is not changed.
        image_shape: Channels, height, width.
        compute: The device.

    Raises:
        ModelError: It has no gradients.
    """
    trial = compute.place(detached(copy.deepcopy(model))).eval()
    weights = list(trial.parameters())
    floating = [weight.requires_grad_() for weight in weights if weight.is_floating_point()]
    with compute.private_randomness(), torch.enable_grad():
        outputs = trial(torch.full((2, *image_shape), 0.5, device=compute.device))
        _require_gradient(model, outputs)
        gradients = torch.autograd.grad(outputs.float().sum(), floating, allow_unused=True)
    own = [parameter for parameter in model.parameters() if parameter.is_floating_point()]
    return {id(weight) for weight, gradient in zip(own, gradients, strict=True) if gradient is not None}


def require_learning(model: nn.Module, image_shape: tuple[int, int, int], num_classes: int, compute: Compute) -> None:
    """Refuse a model that no step of training could change, or whose outputs are too few for the classes.

    Args:
        model: It is not changed.
        image_shape: Channels, height, width.
        num_classes: Of the data.
        compute: The device.

    Raises:
        ModelError: It cannot learn these classes, in one sentence.
    """
    what = type(model).__name__
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ModelError("The model has no parameter that requires a gradient; unfreeze what may be trained.")
    trial = compute.place(detached(copy.deepcopy(model))).eval()
    try:
        with compute.private_randomness(), torch.enable_grad():
            outputs = trial(torch.full((2, *image_shape), 0.5, device=compute.device))
    except FAULTS as error:
        raise ModelError(
            f"{what} fails on two images of shape {image_shape} ({quoted(error)}); it must accept those of the data."
        ) from error
    if not isinstance(outputs, Tensor) or outputs.dim() != 2 or len(outputs) != 2:
        shape = f"shape {tuple(outputs.shape)}" if isinstance(outputs, Tensor) else type(outputs).__name__
        raise ModelError(f"{what} returns {shape} for two images; one row of logits per image is needed.")
    if outputs.shape[1] < num_classes:
        raise ModelError(
            f"{what} has {outputs.shape[1]} outputs and the data {num_classes} classes; give a model with an output "
            "for each class, or data of its classes alone."
        )
    _require_gradient(model, outputs)


def _require_gradient(model: nn.Module, outputs: Tensor) -> None:
    if not outputs.requires_grad:
        raise ModelError(
            f"The outputs of {type(model).__name__} have no gradient by its weights, as under torch.no_grad or after "
            "detach(); let its forward pass keep the gradient."
        )
