"""A study as tables, one per scenario, with every number already in the digits that it deserves.

Markdown, LaTeX, the terminal and the page render these; nobody else decides which columns there are, which cells are
marked, or how a number is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from natmu.records.table import Column, OwnOriginal, Results, Row
from natmu.report.digits import rounded
from natmu.report.made_with import MIXED, is_mixed, usual, version_sentences
from natmu.report.significance import Mark, compared, finding, marked, pairs
from natmu.report.units import FRACTION, decimals_of, header_of, units_in_words
from natmu.safe_text import one_line
from natmu.types import REFERENCES, RETRAINED

NO_BASELINE = (
    "The retraining baseline is not known here: retrained has no avg_gap, which takes two retrained models of one "
    "forget set."
)

OPTIONAL = ("forget_test_acc", "passes")
"""Columns that a table has only where some row of its scenario has a number in them."""

MEANINGS: Mapping[Mark | Literal[""], str] = {"best": "best of the column", "near": "within noise of the best", "": ""}


@dataclass(frozen=True)
class Cell:
    """One number as text, or a word in its place.

    Attributes:
        mean: The mean.
        spread: Sample standard deviation; empty where it is not known.
        value: The mean as a number; None where there is none.
        mark: ``best`` of the column, ``near`` for what is within noise of the best, or nothing.
        word: What stands in the place of a number.
    """

    mean: str = ""
    spread: str = ""
    value: float | None = None
    mark: Mark | Literal[""] = ""
    word: str = ""

    def text(self, plus_minus: str) -> str:
        """The cell as one text."""
        return f"{self.mean}{plus_minus}{self.spread}" if self.spread else self.mean or self.word or "-"

    @property
    def meaning(self) -> str:
        """The mark in words."""
        return MEANINGS[self.mark]


@dataclass(frozen=True)
class Line:
    """One method.

    Attributes:
        method: Its label.
        n: Over how many seeds it was measured.
        cells: In the order of the table's columns.
        state: ``failed``, ``not run`` or ``some seeds failed``; empty if nothing is missing.
        reason: Why, in a sentence; empty if nothing is missing.
        log: File with the details, in the study's folder.
        mixed: Whether some of it was made with other versions than most of the study.
    """

    method: str
    n: int
    cells: tuple[Cell, ...]
    state: str = ""
    reason: str = ""
    log: str | None = None
    mixed: bool = False

    @property
    def label(self) -> str:
        """The method, with a mark where some of it was made with other versions."""
        return f"{self.method}{MIXED}" if self.mixed else self.method

    @property
    def failure(self) -> str | None:
        """Why something is missing, in one sentence."""
        if not self.state:
            return None
        return (
            f"{self.method} failed: {self.reason} ({self.log})"
            if self.log
            else f"{self.method} was not run: {self.reason}"
        )


@dataclass(frozen=True)
class ScenarioTable:
    """One scenario of a study, ready to be drawn.

    Attributes:
        scenario: Text of the forget request.
        seeds: Over how many seeds it was measured, in words.
        headers: One per column.
        lines: The original, the retrained model, then the methods.
        units: What the columns are measured in, in words.
        baseline: The retrained models' own ``avg_gap``; None where it is not known.
        finding: The best method next to the second best; None where seeds do not show it.
        pairs: Every two methods that share two seeds: the better, the other, their difference, and how many.
        compared: Whether some methods are compared over seeds, so that marks mean something.
        undecided: Whether some cannot be.
        originals: A sentence on each method that has an original of its own.
        versions: A sentence on the rows that were made with other versions than most of the study, if there are any.
    """

    scenario: str
    seeds: str
    headers: tuple[str, ...]
    lines: tuple[Line, ...]
    units: str
    baseline: Cell | None
    finding: str | None
    pairs: tuple[tuple[str, str, str, int], ...] = ()
    compared: bool = False
    undecided: bool = False
    originals: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The forget set and over how many seeds it was measured."""
        return f"{self.scenario}, {self.seeds}"

    @property
    def references(self) -> list[Line]:
        """The lines that methods are compared with."""
        return [line for line in self.lines if line.method in REFERENCES]

    @property
    def methods(self) -> list[Line]:
        """The lines of methods."""
        return [line for line in self.lines if line.method not in REFERENCES]

    @property
    def measured(self) -> bool:
        """Whether there is any number."""
        return any(cell.mean for line in self.lines for cell in line.cells)

    @property
    def incomplete(self) -> list[Line]:
        """The lines of which something is missing."""
        return [line for line in self.lines if line.state]

    @property
    def failures(self) -> list[str]:
        """One sentence for each method that failed or was not run."""
        return [line.failure for line in self.lines if line.failure]

    @property
    def remarks(self) -> list[str]:
        """What is said below the table besides."""
        told = (self.finding, *self.originals, *self.versions, None if self.baseline else NO_BASELINE)
        return [text for text in told if text]


def tables(study: Results) -> list[ScenarioTable]:
    """Turn a study into one table per scenario, in the order in which the scenarios appear.

    Lines start with the original and the retrained model. Columns of ``OPTIONAL`` are left out where no row of the
    scenario has a number in them.
    """
    return [table_of(study, scenario) for scenario in dict.fromkeys(row.scenario for row in study.rows)]


