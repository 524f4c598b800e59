"""The table of a study: all replicates of each method on each forget set."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from natmu.engine.store import Run
from natmu.lineage import Workspace
from natmu.lineage.executors.outcomes import Outcomes
from natmu.records.lineage import Trained
from natmu.records.run import Hardware
from natmu.records.settings import sharding_of
from natmu.records.table import Column, OwnOriginal, Replicate, Row
from natmu.scores import SCORE_NAMES, avg_gap, holdout_as_test, mean_scores, quick_scores, scores
from natmu.scores.comparison import Seeds
from natmu.scores.statistics import LOWEST
from natmu.studies.plan import Place, Plan
from natmu.studies.recipe import Recipe
from natmu.types import ORIGINAL, RETRAINED, ForgetSet, Predictions

LOGS = "logs"
"""Of a study's folder, where the details of what failed are."""

Scores = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """One replicate of one row.

    Attributes:
        seeds: Split, training and unlearning seed; the last is None where no method was at work.
        run: Its run.
        scores: Of the run.
        forget: Its forget set, which decides the retrained models that it is compared with.
    """

    seeds: Seeds
    run: Run
    scores: Scores
    forget: ForgetSet

    def comparable(self, others: Sequence[Measured]) -> list[Measured]:
        """Those of other replicates that have the same forget set; a run is not compared with itself."""
        return [
            other for other in others if other.forget.digest == self.forget.digest and other.run.path != self.run.path
        ]


@dataclass
class Cell:
    """All replicates of one method on one forget request.

    Attributes:
        measured: Each replicate; a run that serves several, because it shares their seeds and their forget set, counts
            once, under the seeds of the first.
        failed: Why a replicate could not be computed.
        log: File with the details of what failed, in the study's folder; None where nothing was tried.
        originals: Those of this row alone, where it has any.
    """

    measured: list[Measured] = field(default_factory=list)
    failed: str | None = None
    log: str | None = None
    originals: Cell | None = None

    def add(self, seeds: Seeds, run: Run, found: Scores, forget: ForgetSet) -> None:
        """Add one replicate, unless its run is already there with the same forget set."""
        if (run.path, forget.digest) not in [(other.run.path, other.forget.digest) for other in self.measured]:
            self.measured.append(Measured(seeds, run, found, forget))

    def fail(self, reason: str | None, log: str | None) -> None:
        """Note why a replicate is missing, and the file with the details; the first reason stays."""
        if self.failed is None:
            self.failed, self.log = reason, None if log is None else f"{LOGS}/{log}"


Cells = Mapping[Place, Cell]


@dataclass
class Scorer:
    """The scores of runs, as a recipe asks for them; each run is scored once on each forget set.

    Attributes:
        recipe: What was asked for.
    """

    recipe: Recipe
    _known: dict[tuple[Path, str], Scores] = field(default_factory=dict)

    def predictions(self, run: Run, forget: ForgetSet) -> Predictions:
        """A run's predictions, with the holdout in the place of the test set where the study must not see that."""
        found = run.outputs().split(forget)
        return holdout_as_test(found) if self.recipe.score_on == "holdout" else found

    def scores(self, run: Run, forget: ForgetSet) -> Scores:
        """The scores of every table, for a run on a forget set."""
        key = (run.path, forget.digest)
        if key not in self._known:
            self._known[key] = scores(self.predictions(run, forget))
        return self._known[key]


def cells_of(
    plan: Plan, outcomes: Outcomes, scorer: Scorer, workspace: Workspace, unserved: Mapping[Place, str]
) -> Cells:
    """All rows of a study's table, by forget request and label; replicates in the order of the plan.

    Args:
        plan: The models.
        outcomes: What became of each.
        scorer: Scores them.
        workspace: Knows the forget sets.
        unserved: Why a method cannot serve a row.
    """
    cells: defaultdict[Place, Cell] = defaultdict(Cell)
    for place, reason in unserved.items():
        cells[place].fail(reason, None)
    for planned in plan.runs:
        source, outcome = outcomes[planned.source.digest], outcomes[planned.model.digest]
        cell = cells[planned.place]
        if planned.own and cell.originals is None:
            cell.originals = Cell()
        originals = cell.originals or cells[planned.request.text, ORIGINAL]
        if source.run is None:
            originals.fail(source.failed, source.log)
        else:
            forget = workspace.forget_set(planned.forget)
            seeds = (planned.seeds[0], planned.original, None)
            originals.add(seeds, source.run, scorer.scores(source.run, forget), forget)
        if outcome.run is None:
            cell.fail(outcome.failed, outcome.log)
        else:
            forget = outcome.run.forget()
            cell.add(planned.seeds, outcome.run, scorer.scores(outcome.run, forget), forget)
    if scorer.recipe.scores:
        for (text, _), cell in cells.items():
            _add_further(cell, cells[text, RETRAINED], scorer)
    return cells


def _add_further(cell: Cell, reference: Cell, scorer: Scorer) -> None:
    """Add the scores that the recipe names to each replicate; retrained models are compared with the others."""
    for measured in cell.measured:
        others = [scorer.predictions(other.run, measured.forget) for other in measured.comparable(reference.measured)]
        predictions = scorer.predictions(measured.run, measured.forget)
        measured.scores.update(quick_scores(predictions, others, names=scorer.recipe.scores).scores)


