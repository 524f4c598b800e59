"""What is read of a study as a whole."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from natmu.records.study import StudyAudit, open_study
from natmu.records.table import Results, Summary, SummaryRow, Table


def read_study(folder: Path) -> Table:
    """The table of a study folder.

    Args:
        folder: Where the study was stored.

    Raises:
        UsageError: There is no study.
        RunError: The table cannot be read.
    """
    return open_study(folder).table


def has_failures(study: Results, audits: Iterable[StudyAudit]) -> bool:
    """Whether a job of a study failed, or one of its audits; what a method cannot serve was never a job."""
    return any(row.log is not None for row in study.rows) or any(audit.failed is not None for audit in audits)


def summary_of(study: Results, seconds: float) -> Summary:
    """The means of a study without ``forget_test_acc``, in the study's order.

    Args:
        study: The study.
        seconds: Wall time from start to end.
    """
    columns = [name for name in study.columns if name != "forget_test_acc"]
    rows = (
        SummaryRow(
            scenario=row.scenario,
            method=row.method,
            scores={name: None if (column := row.scores[name]) is None else column.mean for name in columns},
        )
        for row in study.rows
    )
    return Summary(seconds=round(seconds, 2), rows=tuple(rows))
