"""A model called with other weights than its own."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call


def called_with(model: nn.Module, values: Mapping[str, Tensor], images: Tensor) -> Tensor:
    """A model's logits with other parameters or buffers, which take effect wherever the model uses them.

    ``torch.func.functional_call`` leaves such a value in a module that a model holds under two names. Here each module
    is changed under one of its names only, and a parameter that several modules share in all of them.

    Args:
        model: It is as before afterwards.
        values: By the names that ``named_parameters`` and ``named_buffers`` give.
        images: ``(B, C, H, W)``.
    """
    own = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    wanted = {id(own[name]): value for name, value in values.items()}
    everywhere = {
        f"{path}.{key}".lstrip("."): wanted[id(tensor)]
        for path, module in model.named_modules()
        for key, tensor in (*module._parameters.items(), *module._buffers.items())
        if id(tensor) in wanted
    }
    logits: Tensor = functional_call(model, everywhere, (images,), tie_weights=False)
    return logits