def table_rows(
    texts: Sequence[str],
    labels: Sequence[str],
    further: Sequence[str],
    cells: Cells,
    searched: Mapping[str, float],
) -> tuple[Row, ...]:
    """The rows of a study's table, one per forget request and method.

    Args:
        texts: The forget requests.
        labels: The methods in order, ``original`` and ``retrained`` included.
        further: Scores beyond those of every table.
        cells: What is known, by forget request and method.
        searched: Passes over the training set that the search of a method's settings took, where that is known.
    """
    return tuple(
        _row(text, label, further, cells[text, label], cells[text, RETRAINED].measured, searched)
        for text in texts
        for label in labels
    )


def columns(further: Sequence[str]) -> tuple[str, ...]:
    """Every column of a table, in order."""
    return (*SCORE_NAMES, *further, *LOWEST)


def column(values: Sequence[float | None]) -> Column | None:
    """Mean and sample standard deviation of the values that there are, and all values; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Column(mean=statistics.fmean(known), std=spread, values=tuple(values))


def _row(
    text: str,
    label: str,
    further: Sequence[str],
    cell: Cell,
    references: Sequence[Measured],
    searched: Mapping[str, float],
) -> Row:
    """One row; every list of values has one entry per replicate, None where there is nothing to say of it."""
    seconds, fractions = ([], []) if label == ORIGINAL else _costs(cell.measured, references)
    names = (*SCORE_NAMES, *further)
    columns = {name: column([measured.scores.get(name) for measured in cell.measured]) for name in names}
    columns |= {"avg_gap": column(_gaps(cell.measured, references, itself=label == RETRAINED))}
    made = [] if label == ORIGINAL else [measured.run.record.passes for measured in cell.measured]
    passes = column([None if one is None else one.passes for one in made])
    prepared = [one.prepared for one in made if one is not None]
    return Row(
        scenario=text,
        method=label,
        n=len(cell.measured),
        failed=cell.failed,
        log=cell.log,
        replicates=tuple(_replicate(measured) for measured in cell.measured),
        scores=columns | {"seconds": column(seconds), "retrain_fraction": column(fractions), "passes": passes},
        preparation=statistics.fmean(prepared) if prepared else None,
        search=searched.get(label),
        original=None if cell.originals is None else _own_original(cell.originals),
    )


def _own_original(cell: Cell) -> OwnOriginal | None:
    """The original of one row; None where none could be made."""
    if not cell.measured:
        return None
    lineage = cell.measured[0].run.record.lineage
    sharding = sharding_of(lineage.recipe) if isinstance(lineage, Trained) else None
    assert sharding is not None, "rows have originals of their own for the sake of a division"
    return OwnOriginal(
        sharding=sharding,
        replicates=tuple(_replicate(measured) for measured in cell.measured),
        scores={name: column([measured.scores.get(name) for measured in cell.measured]) for name in SCORE_NAMES},
    )


def _replicate(measured: Measured) -> Replicate:
    split, training, unlearning = measured.seeds
    name, record = measured.run.path.name, measured.run.record
    return Replicate(
        split=split,
        training=training,
        unlearning=unlearning,
        run=name,
        digest=record.digest,
        versions=record.versions,
    )


def _costs(
    measured: Sequence[Measured], references: Sequence[Measured]
) -> tuple[list[float | None], list[float | None]]:
    """Seconds of a method, and as fractions of the seconds of retraining.

    Only like is compared with like: of each method the runs that had the most threads, which are those that had the
    machine to themselves, and of retraining those on the same hardware with as many threads. References that were
    trained beside others do not count.
    """
    if not measured:
        return [], []
    best = max((one.run.record.hardware for one in measured), key=lambda hardware: hardware.threads)
    seconds = _seconds_on(best, measured)
    retraining = [value for value in _seconds_on(best, references) if value is not None]
    if not retraining:
        return seconds, []
    return seconds, [None if value is None else value / statistics.mean(retraining) for value in seconds]


def _seconds_on(hardware: Hardware, measured: Sequence[Measured]) -> list[float | None]:
    """Seconds of the runs that were made on this hardware; None for others."""
    records = [one.run.record for one in measured]
    return [record.seconds if record.hardware == hardware else None for record in records]


def _gaps(measured: Sequence[Measured], references: Sequence[Measured], *, itself: bool) -> list[float | None]:
    """Each replicate's distance to the mean of the models retrained without the same forget set.

    A retrained model is compared with the others only, in the row of a method too: that is the retraining baseline. The
    one distance between two models counts once in it.
    """
    gaps: list[float | None] = []
    for one in measured:
        others = one.comparable(references)
        alike = [other for other in references if other.forget.digest == one.forget.digest]
        counted_already = itself and len(alike) == 2 and one is alike[1]
        known = others and not counted_already
        gaps.append(avg_gap(one.scores, mean_scores([other.scores for other in others])) if known else None)
    return gaps
