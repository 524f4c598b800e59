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

    Raises:
        SettingError: It fails on this batch, though it did not on the first, or returns something else.
    """
    try:
        changed = _called(function, images_BCHW.clone(), seed)
    except FAULTS as error:
        raise SettingError(
            f"augment: {_name(function)} failed on a later batch ({quoted(error)}); correct it."
        ) from error
    _require_images(function, changed, images_BCHW)
    images: Tensor = torch.where(chosen_B.view(-1, 1, 1, 1), changed.to(images_BCHW), images_BCHW)
    return images.contiguous(memory_format=torch.channels_last)


def check_augmentation(function: Augmentation, images_BCHW: Tensor) -> None:
    """Refuse an augmentation that fails on a batch, or gives anything else than such a batch, twice the same.

    Raises:
        SettingError: It does not work, in one sentence.
    """
    name, shape = _name(function), tuple(images_BCHW.shape)
    try:
        first, again = (_called(function, images_BCHW.clone(), 0) for _ in range(2))
    except FAULTS as error:
        raise SettingError(
            f"augment: {name} failed on a batch of shape {shape} ({quoted(error)}). It gets float32 images on the "
            "device, as the model gets them, and must return as many of the same shape."
        ) from error
    _require_images(function, first, images_BCHW)
    if not bool(torch.isfinite(first).all()):
        raise SettingError(f"augment: {name} returned pixels that are NaN or infinite; correct it.")
    if not torch.equal(first, again):
        raise SettingError(
            f"augment: {name} gives other images for the same seed of PyTorch, so no result could be repeated; draw "
            "its random numbers with torch."
        )


def _name(function: Augmentation) -> str:
    return getattr(function, "__qualname__", type(function).__name__)


def _require_images(function: Augmentation, changed: object, images_BCHW: Tensor) -> None:
    """Refuse what is no batch of images of the same shape."""
    if not isinstance(changed, Tensor) or changed.shape != images_BCHW.shape or not changed.is_floating_point():
        kind, shape = type(changed).__name__, tuple(images_BCHW.shape)
        what = f"{changed.dtype} of shape {tuple(changed.shape)}" if isinstance(changed, Tensor) else kind
        raise SettingError(
            f"augment: {_name(function)} returned {what} for float32 images {shape}; return the same shape."
        )


def _called(function: Augmentation, images_BCHW: Tensor, seed: int) -> Tensor:
    """What the function returns while PyTorch's generators have this seed; they are put back afterwards."""
    device = images_BCHW.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.no_grad():
        torch.manual_seed(seed)
        return function(images_BCHW)
