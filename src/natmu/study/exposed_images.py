"""The images of the most exposed forget samples, stored beside an audit so that a report needs no data set."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from natmu.data import ImageData
from natmu.records.files import write_atomically

KEPT = 24
LARGEST = 96
"""Pixels of the longer side that an image keeps at most."""


def store_exposed(samples: Sequence[Mapping[str, Any]], data: ImageData, folder: Path) -> None:
    """Write ``exposed.npz``: ``images`` uint8 ``(K, H, W)`` or ``(K, H, W, 3)``, ``samples`` int64 ``(K,)``, ``names``.

    Args:
        samples: Rows of ``exposed_samples``, the most exposed forget samples first.
        data: The training data.
        folder: Where to write.
    """
    chosen = [row for row in samples if row["part"] == "forget"][:KEPT]
    positions = np.array([row["index"] for row in chosen], np.int64)
    arrays = {
        "images": _pictures(data.take(torch.from_numpy(positions)).cpu().permute(0, 2, 3, 1).numpy()),
        "samples": positions,
        "names": np.array([data.class_names[row["class"]] for row in chosen], np.str_),
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]
    write_atomically(folder / "exposed.npz", content.getvalue())


def _pictures(pixels_KHWC: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Grey ``(K, H, W)`` or colour ``(K, H, W, 3)`` images, no side longer than ``LARGEST``."""
    pixels = pixels_KHWC[..., 0] if pixels_KHWC.shape[-1] == 1 else pixels_KHWC
    height, width = pixels.shape[1:3]
    share = LARGEST / max(height, width)
    if share >= 1:
        return np.ascontiguousarray(pixels)
    size = (max(1, round(width * share)), max(1, round(height * share)))
    return np.stack([np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BOX)) for one in pixels])
