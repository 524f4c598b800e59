"""The table of a study: all replicates of each method on each forget set, as plain values."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from natmu.engine.store import Run
from natmu.records.run import Hardware
from natmu.records.table import Column, Replicate, Row
from natmu.scores import SCORE_NAMES, avg_gap, mean_scores
from natmu.scores.comparison import Seeds
from natmu.types import ORIGINAL, RETRAINED, ForgetSet

COSTS = ("avg_gap", "seconds", "retrain_fraction")
"""The last columns of a table, which are known once the references are."""

Scores = dict[str, float]


@dataclass
class Cell:
    """All replicates of one method on one forget request.

    Attributes:
        replicates: Seeds and run of each; a run that serves several replicates, because it shares their seeds and their
            forget set, counts once, under the seeds of the first.
        runs: Run of each replicate.
        scores: One per replicate.
        forgets: Each replicate's forget set, which decides the references it is compared with.
        failed: Why a replicate could not be computed.
        log: File with the details of what failed, in the study's folder; None where nothing was tried.
    """

    replicates: list[Replicate] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    scores: list[Scores] = field(default_factory=list)
    forgets: list[ForgetSet] = field(default_factory=list)
    failed: str | None = None
    log: str | None = None

    def add(self, seeds: Seeds, run: Run, found: Scores, forget: ForgetSet) -> None:
        """Add one replicate, unless its run is already there with the same forget set.

        Args:
            seeds: Split, training and unlearning seed; the last is None where no method was at work.
            run: The run.
            found: Its scores.
            forget: Its forget set.
        """
        known = [(one.path, other.digest) for one, other in zip(self.runs, self.forgets, strict=True)]
        if (run.path, forget.digest) not in known:
            split, training, unlearning = seeds
            self.replicates.append(
                Replicate(
                    split=split,
                    training=training,
                    unlearning=unlearning,
                    run=run.path.name,
                    digest=run.record.digest,
                )
            )
            self.runs.append(run)
            self.scores.append(found)
            self.forgets.append(forget)

    def fail(self, reason: str, log: str | None) -> None:
        """Note why a replicate is missing; the first reason stays."""
        if self.failed is None:
            self.failed, self.log = reason, log


Cells = Mapping[tuple[str, str], Cell]


def table_rows(texts: Sequence[str], labels: Sequence[str], further: Sequence[str], cells: Cells) -> tuple[Row, ...]:
    """The rows of a study's table, one per forget request and method.

    Args:
        texts: The forget requests.
        labels: The methods in order, ``original`` and ``retrained`` included.
        further: Scores beyond those of every table.
        cells: What is known, by forget request and method.
    """
    return tuple(
        _row(text, label, further, cells[text, label], cells[text, RETRAINED]) for text in texts for label in labels
    )


def columns(further: Sequence[str]) -> tuple[str, ...]:
    """Every column of a table, in order."""
    return (*SCORE_NAMES, *further, *COSTS)


def _row(text: str, label: str, further: Sequence[str], cell: Cell, reference: Cell) -> Row:
    """One row; every list of values has one entry per replicate, None where there is nothing to say of it."""
    seconds, fractions = ([], []) if label == ORIGINAL else _costs(cell, reference)
    scores = {name: column([found.get(name) for found in cell.scores]) for name in (*SCORE_NAMES, *further)}
    scores |= {"avg_gap": column(_gaps(cell, reference, itself=label == RETRAINED))}
    return Row(
        scenario=text,
        method=label,
        n=len(cell.runs),
        failed=cell.failed,
        log=cell.log,
        replicates=tuple(cell.replicates),
        scores=scores | {"seconds": column(seconds), "retrain_fraction": column(fractions)},
    )


def _costs(cell: Cell, reference: Cell) -> tuple[list[float | None], list[float | None]]:
    """Seconds of a method, and as fractions of the seconds of retraining.

    Only like is compared with like: of each method the runs that had the most threads, which are those that had the
    machine to themselves, and of retraining those on the same hardware with as many threads. References that were
    trained beside others do not count.
    """
    if not cell.runs:
        return [], []
    best = max((run.record.hardware for run in cell.runs), key=lambda hardware: hardware.threads)
    seconds = _seconds_on(best, cell.runs)
    retraining = [one for one in _seconds_on(best, reference.runs) if one is not None]
    if not retraining:
        return seconds, []
    return seconds, [None if one is None else one / statistics.mean(retraining) for one in seconds]


def _seconds_on(hardware: Hardware, runs: Sequence[Run]) -> list[float | None]:
    """Seconds of the runs that were made on this hardware; None for others."""
    records = [run.record for run in runs]
    return [record.seconds if record.hardware == hardware else None for record in records]


def _gaps(cell: Cell, reference: Cell, *, itself: bool) -> list[float | None]:
    """Each replicate's distance to the mean of the models retrained without the same forget set.

    A retrained model is compared with the others only, in the row of a method too: that is the retraining baseline. The
    one distance between two models counts once in it.
    """
    gaps: list[float | None] = []
    for number, (found, forget) in enumerate(zip(cell.scores, cell.forgets, strict=True)):
        alike = [place for place, other in enumerate(reference.forgets) if other.digest == forget.digest]
        others = [reference.scores[place] for place in alike if reference.runs[place].path != cell.runs[number].path]
        told_already = itself and len(alike) == 2 and number == alike[1]
        gaps.append(avg_gap(found, mean_scores(others)) if others and not told_already else None)
    return gaps


def column(values: Sequence[float | None]) -> Column | None:
    """Mean and sample standard deviation of the values that there are, and all values; None where there are none."""
    known = [value for value in values if value is not None]
    if not known:
        return None
    spread = statistics.stdev(known) if len(known) > 1 else None
    return Column(mean=statistics.fmean(known), std=spread, values=tuple(values))
