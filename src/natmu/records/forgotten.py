"""The forget set of a run, as its record names it and its files hold it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
from pydantic import Field

from natmu.records.digests import Digest
from natmu.records.files import Value, read_array
from natmu.types import ForgetSet, IntArray, positions_digest

FORGET, BEFORE, CORRECTIONS = "forget.npy", "forgotten-before.npy", "corrections.npy"
"""Names of the files in a run folder."""


class Forgotten(Value):
    """The forget set of a run, as it was found in the data.

    Attributes:
        count: How many samples.
        digest: Of their positions and, where the request corrects labels, of the right ones.
        classes: The forgotten labels of a ``class`` set, the forgotten fine labels of a ``subclass`` set, else empty.
        before: Digest of the positions that were forgotten before; None where none were.
        classes_before: Labels that were forgotten before as whole classes.
        subclasses_before: Fine labels that were forgotten before as whole sub-classes.
        corrections: Digest of the positions and right labels of samples that are kept with another label; None where
            there are none.
    """

    count: int = Field(ge=1)
    digest: Digest
    classes: tuple[int, ...] = ()
    before: Digest | None = None
    classes_before: tuple[int, ...] = ()
    subclasses_before: tuple[int, ...] = ()
    corrections: Digest | None = None

    @classmethod
    def of(cls, forget: ForgetSet) -> Self:
        """What is written of a forget set."""
        return cls(
            count=len(forget),
            digest=forget.digest,
            classes=forget.classes,
            before=positions_digest(forget.before) if len(forget.before) else None,
            classes_before=forget.classes_before,
            subclasses_before=forget.subclasses_before,
            corrections=positions_digest(forget.corrections) if len(forget.corrections) else None,
        )


def write_forget(forget: ForgetSet, folder: Path) -> None:
    """Write a forget set, and what was forgotten before and corrected, where there is any."""
    np.save(folder / FORGET, forget.indices)
    if len(forget.before):
        np.save(folder / BEFORE, forget.before)
    if len(forget.corrections):
        np.save(folder / CORRECTIONS, forget.corrections)


def read_positions(path: Path) -> IntArray:
    """Positions in ascending order."""
    positions = read_array(path)
    if (
        positions.dtype != np.int64
        or positions.ndim != 1
        or not len(positions)
        or positions[0] < 0
        or (np.diff(positions) <= 0).any()
    ):
        raise ValueError("it is not int64 (F,), positions in ascending order")
    return positions


def read_corrections(path: Path) -> IntArray:
    """Positions in ascending order, each with its right label."""
    corrections = read_array(path)
    if (
        corrections.dtype != np.int64
        or corrections.ndim != 2
        or corrections.shape[1:] != (2,)
        or not len(corrections)
        or (corrections < 0).any()
        or (np.diff(corrections[:, 0]) <= 0).any()
    ):
        raise ValueError("it is not int64 (K, 2), positions in ascending order with their labels")
    return corrections
