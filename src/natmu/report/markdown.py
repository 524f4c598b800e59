"""A study's tables as GitHub Markdown."""

from __future__ import annotations

from natmu.records.table import Results
from natmu.report.made_with import MIXED
from natmu.report.tables import Cell, legend, tables


def markdown(study: Results) -> str:
    """Write a study's tables, the best of each column and what is within noise of it in bold.

    Args:
        study: The study.

    Returns:
        A section per scenario, then a line that explains the numbers; ends with a newline.
    """
    blocks = []
    for table in tables(study):
        rows = [["method", *table.headers], ["---", *["---:"] * len(table.headers)]]
        rows += [
            [line.label.replace("|", r"\|").replace(MIXED, rf"\{MIXED}"), *map(_cell, line.cells)]
            for line in table.lines
        ]
        blocks.append(f"### {table.title}\n")
        blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
        blocks += [f"{_plain(remark)}\n" for remark in table.remarks]
        if table.failures:
            blocks.append("\n".join(f"- {failure}" for failure in table.failures) + "\n")
    return "\n".join([*blocks, f"{study.name}: {legend(study, '±', bold=True)}\n"])


def _plain(remark: str) -> str:
    """A remark whose mark begins no list."""
    return rf"\{remark}" if remark.startswith(MIXED) else remark


def _cell(cell: Cell) -> str:
    """Write a cell, in bold where it is among the best."""
    text = cell.text(" ± ")
    return f"**{text}**" if cell.mark else text
