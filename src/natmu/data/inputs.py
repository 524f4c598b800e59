"""Stored images as what a model is given, and the range of what it is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from natmu.data.images import ImageData


@dataclass(frozen=True)
class InputRange:
    """The range of each channel of a model's inputs: [0, 1] where images are stored as bytes.

    Attributes:
        low: float32 ``(1, C, 1, 1)``, the lowest value.
        high: Likewise, the highest.
        width: Their difference, the unit in which changes of a pixel are measured; 1 for a channel that never changes.
    """

    low: Tensor
    high: Tensor
    width: Tensor

    @classmethod
    def of(cls, data: ImageData, device: torch.device) -> InputRange:
        """The range of a data set, on a device."""
        low, high = (bound.to(device).view(1, -1, 1, 1) for bound in data.bounds)
        return cls(low, high, torch.where(high > low, high - low, 1))

    def clip(self, images_BCHW: Tensor) -> Tensor:
        """Images with each channel in its range."""
        return images_BCHW.clamp(self.low, self.high)


def inputs(images_BCHW: Tensor) -> Tensor:
    """Stored images as a model is given them: float32, channels last; bytes are divided by 255, floats stay."""
    pixels = channels_last(images_BCHW)
    return pixels if images_BCHW.is_floating_point() else pixels.div_(255)


def channels_last(images_BCHW: Tensor) -> Tensor:
    """The images as float32 ``(B, C, H, W)``, channels last, in memory of their own.

    Plane by plane, which a CPU does several times faster than ``Tensor.to`` with a memory format.
    """
    batch, channels, height, width = images_BCHW.shape
    pixels_BHWC = torch.empty(batch, height, width, channels, device=images_BCHW.device)
    return torch.stack(images_BCHW.unbind(1), -1, out=pixels_BHWC).permute(0, 3, 1, 2)
