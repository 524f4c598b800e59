"""Audits of runs: the models are obtained, and what their comparison gives is written beside the run."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from natmu.audits.compared import ALIKE_WITHOUT, RunAudit
from natmu.audits.exposed_images import exposed_images
from natmu.audits.obtaining import make_models, refuse_shadows_of_corrected
from natmu.data import ImageData
from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import UsageError
from natmu.lineage.difficulty import difficulty_of
from natmu.lineage.workspace import Workspace
from natmu.progress import decided
from natmu.records.audit import (
    Answer,
    Audit,
    AuditedForget,
    AuditedScore,
    ComparedModels,
    ScoreVerdict,
    ShadowModels,
    write_audit,
)
from natmu.records.derived import classes_without_output
from natmu.records.lineage import Trained, Unlearned
from natmu.records.samples import Sample
from natmu.records.settings import AnyTraining, in_words
from natmu.scores import efficacy_samples, examine, exposed_samples, leak
from natmu.scores.examine import Examination
from natmu.types import Predictions


def obtain_models(audit: RunAudit, workspace: Workspace) -> None:
    """Make the models of an audit that are missing; what is finished stays, so it goes on where it was stopped.

    A model that cannot be had is left out, with a line that says why: the scores that need it name what they lack.

    Raises:
        UsageError: The run was made by another number of processes, so that no model made now would be its equal.
        TrainingError: The user's own function fails.
    """
    _require_same_processes(audit.run)
    refuse_shadows_of_corrected(audit.forget, audit.level)
    workspace.store.adopt(audit.original)
    workspace.remember_all(audit.models.subject, audit.store)
    groups = ((audit.models.shared, True), (audit.wanted, False))
    make_models(groups, workspace, f"models of the audit, level {audit.level}")


def recipe_of_references(audit: RunAudit, *, offline: bool) -> AnyTraining | None:
    """How the models are trained that an audit compares with.

    Args:
        audit: The audit.
        offline: Whether it makes do without a recipe, and with the runs that there are.

    Raises:
        UsageError: The original was trained here, and so says it itself; or nobody says it.
    """
    models = audit.models
    if models.told is not None and isinstance(models.source, Trained):
        raise UsageError(f"{audit.original.path} says how it was trained; leave --training and --trainer out.")
    if models.recipe is None and not offline:
        raise UsageError(
            f"{audit.original.path} was trained elsewhere, and nobody has said how. Give --training FILE or --trainer, "
            "so that reference models are trained in the same way, or audit with --offline, without reference models."
        )
    return models.recipe


def write(audit: RunAudit, data: ImageData | None = None) -> Audit:
    """Compute the audit and write it into the run's folder.

    Args:
        audit: Which run, and the models that it is compared with.
        data: The training data if it is at hand; pictures of the most exposed samples are written then.

    Returns:
        The audit.
    """
    panel = audit.panel()
    found = examine(panel, audit.level, audit.seed)
    difficulty = difficulty_of(audit.original)
    gone = audit.forget.left_out
    retained = np.setdiff1d(np.arange(len(panel.model.retain) + len(gone)), gone)
    rows = exposed_samples(panel, audit.forget.indices, retained, difficulty)
    samples = [Sample.model_validate(row | {"name": _name(row["index"], data)}) for row in rows]
    exposed = None if data is None else exposed_images(samples, data)
    record = _record(audit, found, panel.model)
    return write_audit(audit.run.path, record, samples, exposed) if processes.writes() else record


def audited_scores(found: Examination) -> dict[str, AuditedScore]:
    """Every score of an examination, as audits are written."""
    return {
        name: AuditedScore(
            value=value,
            retrained=None if name not in found.retrained else tuple(found.retrained[name]),
            original=found.original.get(name),
            verdict=ScoreVerdict(**asdict(found.verdicts[name])) if name in found.verdicts else None,
            leak=leak(value) if "auc" in name.split("_") else None,
        )
        for name, value in found.scores.items()
    }


def _name(position: int, data: ImageData | None) -> str | None:
    """What a training sample is called, where that is known and is not its position."""
    name = None if data is None else data.names[position]
    return None if name == str(position) else name


def _record(audit: RunAudit, found: Examination, predictions: Predictions) -> Audit:
    """What came of it, as it is written."""
    subject, forget = audit.models.subject, audit.forget
    return Audit(
        run=audit.run.record.digest,
        level=audit.level,
        references=audit.number,
        method=subject.method if isinstance(subject, Unlearned) else "retrain",
        forget=AuditedForget(
            request=audit.models.forget.request, scenario=forget.scenario, count=len(forget), digest=forget.digest
        ),
        forgotten=Answer(**asdict(found.forgotten)),
        kept=Answer(**asdict(found.kept)),
        decisions=tuple(dict.fromkeys([*audit.run.record.decisions, *decided(), *_decisions(audit, found)])),
        scores=audited_scores(found),
        missing=found.missing,
        mia_efficacy_samples=efficacy_samples(predictions),
        seed=audit.seed,
        training=audit.told,
        models=_compared(audit),
    )


def _decisions(audit: RunAudit, found: Examination) -> list[str]:
    """What was decided for the user: which models the audit compares, and what it goes without."""
    count = len(audit.runs["retrained"])
    models = f"{count} retrained model{'' if count == 1 else 's'}"
    as_asked = count == audit.number or audit.models.draws_nothing
    asked = "" if as_asked else f" instead of the {audit.number} that were asked for"
    sentences = [f"The model is compared with {models}{asked}, at the level {audit.level}."]
    if count and audit.models.draws_nothing:
        sentences.append("Fitting draws nothing at random, so that all retrained models would be the same.")
    if count:
        sentences.append(f"Retrained models were trained: {in_words(audit.models.recipe)}.")
    sentences += found.poor_baseline
    if classes_without_output(audit.models.subject):
        sentences.append(ALIKE_WITHOUT)
    shared = audit.run.record.lineage.arithmetic.processes
    sentences += [f"They were trained in {shared} processes, as the audited model was."] if shared > 1 else []
    lacking = len(found.missing)
    sentences += [f"{lacking} scores of this level could not be measured; each has its reason."] if lacking else []
    return sentences


def _compared(audit: RunAudit) -> ComparedModels:
    """Digests of all runs that were compared, so that all can be computed again from files alone."""
    digests = {part: tuple(run.record.digest for run in runs) for part, runs in audit.runs.items()}
    trained, unlearned = digests.pop("shadow"), digests.pop("unlearned shadow")
    shadows = None
    if audit.level == "full" and audit.pool is not None:
        rows = [np.flatnonzero(half).tolist() for half in audit.halves()]
        shadows = ShadowModels(
            trained=trained,
            unlearned=unlearned,
            split=tuple(tuple(half) for half in rows),
            non_members=tuple(audit.pool.tolist()),
        )
    return ComparedModels(**digests, shadows=shadows)


def _require_same_processes(run: Run) -> None:
    """Refuse to train for a run that was made by another number of processes."""
    lineage = run.record.lineage
    count = lineage.arithmetic.processes
    if count != processes.count():
        raise UsageError(
            f"{run.path} was made by {count} process{'' if count == 1 else 'es'} and this is {processes.count()}; "
            f"retrained models must be made in the same way, so start {count}, or audit with --offline."
        )
