"""The files that a study folder shows to people."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from natmu.records.files import write_atomically
from natmu.records.study import open_study
from natmu.records.table import SUMMARY, Story
from natmu.report.markdown import study_markdown
from natmu.report.pictures import hybrid_sheet
from natmu.report.study import read_study, summary_of


def illustrate(folder: Path) -> list[Path]:
    """Write ``table.md`` from a study's conclusion and tables, and ``hybrids.png`` from its examples.

    Args:
        folder: The study folder.

    Returns:
        What was written.

    Raises:
        UsageError: The folder holds no study.
        RunError: The study cannot be read.
    """
    study = open_study(folder)
    written = [folder / "table.md"]
    write_atomically(written[0], study_markdown(study).encode())
    if study.hybrids is not None:
        hybrid_sheet(study.hybrids, folder / "hybrids.png")
        written.append(folder / "hybrids.png")
    return written


def write_summary(folder: Path, seconds: float, stories: Sequence[Story] = ()) -> Path:
    """Write ``summary.json``: the wall time of the study, one row of means per scenario and method, and its stories.

    Args:
        folder: The study folder.
        seconds: Wall time from start to end.
        stories: What each forget set shows.
    """
    path = folder / SUMMARY
    summary = summary_of(read_study(folder), seconds)
    summary.model_copy(update={"stories": tuple(stories)}).write(path)
    return path
