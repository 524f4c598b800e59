"""Labelled images as uint8 arrays, in memory or mapped from disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.errors import DataError
from natmu.types import IntArray

if TYPE_CHECKING:
    from natmu.data.own import OwnParts

ByteArray = npt.NDArray[np.uint8]

_BLOCK = 1024
"""Images that are read at a time where all of them are read."""


@dataclass(frozen=True, eq=False)
class Labelling:
    """A second labelling of the same images, finer or coarser than the model's classes.

    Attributes:
        labels: int64 ``(N,)``.
        names: One name per value of ``labels``.
    """

    labels: Tensor
    names: tuple[str, ...]


class MappedImages:
    """Rows of an array that is mapped from a file, read only where they are indexed.

    Pickled, it is the file's name and a place in it; the other process maps the same file.

    Args:
        array: uint8 ``(M, C, H, W)``, a view of a ``np.memmap`` in any order of its axes.
        rows: int64 ``(N,)``, which of them; all where None.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, array: ByteArray, rows: IntArray | None = None) -> None:
        self._array = array
        self._rows = rows

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, C, H, W)``."""
        return (len(self), *self._array.shape[1:])

    def __len__(self) -> int:
        return len(self._array if self._rows is None else self._rows)

    def __getitem__(self, key: int | slice | IntArray) -> ByteArray:
        images: ByteArray = self._array[key if self._rows is None else self._rows[key]]
        return images

    def subset(self, rows: IntArray) -> MappedImages:
        """The images at these positions, mapped still."""
        return MappedImages(self._array, rows if self._rows is None else self._rows[rows])

    def __reduce__(self) -> tuple[Any, ...]:
        mapping = _mapping(self._array)
        assert mapping is not None
        first = mapping.offset + self._array.ctypes.data - mapping.ctypes.data
        return _remapped, (str(mapping.filename), first, self._array.shape, self._array.strides, self._rows)


def _mapping(array: ByteArray) -> np.memmap[Any, Any] | None:
    """The mapping of a file that an array is a view of, where it is one."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array if isinstance(array, np.memmap) and array.filename is not None else None


def _remapped(
    file: str, first: int, shape: tuple[int, ...], strides: tuple[int, ...], rows: IntArray | None
) -> MappedImages:
    """Map images once more, in a process that was sent them.

    Raises:
        DataError: The file is gone, or ends before the images do.
    """
    try:
        whole = np.memmap(file, np.uint8, "r")
        return MappedImages(np.ndarray(shape, np.uint8, whole, first, strides), rows)
    except (OSError, TypeError, ValueError) as error:
        raise DataError(
            f"The images in {file} cannot be read by another process ({error}); leave the file as it is while "
            "the work goes on."
        ) from None


