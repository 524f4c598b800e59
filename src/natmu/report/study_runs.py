"""The runs of a study, replicate by replicate, and their audits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from natmu.records.audit import Audit, AuditFolder, audit_of
from natmu.records.run import RunFolder
from natmu.records.study import StudyFolder
from natmu.records.table import Replicate, Row
from natmu.report.conclusion import Conclusion
from natmu.report.digits import rounded
from natmu.report.next_steps import conclusions
from natmu.report.outcome import Audits
from natmu.report.relatives import run_beside
from natmu.report.units import FRACTION, decimals_of, header_of
from natmu.report.views import Table
from natmu.types import REFERENCES, RETRAINED


@dataclass(frozen=True)
class Seeds:
    """What distinguishes a replicate of a forget set from the others.

    Attributes:
        split: Seed of the forget set.
        training: Seed of the original.
        unlearning: Seed of the methods; None where there is no method, so that any is meant.
    """

    split: int
    training: int
    unlearning: int | None

    def __str__(self) -> str:
        unlearning = "" if self.unlearning is None else f", unlearning {self.unlearning}"
        return f"split {self.split}, training {self.training}{unlearning}"

    def include(self, replicate: Replicate) -> bool:
        """Whether a run belongs to it; original and retrained models have no seed of unlearning."""
        alike = (replicate.split, replicate.training) == (self.split, self.training)
        return alike and (None in (self.unlearning, replicate.unlearning) or replicate.unlearning == self.unlearning)


def replicates(rows: Sequence[Row]) -> list[Seeds]:
    """The replicates of a forget set; the first is one that a model was retrained with, if there is such a one.

    Args:
        rows: Of one forget set.
    """
    methods = [row for row in rows if row.method not in REFERENCES and row.replicates] or rows
    found = list(
        dict.fromkeys(Seeds(one.split, one.training, one.unlearning) for row in methods for one in row.replicates)
    )
    first = next((one for row in rows if row.method == RETRAINED for one in row.replicates), None)
    if first is None:
        return found
    alike = [one for one in found if (one.split, one.training) == (first.split, first.training)]
    chosen = alike[0] if alike else Seeds(first.split, first.training, None)
    return [chosen, *(one for one in found if one != chosen)]


def run_of(study: StudyFolder, row: Row, seeds: Seeds | None) -> RunFolder | None:
    """The run folder of a row's replicate; None where it has none, or the folder is not there.

    Args:
        study: The study; the runs lie beside it.
        row: Of its table.
        seeds: Of the replicate; the row's first if None.
    """
    first = next((one for one in row.replicates if seeds is None or seeds.include(one)), None)
    return None if first is None else run_beside(study.path, first.run, first.digest)


def replicate_table(rows: Sequence[Row], seeds: Seeds, columns: Sequence[str], score_on: str) -> Table:
    """Every score of one replicate.

    Args:
        rows: Of one forget set.
        seeds: Of the replicate.
        columns: Every score, in order.
        score_on: What stands for unseen data, ``test`` or ``holdout``.
    """
    found = []
    for row in rows:
        place = next((place for place, one in enumerate(row.replicates) if seeds.include(one)), None)
        if place is not None:
            found.append((row.method, {name: column.values[place] for name, column in row.scores.items() if column}))
    names = [name for name in columns if any(values.get(name) is not None for _, values in found)]
    cells = [(label, *(_cell(values.get(name), name) for name in names)) for label, values in found]
    headers = ("method", *(header_of(name, score_on) for name in names))
    return Table(f"Every score of the replicate with the seeds {seeds}.", headers, tuple(cells))


def _cell(value: float | None, name: str) -> str:
    """One value of one replicate."""
    return "-" if value is None else rounded(100 * value if name == FRACTION else value, None, decimals_of(name))[0]


def audit_folders(study: StudyFolder, rows: Sequence[Row]) -> dict[str, AuditFolder]:
    """The audits in the run folders of a forget set's first replicate, by label.

    Args:
        study: The study.
        rows: Of one forget set.
    """
    seeds = next(iter(replicates(rows)), None)
    runs = {row.method: run_of(study, row, seeds) for row in rows}
    found = {label: audit_of(run) for label, run in runs.items() if run is not None}
    return {label: folder for label, folder in found.items() if folder is not None}


def audits_by_scenario(study: StudyFolder) -> dict[str, Audits]:
    """The audits of a study by forget set and label: its own, else those that the run folders hold.

    Args:
        study: The study.

    Returns:
        Nothing of a study on the holdout, because audits look at the test set.

    Raises:
        RunError: Something stored cannot be read.
    """
    table = study.table
    if table.score_on != "test":
        return {}
    found: dict[str, dict[str, Audit | None]] = {}
    for name in dict.fromkeys(row.scenario for row in table.rows):
        folders = audit_folders(study, [row for row in table.rows if row.scenario == name])
        found[name] = {label: folder.audit for label, folder in folders.items()}
        found[name] |= {audit.label: audit.audit for audit in study.audits if audit.scenario == name}
    return dict(found)


def conclusions_of(study: StudyFolder) -> list[Conclusion]:
    """What each forget set of a study came to, and what to do next.

    Args:
        study: The study.

    Raises:
        RunError: Something stored cannot be read.
    """
    return conclusions(study.table, audits_by_scenario(study))
