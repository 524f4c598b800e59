"""Samples that a file lists: by position, by name, or by a value in a column of a table."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path

from natmu.errors import DataError, ForgetSetError, hint, some
from natmu.records.forgetting import ForgetRequest
from natmu.records.names import SampleNames
from natmu.samples.indices import read_index_file
from natmu.samples.lookup import named_by_part, rows_at, rows_named
from natmu.samples.tables import NAME_COLUMNS, Table, read_cells, read_table
from natmu.types import IntArray
from natmu.user_files import read_text

_NAME_OR_COMMENT = re.compile(r"#\S+\.[A-Za-z]{3,4}")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?", re.ASCII)


def listed_rows(request: ForgetRequest, names: SampleNames) -> IntArray:
    """The training samples that a request with a file means.

    Args:
        request: The request.
        names: Those of the training samples.

    Returns:
        Sorted rows of the training part, int64 ``(F,)``.

    Raises:
        ForgetSetError: The file cannot be read, or lists what is no training sample.
    """
    path = request.file
    assert path is not None, "only requests with a file come here"
    if not request.by_name:
        return rows_at(read_index_file(path, names.listing.count), names, f"{path} lists")
    asked, what = _listed_names(request, path)
    return rows_named(asked, names, what, leave_unseen=request.where is not None)


def listed_by_part(request: ForgetRequest, names: SampleNames) -> dict[str, IntArray]:
    """The samples that a request with a file means, in whatever part names put them.

    Args:
        request: The request.
        names: Those of the training samples.

    Returns:
        Sorted rows, int64, by part, of the parts that hold any; positions mean training samples alone.

    Raises:
        ForgetSetError: The file cannot be read, or lists what is no sample.
    """
    if request.file is None or not request.by_name:
        return {"train": listed_rows(request, names)}
    asked, what = _listed_names(request, request.file)
    return named_by_part(asked, names, what)


def _listed_names(request: ForgetRequest, path: Path) -> tuple[Sequence[str], str]:
    """The names in the file of a request, and what to call the list in errors."""
    try:
        if request.where is not None:
            return _matching(read_table(path), *request.where), f"{request.text!r} means"
        return read_names(path), f"{path} lists"
    except DataError as error:
        raise ForgetSetError(str(error)) from None


def read_names(path: Path) -> list[str]:
    """Names of samples from a file.

    Args:
        path: ``.txt`` with one name a line, where lines that begin with ``#`` are comments; ``.csv`` with a column
            ``file``, ``name`` or ``path``, or with a single column, whose first line is a name unless it is one of
            these three words, and may not be 0, the header that pandas writes where a column has no name; ``.json``
            with a list of texts.

    Raises:
        DataError: The file cannot be read, is of another kind, or is empty.
    """
    readers = {".txt": _read_lines, ".csv": _read_column, ".json": _read_list}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"The list {str(path)!r} must end in {', '.join(readers)}.")
    names = reader(path)
    if not names:
        raise DataError(f"{path} is empty; name at least one training sample to forget.")
    return names


def _read_lines(path: Path) -> list[str]:
    lines = {row: line.strip() for row, line in enumerate(_text(path).split("\n"), 1)}
    called = next((row for row, line in lines.items() if _NAME_OR_COMMENT.fullmatch(line)), None)
    if called is not None:
        raise DataError(
            f"Row {called} of {path}, {lines[called][:80]!r}, begins like a comment and ends like the name of a file. "
            "If it is a comment, write a blank after #; else list names in a .json or .csv file."
        )
    return [line for line in lines.values() if line and not line.startswith("#")]


def _read_column(path: Path) -> list[str]:
    rows = [*read_cells(path).values()]
    head = [cell.lower() for cell in rows[0]] if rows else []
    column = next((head.index(name) for name in NAME_COLUMNS if name in head), None)
    if column is not None:
        return read_table(path).cells(column) if len(rows) > 1 else []
    if any(len(row) > 1 for row in rows):
        raise DataError(
            f"{path} has several columns, {some(rows[0])}, and none is called {', '.join(NAME_COLUMNS)}; call the "
            "one that names samples so."
        )
    if len(rows) > 1 and rows[0] == ("0",):
        raise DataError(
            f"The first line of {path} is 0: either a sample, or the header that pandas writes for a column without a "
            "name. Write the line 'name' before the samples."
        )
    return [row[0] for row in rows]


def _read_list(path: Path) -> list[str]:
    try:
        content = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} cannot be read ({str(error)[:120]}).") from None
    if not isinstance(content, list) or not all(isinstance(item, str) for item in content):
        raise DataError(f"{path} holds no list of names; write a list of texts, or indices:{path} for positions.")
    return content


def _text(path: Path) -> str:
    try:
        return read_text(path, "utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8; save it in that encoding.") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None


def _matching(table: Table, column: str, value: str) -> Sequence[str]:
    """The names of the samples that have a value in a column."""
    cells, names = table.cells(table.require(column)), table.cells(_names_column(table))
    rows = [row for row, cell in enumerate(cells) if cell == value]
    rows = rows or [row for row, cell in enumerate(cells) if _number(cell) == _number(value) is not None]
    if not rows:
        known = [*dict.fromkeys(cells)]
        near = hint(value, known) or f"; there are {some(known)}"
        raise DataError(f"No row of {table.path} has {value!r} in the column {column}{near}.")
    return [names[row] for row in rows]


def _names_column(table: Table) -> int:
    """The column that names samples: by its own name, else the first, whose values are then all different.

    Raises:
        DataError: There is none.
    """
    key = table.column(NAME_COLUMNS)
    if key is not None:
        return key
    twice = next((name for name, count in Counter(table.cells(0)).items() if count > 1), None)
    if twice is not None:
        raise DataError(
            f"{table.path} has no column called {', '.join(NAME_COLUMNS)}, and its first column, {table.columns[0]!r}, "
            f"does not name samples: {twice!r} is in it more than once. Give the column with the names of samples that "
            "name."
        )
    return 0


def _number(text: str) -> Decimal | None:
    """The number that a cell writes, to its last digit, such as 17.0 for 17; None for other texts, as 017 is one."""
    return Decimal(text) if _NUMBER.fullmatch(text) else None
