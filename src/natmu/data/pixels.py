"""From arrays as people store them to uint8 ``(N, C, H, W)``, and what can be computed of such images by blocks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from natmu.data.decoded import Statistics, remembered_statistics
from natmu.data.forms import Form
from natmu.data.images import ByteArray, ImageData, Images, mapped
from natmu.errors import DataError
from natmu.types import IntArray

_BLOCK_BYTES = 2**23

MAX_CLASSES = 100_000
"""Labels beyond this are taken for a mistake, such as identifiers in place of classes."""


def to_nchw(images: npt.NDArray[Any], what: str) -> ByteArray:
    """Bring images to uint8 ``(N, C, H, W)``; uint8 input is viewed, not copied, so a mapped array stays mapped.

    The channel axis of a four-dimensional array is the one of size 1 or 3, else the smaller one; axis 1 on a tie.
    Floats in ``[0, 1]`` are scaled to ``0 … 255`` and rounded.

    Args:
        images: ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``.
        what: Names the images in errors.

    Raises:
        DataError: Wrong number of dimensions, no images, or values that are neither uint8 nor floats in ``[0, 1]``.
    """
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{what} must be (N, H, W), (N, C, H, W) or (N, H, W, C) and not empty, not {images.shape}.")
    pixels = to_bytes(images, what)
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels if _channels_first(pixels.shape[1], pixels.shape[3]) else pixels.transpose(0, 3, 1, 2)


def to_bytes(images: npt.NDArray[Any], what: str) -> ByteArray:
    """uint8 images as they are; floats in ``[0, 1]`` scaled to ``0 … 255`` and rounded.

    Args:
        images: ``(N, …)``, not empty.
        what: Names the images in errors.

    Raises:
        DataError: The values are neither.
    """
    if np.issubdtype(images.dtype, np.floating):
        return _floats_to_bytes(images, what)
    if images.dtype != np.uint8:
        raise DataError(f"{what} must be uint8 or floats in [0, 1], not {images.dtype}; convert them to uint8.")
    return images


def _channels_first(second: int, last: int) -> bool:
    """Whether axis 1 rather than axis 3 holds the channels."""
    usual = (1, 3)
    return second in usual or (last not in usual and second <= last)


def _blocks(shape: Sequence[int]) -> Iterator[slice]:
    """Cut images of this shape into pieces of some 8 MiB, so that memory stays bounded."""
    step = max(_BLOCK_BYTES // math.prod(shape[1:]), 1)
    return (slice(start, start + step) for start in range(0, shape[0], step))


def _floats_to_bytes(images: npt.NDArray[Any], what: str) -> ByteArray:
    """Scale floats in ``[0, 1]`` to uint8, block by block."""
    result = np.empty(images.shape, np.uint8)
    for rows in _blocks(images.shape):
        block = np.asarray(images[rows], np.float32)
        if not (block.min() >= 0 and block.max() <= 1):
            raise DataError(
                f"{what} hold floats outside [0, 1]; give uint8 images or floats in [0, 1], without normalisation "
                "(the model normalises)."
            )
        result[rows] = np.rint(block * 255)
    return result


def to_labels(labels: npt.NDArray[Any], count: int, what: str) -> IntArray:
    """Check labels and bring them to int64 ``(N,)``.

    Args:
        labels: Integers ``(N,)`` or ``(N, 1)``, not negative.
        count: The number of images.
        what: Names the labels in errors.

    Raises:
        DataError: Another shape or type, or values that cannot be classes.
    """
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(
            f"{what} must be one integer for each of {count} images, not {labels.dtype} of shape {labels.shape}."
        )
    if count and not 0 <= int(labels.min()) <= int(labels.max()) < MAX_CLASSES:
        low, high = int(labels.min()), int(labels.max())
        raise DataError(f"{what} run from {low} to {high}; number the classes 0, 1, 2 and so on.")
    return np.array(labels, np.int64)


def as_integer(value: object) -> int | None:
    """The integer that a Python or numpy number, or an array or tensor of one element, is; None for all else."""
    if isinstance(value, Tensor | np.ndarray) and math.prod(value.shape) == 1:
        value = value.item()
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, bool) else None


def plain_names(*labels: IntArray) -> tuple[str, ...]:
    """Class names ``0``, ``1``, … for data that has none, as many as the largest label asks for."""
    return tuple(str(number) for number in range(1 + max(int(part.max(initial=-1)) for part in labels)))


def image_data(images: ByteArray, labels: IntArray, names: tuple[str, ...]) -> ImageData:
    """Labelled images; a mapped array stays mapped, any other becomes a tensor."""
    kept = images if isinstance(images, np.memmap) else resident(images)
    return ImageData(kept, torch.from_numpy(labels), names)


def resident(images: ByteArray) -> Tensor:
    """The images as a tensor; copied only where they are read-only or not contiguous."""
    return torch.from_numpy(np.require(images, requirements=["C", "W"]))


def formed(images: Images, form: Form) -> Images:
    """The images in a form, in memory; as they are where they have it.

    Raises:
        DataError: The form asks for one or three channels, and the images have another number.
    """
    count, channels, height, width = (int(length) for length in images.shape)
    wanted, (wide, high) = form.channels or channels, form.size_of((width, height))
    if wanted == channels and form.keeps((width, height)):
        return images
    if wanted != channels and channels not in (1, 3):
        raise DataError(f"Images of {channels} channels cannot be given {wanted}; leave --channels out.")
    result = np.empty((count, wanted, high, wide), np.uint8)
    for row in range(count):
        image = np.ascontiguousarray(images[row])
        if wanted == 1 and channels == 3:
            image = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))[None]
        for channel, plane in enumerate(image):
            result[row, channel if wanted == len(image) else slice(None)] = np.asarray(form.of(Image.fromarray(plane)))
    return torch.from_numpy(result)


def channel_statistics(images: Images) -> Statistics:
    """Mean and standard deviation of each channel, exact, in the memory of one block.

    Args:
        images: uint8 ``(N, C, H, W)``.

    Returns:
        Means and standard deviations in ``[0, 1]``; a channel that never changes gets standard deviation 1, because
        a model divides by it.
    """
    where = mapped(images)
    if where is None:
        return _channel_statistics(images)
    return remembered_statistics(where.file, where.place, lambda: _channel_statistics(images))


def _channel_statistics(images: Images) -> Statistics:
    counts = np.zeros((int(images.shape[1]), 256), np.int64)
    for rows in _blocks(images.shape):
        block = np.asarray(images[rows])
        for channel in range(len(counts)):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    variance = (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())
