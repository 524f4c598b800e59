"""Labelled images as uint8 arrays, in memory or mapped from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from natmu.errors import DataError
from natmu.types import IntArray

ByteArray = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Labelling:
    """A second labelling of the same images, finer or coarser than the model's classes.

    Attributes:
        labels: int64 ``(N,)``.
        names: One name per value of ``labels``.
    """

    labels: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, read through ``take`` alone.

    Attributes:
        images: uint8 ``(N, C, H, W)``, a tensor, or a numpy array that may be mapped from disk.
        labels: int64 ``(N,)``, the classes of the model, ``0 … len(class_names) - 1``.
        class_names: One name per class.
        fine: Labels finer than ``labels`` (CIFAR-20's 100 classes), if there are any.
        coarse: Labels coarser than ``labels`` (CIFAR-100's 20 superclasses), if there are any.

    Raises:
        DataError: Shapes, types or label values do not fit together.
    """

    images: Tensor | ByteArray
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
        images = self.images
        if isinstance(images, Tensor):
            return replace(self, images=images.to(device))
        if device.type == "cuda" and 2 * images.nbytes < torch.cuda.mem_get_info(device)[0]:
            return replace(self, images=torch.from_numpy(np.ascontiguousarray(images)).to(device))
        return self

    def subset(self, indices: IntArray | Sequence[int]) -> ImageData:
        """A copy of the samples at these positions."""
        rows = torch.as_tensor(np.asarray(indices, np.int64))
        fine = None if self.fine is None else Labelling(self.fine.labels[rows], self.fine.names)
        coarse = None if self.coarse is None else Labelling(self.coarse.labels[rows], self.coarse.names)
        return ImageData(self.take(rows), self.labels[rows], self.class_names, fine, coarse)

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of images, labels and names."""
        state = hashlib.blake2b(digest_size=16)
        state.update(repr((tuple(self.images.shape), self.class_names)).encode())
        for start in range(0, len(self), 4096):
            stop = min(start + 4096, len(self))
            block = self.images[start:stop]
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
    """

    name: str
    train: ImageData
    test: ImageData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    holdout: ImageData | None = None
