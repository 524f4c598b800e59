"""Tables of samples as users keep them: comma-separated values with a line of column names."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from natmu.errors import DataError, fold, hint, some
from natmu.user_files import read_file

NAME_COLUMNS = ("file", "name", "path")
_DELIMITERS = ",;\t"


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        path: Its file.
        columns: Names of the columns.
        rows: One text per column, without surrounding blanks.
    """

    path: Path
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def column(self, wanted: Sequence[str]) -> int | None:
        """The place of the first of these columns that the table has, in any case."""
        known = {fold(name): place for place, name in reversed([*enumerate(self.columns)])}
        return next((known[fold(name)] for name in wanted if fold(name) in known), None)

    def require(self, name: str) -> int:
        """The place of a column.

        Raises:
            DataError: There is no such column.
        """
        place = self.column([name])
        if place is None:
            raise DataError(
                f"{self.path} has no column {name!r}{hint(name, self.columns)}; it has {some(self.columns)}."
            )
        return place

    def cells(self, place: int) -> list[str]:
        """What stands in a column."""
        return [row[place] for row in self.rows]


def read_table(path: Path) -> Table:
    """Read a table whose first line names the columns; separated by commas, semicolons or tabs.

    Raises:
        DataError: The file cannot be read, is empty, or has a row of another length.
    """
    rows = read_cells(path)
    if len(rows) < 2:
        raise DataError(f"{path} must hold a line of column names and at least one more line.")
    columns, *body = rows.values()
    require_columns(path, rows)
    return Table(path, columns, tuple(body))


def require_columns(path: Path, rows: Mapping[int, tuple[str, ...]]) -> None:
    """Refuse two columns of one name, and a row that has another number of cells than the first one.

    Args:
        path: The file, named in errors.
        rows: Its rows by line number; the first names the columns.

    Raises:
        DataError: There is such a column or row.
    """
    columns = next(iter(rows.values()))
    twice = next((name for name, count in Counter(map(fold, columns)).items() if count > 1 and name), None)
    if twice is not None:
        raise DataError(f"{path} has several columns called {twice!r}; give each column a name of its own.")
    wrong = next((line for line, row in rows.items() if len(row) != len(columns)), None)
    if wrong is not None:
        raise DataError(
            f"Row {wrong} of {path}, {','.join(rows[wrong])[:80]!r}, has {len(rows[wrong])} cells for {len(columns)} "
            f"column{'' if len(columns) == 1 else 's'}; put cells that hold a separator in quotes."
        )


def read_cells(path: Path) -> dict[int, tuple[str, ...]]:
    """The rows of a file of comma-separated values that are not blank, without surrounding blanks, by line number.

    A row that spans lines has the number of its last. A quote that is never closed is refused: it would take all rows
    after it for one cell.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        text = io.StringIO(read_file(path).decode("utf-8-sig"), newline="")
        delimiter = max(_DELIMITERS, key=text.readline().count)
        text.seek(0)
        read = csv.reader(text, delimiter=delimiter, strict=True)
        rows = ((read.line_num, row) for row in read)
        return {line: tuple(map(_stripped, row)) for line, row in rows if not _is_blank(row)}
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not text in UTF-8; save it in that encoding.") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as comma-separated values ({str(error)[:120]}).") from None


def _stripped(cell: str) -> str:
    """A cell without the blanks around it; those that hold a line's end were quoted, and stay as they are."""
    return cell if "\n" in cell else cell.strip()


def _is_blank(row: Sequence[str]) -> bool:
    """Whether a row was left blank, or separators alone; one that has quotes around nothing was meant as a row."""
    return row != [""] and not any(map(_stripped, row))
