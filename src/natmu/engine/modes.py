"""Train and eval mode of a model's modules, and the gradient flags of its parameters."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from natmu.models.frozen import frozen_modules


def batch_norms(model: nn.Module) -> list[nn.Module]:
    """The model's modules that normalise by statistics of the batch."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm)]


def frozen_norms(model: nn.Module) -> list[nn.Module]:
    """The model's normalisation layers with running statistics that belong to a frozen part."""
    return [module for module in frozen_modules(model) if isinstance(module, _NormBase)]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; afterwards each module is in the mode it came in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def restore_modes(model: nn.Module, original: nn.Module) -> None:
    """Give each module its mode, and each parameter its gradient flag, of the original; gradients are dropped.

    Args:
        model: A changed copy of the original. A module of a new name gets the mode of the whole original, and a
            parameter of a new name can be trained.
        original: The model before it was changed.
    """
    modes = {name: module.training for name, module in original.named_modules()}
    for name, module in model.named_modules():
        module.training = modes.get(name, original.training)
    flags = {name: parameter.requires_grad for name, parameter in original.named_parameters()}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(flags.get(name, True))
        parameter.grad = None
