"""The user's own samples with corrected pairs behind them, as the user's own training gets them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from natmu.data.datasets import LABEL_KEYS
from natmu.data.images import ImageData
from natmu.data.own import Samples
from natmu.errors import DataError
from natmu.types import ForgetSet, IntArray


class CorrectedSamples(Dataset[Any]):
    """A data set and some of its items again, with other labels.

    An item that comes again is what the data set gives, whose label is replaced by that of another item, so that it is
    a label as the data set has it.

    Args:
        samples: The data set, of (input, label), of longer tuples that begin so, or of mappings.
        rows: int64 ``(K,)``, the items that come again.
        alike: int64 ``(K,)``, for each of them an item that has its right label.
    """

    def __init__(self, samples: Samples, rows: IntArray, alike: IntArray) -> None:
        self.samples = samples
        self._rows = rows.tolist()
        self._alike = alike.tolist()

    def __len__(self) -> int:
        return len(self.samples) + len(self._rows)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:  # noqa: ANN401 - whatever the data set gives
        """An item of the data set, or a corrected one."""
        place = range(len(self))[index] - len(self.samples)  # type: ignore[arg-type]
        if place < 0:
            return self.samples[index]
        return _with_label_of(self.samples[self._rows[place]], self.samples[self._alike[place]])


def corrected_samples(samples: Samples, train: ImageData, forget: ForgetSet) -> Samples:
    """The user's own training samples and the corrected ones after them, in the order of ``with_corrections``.

    Args:
        samples: As the user's own loader has them.
        train: The same, as natmu reads them.
        forget: What is forgotten, and what was corrected; where nothing was, the samples are returned as they are.

    Raises:
        DataError: No sample has a right label, so that nobody knows how the user's data writes it.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes
        >>> forget = forget_relabelled({3: "8"}, data)  # sample 3 is said to be an 8

        >>> from torch.utils.data import TensorDataset
        >>> samples = TensorDataset(data.images, data.labels)
        >>> len(corrected_samples(samples, data, forget))
        61
    """
    if not len(forget.corrections):
        return samples
    labels = train.labels.cpu().numpy()
    first = {int(label): int(row) for label, row in zip(*np.unique(labels, return_index=True), strict=True)}
    unknown = next((label for label in forget.corrections[:, 1].tolist() if label not in first), None)
    if unknown is not None:
        raise DataError(
            f"No training sample is of the class {train.class_names[unknown]!r}, so that its label in your own data "
            "set is not known; retrain without a trainer, or forget these samples without a right label."
        )
    alike = np.array([first[label] for label in forget.corrections[:, 1].tolist()], np.int64)
    return CorrectedSamples(samples, forget.corrections[:, 0], alike)


def _with_label_of(item: Any, other: Any) -> Any:  # noqa: ANN401 - whatever the data set gives
    """An item with the label of another one."""
    if isinstance(item, Mapping):
        key = next(name for name in LABEL_KEYS if name in item)
        return {**item, key: other[key]}
    return (item[0], other[1], *item[2:])
