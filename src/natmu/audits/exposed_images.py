"""The images of the most exposed forget samples, stored beside an audit so that a report needs no data set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from natmu.data import ImageData
from natmu.records.samples import Exposed, Sample

KEPT = 24
LARGEST = 96
"""Pixels of the longer side that an image keeps at most."""


def exposed_images(samples: Sequence[Sample], data: ImageData) -> Exposed:
    """Pictures of the most exposed forget samples.

    Args:
        samples: The table of an audit, the most exposed forget samples first.
        data: The training data.
    """
    chosen = [sample for sample in samples if sample.part == "forget"][:KEPT]
    positions = np.array([sample.index for sample in chosen], np.int64)
    return Exposed(
        images=_pictures(data.take(torch.from_numpy(positions)).cpu().permute(0, 2, 3, 1).numpy()),
        samples=positions,
        names=np.array([data.class_names[sample.label] for sample in chosen], np.str_),
    )


def _pictures(pixels_KHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey ``(K, H, W)`` or colour ``(K, H, W, 3)`` images, no side longer than ``LARGEST``."""
    pixels = pixels_KHWC[..., 0] if pixels_KHWC.shape[-1] == 1 else pixels_KHWC
    height, width = pixels.shape[1:3]
    share = LARGEST / max(height, width)
    if share >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pixels])
