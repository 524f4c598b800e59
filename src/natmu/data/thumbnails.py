"""Small copies of images, to be shown."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

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
    pixels_KHWC = data.take(torch.from_numpy(positions)).cpu().permute(0, 2, 3, 1).numpy()
    pixels: ByteArray = pixels_KHWC[..., 0] if pixels_KHWC.shape[-1] == 1 else pixels_KHWC
    height, width = pixels.shape[1:3]
    scale = LARGEST / max(height, width)
    if scale >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pixels])
