"""Pixels in the smallest type that loses nothing: bytes, floats of 16 bits, floats of 32 bits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.data.images import ImageData
from natmu.data.mapped import PixelArray
from natmu.errors import DataError
from natmu.types import FloatArray

KINDS = (np.uint8, np.float16, np.float32)
"""From small to large; a byte stands for one of 256 numbers in [0, 1]."""

_BLOCK_BYTES = 2**23


def blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Cut images of this shape into pieces of some 8 million pixels, so that memory stays bounded."""
    step = max(_BLOCK_BYTES // math.prod(shape[1:]), 1)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def to_pixels(images: npt.NDArray[Any], what: str) -> PixelArray:
    """uint8 images as they are; floats as they are, in a smaller type where that loses nothing.

    Floats that are mapped from a file stay mapped, if they have 16 or 32 bits; those of 64 bits are rounded to 32,
    which is what a model is given.

    Args:
        images: ``(N, …)``, not empty.
        what: Names the images in errors.

    Raises:
        DataError: The values are neither, or some are NaN or infinite.
    """
    if images.dtype == np.uint8:
        return images
    if not np.issubdtype(images.dtype, np.floating):
        raise DataError(
            f"{what} must be uint8 or floats, not {images.dtype}. Give floats as the model takes them, such as "
            "images.astype('float32') / 65535 for 16 bits, or uint8, which natmu divides by 255."
        )
    _require_finite(images, what)
    if isinstance(images, np.memmap) and images.dtype in KINDS:
        return images
    return next(held for kind in KINDS if (held := _whole(images, kind)) is not None)


def as_floats(pixels: npt.NDArray[Any]) -> FloatArray:
    """Pixels as a model is given them: bytes divided by 255, floats as they are."""
    floats = np.asarray(pixels, np.float32)
    return floats / np.float32(255) if pixels.dtype == np.uint8 else floats


def fitting(pixels: npt.NDArray[Any], kind: type[np.generic]) -> PixelArray | None:
    """Pixels in one of ``KINDS``; None where a model would be given other numbers."""
    if pixels.dtype == kind:
        return pixels
    floats = as_floats(pixels)
    with np.errstate(over="ignore"):
        held: npt.NDArray[Any] = (floats * 255).clip(0, 255).round() if kind == np.uint8 else floats
        held = held.astype(kind)
    return held if kind == np.float32 or np.array_equal(as_floats(held), floats) else None


def _require_finite(images: npt.NDArray[Any], what: str) -> None:
    """Refuse NaN and infinity, also where they come of rounding to 32 bits."""
    for rows in blocks(images.shape):
        with np.errstate(over="ignore"):
            finite = np.isfinite(images[rows].astype(np.float32, copy=False))
        if not finite.all():
            row = rows.start + int(np.argmin(finite.reshape(len(finite), -1).all(axis=1)))
            which = f"{what}: sample {row}" if len(images) > 1 else what
            raise DataError(f"{which} has pixels that are NaN or infinite; correct that sample or leave it out.")


def _whole(images: npt.NDArray[Any], kind: type[np.generic]) -> PixelArray | None:
    """All images in one of ``KINDS``; None where that loses something."""
    if images.dtype == kind:
        return images
    result: PixelArray = np.empty(images.shape, kind)
    for rows in blocks(images.shape):
        held = fitting(images[rows], kind)
        if held is None:
            return None
        result[rows] = held
    return result


class Growing:
    """Images that come one by one, all in memory, in the smallest type that loses nothing of those that have come.

    Args:
        count: How many will come.
        shape: ``(C, H, W)``.
    """

    def __init__(self, count: int, shape: tuple[int, ...]) -> None:
        self.array: PixelArray = np.empty((count, *shape), np.uint8)

    def put(self, row: int, image: PixelArray) -> None:
        """Add an image, after those of all rows before it."""
        while (held := fitting(image, self.array.dtype.type)) is None:
            self._widen(row)
        self.array[row] = held

    def to_colour(self) -> None:
        """Grey images become colour images, those that come later too."""
        self.array = np.repeat(self.array, 3, axis=1)

    def _widen(self, filled: int) -> None:
        """Go to the next type that loses nothing of the rows that are filled."""
        for kind in KINDS[KINDS.index(self.array.dtype.type) + 1 :]:
            held = _whole(self.array[:filled], kind) if filled else self.array[:0].astype(kind)
            if held is not None:
                whole: PixelArray = np.empty(self.array.shape, kind)
                whole[:filled] = held
                self.array = whole
                return
        raise AssertionError("32 bits lose nothing")


def of_one_kind(parts: Sequence[ImageData], source: str) -> list[ImageData]:
    """The parts of a data set, those in memory in one type.

    Raises:
        DataError: Some hold numbers in [0, 1] and others do not, so that a model cannot be made for both.
    """
    kinds = {str(part.images.dtype).removeprefix("torch.") for part in parts}
    if len(kinds) == 1:
        return list(parts)
    lows, highs = zip(*(part.bounds for part in parts if part.floating), strict=True)
    if "uint8" in kinds and (min(low.min() for low in lows) < 0 or max(high.max() for high in highs) > 1):
        raise DataError(
            f"One part of {source} holds bytes, or floats in [0, 1], and another floats outside [0, 1]; give all parts "
            "as the model takes them."
        )
    return [replace(part, images=_floats(part.images)) if isinstance(part.images, Tensor) else part for part in parts]


def _floats(images: Tensor) -> Tensor:
    """Images in memory as float32."""
    return torch.from_numpy(as_floats(images.numpy()))
