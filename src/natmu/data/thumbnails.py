"""Small copies of images, to be shown."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from natmu.data.images import ByteArray, ImageData
from natmu.types import IntArray

LARGEST = 96
"""Pixels of the longer side that an image keeps at most."""


def thumbnails(data: ImageData, positions: IntArray) -> ByteArray:
    """Images at these positions as grey ``(K, H, W)`` or colour ``(K, H, W, 3)``, no side longer than ``LARGEST``.

    Args:
        data: Source of the images.
        positions: int64 ``(K,)``.
    """
    pixels = displayed(data, data.take(torch.from_numpy(positions)))
    height, width = pixels.shape[1:3]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pixels])


def displayed(data: ImageData, images_BCHW: Tensor) -> ByteArray:
    """Images to be looked at: grey ``(B, H, W)``, or colour ``(B, H, W, 3)`` of which further channels are left out.

    Args:
        data: Whose range of each channel becomes black to white; that of bytes is as it is.
        images_BCHW: As they are stored, or as a model is given them.
    """
    if images_BCHW.dtype != torch.uint8:
        low, high = (bound.to(images_BCHW.device).view(-1, 1, 1) for bound in data.bounds)
        width = torch.where(high > low, high - low, 1)
        images_BCHW = ((images_BCHW.float() - low) / width * 255).clamp(0, 255).round().to(torch.uint8)
    shown = images_BCHW[:, :3] if images_BCHW.shape[1] > 2 else images_BCHW[:, 0]
    pixels = shown.cpu().numpy()
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1) if pixels.ndim == 4 else pixels)
