"""Parts of a model that are not to be trained, such as a pretrained backbone."""

from __future__ import annotations

from torch import nn


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """The modules of a model's frozen parts: those whose parameters require no gradient, all of them.

    A module without parameters, such as batch normalisation without scale and shift, goes with the innermost module
    that contains it and has some.
    """
    modules = dict(model.named_modules())
    frozen: dict[str, bool] = {}
    for name, module in modules.items():
        flags = [parameter.requires_grad for parameter in module.parameters()]
        frozen[name] = not any(flags) if flags else frozen.get(name.rpartition(".")[0], False) and bool(name)
    return [module for name, module in modules.items() if frozen[name]]


def kept_frozen(model: nn.Module) -> str:
    """A sentence on the weights that stay as they are when a model is trained anew; empty where there are none."""
    weights = list(model.parameters())
    still = sum(weight.numel() for weight in weights if not weight.requires_grad)
    if not still:
        return ""
    total = sum(weight.numel() for weight in weights)
    return f"{still:,} of {total:,} weights are frozen and stay as they are, with the statistics of their layers"
