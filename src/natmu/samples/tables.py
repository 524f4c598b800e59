"""Tables of samples as users keep them: comma-separated values with a line of column names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from natmu.errors import DataError, fold, hint

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
                f"{self.path} has no column {name!r}{hint(name, self.columns)}; it has {', '.join(self.columns)}."
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
    columns, *body = rows
    wrong = next((number for number, row in enumerate(body, start=2) if len(row) != len(columns)), None)
    if wrong is not None:
        raise DataError(
            f"Row {wrong} of {path} has {len(body[wrong - 2])} cells for {len(columns)} columns; put cells that hold a "
            "separator in quotes."
        )
    return Table(path, columns, tuple(body))


def read_cells(path: Path) -> list[tuple[str, ...]]:
    """The rows of a file of comma-separated values that are not blank, without surrounding blanks.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline()
            file.seek(0)
            delimiter = max(_DELIMITERS, key=first.count)
            rows = [tuple(cell.strip() for cell in row) for row in csv.reader(file, delimiter=delimiter)]
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8; save it so.") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as comma-separated values ({str(error)[:120]}).") from None
    return [row for row in rows if any(row)]