Images = Tensor | ByteArray | MappedImages


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, read through ``take`` alone.

    Pickled, images that are mapped from a file are its name and a place in it, and never copied.

    Attributes:
        images: uint8 ``(N, C, H, W)``, a tensor, a numpy array that may be mapped from disk, or rows of a mapped one.
        labels: int64 ``(N,)``, the classes of the model, ``0 … len(class_names) - 1``.
        class_names: One name per class.
        fine: Labels finer than ``labels`` (CIFAR-20's 100 classes), if there are any.
        coarse: Labels coarser than ``labels`` (CIFAR-100's 20 superclasses), if there are any.

    Raises:
        DataError: Shapes, types or label values do not fit together.
    """

    images: Images
    labels: Tensor
    class_names: tuple[str, ...]
    fine: Labelling | None = None
    coarse: Labelling | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or self.images.dtype not in (torch.uint8, np.dtype(np.uint8)):
            raise DataError(f"Images must be uint8 of shape (N, C, H, W), not {self.images.dtype} of shape {shape}.")
        for what, labels, names in self._labellings():
            if labels.dtype != torch.int64 or labels.shape != (shape[0],):
                raise DataError(f"{what} must be int64, one for each of {shape[0]} images, not {tuple(labels.shape)}.")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
                low, high = int(labels.min()), int(labels.max())
                raise DataError(f"{what} run from {low} to {high}, but there are {len(names)} names for them.")

    def _labellings(self) -> list[tuple[str, Tensor, tuple[str, ...]]]:
        rows = [("Labels", self.labels, self.class_names)]
        rows += [("Fine labels", self.fine.labels, self.fine.names)] if self.fine else []
        rows += [("Coarse labels", self.coarse.labels, self.coarse.names)] if self.coarse else []
        return rows

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def num_classes(self) -> int:
        """Number of classes of the model."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        channels, height, width = self.images.shape[1:]
        return int(channels), int(height), int(width)

    @property
    def resident(self) -> bool:
        """Whether the images are a tensor, as opposed to a mapped array that is read piece by piece."""
        return isinstance(self.images, Tensor)

    def take(self, indices: Tensor) -> Tensor:
        """The images at these positions, uint8 ``(B, C, H, W)``, on the device where the images live."""
        if isinstance(self.images, Tensor):
            return self.images.index_select(0, indices.to(self.images.device))
        return torch.from_numpy(np.ascontiguousarray(self.images[indices.cpu().numpy()]))

    def to(self, device: torch.device) -> ImageData:
        """The same data with its images on the device; a mapped array stays mapped unless it fits a GPU twice."""
        if isinstance(self.images, Tensor):
            return replace(self, images=self.images.to(device))
        if device.type == "cuda" and 2 * math.prod(self.images.shape) < torch.cuda.mem_get_info(device)[0]:
            blocks = torch.split(torch.arange(len(self)), _BLOCK)
            return replace(self, images=torch.cat([self.take(rows).to(device) for rows in blocks]))
        return self

    def subset(self, indices: IntArray | Sequence[int]) -> ImageData:
        """The samples at these positions: a copy, or rows of the same file where the images are mapped."""
        positions = np.asarray(indices, np.int64)
        rows = torch.as_tensor(positions)
        mapped = self._mapped()
        images = self.take(rows) if mapped is None else mapped.subset(positions)
        fine = None if self.fine is None else Labelling(self.fine.labels[rows], self.fine.names)
        coarse = None if self.coarse is None else Labelling(self.coarse.labels[rows], self.coarse.names)
        return ImageData(images, self.labels[rows], self.class_names, fine, coarse)

    def kept_as(self, images: Images) -> ImageData:
        """The same data with the same images in another form; a digest that is known stays known."""
        other = replace(self, images=images)
        if "digest" in self.__dict__:
            other.__dict__["digest"] = self.digest
        return other

    def _mapped(self) -> MappedImages | None:
        """The images where they are mapped from a file."""
        if isinstance(self.images, np.ndarray):
            return None if _mapping(self.images) is None else MappedImages(self.images)
        return None if isinstance(self.images, Tensor) else self.images

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"images": self._mapped() or self.images}

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of images, labels and names."""
        state = hashlib.blake2b(digest_size=16)
        state.update(repr((tuple(self.images.shape), self.class_names)).encode())
        for start in range(0, len(self), _BLOCK):
            block = self.images[start : start + _BLOCK]
            state.update(np.ascontiguousarray(block.cpu().numpy() if isinstance(block, Tensor) else block).data)
        for what, labels, names in self._labellings():
            state.update(repr((what, names)).encode())
            state.update(np.ascontiguousarray(labels.numpy()).data)
        return state.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """A data set as it is used: training, test, and, where it exists, holdout.

    Attributes:
        name: What it is called, such as ``cifar10``.
        train: The only samples that a model is trained on and that can be forgotten.
        test: For reported scores only; no method and no search ever sees it.
        holdout: Never trained on, apart from the test set; for tuning.
        mean: Channel means of the training images in ``[0, 1]``, for the model's normalisation layer.
        std: Channel standard deviations, likewise.
        own: The samples of ``train`` and ``test`` as the user's own loader has them, where there is one.
    """

    name: str
    train: ImageData
    test: ImageData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    holdout: ImageData | None = None
    own: OwnParts | None = None
