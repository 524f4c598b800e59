"""What a study folder stores, and how it is read back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natmu.errors import RunError
from natmu.report.shapes import is_study


def read_study(folder: Path) -> dict[str, Any]:
    """Read the ``table.json`` of a study folder.

    Args:
        folder: Where the study was stored.

    Returns:
        ``name``, ``score_on`` (``test`` or ``holdout``), ``columns``, ``rows``, ``comparisons`` and ``ranks``. A row
        has ``scenario``, ``method``, ``n`` (number of replicates), ``replicates`` (seeds, run folder and digest of
        each), ``failed`` (None or a sentence), ``log`` (None, or the file with the details of a job that failed) and
        for each of ``columns`` None or ``mean``, ``std`` (sample standard deviation, None for one value) and
        ``values``, one per replicate, None where there is none: in the units of ``natmu.scores.catalogue``, and
        ``retrain_share`` as a fraction of retraining's seconds. For ``comparisons`` and ``ranks`` see
        ``natmu.study.statistics``.

    Raises:
        RunError: If the file is missing or is not a study's table.
    """
    path = folder / "table.json"
    try:
        study = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"Cannot read {path} ({error}); run the study first, or name its folder.") from error
    if not is_study(study):
        raise RunError(f"{path} is not the table of a study; run the study again to write it anew.")
    found: dict[str, Any] = study
    return found


def has_failures(study: Mapping[str, Any]) -> bool:
    """Whether a job of a study failed; what a method cannot serve was never a job.

    Args:
        study: As ``read_study`` returns it.
    """
    return any(row["log"] is not None for row in study["rows"])


def rows_for_summary(study: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Flatten a study to one row of means per scenario and method.

    Args:
        study: As ``read_study`` returns it.

    Returns:
        Rows in the study's order with ``scenario``, ``method`` and every column but ``forget_test_acc``, in the same
        units; None where a column does not apply or the method failed.
    """
    columns = [name for name in study["columns"] if name != "forget_test_acc"]
    return [
        {"scenario": row["scenario"], "method": row["method"]}
        | {name: None if row[name] is None else row[name]["mean"] for name in columns}
        for row in study["rows"]
    ]
