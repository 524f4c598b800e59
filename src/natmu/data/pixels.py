"""From arrays as people store them to ``(N, C, H, W)``, and what can be computed of such images by blocks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from natmu.data.decoded import Statistics, remembered_statistics
from natmu.data.forms import Form
from natmu.data.images import ImageData
from natmu.data.kinds import blocks, to_pixels
from natmu.data.mapped import Images, PixelArray, mapped
from natmu.errors import DataError
from natmu.progress import say
from natmu.types import IntArray

_Doubles = npt.NDArray[np.float64]

_FEW_LEVELS = 8
"""Grey levels from the darkest to the brightest pixel, below which images of 8 bits are taken for a mistake."""

_LOOKED_AT = 256
"""Images whose grey levels are looked at."""

MAX_CLASSES = 100_000
"""Labels beyond this are taken for a mistake, such as identifiers in place of classes."""


def to_nchw(images: npt.NDArray[Any], what: str) -> PixelArray:
    """Bring images to ``(N, C, H, W)``; uint8 is viewed, not copied, so a mapped array stays mapped.

    The channel axis of a four-dimensional array is the one of size 1 or 3, else the smaller one; axis 1 on a tie.
    Floats stay what they are, see ``to_pixels``.

    Args:
        images: ``(N, H, W)``, ``(N, C, H, W)`` or ``(N, H, W, C)``.
        what: Names the images in errors.

    Raises:
        DataError: Wrong number of dimensions, no images, or values that are neither uint8 nor finite floats.
    """
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise DataError(f"{what} must be (N, H, W), (N, C, H, W) or (N, H, W, C) and not empty, not {images.shape}.")
    pixels = to_pixels(images, what)
    if pixels.ndim == 3:
        return pixels[:, None]
    return pixels if _channels_first(pixels.shape[1], pixels.shape[3]) else pixels.transpose(0, 3, 1, 2)


def _channels_first(second: int, last: int) -> bool:
    """Whether axis 1 rather than axis 3 holds the channels."""
    usual = (1, 3)
    return second in usual or (last not in usual and second <= last)


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


def plain_names(*labels: IntArray) -> tuple[str, ...]:
    """Class names ``0``, ``1``, … for data that has none, as many as the largest label asks for."""
    return tuple(str(number) for number in range(1 + max(int(part.max(initial=-1)) for part in labels)))


def image_data(images: PixelArray, labels: IntArray, names: tuple[str, ...]) -> ImageData:
    """Labelled images; a mapped array stays mapped, any other becomes a tensor."""
    kept = images if isinstance(images, np.memmap) else resident(images)
    return ImageData(kept, torch.from_numpy(labels), names)


def say_if_flat(data: ImageData) -> None:
    """Leave a line where images show next to nothing, as floats do that were made bytes without being scaled."""
    rows = np.unique(np.linspace(0, max(0, len(data) - 1), min(len(data), _LOOKED_AT)).round().astype(np.int64))
    if not len(rows):
        return
    low, high = (float(end) for end in data.take(torch.from_numpy(rows)).float().aminmax())
    if low == high:
        say(f"All pixels of the images that were looked at are {low:g}; so the model cannot distinguish them.")
    elif not data.floating and high - low < _FEW_LEVELS:
        say(
            f"The images have few grey levels, {low:g} to {high:g} of 255. If they were floats once, give the floats: "
            "natmu passes them to the model as they are."
        )


def resident(images: PixelArray) -> Tensor:
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
    floating = images.dtype not in (torch.uint8, np.dtype(np.uint8))
    if floating and wanted == 1 and channels == 3:
        raise DataError("Floats of three channels are not turned to grey; leave --channels out.")
    result: PixelArray = np.empty((count, wanted, high, wide), np.float32 if floating else np.uint8)
    for row in range(count):
        image = np.ascontiguousarray(images[row], result.dtype)
        if wanted == 1 and channels == 3:
            image = np.asarray(Image.fromarray(image.transpose(1, 2, 0)).convert("L"))[None]
        for channel, plane in enumerate(image):
            result[row, channel if wanted == len(image) else slice(None)] = np.asarray(form.of(Image.fromarray(plane)))
    return torch.from_numpy(result)


def channel_statistics(images: Images) -> Statistics:
    """Mean and standard deviation of each channel, exact, in the memory of one block.

    Args:
        images: ``(N, C, H, W)``.

    Returns:
        Means and standard deviations of what a model is given, of bytes in ``[0, 1]``; a channel that never changes
        gets standard deviation 1, because a model divides by it.
    """
    where = mapped(images)
    if where is None:
        return _channel_statistics(images)
    return remembered_statistics(where.file, where.place, lambda: _channel_statistics(images))


def _channel_statistics(images: Images) -> Statistics:
    if images.dtype in (torch.uint8, np.dtype(np.uint8)):
        mean, variance = _moments_of_bytes(images)
    else:
        mean, variance = _moments_of_floats(images)
    std = np.where(variance > 0, np.sqrt(variance), 1.0)
    return tuple(mean.tolist()), tuple(std.tolist())


def _moments_of_bytes(images: Images) -> tuple[_Doubles, _Doubles]:
    """Exact mean and variance of each channel, from how often each byte occurs."""
    counts = np.zeros((int(images.shape[1]), 256), np.int64)
    for rows in blocks(images.shape):
        block = np.asarray(images[rows])
        for channel in range(len(counts)):
            counts[channel] += np.bincount(block[:, channel].ravel(), minlength=256)
    values = np.arange(256) / 255
    total = counts.sum(axis=1)
    mean = counts @ values / total
    return mean, (counts * (values - mean[:, None]) ** 2).sum(axis=1) / total


def _moments_of_floats(images: Images) -> tuple[_Doubles, _Doubles]:
    """Mean and variance of each channel, in two passes, so that a large mean costs the variance no digits."""
    total = math.prod(images.shape) // int(images.shape[1])
    mean = _channel_sums(images, 0.0, 1) / total
    return mean, _channel_sums(images, mean[:, None, None], 2) / total


def _channel_sums(images: Images, centre: _Doubles | float, power: int) -> _Doubles:
    """The sum over each channel of a power of the distance from a centre."""
    sums = np.zeros(int(images.shape[1]))
    for rows in blocks(images.shape):
        sums += ((np.asarray(images[rows], np.float64) - centre) ** power).sum(axis=(0, 2, 3))
    return sums
