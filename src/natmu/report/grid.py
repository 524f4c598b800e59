"""The table of methods as the page shows it: cells with a text, a number to sort by, and a mark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from natmu.report.digits import rounded
from natmu.report.significance import Mark, finding, marked, pairs
from natmu.report.tables import references_first
from natmu.report.units import SHARE, decimals_of, name_of, units_in_words
from natmu.types import REFERENCES

Row = Mapping[str, Any]

MARKS: Mapping[Mark | Literal[""], str] = {"best": "best of the column", "near": "within noise of the best", "": ""}


@dataclass(frozen=True)
class GridCell:
    """One number.

    Attributes:
        text: Mean and spread.
        value: What the column is sorted by; None where there is no number.
        mark: ``best``, ``near`` (within noise of the best), or nothing.
    """

    text: str
    value: float | None
    mark: Mark | Literal[""] = ""

    @property
    def meaning(self) -> str:
        """The mark in words."""
        return MARKS[self.mark]


@dataclass(frozen=True)
class GridLine:
    """One method."""

    label: str
    n: int
    cells: tuple[GridCell, ...]
    state: str


@dataclass(frozen=True)
class Failure:
    """Why a method has no numbers, or lacks some."""

    label: str
    state: str
    reason: str
    log: str | None


@dataclass(frozen=True)
class Grid:
    """One forget set's table."""

    columns: tuple[str, ...]
    headers: tuple[str, ...]
    references: tuple[GridLine, ...]
    methods: tuple[GridLine, ...]
    failures: tuple[Failure, ...]
    compared: bool
    undecided: bool
    units: str
    finding: str | None
    pairs: tuple[tuple[str, str, str, int], ...]


def grid(study: Mapping[str, Any], scenario: str) -> Grid:
    """The table of one forget set.

    Args:
        study: As ``read_study`` returns it.
        scenario: The forget set.
    """
    rows = sorted((row for row in study["rows"] if row["scenario"] == scenario), key=references_first)
    columns = tuple(name for name in study["columns"] if any(row[name] for row in rows))
    compared = [one for one in study["comparisons"] if one["scenario"] == scenario]
    marks = marked(study, scenario)
    lines = [_line(row, columns, marks) for row in rows]
    return Grid(
        columns=columns,
        headers=tuple(f"{name} %" if name == SHARE else name_of(name, study["score_on"]) for name in columns),
        references=tuple(line for line in lines if line.label in REFERENCES),
        methods=tuple(line for line in lines if line.label not in REFERENCES),
        failures=tuple(_failure(row) for row in rows if row["failed"]),
        compared=any(one["within_noise"] is not None for one in compared),
        undecided=any(one["within_noise"] is None for one in compared),
        units=units_in_words(columns, study["score_on"]),
        finding=finding(study, scenario),
        pairs=tuple(pairs(study, scenario)),
    )


def _line(row: Row, columns: Sequence[str], marks: Mapping[tuple[str, str], Mark]) -> GridLine:
    """One row."""
    cells = tuple(_cell(row[name], name, marks.get((row["method"], name), "")) for name in columns)
    return GridLine(row["method"], row["n"], cells, _state(row) if row["failed"] else "")


def _cell(column: Mapping[str, Any] | None, name: str, mark: Mark | Literal[""]) -> GridCell:
    """One stored column."""
    if column is None:
        return GridCell("-", None)
    factor = 100.0 if name == SHARE else 1.0
    std = None if column["std"] is None else column["std"] * factor
    mean, spread = rounded(column["mean"] * factor, std, decimals_of(name))
    return GridCell(f"{mean} ± {spread}" if spread else mean, column["mean"] * factor, mark)


def _state(row: Row) -> str:
    """What became of a row that lacks numbers."""
    if row["n"]:
        return "some seeds failed"
    return "failed" if row["log"] else "not run"


def _failure(row: Row) -> Failure:
    """The reason of a row that lacks numbers."""
    return Failure(row["method"], _state(row), " ".join(row["failed"].split()), row["log"])
