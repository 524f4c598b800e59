"""Weights that are no numbers."""

from __future__ import annotations

from torch import nn

from natmu.errors import ModelError


def broken_weight(model: nn.Module) -> str | None:
    """Name of the first parameter that holds NaN or infinity, or buffer that holds NaN; None where there is none.

    Infinity in a buffer is intended, as in the mask of an attention.
    """
    for name, value in model.named_parameters():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            return name
    for name, buffer in model.named_buffers():
        if buffer.is_floating_point() and bool(buffer.isnan().any()):
            return name
    return None


def require_finite_weights(model: nn.Module, what: str = "The original") -> None:
    """Refuse a model that was damaged before it came here.

    Args:
        model: The model.
        what: What it is called.

    Raises:
        ModelError: A weight is NaN or infinite.
    """
    if (name := broken_weight(model)) is not None:
        raise ModelError(
            f"{what} is damaged: its weight {name} is not finite, because its training diverged or its file is broken; "
            "start from another model."
        )