def table_of(study: Results, scenario: str) -> ScenarioTable:
    """The table of one scenario.

    Args:
        study: The study.
        scenario: Text of the forget request.
    """
    rows = sorted((row for row in study.rows if row.scenario == scenario), key=references_first)
    names = [name for name in study.columns if name not in OPTIONAL or any(row.scores[name] for row in rows)]
    marks = marked(study, scenario)
    baseline = next((gap for row in rows if row.method == RETRAINED and (gap := row.scores["avg_gap"])), None)
    comparisons = [comparison for comparison in study.comparisons if comparison.scenario == scenario]
    expected = usual(study)
    return ScenarioTable(
        scenario=scenario,
        seeds=_seeds(rows),
        headers=tuple(header_of(name, study.score_on) for name in names),
        lines=tuple(_line(row, names, marks, mixed=is_mixed(row, expected)) for row in rows),
        units=units_in_words([name for name in names if any(row.scores[name] for row in rows)], study.score_on),
        baseline=_cell(baseline, "avg_gap") if baseline else None,
        finding=finding(study, scenario),
        pairs=tuple(pairs(study, scenario)),
        compared=any(comparison.within_noise is not None for comparison in comparisons),
        undecided=any(comparison.within_noise is None for comparison in comparisons),
        originals=tuple(_own_original(row.method, row.original, study.score_on) for row in rows if row.original),
        versions=version_sentences(rows, expected),
    )


def _own_original(method: str, original: OwnOriginal, score_on: str) -> str:
    """What is said of a row whose original is not that of the others."""
    sharding, column = original.sharding, original.scores["test_acc"]
    measured = "" if column is None else f" ({score_on} accuracy {_cell(column, 'test_acc').text(' ± ')} %)"
    return (
        f"{method} has an original of its own{measured}, trained in {sharding.in_words}; its gap and its cost "
        "are against the same retrained models as those of the others."
    )


def legend(study: Results, plus_minus: str, *, bold: bool) -> str:
    """Explain a study's numbers.

    Args:
        study: The study.
        plus_minus: How that sign is written.
        bold: Whether marks can be seen.

    Returns:
        A few sentences in one line.
    """
    columns = [name for name in study.columns if any(row.scores[name] for row in study.rows)]
    if not columns:
        return "Nothing was measured."
    units = units_in_words(columns, study.score_on)
    sentences = [
        f"Mean {plus_minus} sample standard deviation over seeds." if any(row.n > 1 for row in study.rows) else "",
        f"{units[:1].upper()}{units[1:]}." if units else "",
        "The avg_gap of retrained, its distance from other retrained models, is the retraining baseline.",
    ]
    if bold and compared(study):
        sentences.append(
            "Bold: the best of each column (lowest avg_gap, seconds, retrain_fraction and passes; otherwise nearest to "
            "retrained) and what seeds do not distinguish from it (paired t-tests, 5 % after Holm's correction)."
        )
    elif bold:
        sentences.append(f"Bold: the lowest avg_gap{'; one seed shows no noise' if _most_seeds(study) == 1 else ''}.")
    return " ".join(filter(None, sentences))


def references_first(row: Row) -> int:
    """Sort the original first, the retrained second and all methods, in their own order, after them."""
    return REFERENCES.index(row.method) if row.method in REFERENCES else len(REFERENCES)


def _seeds(rows: Sequence[Row]) -> str:
    """Say over how many seeds the rows were measured."""
    counts = [row.n for row in rows if row.n] or [0]
    fewest, most = min(counts), max(counts)
    if fewest < most:
        return f"{fewest} to {most} seeds"
    return "1 seed" if most == 1 else f"{most} seeds"


def _most_seeds(study: Results) -> int:
    """Seeds of the method that has most; of a single seed there are two retrained models all the same."""
    return max((row.n for row in study.rows if row.method not in REFERENCES), default=0)


def _line(row: Row, names: Sequence[str], marks: Mapping[tuple[str, str], Mark], *, mixed: bool) -> Line:
    """Write a row; one of which nothing was measured says why in the first cell."""
    state = ""
    if row.failed:
        state = "some seeds failed" if row.n else "failed" if row.log else "not run"
    if row.failed and not any(row.scores[name] for name in names):
        cells = (Cell(word="failed" if row.log else "not run"), *[Cell()] * (len(names) - 1))
    else:
        cells = tuple(_cell(row.scores[name], name, marks.get((row.method, name), "")) for name in names)
    return Line(row.method, row.n, cells, state, one_line(row.failed or ""), row.log, mixed)


def _cell(column: Column | None, name: str, mark: Mark | Literal[""] = "") -> Cell:
    """Write one stored column."""
    if column is None:
        return Cell()
    factor = 100 if name == FRACTION else 1
    std = None if column.std is None else column.std * factor
    mean = column.mean * factor
    return Cell(*rounded(mean, std, decimals_of(name)), value=mean, mark=mark)
