"""A study's tables for a paper."""

from __future__ import annotations

from natmu.records.table import Results
from natmu.report.tables import Cell, Line, ScenarioTable, legend, tables
from natmu.safe_text import for_latex, one_line

HEAD = "% natmu: \\usepackage{booktabs,graphicx} before \\begin{document}"

FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"
"""Shrinks what would not fit the line, and enlarges nothing."""


def latex(study: Results) -> str:
    """Write a study as LaTeX, one ``table`` per scenario for the packages booktabs and graphicx.

    Args:
        study: The study.

    Returns:
        Tables with the best of each column and what is within noise of it in bold, and captions that give the number of
        seeds, the retraining baseline and what the numbers are; ends with a newline. Why a method failed is said in
        comments. Letters beyond Latin ones are left as they are; they need XeLaTeX or LuaLaTeX and a font that has
        them.
    """
    explained = legend(study, "±", bold=True)
    return "\n".join([HEAD, *(_table(study.name, table, explained) for table in tables(study))])


def _table(name: str, table: ScenarioTable, explained: str) -> str:
    """One scenario."""
    baseline = f"retraining baseline {_cell(table.baseline)}" if table.baseline else "retraining baseline not known"
    said = " ".join([explained, *table.originals, *table.versions])
    lines = [
        r"\begin{table}",
        r"\centering\small\setlength{\tabcolsep}{4pt}",
        f"\\caption{{{for_latex(f'{name}, {table.title}')}; {baseline}. {for_latex(said)}}}",
        FIT,
        rf"\begin{{tabular}}{{l{'r' * len(table.headers)}}}",
        r"\toprule",
        _row("method", *map(_header, table.headers)),
        r"\midrule",
        *(_row(*_cells(line)) for line in table.lines),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]
    return "\n".join([*(f"% {one_line(failure)}" for failure in table.failures), *lines]) + "\n"


def _header(name: str) -> str:
    """A score's name in short lines, as numbers are narrow."""
    lines = r"\\".join(map(for_latex, name.split("_")))
    return rf"\shortstack[r]{{{lines}}}" if "_" in name else lines


def _row(*cells: str) -> str:
    """One row of a tabular."""
    return " & ".join(cells) + r" \\"


def _cells(line: Line) -> list[str]:
    """A method's name and its cells."""
    return [for_latex(line.label), *map(_cell, line.cells)]


def _cell(cell: Cell) -> str:
    """A number in mathematical mode, or a word or a dash as text."""
    if not cell.mean:
        return for_latex(cell.word) or "--"
    number = cell.text(r" \pm ")
    return rf"$\mathbf{{{number}}}$" if cell.mark else f"${number}$"
