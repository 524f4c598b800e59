"""A study's tables as GitHub Markdown."""

from __future__ import annotations

from natmu.records.table import Results
from natmu.report.tables import Cell, legend, tables
from natmu.safe_text import for_markdown


def markdown(study: Results) -> str:
    """Write a study's tables, the best of each column and what is within noise of it in bold.

    Args:
        study: The study.

    Returns:
        A section per scenario, then a line that explains the numbers; ends with a newline.
    """
    blocks = []
    for table in tables(study):
        rows = [["method", *map(for_markdown, table.headers)], ["---", *["---:"] * len(table.headers)]]
        rows += [[for_markdown(line.label), *map(_cell, line.cells)] for line in table.lines]
        blocks.append(f"### {for_markdown(table.title)}\n")
        blocks.append("\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n")
        blocks += [f"{for_markdown(remark)}\n" for remark in table.remarks]
        if table.failures:
            blocks.append("\n".join(f"- {for_markdown(failure)}" for failure in table.failures) + "\n")
    explained = for_markdown(f"{study.name}: {legend(study, '±', bold=True)}")
    return "\n".join([*blocks, f"{explained}\n"])


def _cell(cell: Cell) -> str:
    """Write a cell, in bold where it is among the best."""
    text = cell.text(" ± ")
    return f"**{text}**" if cell.mark else text
