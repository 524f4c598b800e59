"""Features and labels as a head takes them, or a sentence that says what is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.types import IntArray

BLOCK = 256
"""Rows that are held in fp64 at a time."""


def features_of(features: npt.ArrayLike, columns: int | None = None) -> npt.NDArray[Any]:
    """Features, as they are.

    Args:
        features: Real numbers ``(N, P)``.
        columns: How many the head was fitted on; None where it is yet to be fitted.

    Raises:
        UsageError: They are no such array.
    """
    array = np.asarray(features)
    if array.ndim != 2 or array.shape[1] == 0 or array.dtype.kind not in "fiu":
        raise UsageError(
            f"Features are an array (samples, columns) of real numbers, and this one is {array.dtype} of shape "
            f"{array.shape}."
        )
    if columns not in (None, array.shape[1]):
        raise UsageError(f"The head was fitted on {columns} columns, and these features have {array.shape[1]}.")
    return array


def labels_of(labels: npt.ArrayLike, rows: int, num_classes: int) -> IntArray:
    """Labels of so many rows.

    Raises:
        UsageError: There are more or fewer, or some are no class.
    """
    array = np.asarray(labels)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.shape != (rows,) or array.dtype.kind not in "iu":
        raise UsageError(
            f"Labels are one whole number for each of the {rows} rows of features, and these are {array.dtype} of "
            f"shape {array.shape}."
        )
    if rows and not (array.min() >= 0 and array.max() < num_classes):
        wrong = array.min() if array.min() < 0 else array.max()
        raise UsageError(f"Labels lie from 0 to {num_classes - 1}, and one of these is {wrong}.")
    return array.astype(np.int64)


def blocks_of(features: npt.NDArray[Any]) -> Iterator[tuple[slice, npt.NDArray[np.float64]]]:
    """Features in fp64, some rows at a time, so that there is no second copy of them all.

    Raises:
        UsageError: Some are not finite.
    """
    for start in range(0, len(features), BLOCK):
        rows = slice(start, start + BLOCK)
        block = np.ascontiguousarray(features[rows], np.float64)
        if not np.isfinite(block).all():
            row = start + int(np.argmin(np.isfinite(block).all(axis=1)))
            raise UsageError(f"Row {row} of the features holds a number that is not finite; leave it out.")
        yield rows, block
