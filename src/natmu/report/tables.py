"""A stored study as tables: one per scenario, for the terminal and for Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from natmu.report.digits import rounded
from natmu.report.study import COLUMNS

REFERENCES = ("original", "retrained")
"""The floor and the ceiling: they come first, and neither competes for the lowest gap."""
NARROWEST_NAME = 12
UNLIMITED = 10_000


@dataclass(frozen=True)
class Cell:
    """One number as text; ``spread`` is empty where it is not known, ``mean`` where nothing is."""

    mean: str = ""
    spread: str = ""


@dataclass(frozen=True)
class Line:
    """One method: its cells in the order of the table's columns, and whether its gap is the lowest."""

    method: str
    cells: tuple[Cell, ...]
    best: bool
    failed: str | None


@dataclass(frozen=True)
class ScenarioTable:
    """One scenario of a study, ready to be drawn."""

    title: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]

    @property
    def failures(self) -> list[str]:
        """One sentence for each method that failed."""
        return [f"{line.method} failed: {' '.join(line.failed.split())}" for line in self.lines if line.failed]


def tables(study: Mapping[str, Any]) -> list[ScenarioTable]:
    """Turn a study into one table per scenario, in the order in which the scenarios appear.

    Args:
        study: As ``read_study`` returns it.

    Returns:
        Tables whose lines start with the original and the retrained model. A column that no row of the scenario has
        is left out if it is ``forget_test_acc``.
    """
    scenarios = dict.fromkeys(row["scenario"] for row in study["rows"])
    return [
        _table(scenario, [row for row in study["rows"] if row["scenario"] == scenario], study["score_on"])
        for scenario in scenarios
    ]


def print_tables(study: Mapping[str, Any], console: Console) -> None:
    """Print a study's tables, the lowest gap in bold.

    Where the console is too narrow for ``mean ± std`` on one line, the spreads go below the means; no digit is ever
    cut off.

    Args:
        study: As ``read_study`` returns it.
        console: Where to print; without a terminal behind it, plain text results.
    """
    plus_minus = "+-" if console.options.ascii_only else "±"
    for table in tables(study):
        console.print(Text(table.title, style="bold"))
        console.print(_fitted(table, plus_minus, console), crop=False)
        for failure in table.failures:
            console.print(Text(failure, style="red"))
        console.print()
    console.print(Text(_legend(study, plus_minus, bold=console.color_system is not None), style="dim"))


def markdown(study: Mapping[str, Any]) -> str:
    """Write a study's tables as GitHub Markdown, the lowest gap in bold.

    Args:
        study: As ``read_study`` returns it.

    Returns:
        A section per scenario, then a line that explains the numbers; ends with a newline.
    """
    blocks = []
    for table in tables(study):
        rows = [["method", *table.headers], ["---", *["---:"] * len(table.headers)]]
        rows += [_markdown_row(line) for line in table.lines]
        blocks.append(f"### {table.title}\n")
        blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
        if table.failures:
            blocks.append("\n".join(f"- {failure}" for failure in table.failures) + "\n")
    return "\n".join([*blocks, _legend(study, "±", bold=True) + "\n"])


def _table(scenario: str, rows: Sequence[Mapping[str, Any]], score_on: str) -> ScenarioTable:
    """Build the table of one scenario's rows."""
    names = [name for name in COLUMNS if name != "forget_test_acc" or any(row[name] for row in rows)]
    lowest = min((gap for gap in map(_gap, rows) if gap is not None), default=None)
    lines = tuple(
        Line(row["method"], _cells(row, names), lowest is not None and _gap(row) == lowest, row["failed"])
        for row in sorted(rows, key=_rank)
    )
    return ScenarioTable(f"{scenario}, {_seeds(rows)}", tuple(_header(name, score_on) for name in names), lines)


def _gap(row: Mapping[str, Any]) -> float | None:
    """The gap with which a row competes for the lowest, None if it does not compete."""
    if row["method"] in REFERENCES or row["failed"] or row["avg_gap"] is None:
        return None
    return float(row["avg_gap"]["mean"])


