"""What came of the jobs of a study: scores, cells of its table, audits."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from natmu.engine.progress import say
from natmu.engine.store import Run
from natmu.scores import holdout_as_test, quick_scores, scores
from natmu.study.auditing import FOLDER
from natmu.study.executors import Outcome, Outcomes
from natmu.study.graph import AuditJob, Job, TrainJob, UnlearnJob
from natmu.study.jobs import Bench, Original
from natmu.study.plan import Plan
from natmu.study.recipe import Recipe
from natmu.study.refusal import Unserved
from natmu.study.table import Cell, Cells, Replicate, Scores
from natmu.types import ORIGINAL, RETRAINED, ForgetSet, Predictions

LOGS = "logs"
"""Of a study's folder, where the details of what failed are."""


@dataclass
class Findings:
    """What is known of the runs of a study.

    Attributes:
        recipe: What was asked for.
        bench: What the jobs share.
        outcomes: What became of each job, by its name.
    """

    recipe: Recipe
    bench: Bench
    outcomes: Outcomes = field(default_factory=dict)
    _scores: dict[tuple[Path, str], Scores] = field(default_factory=dict)

    def note(self, job: Job, outcome: Outcome) -> None:
        """Keep what became of a job, and say it in a line."""
        self.outcomes[job.name] = outcome
        if outcome.run is None:
            say(f"{job.name}: failed. {outcome.failed}")
        elif isinstance(job, AuditJob):
            say(f"{job.name}: {_audit_of(outcome.run)['verdict']}")
        elif isinstance(job, UnlearnJob):
            say(f"{job.name}: {_brief(self.scores(outcome.run, outcome.run.forget()), outcome.run)}")
        elif isinstance(job, TrainJob):
            hidden = "test" if self.recipe.score_on == "holdout" else "holdout"
            seen = {name: value for name, value in outcome.run.record.scores.items() if not name.startswith(hidden)}
            say(f"{job.name}: {_brief(seen, outcome.run)}")

    def predictions(self, run: Run, forget: ForgetSet) -> Predictions:
        """A run's answers, with the holdout in the place of the test set where the study must not see that."""
        found = run.outputs().split(forget)
        return holdout_as_test(found) if self.recipe.score_on == "holdout" else found

    def scores(self, run: Run, forget: ForgetSet) -> Scores:
        """The scores of every table, for a run on a forget set."""
        key = (run.path, forget.digest)
        if key not in self._scores:
            self._scores[key] = scores(self.predictions(run, forget))
        return self._scores[key]

    def cells(self, plan: Plan, unserved: Unserved) -> Cells:
        """All rows of the table, by forget spec and label; replicates in the order of the plan."""
        cells: defaultdict[tuple[str, str], Cell] = defaultdict(Cell)
        for place, reason in unserved.items():
            cells[place].fail(reason, None)
        for job in plan.unlearned:
            original, outcome = self.outcomes[job.original.name], self.outcomes[job.name]
            if original.run is None:
                self._fail(cells[job.scenario, ORIGINAL], original)
            else:
                forget = job.forget(Original(self.bench, original.run, job.original.seed))
                seeds = Replicate(job.replicate.split, job.original.seed, None)
                cells[job.scenario, ORIGINAL].add(seeds, original.run, self.scores(original.run, forget), forget)
            if outcome.run is None:
                self._fail(cells[job.scenario, job.label], outcome)
            else:
                forget = outcome.run.forget()
                cells[job.scenario, job.label].add(job.replicate, outcome.run, self.scores(outcome.run, forget), forget)
        if self.recipe.scores:
            for (text, _), cell in cells.items():
                self._add_further(cell, cells[text, RETRAINED])
        return cells

    def audits(self, plan: Plan) -> list[dict[str, Any]]:
        """Every audit, as it stands beside the run under audit, or why there is none."""
        found = []
        for job in plan.audits:
            outcome = self.outcomes[job.name]
            told = {"failed": outcome.failed, "log": _log(outcome)} if outcome.run is None else _audit_of(outcome.run)
            found.append({"scenario": job.subject.scenario, "label": job.subject.label} | told)
        return found

    def _fail(self, cell: Cell, outcome: Outcome) -> None:
        assert outcome.failed is not None
        cell.fail(outcome.failed, _log(outcome))

    def _add_further(self, cell: Cell, reference: Cell) -> None:
        """Add the scores that the recipe names to each replicate; retrained models are compared with the others."""
        for run, forget, found in zip(cell.runs, cell.forgets, cell.scores, strict=True):
            others = [
                other
                for other, same in zip(reference.runs, reference.forgets, strict=True)
                if same.digest == forget.digest and other.path != run.path
            ]
            found |= quick_scores(
                self.predictions(run, forget),
                [self.predictions(other, forget) for other in others],
                names=self.recipe.scores,
            ).scores


def _audit_of(run: Run) -> dict[str, Any]:
    """The audit beside a run."""
    found: dict[str, Any] = json.loads((run.path / FOLDER / "audit.json").read_text())
    return found


def _log(outcome: Outcome) -> str | None:
    """Where the details of a failure are, from the study's folder."""
    return None if outcome.log is None else f"{LOGS}/{outcome.log}"


def _brief(found: Scores, run: Run) -> str:
    """Scores and a run's seconds in one line."""
    return ", ".join(f"{name} {value:.2f}" for name, value in found.items()) + f" ({run.record.seconds:.1f} s)"
