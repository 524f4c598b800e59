"""The files that a study folder shows to people."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from natmu.report.markdown import markdown
from natmu.report.pictures import hybrid_sheet
from natmu.report.study import read_study, rows_for_summary


def illustrate(folder: Path) -> list[Path]:
    """Write ``table.md`` from a study's table and ``hybrids.png`` from its examples.

    Args:
        folder: The study folder.

    Returns:
        What was written.

    Raises:
        RunError: The folder holds no study.
    """
    written = [folder / "table.md"]
    _write(written[0], markdown(read_study(folder)))
    examples = folder / "hybrids.npz"
    if examples.exists():
        with np.load(examples, allow_pickle=False) as arrays:
            hybrid_sheet({name: arrays[name] for name in arrays.files}, folder / "hybrids.png")
        written.append(folder / "hybrids.png")
    return written


def write_summary(folder: Path, seconds: float) -> Path:
    """Write ``summary.json``: the wall time of the study and one row of means per scenario and method.

    Args:
        folder: The study folder.
        seconds: Wall time from start to end.
    """
    path = folder / "summary.json"
    summary = {"seconds": round(seconds, 2), "rows": rows_for_summary(read_study(folder))}
    _write(path, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return path


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