def _rank(row: Mapping[str, Any]) -> int:
    """Sort the original first, the retrained second and all methods, in their own order, after them."""
    method = row["method"]
    return REFERENCES.index(method) if method in REFERENCES else len(REFERENCES)


def _seeds(rows: Sequence[Mapping[str, Any]]) -> str:
    """Say over how many seeds the rows were measured."""
    counts = [row["n"] for row in rows if row["n"]] or [0]
    fewest, most = min(counts), max(counts)
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def _header(name: str, score_on: str) -> str:
    """Name a column by its score, with its unit or the data it was scored on where these are not the stored ones."""
    if name == "retrain_share":
        return "retrain_share %"
    return "holdout_acc" if name == "test_acc" and score_on == "holdout" else name


def _cells(row: Mapping[str, Any], names: Sequence[str]) -> tuple[Cell, ...]:
    """Write a row's columns; a row that failed before anything was measured says so in the first."""
    if row["failed"] and not any(row[name] for name in names):
        return (Cell("failed"), *[Cell()] * (len(names) - 1))
    return tuple(_cell(row[name], 100 if name == "retrain_share" else 1) for name in names)


def _cell(column: Mapping[str, Any] | None, unit: int) -> Cell:
    """Write one stored column, times a unit."""
    if column is None:
        return Cell()
    std = None if column["std"] is None else column["std"] * unit
    return Cell(*rounded(column["mean"] * unit, std))


def _joined(cell: Cell, plus_minus: str) -> str:
    """Write a cell as one text."""
    return f"{cell.mean}{plus_minus}{cell.spread}" if cell.spread else cell.mean or "-"


def _fitted(table: ScenarioTable, plus_minus: str, console: Console) -> Table:
    """Lay a table out for the console's width: in full, else with stacked spreads, else with folded names as well."""
    in_full, stacked = f" {plus_minus} ", f"\n{plus_minus}"
    longest = max(cell_len(line.method) for line in table.lines)
    if _width(_drawn(table, in_full, longest), console) <= console.width:
        return _drawn(table, in_full, longest)
    excess = max(0, _width(_drawn(table, stacked, longest), console) - console.width)
    drawn = _drawn(table, stacked, max(NARROWEST_NAME, longest - excess))
    drawn.width = _width(drawn, console)
    return drawn


def _width(drawn: Table, console: Console) -> int:
    """How many characters a table takes in a row where nothing limits it."""
    return console.measure(drawn, options=console.options.update(max_width=UNLIMITED)).maximum


def _drawn(table: ScenarioTable, separator: str, name_width: int) -> Table:
    """Lay a table out with a separator between means and spreads and a width for the methods' names."""
    drawn = Table(box=SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    drawn.add_column("method", width=name_width, overflow="fold")
    for header in table.headers:
        drawn.add_column(header.replace("_", "\n"), justify="right", no_wrap=True)
    for line in table.lines:
        style = "bold" if line.best else ""
        drawn.add_row(Text(line.method, style), *(Text(_joined(cell, separator), style) for cell in line.cells))
    return drawn


def _markdown_row(line: Line) -> list[str]:
    """Write a line's cells for Markdown."""
    texts = [line.method.replace("|", r"\|"), *(_joined(cell, " ± ") for cell in line.cells)]
    return [f"**{text}**" for text in texts] if line.best else texts


def _legend(study: Mapping[str, Any], plus_minus: str, *, bold: bool) -> str:
    """Explain the numbers in one line."""
    repeated = any(row["n"] > 1 for row in study["rows"])
    spread = f"mean {plus_minus} sample standard deviation over seeds; " if repeated else ""
    return (
        f"{study['name']}: {spread}accuracies, mia_entropy and retrain_share in percent, avg_gap in percentage points "
        f"from retrained{'; bold: the lowest avg_gap' if bold else ''}."
    )
