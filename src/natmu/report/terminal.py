"""A study's tables on a terminal of any width."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.table import Table

from natmu.console import Console, Text, lines
from natmu.records.study import StudyFolder
from natmu.records.table import Results
from natmu.report.study_runs import conclusions_of
from natmu.report.tables import ScenarioTable, legend, tables

NARROWEST_NAME = 12
UNLIMITED = 10_000


def print_tables(study: Results, console: Console) -> None:
    """Print a study's tables, the best of each column and what is within noise of it in bold.

    Where the console is too narrow for ``mean ± std`` on one line, the spreads go below the means; no digit is ever
    cut off.

    Args:
        study: The study.
        console: Where to print; without a terminal behind it, plain text results.
    """
    plus_minus = "+-" if console.options.ascii_only else "±"
    for table in tables(study):
        console.print(Text(table.title, style="bold"))
        console.print(_fitted(table, plus_minus, console), crop=False)
        for remark in table.remarks:
            console.print(Text(remark))
        for failure in table.failures:
            console.print(Text(failure, style="red"))
        console.print()
    text = legend(study, plus_minus, bold=console.color_system is not None)
    console.print(Text(f"{study.name}: {text}", style="dim"))


def print_conclusions(study: StudyFolder, console: Console) -> None:
    """Print what each forget set of a study came to, and what to do next.

    Args:
        study: The study.
        console: Where to print.

    Raises:
        RunError: Something stored cannot be read.
    """
    for one in conclusions_of(study):
        console.print()
        console.print(Text(one.title, style="bold"))
        console.print(Text(one.closest, style="bold"))
        if more := one.sentences[1:]:
            console.print(Text(" ".join(more)))
        for step in one.steps:
            console.print(Text(f"Next: {step}"))


def _fitted(table: ScenarioTable, plus_minus: str, console: Console) -> Table:
    """Lay a table out for the console's width: in full, else with stacked spreads, else with folded names as well."""
    in_full, stacked = f" {plus_minus} ", f"\n{plus_minus}"
    longest = max(cell_len(line.label) for line in table.lines)
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
        drawn.add_column(lines(*header.replace("_", " ").split(" ")), justify="right", no_wrap=True)
    for line in table.lines:
        cells = (lines(*cell.text(separator).split("\n"), style="bold" if cell.mark else "") for cell in line.cells)
        drawn.add_row(Text(line.label), *cells)
    return drawn
