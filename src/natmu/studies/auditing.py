"""The audits of a study: one for each row of its table."""

from __future__ import annotations

from natmu.audits import NUMBERS, RunAudit, obtain_models, write
from natmu.engine import processes
from natmu.engine.store import Run
from natmu.errors import RunError
from natmu.lineage.executors.outcomes import attempt
from natmu.progress import task
from natmu.studies.plan import PlannedRun, audit_models
from natmu.studies.running import RunningStudy, make_models


def audit_rows(study: RunningStudy) -> None:
    """Audit the first replicate of each row that could be made."""
    recipe, workspace, rows = study.recipe, study.workspace, study.plan.rows
    subjects = {
        place: next((run for run in runs if study.outcomes[run.model.digest].run is not None), None)
        for place, runs in rows.items()
    }
    on_ray = recipe.executor.kind == "ray"
    if on_ray:
        wanted = [model for run in subjects.values() if run is not None for model in audit_models(recipe, run)]
        make_models(study, [model for model in wanted if not workspace.has(model)])
    with task(f"{recipe.name}: audits", len(subjects)) as advance:
        for (text, label), subject in subjects.items():

            def work(subject: PlannedRun | None = subject, name: str = f"{label}, {text}") -> Run:
                if subject is None:
                    raise RunError(f"There is no model of {name} to audit; all its replicates failed.")
                audit = _audit_of(study, subject)
                if not on_ray:
                    obtain_models(audit, workspace)
                write(audit, workspace.splits.train)
                return audit.run

            outcome = attempt(f"audit of {label}, {text}", work, workspace, study.logs)
            study.note_audit((text, label), processes.agree(lambda: outcome))  # noqa: B023 - called here
            advance()


def _audit_of(study: RunningStudy, subject: PlannedRun) -> RunAudit:
    """The audit of a run of the study."""
    recipe, store = study.recipe, study.workspace.store
    run, source = (study.outcomes[model.digest].run for model in (subject.model, subject.source))
    assert recipe.audit is not None and run is not None and source is not None, "it was made"  # noqa: PT018
    return RunAudit(run, source, store, recipe.audit, recipe.references or NUMBERS[recipe.audit])
