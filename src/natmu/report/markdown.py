"""A study's tables as GitHub Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from natmu.records.study import StudyFolder
from natmu.records.table import Results
from natmu.report.conclusion import Conclusion
from natmu.report.study_runs import conclusions_of
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


def study_markdown(study: StudyFolder) -> str:
    """Write what a study came to, then its tables.

    Args:
        study: The study; the audits of its runs count where they lie beside it.

    Returns:
        Ends with a newline.

    Raises:
        RunError: Something stored cannot be read.
    """
    return f"{conclusion_markdown(conclusions_of(study))}\n{markdown(study.table)}"


def conclusion_markdown(conclusions: Sequence[Conclusion]) -> str:
    """Write conclusions, each with what to do next.

    Args:
        conclusions: One for each forget set.
    """
    blocks = ["## Conclusion\n"]
    for one in conclusions:
        first, *others = map(for_markdown, one.sentences)
        blocks.append(f"**{for_markdown(one.title)}.** {' '.join([first, *others])}\n")
        blocks.append("".join(f"- Next: {for_markdown(step)}\n" for step in one.steps))
    return "\n".join(blocks)


def _cell(cell: Cell) -> str:
    """Write a cell, in bold where it is among the best."""
    text = cell.text(" ± ")
    return f"**{text}**" if cell.mark else text
