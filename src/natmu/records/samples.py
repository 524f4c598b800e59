"""The samples of an audit one by one: their table, and pictures of the most exposed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, Field, ValidationError

from natmu.records.files import Value, csv_text, damaged, first_fault, read_arrays, read_rows, write_arrays
from natmu.types import IntArray

REMEDY = "audit the run again"


class Sample(Value):
    """One row of the table of samples (``audit/samples.csv``); an empty cell is a number that is not known.

    ``Sample.model_validate(row)`` takes rows as ``natmu.scores.exposed_samples`` gives them.

    Attributes:
        index: Position in the training data.
        name: What the source calls the sample, where that is not this position.
        part: ``forget`` or ``retain``.
        label: The sample's class, in the column ``class``.
        difficulty: Minus the mean confidence of the original during its training.
        loss: Cross-entropy of the audited model, in nats.
        margin: Logit of the label minus the logarithm of the sum over all other classes, in nats.
        margin_retrained: Mean of the same over retrained models.
        rmia: Score of RMIA, 0 to 1.
        exposure: Of a forget sample ``margin`` minus ``margin_retrained``; of a retain sample its rise.
        rank: From 1 on within its part, the most exposed first.
    """

    model_config = ConfigDict(populate_by_name=True)

    index: int = Field(ge=0)
    name: str | None = None
    part: Literal["forget", "retain"]
    label: int = Field(ge=0, alias="class")
    difficulty: float | None = None
    loss: float
    margin: float
    margin_retrained: float | None = None
    rmia: float | None = None
    exposure: float | None = None
    rank: int = Field(ge=1)


SAMPLE_COLUMNS = tuple(field.alias or name for name, field in Sample.model_fields.items())
"""The columns of the table of samples."""


@dataclass(frozen=True)
class Exposed:
    """Pictures of the most exposed forget samples (``audit/exposed.npz``).

    Attributes:
        images: uint8 ``(K, H, W)`` or ``(K, H, W, 3)``.
        samples: Their positions in the training data, int64 ``(K,)``.
        names: Their class names, ``(K,)``.
    """

    images: npt.NDArray[np.uint8]
    samples: IntArray
    names: npt.NDArray[np.str_]

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            ValueError: They do not.
        """
        shape = self.images.shape
        if self.images.dtype != np.uint8 or len(shape) not in (3, 4) or shape[3:] not in ((), (3,)):
            raise ValueError("its images are not uint8 (K, H, W) or (K, H, W, 3)")
        if self.samples.dtype != np.int64 or self.samples.shape != shape[:1] or (self.samples < 0).any():
            raise ValueError("its samples are not one position for each image")
        if self.names.dtype.kind != "U" or self.names.shape != shape[:1]:
            raise ValueError("its names are not one text for each image")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the pictures.

        Raises:
            RunError: They cannot be read.
        """
        arrays = read_arrays(path)
        try:
            return cls(**arrays)
        except (TypeError, ValueError) as error:
            raise damaged(path, error, REMEDY) from None

    def write(self, path: Path) -> None:
        """Write the pictures, whole or not at all."""
        write_arrays(path, vars(self))


def samples_text(samples: Sequence[Sample]) -> str:
    """The table of samples as comma-separated values; numbers with six digits."""
    rows = [sample.model_dump(by_alias=True) for sample in samples]
    shown = [{name: f"{cell:.6g}" if isinstance(cell, float) else cell for name, cell in row.items()} for row in rows]
    return csv_text(shown, SAMPLE_COLUMNS)


def read_samples(path: Path) -> tuple[Sample, ...]:
    """The table of samples.

    Raises:
        RunError: It cannot be read.
    """
    rows = read_rows(path)
    try:
        return tuple(_sample(row) for row in rows)
    except ValidationError as error:
        raise damaged(path, first_fault(error), REMEDY) from None


def _sample(row: dict[str, str]) -> Sample:
    known: dict[str, Any] = {name: cell for name, cell in row.items() if cell}
    return Sample.model_validate(known, strict=False)
