"""What came of the models of a study: scores, cells of its table, audits."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from natmu.engine.store import Run
from natmu.lineage import Workspace
from natmu.lineage.executors.outcomes import Outcome, Outcomes
from natmu.progress import say
from natmu.records.audit import audit_of
from natmu.records.derived import title
from natmu.records.lineage import AnyLineage, Everything, Trained
from natmu.records.study import StudyAudit
from natmu.scores import holdout_as_test, quick_scores, scores
from natmu.studies.plan import Place, Plan
from natmu.studies.recipe import Recipe
from natmu.studies.table import Cell, Cells, Scores
from natmu.types import ORIGINAL, RETRAINED, ForgetSet, Predictions

LOGS = "logs"
"""Of a study's folder, where the details of what failed are."""


@dataclass
class Findings:
    """What is known of the runs of a study.

    Attributes:
        recipe: What was asked for.
        workspace: Where the models are made.
        plan: The models.
        outcomes: What became of each model, by its digest.
        audits: What became of the audit of each row.
    """

    recipe: Recipe
    workspace: Workspace
    plan: Plan
    outcomes: Outcomes = field(default_factory=dict)
    audits: dict[Place, Outcome] = field(default_factory=dict)
    _scores: dict[tuple[Path, str], Scores] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._names = {run.model.digest: run.name for run in reversed(self.plan.runs)}

    def note(self, model: AnyLineage, outcome: Outcome) -> None:
        """Keep what became of a model, and say it in a line."""
        self.outcomes[model.digest] = outcome
        name = self._names.get(model.digest, title(model))
        if outcome.run is None:
            say(f"{name}: failed. {outcome.failed}")
        elif model.digest in self._names:
            say(f"{name}: {_brief(self.scores(outcome.run, outcome.run.forget()), outcome.run)}")
        elif isinstance(model, Trained) and isinstance(model.on, Everything):
            hidden = "test" if self.recipe.score_on == "holdout" else "holdout"
            seen = {name: value for name, value in outcome.run.record.scores.items() if not name.startswith(hidden)}
            say(f"{name}: {_brief(seen, outcome.run)}")

    def note_audit(self, place: Place, outcome: Outcome) -> None:
        """Keep what became of the audit of a row, and say it in a line."""
        self.audits[place] = outcome
        text, label = place
        audit = None if outcome.run is None else audit_of(outcome.run)
        say(f"audit of {label}, {text}: {f'failed. {outcome.failed}' if audit is None else audit.audit.verdict}")

    def predictions(self, run: Run, forget: ForgetSet) -> Predictions:
        """A run's predictions, with the holdout in the place of the test set where the study must not see that."""
        found = run.outputs().split(forget)
        return holdout_as_test(found) if self.recipe.score_on == "holdout" else found

    def scores(self, run: Run, forget: ForgetSet) -> Scores:
        """The scores of every table, for a run on a forget set."""
        key = (run.path, forget.digest)
        if key not in self._scores:
            self._scores[key] = scores(self.predictions(run, forget))
        return self._scores[key]

    def cells(self, unserved: dict[Place, str]) -> Cells:
        """All rows of the table, by forget request and label; replicates in the order of the plan.

        Args:
            unserved: Why a method cannot serve a row.
        """
        cells: defaultdict[Place, Cell] = defaultdict(Cell)
        for place, reason in unserved.items():
            cells[place].fail(reason, None)
        for planned in self.plan.runs:
            source, outcome = self.outcomes[planned.source.digest], self.outcomes[planned.model.digest]
            originals, cell = cells[planned.request.text, ORIGINAL], cells[planned.place]
            if source.run is None:
                _fail(originals, source)
            else:
                forget = self.workspace.forget_set(planned.forget)
                seeds = (planned.seeds[0], planned.source.seed, None)
                originals.add(seeds, source.run, self.scores(source.run, forget), forget)
            if outcome.run is None:
                _fail(cell, outcome)
            else:
                forget = outcome.run.forget()
                cell.add(planned.seeds, outcome.run, self.scores(outcome.run, forget), forget)
        if self.recipe.scores:
            for (text, _), cell in cells.items():
                self._add_further(cell, cells[text, RETRAINED])
        return cells

    def study_audits(self) -> list[StudyAudit]:
        """Every audit, as it stands beside the run under audit, or why there is none."""
        found = []
        for (text, label), outcome in self.audits.items():
            folder = None if outcome.run is None else audit_of(outcome.run)
            audit, log = None if folder is None else folder.audit, _log(outcome)
            found.append(StudyAudit(scenario=text, label=label, audit=audit, failed=outcome.failed, log=log))
        return found

    def _add_further(self, cell: Cell, reference: Cell) -> None:
        """Add the scores that the recipe names to each replicate; retrained models are compared with the others."""
        for measured in cell.measured:
            others = [self.predictions(other.run, measured.forget) for other in measured.comparable(reference.measured)]
            predictions = self.predictions(measured.run, measured.forget)
            measured.scores.update(quick_scores(predictions, others, names=self.recipe.scores).scores)


def _fail(cell: Cell, outcome: Outcome) -> None:
    """Note in a cell why a model is missing."""
    assert outcome.failed is not None, "it has no run"
    cell.fail(outcome.failed, _log(outcome))


def _log(outcome: Outcome) -> str | None:
    """Where the details of a failure are, from the study's folder."""
    return None if outcome.log is None else f"{LOGS}/{outcome.log}"


def _brief(found: Scores, run: Run) -> str:
    """Scores and a run's seconds in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" ({run.record.seconds:.1f} s)"
