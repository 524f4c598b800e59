"""Wrong labels: which samples are wrong, what is right, and the training data with the right pairs behind the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from natmu.data.images import ImageData, Labelling
from natmu.data.mapped import joined
from natmu.errors import DataError, ForgetSetError, some
from natmu.records.names import SampleNames
from natmu.samples.classes import class_named
from natmu.samples.indices import as_integer, check_indices
from natmu.samples.lookup import positions_named, rows_at
from natmu.samples.tables import NAME_COLUMNS, read_table
from natmu.types import ForgetSet, IntArray

LABEL_COLUMNS = ("label", "class")
_POSITION_COLUMNS = ("index",)
_SHOWN = 5


def listed_corrections(path: Path, data: ImageData) -> IntArray:
    """Read which labels are right from a table.

    Args:
        path: ``.csv`` with a column ``file``, ``name`` or ``path`` of names, or ``index`` of positions in the source,
            and a column ``label`` or ``class`` of class names or numbers.
        data: The training data.

    Returns:
        Position and right label, int64 ``(F, 2)``, in the order of positions.

    Raises:
        ForgetSetError: The table cannot be read, or a row is no correction of a training sample.
    """
    try:
        table = read_table(path)
    except DataError as error:
        raise ForgetSetError(str(error)) from None
    key, label = table.column(NAME_COLUMNS), table.column(LABEL_COLUMNS)
    place = table.column(_POSITION_COLUMNS) if key is None else key
    if place is None or label is None:
        raise ForgetSetError(
            f"{path} needs a column called {', '.join(NAME_COLUMNS)} or index, and one called "
            f"{' or '.join(LABEL_COLUMNS)}; it has {some(table.columns)}."
        )
    cells, what = table.cells(place), f"{path} lists"
    if key is None:
        positions = _in_order(
            [_number(text) for text in cells], data.sample_names.listing.count, f"The indices in {path}"
        )
    else:
        positions = positions_named(cells, data.sample_names, what)
    return _corrections(_rows_of(positions, data.sample_names, what), table.cells(label), data, what)


def given_corrections(labels: Mapping[object, object], data: ImageData) -> IntArray:
    """Which labels are right, from Python.

    Args:
        labels: Class name or number by name or position of the sample.
        data: The training data.

    Returns:
        Position and right label, int64 ``(F, 2)``, in the order of positions.

    Raises:
        ForgetSetError: An entry is no correction of a training sample.
    """
    what = "The samples to relabel hold"
    names = [key for key in labels if isinstance(key, str)]
    if names and len(names) == len(labels):
        rows = _rows_of(positions_named(names, data.sample_names, what), data.sample_names, what)
    else:
        rows = _in_order([*labels], len(data), "The samples to relabel")
    return _corrections(rows, [*labels.values()], data, what)


def with_corrections(data: ImageData, forget: ForgetSet) -> ImageData:
    """The training data and the corrected pairs after it, which nobody forgets.

    Args:
        data: The training data.
        forget: What is forgotten, and what was corrected.

    Returns:
        The same object where nothing was corrected. Images that are mapped from a file stay so; others are copied.

    Examples:
        >>> from natmu.testing import digits
        >>> data = digits()  # 60 images of ten classes
        >>> forget = forget_relabelled({3: "8"}, data)  # sample 3 is said to be an 8

        >>> corrected = with_corrections(data, forget)
        >>> len(corrected), corrected.class_names[int(corrected.labels[60])]
        (61, '8')
    """
    if not len(forget.corrections):
        return data
    rows = np.concatenate([np.arange(len(data)), forget.corrections[:, 0]])
    images = joined(data.images, data.subset(forget.corrections[:, 0]).images)
    assert images is not None, "a part of images that are mapped from a file is mapped from the same one"
    return replace(
        data,
        images=images,
        labels=torch.cat([data.labels, torch.from_numpy(forget.corrections[:, 1])]),
        fine=_at(data.fine, rows),
        coarse=_at(data.coarse, rows),
        names=data.sample_names.subset(rows),
    )


def _corrections(rows: IntArray, labels: Sequence[object], data: ImageData, what: str) -> IntArray:
    """Samples with their right labels, checked.

    Args:
        rows: Positions in the training data, in any order.
        labels: For each its right label.
        data: The training data.
        what: Names them in errors.
    """
    again = np.flatnonzero(np.bincount(rows) > 1)
    if len(again):
        raise ForgetSetError(f"{what} {_named(again, data)} more than once; give each sample one right label.")
    called = {text: class_named(text, data.class_names) for text in {text for text in labels if isinstance(text, str)}}
    right = np.array([called[one] if isinstance(one, str) else _numbered(one, data) for one in labels], np.int64)
    same = np.sort(rows[data.labels.cpu().numpy()[rows] == right])
    if len(same):
        raise ForgetSetError(f"{what} {_named(same, data)} with the label that the data has; leave them out.")
    order = np.argsort(rows)
    return np.stack([rows[order], right[order]], axis=1)


def _rows_of(positions: IntArray, names: SampleNames, what: str) -> IntArray:
    """The row of each position in the source, in the order given."""
    rows = rows_at(np.unique(positions), names, what)
    order = np.argsort(names.positions[rows])
    found: IntArray = rows[order[np.searchsorted(names.positions[rows], positions, sorter=order)]]
    return found


def _numbered(label: object, data: ImageData) -> int:
    """The number of a class that is given as a number."""
    number = as_integer(label)
    if number is None or not 0 <= number < data.num_classes:
        raise ForgetSetError(
            f"The right label {label!r} is not a class; give a class name or a number of 0 to {data.num_classes - 1}."
        )
    return number


def _in_order(positions: Sequence[object], total: int, what: str) -> IntArray:
    """Positions that are checked as those to forget are, in the order given."""
    check_indices(positions, total, what)
    return np.array([as_integer(one) for one in positions], np.int64)


def _number(text: str) -> int | str:
    """The integer that a cell writes, else the text, to be named in the error."""
    return int(text) if text.isascii() and text.isdigit() else text


def _named(rows: IntArray, data: ImageData) -> str:
    """The first few samples by name."""
    more = ", …" if len(rows) > _SHOWN else ""
    return f"{', '.join(map(repr, data.sample_names.at(rows[:_SHOWN])))}{more}"


def _at(labelling: Labelling | None, rows: IntArray) -> Labelling | None:
    """A second labelling of the images at these rows."""
    return None if labelling is None else Labelling(labelling.labels[torch.from_numpy(rows)], labelling.names)
