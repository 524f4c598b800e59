"""Audits of small models on scikit-learn's digits."""

from __future__ import annotations

from pathlib import Path

from lineage import fakes
from natmu.audits import NUMBERS, RunAudit
from natmu.engine.store import Run
from natmu.lineage import Workspace, obtain
from natmu.records.derived import original_of
from natmu.records.lineage import Trained, Unlearned
from natmu.scores.panel import Level

RECIPE, forget, unlearned, workspace = fakes.RECIPE, fakes.forget, fakes.unlearned, fakes.workspace


def audit_of(place: Workspace, model: Trained | Unlearned, level: Level, number: int | None = None) -> RunAudit:
    """The audit of a model, which is made together with its original if it is missing."""
    run, source = obtain(model, place), obtain(original_of(model), place)
    return RunAudit(run, source, place.store, level, number or NUMBERS[level])


def digests(audit: RunAudit, part: str) -> list[str]:
    """Digests of the runs of one part."""
    return [run.record.digest for run in audit.runs[part]]  # type: ignore[index]


def copied(run: Run, folder: Path) -> Path:
    """Where a run lies in a copy of its store."""
    return folder / run.path.name
