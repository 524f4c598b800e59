"""What the architectures share: normalisation as a layer, and the check of the images they are built for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from natmu.errors import ModelError

ImageShape = tuple[int, int, int]
"""Channels, height and width.

Examples:
    >>> shape: ImageShape = (3, 32, 32)  # channels, height, width
"""


class Normalize(nn.Module):
    """Shift and scale each channel, so that a model takes images in [0, 1] and a data set knows nothing of a model.

    Mean and standard deviation are constants of the training data, not weights: they are saved with the model, and
    re-drawing its weights leaves them as they are.

    Args:
        mean: One mean per channel, in units of images in [0, 1].
        std: One positive standard deviation per channel, in the same units.

    Raises:
        ModelError: The two differ in length, are not finite, or some deviation is not positive.

    Examples:
        >>> import torch
        >>> Normalize(mean=[0.5], std=[0.25])(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std) or not mean or not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
            raise ModelError(
                f"Normalisation needs one finite mean and one positive deviation per channel, not mean {tuple(mean)} "
                f"and std {tuple(std)}."
            )
        self.register_buffer("mean", torch.tensor(tuple(mean), dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(tuple(std), dtype=torch.float32).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images, keeping their type and memory format.

        Args:
            images: Floating point ``(B, C, H, W)`` in [0, 1].

        Raises:
            ModelError: The images are integers, which would be taken for values far outside [0, 1].
        """
        if not images.is_floating_point():
            raise ModelError(f"A model takes floating-point images in [0, 1], not {images.dtype}: divide them by 255.")
        return ((images - self.mean) / self.std).to(images.dtype)

    def extra_repr(self) -> str:
        """Channels, for ``print(model)``."""
        return f"channels={self.mean.numel()}"


def check_image_shape(family: str, image_shape: ImageShape, min_size: int) -> None:
    """Refuse images that would shrink to nothing on the way through a network.

    Args:
        family: Name of the architecture, for the message.
        image_shape: Channels, height, width.
        min_size: Smallest height and width, in pixels, that the architecture can take.

    Raises:
        ModelError: The images are too small.
    """
    _, height, width = image_shape
    if min(height, width) < min_size:
        raise ModelError(
            f"{family} needs images of at least {min_size} x {min_size} pixels, not {height} x {width}: "
            "enlarge them or choose a model that takes smaller ones (natmu models lists them)."
        )
