"""Stored results as tables and pictures; nothing here trains."""

from natmu.report.folder import illustrate, write_summary
from natmu.report.pictures import hybrid_sheet
from natmu.report.scores import print_scores
from natmu.report.study import COLUMNS, has_failures, read_study, rows_for_summary
from natmu.report.tables import ScenarioTable, markdown, print_tables, tables

__all__ = [
    "COLUMNS",
    "ScenarioTable",
    "has_failures",
    "hybrid_sheet",
    "illustrate",
    "markdown",
    "print_scores",
    "print_tables",
    "read_study",
    "rows_for_summary",
    "tables",
    "write_summary",
]
