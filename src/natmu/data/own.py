"""The samples of a data set as the user's own training gets them: one by one, as pairs of (input, label)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from natmu.data.images import ImageData, Splits
from natmu.types import IntArray

Samples = Dataset[tuple[Any, int]]


class ArraySamples(Samples):
    """Images that are kept as arrays, as natmu hands them to models: float32 ``(C, H, W)``, bytes scaled to ``[0, 1]``.

    Args:
        data: The images and labels.
    """

    def __init__(self, data: ImageData) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """The image and its class."""
        image = self.data.take(torch.tensor([range(len(self))[index]]))[0].cpu()
        scaled = image.float().div_(255) if image.dtype == torch.uint8 else image.float()
        return scaled, int(self.data.labels[index])


@dataclass(frozen=True)
class OwnParts:
    """The training and the test samples, in the order of ``Splits``.

    Attributes:
        train: Map-style data set of (input, label).
        test: Likewise.

    Examples:
        >>> from pathlib import Path
        >>> parts = own_parts(load("digits", Path("data"), train_size=100))
        >>> len(parts.train)
        100
    """

    train: Samples
    test: Samples

    def at(self, train: IntArray | None = None, test: IntArray | None = None) -> OwnParts:
        """The samples at these positions; all of a part where None."""
        return OwnParts(_chosen(self.train, train), _chosen(self.test, test))


def own_parts(splits: Splits) -> OwnParts:
    """The samples as their own loader has them, or from the arrays that natmu keeps.

    Examples:
        >>> from pathlib import Path
        >>> splits = load("digits", Path("data"), train_size=100)
        >>> image, label = own_parts(splits).train[0]
        >>> label == int(splits.train.labels[0])
        True
    """
    return splits.own or OwnParts(ArraySamples(splits.train), ArraySamples(splits.test))


def _chosen(samples: Samples, positions: IntArray | None) -> Samples:
    """A subset, or the user's own object where that is all of it."""
    if positions is None or np.array_equal(positions, np.arange(len(samples))):  # type: ignore[arg-type]
        return samples
    return Subset(samples, positions.tolist())
