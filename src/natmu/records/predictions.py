"""The predictions of a run: logits and labels on all data, stored once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from natmu.records.files import Arrays
from natmu.records.tensors import open_tensors, read_tensors, write_tensors
from natmu.types import IntArray, Outputs, Part, Rows


def write_outputs(outputs: Outputs, path: Path) -> None:
    """Write logits and labels on all data: ``train_logits`` ``(N, C)``, ``train_labels`` ``(N,)`` and so on.

    Where some of the data was gone, ``train_rows`` ``(N,)`` and so on say which samples they are of.
    """
    arrays: Arrays = {}
    for name, part in (("train", outputs.train), ("test", outputs.test), ("holdout", outputs.holdout)):
        if part is not None:
            arrays |= {} if outputs.rows is None else {f"{name}_rows": getattr(outputs.rows, name)}
            arrays |= {f"{name}_logits": part.logits, f"{name}_labels": part.labels}
            arrays |= {} if part.fine_labels is None else {f"{name}_fine_labels": part.fine_labels}
    write_tensors(arrays, path)


def read_outputs(path: Path) -> Outputs:
    """Read what ``write_outputs`` wrote.

    Raises:
        KeyError, OSError, SafetensorError, ValueError: The file is missing, damaged, or not of these shapes and types.
    """
    arrays, _ = read_tensors(path, "numpy")
    holdout = _part(arrays, "holdout") if "holdout_logits" in arrays else None
    return Outputs(_part(arrays, "train"), _part(arrays, "test"), holdout, _rows(arrays))


def has_gaps(path: Path) -> bool:
    """Whether some of the data was gone when the model was made; reads no more than a header."""
    with open_tensors(path, "numpy") as file:
        return "train_rows" in file.keys()  # noqa: SIM118 - it is no mapping


def training_samples(path: Path) -> int | None:
    """How many samples the training data has; None where some of it was gone. Reads no more than a header."""
    if has_gaps(path):
        return None
    with open_tensors(path, "numpy") as file:
        return int(file.get_slice("train_labels").get_shape()[0])


def _rows(arrays: dict[str, Any]) -> Rows | None:
    """Which samples the predictions are of, of all parts or of none."""
    parts = [name for name in ("train", "test", "holdout") if f"{name}_logits" in arrays]
    told = [name for name in ("train", "test", "holdout") if f"{name}_rows" in arrays]
    if not told:
        return None
    if told != parts:
        raise ValueError("it says of some parts which samples they hold, and of others it does not")
    return Rows(**{name: _positions(arrays, name) for name in told})


def _positions(arrays: dict[str, Any], name: str) -> IntArray:
    rows: IntArray = arrays[f"{name}_rows"]
    fits = rows.dtype == np.int64 and rows.shape == arrays[f"{name}_labels"].shape
    if not fits or (rows < 0).any() or (np.diff(rows) <= 0).any():
        raise ValueError(f"{name}_rows is not int64 (N,), positions in ascending order")
    return rows


def _part(arrays: dict[str, Any], name: str) -> Part:
    part = Part(arrays[f"{name}_logits"], arrays[f"{name}_labels"], arrays.get(f"{name}_fine_labels"))
    logits, labels = part.logits, part.labels
    if logits.ndim != 2 or logits.dtype != np.float32 or labels.shape != logits.shape[:1]:
        raise ValueError(f"{name}_logits is not float32 (N, C), or {name}_labels is not (N,)")
    for kind in (labels, *([] if part.fine_labels is None else [part.fine_labels])):
        if kind.dtype != np.int64 or kind.shape != labels.shape or (kind < 0).any():
            raise ValueError(f"{name}_labels is not int64 (N,) from 0 on")
    if (labels >= logits.shape[1]).any():
        raise ValueError(f"{name}_labels names more classes than {name}_logits has")
    return part
