"""The files that a study folder shows to people."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np

from natmu.errors import RunError
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
    write_whole(written[0], markdown(read_study(folder)))
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
    write_whole(path, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    return path


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; folders on its way are made.

    Raises:
        RunError: It cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(f"Cannot write {path} ({error.strerror}); choose a folder that can be written to.") from error
