"""What is left of the data that a model was made with, once samples were deleted from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from natmu.errors import RunError
from natmu.records.data_lineage import DataLineage
from natmu.types import ForgetSet, IntArray, Rows


@dataclass(frozen=True)
class Remaining:
    """What is left of data, by the positions that its samples had when it was whole.

    Run folders, forget sets in them and lineages always speak of the whole data; only what is in memory is compact.

    Attributes:
        data: The data when it was whole, as lineages tell of it.
        train: Positions of the training samples that are left, ascending, int64 ``(M,)``.
        test: Likewise of the test samples.
        holdout: Likewise of the holdout; None where there is none.
        count: How many training samples there were.
    """

    data: DataLineage
    train: IntArray
    test: IntArray
    holdout: IntArray | None
    count: int

    @property
    def rows(self) -> Rows:
        """Which samples are in memory, as predictions tell of it."""
        return Rows(self.train, self.test, self.holdout)

    @property
    def gone(self) -> IntArray:
        """Positions of the training samples that are not there any more, ascending, int64."""
        return np.setdiff1d(np.arange(self.count), self.train)

    def require(self, forget: ForgetSet | None, *, needed: bool = False) -> None:
        """Refuse to make a model that would not be the one that its lineage names, because samples are gone.

        Args:
            forget: What the model is without, in positions of the whole data; None if it is to see everything.
            needed: Whether the samples to forget are read, and not left out alone.

        Raises:
            RunError: A sample is gone that the model is to be trained on, or, where that is needed, to forget.
        """
        gone = self.gone
        left_out = np.zeros(0, np.int64) if forget is None else np.setdiff1d(forget.left_out, forget.corrections[:, 0])
        missing = np.setdiff1d(gone, left_out)
        if len(missing):
            raise RunError(
                f"{len(missing)} training samples that this model must see are gone, such as that at position "
                f"{missing[0]}; leave them out, or put them back."
            )
        absent = np.intersect1d(gone, forget.indices) if needed and forget is not None else gone[:0]
        if len(absent):
            raise RunError(
                f"{len(absent)} of {0 if forget is None else len(forget)} samples that are to be forgotten are gone, "
                "and the method reads them; put them back until they are forgotten, or retrain."
            )
