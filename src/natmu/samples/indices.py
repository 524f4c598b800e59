"""Sample indices from files and from Python, checked before anything is forgotten."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import DataError, ForgetSetError, fold, some
from natmu.samples.npy import open_npy
from natmu.samples.tables import read_cells, require_columns
from natmu.types import IntArray
from natmu.user_files import read_text

_SHOWN = 5
_NO_INTEGERS = (bool, np.timedelta64)
"""What Python and NumPy count among the integers."""

_HEADERS = frozenset(("id", "ids", "idx", "indices", "position", "positions", "row", "rows", "sample", "samples"))
_INTEGER = re.compile(r"\+?[0-9]{1,18}|-0*[1-9][0-9]{0,17}")
"""With -0 left out, of which nobody knows what it means."""


def check_indices(values: object, total: int, what: str) -> IntArray:
    """Check positions in the training data.

    Args:
        values: A sequence of integers, or an integer array ``(F,)``, in any order; or true and false for each training
            sample, ``(total,)``, as an array or list.
        total: Number of training samples.
        what: Names the indices in errors.

    Returns:
        Sorted int64 ``(F,)``.

    Raises:
        ForgetSetError: They are none, not integers, a mask of another length, negative, out of range or duplicated; the
            first few are named.
    """
    array = _integers(values, what, total)
    if array.ndim != 1:
        raise ForgetSetError(f"{what} must be a flat list of indices, not an array of shape {array.shape}.")
    if not len(array):
        raise ForgetSetError(f"{what} are empty; name at least one training sample to forget.")
    _refuse(array[array < 0], f"{what} must not be negative")
    _refuse(array[array >= total], f"{what} must be below {total}, the number of training samples")
    unique, counts = np.unique(array.astype(np.int64), return_counts=True)
    if len(array) == total > 2 and unique[-1] <= 1:
        raise ForgetSetError(
            f"{what} are 0 and 1 for each sample; a mask must be of true and false, such as mask == 1."
        )
    _refuse(unique[counts > 1], f"{what} must not repeat")
    return unique


def read_index_file(path: Path, total: int) -> IntArray:
    """Read indices from a file and check them.

    Args:
        path: ``.npy`` with an integer array or a mask; ``.txt`` with one index per line and ``#`` for comments;
            ``.csv`` with a column ``index``, or with a single column, whose first line is an index unless it is a word
            such as ``id``, ``position`` or ``sample``, and may not be 0, the header that pandas writes where a column
            has no name; ``.json`` with a list of integers.
        total: Number of training samples.

    Returns:
        Sorted int64 ``(F,)``.

    Raises:
        ForgetSetError: The file cannot be read, or its content cannot be used; see ``check_indices``.
    """
    readers: dict[str, Callable[[Path], object]] = {
        ".npy": open_npy,
        ".txt": _read_text,
        ".csv": _read_csv,
        ".json": _read_json,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ForgetSetError(f"Index file {str(path)!r} must end in {', '.join(readers)}.")
    try:
        values = reader(path)
    except OSError as error:
        raise ForgetSetError(f"Index file {path} cannot be read: {error.strerror or error}.") from None
    except DataError as error:
        raise ForgetSetError(f"Index file {error}") from None
    except UnicodeDecodeError:
        raise ForgetSetError(f"Index file {path} is not text in UTF-8; save it in that encoding.") from None
    except (ValueError, RecursionError) as error:
        raise ForgetSetError(f"Index file {path} cannot be read ({str(error)[:200]}).") from None
    _refuse_names(values, path)
    return check_indices(values, total, f"The indices in {path}")


def as_integer(value: object) -> int | None:
    """The integer that a Python or numpy number, or an array or tensor of one element, is; None for all else."""
    if hasattr(value, "shape") and hasattr(value, "item") and math.prod(value.shape) == 1:
        value = value.item()
    return int(value) if isinstance(value, int | np.integer) and not isinstance(value, _NO_INTEGERS) else None


def _refuse_names(values: object, path: Path) -> None:
    """Say what to write where a file lists names."""
    contents = [item.value for item in values if isinstance(item, _Content)] if isinstance(values, list) else []
    names = [value for value in contents if isinstance(value, str)]
    named = [name for name in names if "/" in name or re.search("[A-Za-z]", Path(name).suffix)]
    if named:
        raise ForgetSetError(
            f"{path} lists names, such as {named[0]!r}, where indices: wants positions; write files:{path}."
        )


def _integers(values: object, what: str, total: int) -> npt.NDArray[Any]:
    """The values as an integer array; of a mask the positions that are true."""
    if isinstance(values, np.ndarray):
        if values.dtype == bool:
            return _chosen(values, what, total)
        if values.dtype.kind not in "iu":  # NumPy counts time spans among the integers
            first = ", ".join(str(value) for value in values.ravel()[:_SHOWN])
            raise ForgetSetError(f"{what} must be integers, not {values.dtype} (such as {first}).")
        return values
    if not isinstance(values, Iterable) or isinstance(values, str | bytes | dict):
        raise ForgetSetError(f"{what} must be a list of integers, not a {type(values).__name__}.")
    values = [*values]
    if values and all(isinstance(item, bool | np.bool_) for item in values):
        return _chosen(np.array(values, bool), what, total)
    items = [(item, as_integer(item)) for item in values]
    _refuse([item for item, number in items if number is None], f"{what} must be integers")
    numbers = [number for _, number in items if number is not None]
    _refuse([number for number in numbers if abs(number) >= 2**63], f"{what} must be positions in the training data")
    return np.array(numbers, np.int64)


def _chosen(mask: npt.NDArray[np.bool_], what: str, total: int) -> npt.NDArray[Any]:
    """The positions that a mask marks."""
    if mask.shape != (total,):
        raise ForgetSetError(f"{what} are a mask of shape {mask.shape}; it must be one for each of {total} samples.")
    return np.flatnonzero(mask)


def _refuse(offenders: Sequence[object] | npt.NDArray[Any], rule: str) -> None:
    """Raise with the first few offenders, if there are any."""
    if len(offenders):
        raise ForgetSetError(f"{rule}, but these are not so: {some(offenders, _SHOWN)}.")


@dataclass(frozen=True)
class _Content:
    """What stands in a row of a file, where there should be an index."""

    value: object
    row: int

    def __str__(self) -> str:
        return f"{repr(self.value)[:60]} in row {self.row}"


def _number(text: str, row: int) -> int | _Content:
    """The integer that the text of a row writes, else the text, to be named in the error."""
    return int(text) if _INTEGER.fullmatch(text) else _Content(text, row)


def _read_text(path: Path) -> list[int | _Content]:
    lines = (line.partition("#")[0].strip() for line in read_text(path, "utf-8-sig").split("\n"))
    return [_number(line, row) for row, line in enumerate(lines, 1) if line]


def _read_csv(path: Path) -> list[int | _Content]:
    rows = read_cells(path)
    if not rows:
        return []
    head = [fold(cell) for cell in next(iter(rows.values()))]
    require_columns(path, rows)
    if "index" in head:
        column, header = head.index("index"), True
    elif len(head) > 1:
        raise ValueError(f"it has the columns {some(head)}, and none is called index")
    elif head[0] == "0" and len(rows) > 1:
        raise ValueError(
            "its first line is 0: either a sample, or the header that pandas writes for a column without a name; write "
            "the line 'index' before the samples"
        )
    else:
        column, header = 0, head[0] in _HEADERS
    return [_number(cells[column], row) for row, cells in islice(rows.items(), int(header), None)]


def _read_json(path: Path) -> list[object]:
    content = json.loads(read_text(path, "utf-8-sig"))
    if not isinstance(content, list):
        raise ValueError(f"it holds a {type(content).__name__}, not a list of integers")
    if all(isinstance(value, bool) for value in content):
        return content
    return [_Content(value, row) if as_integer(value) is None else value for row, value in enumerate(content, 1)]
