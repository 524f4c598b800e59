"""The user's own augmentation of a batch on its device."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from natmu.errors import FAULTS, SettingError, quoted

Augmentation = Callable[[Tensor], Tensor]
"""From float32 ``(B, C, H, W)``, as the model is given them, to the same shape; its random numbers come from torch."""


def augmented(function: Augmentation, images_BCHW: Tensor, chosen_B: Tensor, seed: int) -> Tensor:
    """Images, those that are chosen after the user's augmentation.

    Args:
        function: The augmentation, which sees the others too.
        images_BCHW: float32, channels last.
        chosen_B: bool, on the same device, which is not waited for.
        seed: What PyTorch's generators hold meanwhile.
    """
    changed = _called(function, images_BCHW.clone(), seed)
    images: Tensor = torch.where(chosen_B.view(-1, 1, 1, 1), changed.to(images_BCHW), images_BCHW)
    return images.contiguous(memory_format=torch.channels_last)


def check_augmentation(function: Augmentation, images_BCHW: Tensor) -> None:
    """Refuse an augmentation that fails on a batch, or gives anything else than such a batch, twice the same.

    Raises:
        SettingError: It does not work, in one sentence.
    """
    name = getattr(function, "__qualname__", type(function).__name__)
    shape = tuple(images_BCHW.shape)
    try:
        first, again = (_called(function, images_BCHW.clone(), 0) for _ in range(2))
    except FAULTS as error:
        raise SettingError(
            f"augment: {name} failed on a batch of shape {shape} ({quoted(error)}); it is given float32 images on the "
            "device, as the model is given them, and returns as many of the same shape."
        ) from error
    if not isinstance(first, Tensor) or first.shape != images_BCHW.shape or not first.is_floating_point():
        what = f"{first.dtype} of shape {tuple(first.shape)}" if isinstance(first, Tensor) else type(first).__name__
        raise SettingError(f"augment: {name} returned {what} for float32 images {shape}; return the same shape.")
    if not bool(torch.isfinite(first).all()):
        raise SettingError(f"augment: {name} returned pixels that are NaN or infinite; mend it.")
    if not torch.equal(first, again):
        raise SettingError(
            f"augment: {name} gives other images for the same seed of PyTorch, so that no result could be repeated; "
            "draw its random numbers with torch."
        )


def _called(function: Augmentation, images_BCHW: Tensor, seed: int) -> Tensor:
    """What the function returns while PyTorch's generators have this seed; they are put back afterwards."""
    device = images_BCHW.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        return function(images_BCHW)
