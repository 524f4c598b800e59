"""What is left of the data that a model was made with, once samples were deleted from it."""

from __future__ import annotations

from dataclasses import dataclass

from natmu.records.data_lineage import DataLineage
from natmu.types import IntArray


@dataclass(frozen=True)
class Remaining:
    """What is left of data, by the positions that its samples had when it was whole.

    Run folders, forget sets in them and lineages always speak of the whole data; only what is in memory is compact.

    Attributes:
        data: The data when it was whole, as lineages tell of it.
        train: Positions of the training samples that are left, ascending, int64 ``(M,)``.
        test: Likewise of the test samples.
        holdout: Likewise of the holdout; None where there is none.
    """

    data: DataLineage
    train: IntArray
    test: IntArray
    holdout: IntArray | None
