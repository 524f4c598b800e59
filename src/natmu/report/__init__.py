"""Stored results as tables, pictures and pages; nothing here trains."""

from natmu.report.csv import csv_table
from natmu.report.folder import illustrate, write_summary
from natmu.report.latex import latex
from natmu.report.markdown import markdown, study_markdown
from natmu.report.page import write_report
from natmu.report.pictures import hybrid_sheet
from natmu.report.scores import print_scores
from natmu.report.study import has_failures, read_study, summary_of
from natmu.report.tables import ScenarioTable, tables
from natmu.report.terminal import print_conclusions, print_tables

__all__ = [
    "ScenarioTable",
    "csv_table",
    "has_failures",
    "hybrid_sheet",
    "illustrate",
    "latex",
    "markdown",
    "print_conclusions",
    "print_scores",
    "print_tables",
    "read_study",
    "study_markdown",
    "summary_of",
    "tables",
    "write_report",
    "write_summary",
]
