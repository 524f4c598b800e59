"""A study that runs: what becomes of each model and each audit, noted and said as it happens."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from natmu.engine.store import Run
from natmu.errors import RunError
from natmu.lineage import Workspace, in_order
from natmu.lineage.executors.local import make_here
from natmu.lineage.executors.outcomes import Outcome, Outcomes, failure
from natmu.lineage.executors.ray import make_on_ray
from natmu.machine import raise_passing
from natmu.progress import say, task
from natmu.records.audit import audit_of
from natmu.records.derived import is_original, title
from natmu.records.lineage import AnyLineage, Trained
from natmu.records.run import PREDICTIONS, WEIGHTS
from natmu.records.settings import RidgeTraining
from natmu.records.study import StudyAudit, StudyAudits
from natmu.studies.plan import Place, Plan
from natmu.studies.recipe import Recipe
from natmu.studies.table import LOGS, Scorer, Scores
from natmu.types import ORIGINAL


@dataclass
class RunningStudy:
    """What is known of a study that runs.

    Attributes:
        recipe: What was asked for.
        workspace: Where the models are made.
        plan: The models.
        scorer: Scores them.
        logs: Folder of logs.
        outcomes: What became of each model, by its digest.
        audits: What became of the audit of each row.
        trained: The trained models by the digest of their weights.
    """

    recipe: Recipe
    workspace: Workspace
    plan: Plan
    scorer: Scorer
    logs: Path
    outcomes: Outcomes = field(default_factory=dict)
    audits: dict[Place, Outcome] = field(default_factory=dict)
    trained: dict[str, Trained] = field(default_factory=dict)

    def __post_init__(self) -> None:
        runs = [*reversed(self.plan.runs)]
        own = {run.source.digest: f"{ORIGINAL} of {run.label}, seed {run.original}" for run in runs if run.own}
        self._originals = {model.digest: own.get(model.digest, title(model)) for model in self.plan.originals}
        self._names = {run.model.digest: run.name for run in runs}

    def note(self, model: AnyLineage, outcome: Outcome) -> None:
        """Keep what became of a model, and say it in a line; a damaged run is a failure of this model alone."""
        name = self._names.get(model.digest) or self._originals.get(model.digest) or title(model)
        outcome = self._readable(name, outcome)
        self.outcomes[model.digest] = outcome
        if outcome.run is None:
            say(f"{name}: failed. {outcome.failed}")
        elif model.digest in self._names:
            say(f"{name}: {_brief(self.scorer.scores(outcome.run, outcome.run.forget()), outcome.run)}")
        elif is_original(model):
            hidden = "test" if self.recipe.score_on == "holdout" else "holdout"
            seen = {name: value for name, value in outcome.run.record.scores.items() if not name.startswith(hidden)}
            say(f"{name}: {_brief(seen, outcome.run)}")
        if outcome.run is not None and isinstance(model, Trained) and not isinstance(model.recipe, RidgeTraining):
            earlier = self.trained.setdefault(outcome.run.record.files[WEIGHTS], model)
            if earlier.seed != model.seed:
                say(
                    f"warning: {title(model)} has the same weights as {title(earlier)}, so the spread over seeds is "
                    "too small; let the trainer use the seed that it is given."
                )

    def _readable(self, name: str, outcome: Outcome) -> Outcome:
        """What became of a model, once everything of its run is read that the table needs."""
        run = outcome.run
        if run is None:
            return outcome
        try:
            if run.record.forgotten is not None:
                self.scorer.scores(run, run.forget())
            elif run.has(PREDICTIONS):
                run.outputs()
        except RunError as error:
            raise_passing(error)
            return failure(name, str(error), traceback.format_exc(), self.logs, key=run.path.name)
        return outcome

    def note_audit(self, place: Place, outcome: Outcome) -> None:
        """Keep what became of the audit of a row, and say it in a line."""
        self.audits[place] = outcome
        text, label = place
        audit = None if outcome.run is None else audit_of(outcome.run)
        found = None if audit is None else audit.audit
        verdict = f"failed. {outcome.failed}" if found is None else f"{found.forgotten.sentence} {found.kept.sentence}"
        say(f"audit of {label}, {text}: {verdict}")

    def study_audits(self) -> StudyAudits:
        """Every audit, as it stands beside the run under audit, or why there is none."""
        found = []
        for (text, label), outcome in self.audits.items():
            folder = None if outcome.run is None else audit_of(outcome.run)
            audit = None if folder is None else folder.audit
            log = None if outcome.log is None else f"{LOGS}/{outcome.log}"
            found.append(StudyAudit(scenario=text, label=label, audit=audit, failed=outcome.failed, log=log))
        return StudyAudits(name=self.recipe.name, audits=tuple(found))


def make_models(study: RunningStudy, models: Sequence[AnyLineage]) -> None:
    """Make models where the recipe says, and note what becomes of them."""
    recipe, workspace = study.recipe, study.workspace
    executor = recipe.executor

    def outcomes() -> Iterator[tuple[AnyLineage, Outcome]]:
        if executor.kind == "ray":
            return make_on_ray(models, workspace, study.logs, executor)
        return make_here(models, workspace, study.logs, side_by_side=executor.cpus is None)

    count = len(in_order(models, workspace.has))
    with task(recipe.name, count) as advance, closing(outcomes()) as made:  # type: ignore[type-var]
        for model, outcome in made:
            study.note(model, outcome)
            advance()


def _brief(found: Scores, run: Run) -> str:
    """Scores and a run's seconds in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" ({run.record.seconds:.1f} s)"
