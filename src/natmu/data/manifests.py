"""A table of image files with their classes, as a source of data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from natmu.data.arrays import Parts, Unseen
from natmu.data.class_order import ClassNames, arranged, first_label
from natmu.data.folders import ROLES
from natmu.data.forms import Form
from natmu.data.image_files import ImageFiles, read_parts
from natmu.data.pixels import MAX_CLASSES, plain_names
from natmu.errors import DataError, some
from natmu.samples.tables import NAME_COLUMNS, Table, read_table

_LABEL_COLUMNS = ("label", "class")
_SPLIT_COLUMNS = ("split", "part", "subset")
_Rows = list[tuple[str, str]]


def load_manifest(source: Path, data_dir: Path, form: Form, classes: ClassNames, unseen: Unseen) -> Parts:
    """Read a table with a column ``file``, ``name`` or ``path``, a column ``label`` or ``class``, and maybe ``split``.

    Files are found from the table's folder, and samples are called as the table calls them. Classes that are texts are
    numbered in their sorted order, as folders are; numbers are the labels themselves.

    Args:
        source: The table, a ``.csv`` file.
        data_dir: Where data is kept.
        form: What all images are brought to.
        classes: How classes are numbered.
        unseen: Where test data comes from, if the source has none: another table, or a part of it.

    Raises:
        DataError: The table cannot be understood, a file is missing, or images differ in size.
    """
    table = read_table(source)
    parts = _parts(table)
    folders = dict.fromkeys(parts, source.parent)
    unseen.check(parts, source)
    if unseen.path is not None:
        parts["test"], folders["test"] = _rows(read_table(unseen.path)), unseen.path.parent
    names, number = _numbered(parts, classes, source)
    files = {role: _files(rows, folders[role], number, source) for role, rows in parts.items()}
    return read_parts(files, names, data_dir, form)


def _rows(table: Table) -> _Rows:
    """Name and class of each sample."""
    key, label = table.column(NAME_COLUMNS), table.column(_LABEL_COLUMNS)
    if key is None or label is None:
        raise DataError(
            f"{table.path} needs a column called {', '.join(NAME_COLUMNS)} and one called {', '.join(_LABEL_COLUMNS)}; "
            f"it has {some(table.columns)}."
        )
    unlabelled = next((name for name, text in zip(table.cells(key), table.cells(label), strict=True) if not text), None)
    if unlabelled is not None:
        raise DataError(
            f"{table.path} gives {unlabelled!r} no {table.columns[label]}; write one, or leave that row out."
        )
    twice = [name for name, count in Counter(table.cells(key)).items() if count > 1]
    if twice:
        raise DataError(f"{table.path} lists {twice[0]!r} more than once; list each image once.")
    return list(zip(table.cells(key), table.cells(label), strict=True))


def _parts(table: Table) -> dict[str, _Rows]:
    """Name and class of the samples of each part; without a column for it, all are training part."""
    rows, split = _rows(table), table.column(_SPLIT_COLUMNS)
    if split is None:
        return {"train": rows}
    parts: dict[str, _Rows] = {}
    for row, said in zip(rows, table.cells(split), strict=True):
        if said.lower() not in ROLES:
            raise DataError(f"{table.path} puts {row[0]!r} in the part {said!r}; write train, test or val.")
        parts.setdefault(ROLES[said.lower()], []).append(row)
    if "train" not in parts:
        raise DataError(f"{table.path} has no row whose {table.columns[split]} is train.")
    if "val" in parts:
        parts["holdout" if "test" in parts else "test"] = parts.pop("val")
    return parts


def _numbered(parts: dict[str, _Rows], classes: ClassNames, source: Path) -> tuple[tuple[str, ...], dict[str, int]]:
    """The names of all classes, and the number of each class as the table writes it."""
    found = {label for _, label in parts["train"]}
    everywhere = found | {label for rows in parts.values() for _, label in rows}
    whole = all(label.isascii() and label.isdigit() for label in everywhere)
    if whole and not (classes.given and found <= {*classes.given}):
        _require_one_writing(everywhere, source)
        numbers = np.array([int(label) for label in found], np.int64)
        shift = first_label(numbers, classes, f"Labels of {source}")
        labels = {label: int(label) - shift for label in everywhere}
        return classes.given or plain_names(np.array([*labels.values()])), labels
    names = arranged(found, classes, str(source))
    if len(names) < 2:
        raise DataError(f"{source} must hold images of two or more classes; found {len(names)}.")
    unknown = sorted(everywhere - {*names})
    if unknown:
        raise DataError(f"{source} has the class {unknown[0]!r} for test images only; train on it or leave it out.")
    return names, {name: row for row, name in enumerate(names)}


def _require_one_writing(labels: set[str], source: Path) -> None:
    """Refuse labels that no class can have as its number, and two that are the same number."""
    by_number: dict[str, str] = {}
    for label in sorted(labels):
        number = label.lstrip("0") or "0"
        if len(number) >= len(str(MAX_CLASSES)):
            raise DataError(
                f"{source} has the label {some([label])}, which is too large; number the classes 0, 1, 2 and so on, or "
                "write names."
            )
        other = by_number.setdefault(number, label)
        if other != label:
            raise DataError(
                f"{source} has the labels {other!r} and {label!r}, which are the same number; write one of them in all "
                "rows, or write names if they are different classes."
            )


def _files(rows: Sequence[tuple[str, str]], folder: Path, number: dict[str, int], source: Path) -> ImageFiles:
    """The files of one part."""
    files = tuple(folder / name for name, _ in rows)
    gone = next((path for path in files if not path.is_file() and not path.is_symlink()), None)
    if gone is not None:
        raise DataError(
            f"{source} lists {gone}, which is not a file; write paths from the folder of the table, and remove the row "
            "of a deleted file."
        )
    labels = np.array([number[label] for _, label in rows], np.int64)
    return ImageFiles(files, labels, tuple(name for name, _ in rows))
