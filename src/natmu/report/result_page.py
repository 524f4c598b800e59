"""The report of a model in memory, of what ``natmu.unlearn`` and ``natmu.audit`` returned."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from natmu.records.audit import Audit, AuditedForget
from natmu.records.result import ResultFolder, ResultRecord
from natmu.records.run import History
from natmu.records.samples import Sample
from natmu.report.descriptions import Facts, count, forget_set
from natmu.report.digits import rounded
from natmu.report.figures import Model
from natmu.report.images import ShownSample
from natmu.report.views import CURVES, Plot, audit_view, by_column, curve
from natmu.types import IntArray

MOST = 24
"""Exposed samples that are listed at most."""

AUDITED = "the audited model"
"""What a model is called of which nothing is known but its predictions."""


def result_page(folder: Path) -> dict[str, Any]:
    """Everything that the template of a saved result shows.

    Args:
        folder: What ``save`` wrote.

    Raises:
        RunError: Something stored cannot be read.
    """
    saved = ResultFolder(folder)
    return result_content(saved.record, saved.history(), saved.positions(), saved.audit, saved.samples())


def result_content(
    record: ResultRecord | None,
    history: History,
    positions: IntArray | None,
    audit: Audit | None,
    samples: Sequence[Sample],
) -> dict[str, Any]:
    """Everything that the template of a result shows.

    Args:
        record: What came of unlearning, if that is told of.
        history: What was noted epoch by epoch.
        positions: The forget set, if it is known one by one.
        audit: The audit, if that is told of.
        samples: Its table of samples.
    """
    told = record or audit
    assert told is not None, "there is something to tell of"
    label = AUDITED if record is None else str(record.settings["method"])
    shown = [ShownSample(row, f"class {row.label}", None) for row in samples if row.part == "forget"][:MOST]
    audits = [] if audit is None else [audit_view(label, audit, shown)]
    scored = {} if record is None else record.scores
    names = list(dict.fromkeys(name for scores in scored.values() for name in scores))
    decisions = [*(record.decisions if record else ()), *(audit.decisions if audit else ())]
    listed = (
        [sample.index for sample in samples if sample.part == "forget"] if positions is None else positions.tolist()
    )
    return {
        "kind": "result",
        "title": f"{label}, {_request(told.forget)}",
        "subtitle": "a model in memory",
        "asked": _asked(record, audit),
        "scored": list(scored),
        "scores": [
            (name, [rounded(one[name], None)[0] if name in one else "-" for one in scored.values()]) for name in names
        ],
        "seconds": "" if record is None else rounded(record.seconds, None)[0],
        "audits": audits,
        "decisions": list(dict.fromkeys(decisions)),
        "positions": [str(one) for one in sorted(listed)],
        "names": () if record is None else record.names,
        "curves": _curves(label, history),
        "settings": "" if record is None else json.dumps(record.settings, indent=1, sort_keys=True),
        "versions": {} if record is None else record.versions,
        "hardware": {} if record is None else record.hardware.model_dump(exclude_none=True),
        "finished": "" if record is None else record.finished,
    }


def _request(forget: AuditedForget) -> str:
    """What was asked for; samples that were listed are counted."""
    return count(forget.count, "sample") if forget.request is None else forget.request.text


def _asked(record: ResultRecord | None, audit: Audit | None) -> Facts:
    """What was asked for, as terms and sentences."""
    told = record or audit
    assert told is not None, "there is something to tell of"
    request = told.forget.request
    meaning = "listed one by one" if request is None else f"{request.text}: {forget_set(request)}"
    facts = [("Forget set", f"{meaning}, {count(told.forget.count, 'sample')}")]
    if record is not None:
        chosen = ", ".join(f"{name}={value}" for name, value in record.settings["settings"].items())
        facts.append(("Method", f"{record.settings['method']}{' with ' + chosen if chosen else ''}"))
        facts.append(("Seed", str(record.settings["seed"])))
    if audit is not None:
        facts.append(("Audit", f"level {audit.level}, with {count(audit.references, 'retrained model')}"))
    return facts


def _curves(label: str, history: History) -> list[Plot]:
    """Learning curves."""
    model, columns = Model("m0", label, 0), by_column(history)
    return [curve("r", name, [model], {model.key: columns}) for name in CURVES if name in columns]
