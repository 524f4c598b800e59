"""The report of one run, original, retrained or unlearned: what the page's template is filled with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from natmu.errors import UsageError
from natmu.records.audit import audit_of
from natmu.records.derived import forget_of, is_original, original_of
from natmu.records.lineage import AllBut, AnyLineage, Imported, Trained, Unlearned
from natmu.records.run import PREDICTIONS, RunFolder, open_run
from natmu.report.commands import commands_of
from natmu.report.conclusion import Conclusion
from natmu.report.descriptions import asked_of_run, shared_plain
from natmu.report.digits import rounded
from natmu.report.distributions import Margins, margins_of_run
from natmu.report.figures import Model
from natmu.report.images import galleries
from natmu.report.relatives import relatives, scores_beside
from natmu.report.run_conclusion import conclude_run
from natmu.report.views import audit_view, comparison
from natmu.types import ORIGINAL, REFERENCES, RETRAINED


def run_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a run shows.

    Args:
        folder: The run folder; its original and a retrained model are shown with it where they lie beside it.

    Raises:
        RunError: Something stored cannot be read.
        UsageError: There is no run, or it is only a part of an audit.
    """
    run = open_run(folder)
    record, lineage = run.record, run.record.lineage
    label = _label(folder, lineage)
    forget = forget_of(lineage)
    beside = relatives(run)
    runs = {name: beside.get(name) for name in REFERENCES} | {label: run}
    present = {name: other for name, other in runs.items() if other is not None}
    models = [Model(f"m{place}", name, 0) for place, name in enumerate(present)]
    files = {model.key: present[model.label] for model in models}
    audit = audit_of(run)
    audits = [] if audit is None else [audit_view(label, audit.audit, galleries([audit])[0])]
    others = {} if forget is None else scores_beside(run, {part: beside[part] for part in REFERENCES if part in beside})
    scored = others | {label: record.scores}
    return {
        "kind": "run",
        "title": label if forget is None else f"{label}, {forget.request.text}",
        "subtitle": f"run {record.digest}",
        "conclusion": _conclusion(run, label, scored, beside.get(RETRAINED)),
        "asked": asked_of_run(record),
        "scored": list(scored),
        "scores": [(name, _cells(name, scored)) for name in record.scores],
        "decisions": tuple(dict.fromkeys(record.decisions + tuple(one for view in audits for one in view.decisions))),
        "seconds": rounded(record.seconds, None)[0],
        "audits": audits,
        "audited": bool(audits),
        "forgets": forget is not None,
        "comparison": comparison("r", models, files, _margins(run, files), [label]),
        "commands": commands_of(run, beside.get(ORIGINAL)),
        "lineage": json.dumps(shared_plain(lineage), indent=1, sort_keys=True),
        "versions": record.versions,
        "hardware": record.hardware.model_dump(exclude_none=True),
        "finished": record.finished,
        "digest": record.digest,
    }


def _conclusion(
    run: RunFolder, label: str, scored: Mapping[str, Mapping[str, float]], retrained: RunFolder | None
) -> Conclusion | None:
    """What an unlearned model came to; models that were trained have no conclusion."""
    record, audit = run.record, audit_of(run)
    if not isinstance(record.lineage, Unlearned):
        return None
    alike = retrained is not None and retrained.record.hardware == record.hardware
    retraining = retrained.record.seconds if retrained is not None and alike else None
    held = None if audit is None else audit.audit
    return conclude_run(label, scored, record.seconds, retraining, held, run.path.resolve().name)


def _cells(name: str, scored: Mapping[str, Mapping[str, float]]) -> list[str]:
    """One score of each model; "-" where a model has none."""
    return [rounded(scores[name], None)[0] if name in scores else "-" for scores in scored.values()]


def _label(folder: Path, lineage: AnyLineage) -> str:
    """What the run's model is called beside its original and a retrained one.

    Raises:
        UsageError: The run is neither of an original nor of a retrained or unlearned model.
    """
    if isinstance(lineage, Unlearned) and is_original(original_of(lineage)):
        return lineage.method
    if isinstance(lineage, Trained | Imported) and is_original(lineage):
        return lineage.architecture.name
    if isinstance(lineage, Trained) and isinstance(lineage.on, AllBut):
        return RETRAINED
    raise UsageError(
        f"{folder} holds a part of an audit; name the run of an original, a retrained or an unlearned model."
    )


def _margins(run: RunFolder, files: Mapping[str, RunFolder]) -> dict[str, Margins]:
    """Margins of each model on the parts that the run's forget set makes."""
    forget = None if forget_of(run.record.lineage) is None else run.forget()
    return {key: margins_of_run(other, forget) for key, other in files.items() if other.has(PREDICTIONS)}
