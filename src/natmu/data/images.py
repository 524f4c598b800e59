"""Labelled images as arrays of bytes or of floats."""

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

from natmu.data.decoded import remembered_digest
from natmu.data.mapped import Images, mapped
from natmu.errors import DataError, require_utf8
from natmu.records.names import SampleNames
from natmu.types import IntArray

if TYPE_CHECKING:
    from natmu.data.own import OwnParts

ByteArray = npt.NDArray[np.uint8]

KINDS = (torch.uint8, torch.float16, torch.float32, *map(np.dtype, ("uint8", "float16", "float32")))
"""Types that pixels may have; numpy's own byte order alone."""

_BLOCK = 1024
"""Images that are put on a GPU at a time."""

_BLOCK_BYTES = 2**23
"""Bytes of images that are read at a time for a digest."""


@dataclass(frozen=True, eq=False)
class Labelling:
    """A second labelling of the same images, finer or coarser than the model's classes.

    Attributes:
        labels: int64 ``(N,)``.
        names: One name per value of ``labels``.

    Examples:
        >>> import torch
        >>> breeds = Labelling(torch.tensor([0, 1, 2]), ("poodle", "beagle", "siamese"))
        >>> breeds.names[2]
        'siamese'
    """

    labels: Tensor
    names: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ImageData:
    """Labelled images, read through ``take`` alone.

    Pickled, images that are mapped from a file are its name and a place in it, and never copied.

    Attributes:
        images: ``(N, C, H, W)``, a tensor, a numpy array that may be mapped from disk, or rows of a mapped one. uint8
            is divided by 255 where a model is given it; float16 and float32 are handed to the model as they are.
        labels: int64 ``(N,)``, the classes of the model, ``0 … len(class_names) - 1``.
        class_names: One name per class.
        fine: Labels finer than ``labels`` (CIFAR-20's 100 classes), if there are any.
        coarse: Labels coarser than ``labels`` (CIFAR-100's 20 superclasses), if there are any.
        names: One name per sample, kept by every part of the data; by default the position as text.

    Raises:
        DataError: Shapes, types or label values do not fit together.
        UsageError: The name of a class is no text in UTF-8, which no record could hold.

    Examples:
        >>> import torch
        >>> data = ImageData(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.tensor([0, 1, 0, 1]), ("cat", "dog"))
        >>> len(data), data.image_shape, data.num_classes
        (4, (1, 8, 8), 2)
    """

    images: Images
    labels: Tensor
    class_names: tuple[str, ...]
    fine: Labelling | None = None
    coarse: Labelling | None = None
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or self.images.dtype not in KINDS:
            raise DataError(
                f"Images must be uint8, float16 or float32 of shape (N, C, H, W), not {self.images.dtype} of shape "
                f"{shape}."
            )
        for what, labels, names in self._labellings():
            if labels.dtype != torch.int64 or labels.shape != (shape[0],):
                raise DataError(f"{what} must be int64, one for each of {shape[0]} images, not {tuple(labels.shape)}.")
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(names):
                low, high = int(labels.min()), int(labels.max())
                raise DataError(f"{what} run from {low} to {high}, but there are {len(names)} names for them.")
            for name in names:
                require_utf8(str(name), "The class")
        if len(self.names) not in (0, len(self.labels)):
            raise DataError(f"There are {len(self.names)} names for {len(self.labels)} samples; give one for each.")
        if not isinstance(self.names, SampleNames):
            object.__setattr__(self, "names", SampleNames.of_source(len(self.labels), self.names))

    @property
    def sample_names(self) -> SampleNames:
        """The names, which also know the source that they come from."""
        assert isinstance(self.names, SampleNames)
        return self.names

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

    @property
    def floating(self) -> bool:
        """Whether pixels are floats, which a model is given as they are."""
        return self.images.dtype not in (torch.uint8, np.dtype(np.uint8))

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The lowest and the highest value of each channel as a model is given it, float32 ``(C,)`` each.

        0 and 1 for bytes, whatever they are; of floats those that occur.
        """
        channels = self.image_shape[0]
        low, high = torch.zeros(channels), torch.ones(channels)
        if self.floating and len(self):
            blocks = map(self.take, torch.split(torch.arange(len(self)), _BLOCK // 8))
            ends = [(block.amin((0, 2, 3)), block.amax((0, 2, 3))) for block in blocks]
            low, high = torch.stack([end[0] for end in ends]).amin(0), torch.stack([end[1] for end in ends]).amax(0)
        device = self.images.device if isinstance(self.images, Tensor) else torch.device("cpu")
        return low.float().to(device), high.float().to(device)

    def take(self, indices: Tensor) -> Tensor:
        """The images at these positions, ``(B, C, H, W)`` as they are stored, on the device where the images live."""
        if isinstance(self.images, Tensor):
            return self.images.index_select(0, indices.to(self.images.device))
        return torch.from_numpy(np.ascontiguousarray(self.images[indices.cpu().numpy()]))

    def to(self, device: torch.device) -> ImageData:
        """The same data with its images on the device; a mapped array stays mapped unless it fits a GPU twice."""
        if isinstance(self.images, Tensor):
            return replace(self, images=self.images.to(device))
        size = self.images.dtype.itemsize * math.prod(self.images.shape)
        if device.type == "cuda" and 2 * size < torch.cuda.mem_get_info(device)[0]:
            blocks = torch.split(torch.arange(len(self)), _BLOCK)
            return replace(self, images=torch.cat([self.take(rows).to(device) for rows in blocks]))
        return self

    def subset(self, indices: IntArray | Sequence[int]) -> ImageData:
        """The samples at these positions: a copy, or rows of the same file where the images are mapped."""
        positions = np.asarray(indices, np.int64)
        rows = torch.as_tensor(positions)
        own = mapped(self.images)
        images = self.take(rows) if own is None else own.subset(positions)
        fine = None if self.fine is None else Labelling(self.fine.labels[rows], self.fine.names)
        coarse = None if self.coarse is None else Labelling(self.coarse.labels[rows], self.coarse.names)
        return ImageData(images, self.labels[rows], self.class_names, fine, coarse, self.sample_names.subset(positions))

    def kept_as(self, images: Images) -> ImageData:
        """The same data with the same images in another form; a digest that is known stays known."""
        other = replace(self, images=images)
        if "digest" in self.__dict__:
            other.__dict__["digest"] = self.digest
        return other

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"images": mapped(self.images) or self.images}

    @cached_property
    def digest(self) -> str:
        """Hexadecimal digest of images, their type, labels and class names; samples may be called otherwise."""
        images = mapped(self.images)
        if images is None:
            return self._digest()
        facts = hashlib.blake2b(f"{images.place}{self.class_names}".encode(), digest_size=16)
        for what, labels, names in self._labellings():
            facts.update(repr((what, names)).encode())
            facts.update(np.ascontiguousarray(labels.numpy()).data)
        return remembered_digest(images.file, facts.hexdigest(), self._digest)

    def _digest(self) -> str:
        state = hashlib.blake2b(digest_size=16)
        state.update(repr((tuple(self.images.shape), self.class_names)).encode())
        if self.floating:
            state.update(str(self.images.dtype).removeprefix("torch.").encode())
        step = max(_BLOCK_BYTES // max(math.prod(self.images.shape[1:]), 1), 1)
        for start in range(0, len(self), step):
            block = self.images[start : start + step]
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
        mean: Channel means of the training images as a model is given them, for its normalisation layer.
        std: Channel standard deviations, likewise.
        own: The samples of ``train`` and ``test`` as the user's own loader has them, where there is one.

    Examples:
        >>> from pathlib import Path
        >>> splits = load("digits", Path("data"), train_size=100, holdout=True)
        >>> splits.name, splits.holdout is None
        ('digits', False)
    """

    name: str
    train: ImageData
    test: ImageData
    mean: tuple[float, ...]
    std: tuple[float, ...]
    holdout: ImageData | None = None
    own: OwnParts | None = None
