"""The pool of shadow models as data: non-members are put behind the training samples.

The same shadow models serve LiRA before they unlearn, whatever method is judged, and U-LiRA afterwards. The non-members
are test samples, so a method that is run on a shadow model holds some, as training data of that model or among
``Problem.aside``. No model that is judged comes of it: of a shadow model only the logits of the pool are kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from natmu.data import ImageData, Splits, unseen_rows
from natmu.data.mapped import joined
from natmu.errors import DataError
from natmu.scores.pool import draw_non_members, half_of_pool
from natmu.types import ForgetSet, IntArray


@dataclass(frozen=True)
class Pool:
    """A forget set and as many non-members, put behind the training data.

    Attributes:
        splits: The data, on the device.
        forget: The forget set.
    """

    splits: Splits
    forget: ForgetSet

    @cached_property
    def rows(self) -> IntArray:
        """Rows of the test data that are the non-members."""
        unseen = unseen_rows(self.splits.test, self.forget)
        if not len(unseen):
            raise DataError(
                f"{self.forget.request} leaves no unseen samples for shadow models; audit at a lower level."
            )
        return unseen[draw_non_members(self.forget, len(unseen))]

    @cached_property
    def data(self) -> ImageData:
        """The training data and the non-members after it, on the device.

        Raises:
            DataError: The images are mapped from several files, where they cannot be put together.
        """
        train, extra = self.splits.train, self.splits.test.subset(self.rows)
        images = joined(train.images, extra.images)
        if images is None:
            raise DataError(
                "Shadow models need the data in memory, or all of it in one file of decoded images; audit at the level "
                "standard, or use less data."
            )
        return ImageData(images, torch.cat([train.labels, extra.labels]), train.class_names)

    @cached_property
    def positions(self) -> IntArray:
        """Positions of the pool in ``data``, int64 ``(P,)``."""
        first = len(self.splits.train)
        return np.concatenate([self.forget.indices, np.arange(first, first + len(self.rows), dtype=np.int64)])

    def trained_on(self, number: int) -> IntArray:
        """Positions of the half of the pool that a shadow model is trained on, sorted."""
        return np.sort(self.positions[self._half(number)]).astype(np.int64)

    def aside(self, number: int) -> IntArray:
        """Positions that it never sees: the other half of the pool, and what was forgotten before."""
        return np.concatenate([self.positions[~self._half(number)], self.forget.before])

    def _half(self, number: int) -> npt.NDArray[np.bool_]:
        return half_of_pool(self.forget, len(self.positions), number)
