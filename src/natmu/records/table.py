"""The table of a study: every method on every forget request with all replicates, comparisons and ranks over seeds."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from natmu.records.digests import Digest
from natmu.records.files import File, Value
from natmu.records.forgetting import ForgetRequest
from natmu.records.recipe import RecipeSettings
from natmu.records.run import Hardware
from natmu.records.settings import Sharding

SUMMARY = "summary.json"
"""Of the demo's study folder, its means."""


class Replicate(Value):
    """One run that counts in a row.

    Attributes:
        split: Seed of the forget set.
        training: Seed of the original or retrained model.
        unlearning: Seed of the method; None where no method was at work.
        run: Name of the run's folder, which lies beside that of the study.
        digest: Of the run.
        versions: What the run was made with: package name to version.
    """

    split: int
    training: int
    unlearning: int | None
    run: str
    digest: Digest
    versions: dict[str, str] = Field(default_factory=dict)


class Column(Value):
    """One score of one row.

    Attributes:
        mean: Of the values.
        std: Sample standard deviation; None for a single value.
        values: One for each replicate; None where there is none.
    """

    mean: float
    std: float | None
    values: tuple[float | None, ...]


class OwnOriginal(Value):
    """The original of a row that does not share the study's, because its method needs one that was trained otherwise.

    Attributes:
        sharding: How its training data was divided; all else is as with the other originals.
        replicates: Its runs.
        scores: By column, on the row's forget set, those of one model; None where nothing was measured.
    """

    sharding: Sharding
    replicates: tuple[Replicate, ...]
    scores: dict[str, Column | None]


class Row(Value):
    """One method on one forget request.

    Attributes:
        scenario: Text of the forget request.
        method: Label of the method, ``original`` or ``retrained``.
        n: How many replicates there are.
        failed: Why a replicate is missing, in a sentence; None if none is.
        log: File with the details of a failure, in the study's folder; None where nothing was tried.
        replicates: The runs.
        scores: By column; None where nothing was measured. Accuracies and ``avg_gap`` are in percent, ``seconds`` in
            seconds, and ``retrain_fraction`` is the fraction of retraining's time, 1 for equally long. Gap and fraction
            are against the retrained models of the study, which are those of all rows. ``passes`` is the work that the
            request took, in forward and backward passes over the training set.
        preparation: Mean work before any request came, in the same unit, which ``passes`` leaves out; None where that
            is not known.
        search: Work of all trials of the search that chose the settings, likewise; None where that is not known.
        original: The original of this row alone; None where it shares those of the study.
    """

    scenario: str
    method: str
    n: int = Field(ge=0)
    failed: str | None = None
    log: str | None = None
    replicates: tuple[Replicate, ...] = ()
    scores: dict[str, Column | None]
    preparation: float | None = Field(None, ge=0)
    search: float | None = Field(None, ge=0)
    original: OwnOriginal | None = None

    @model_validator(mode="after")
    def _one_value_for_each_replicate(self) -> Self:
        if self.n != len(self.replicates):
            raise ValueError(f"n is {self.n} and there are {len(self.replicates)} replicates")
        for name, column in self.scores.items():
            if column is not None and len(column.values) != self.n:
                raise ValueError(f"{name} has {len(column.values)} values for {self.n} replicates")
        return self


class Comparison(Value):
    """The best method of a scenario next to another one, over the seeds that both have.

    Attributes:
        scenario: Text of the forget request.
        score: The column.
        best: Label of the better method.
        method: Label of the other.
        difference: Mean of best minus method; None where they have no seed in common.
        interval: 95 % interval of the difference; None where it is not known.
        n: How many replicates both have.
        within_noise: Whether the seeds do not show a difference; None where there is no interval.
    """

    scenario: str
    score: str
    best: str
    method: str
    difference: float | None
    interval: tuple[float, float] | None
    n: int
    within_noise: bool | None


class Place(Value):
    """Where a method stands among others over replicates; rank 1 is the best.

    Attributes:
        mean: Mean rank.
        best: Best rank of any replicate.
        worst: Worst rank.
        first: Fraction of replicates in which no other method is better, 0 to 1.
    """

    mean: float
    best: float
    worst: float
    first: float


class Ranks(Value):
    """The order of the methods of a scenario over seeds.

    Attributes:
        scenario: Text of the forget request.
        score: The column by which methods are ranked.
        n: How many replicates were ranked.
        agreement: Kendall's W, 0 to 1; None where it does not exist.
        methods: By label.
    """

    scenario: str
    score: str
    n: int
    agreement: float | None
    methods: dict[str, Place]


class Results(Value):
    """Methods on forget requests, compared over seeds.

    Attributes:
        name: Of the study.
        score_on: What stands for unseen data in the scores, ``test`` or ``holdout``.
        columns: Every score, in order.
        rows: One for each forget request and method; the original and the retrained models come first.
        comparisons: Methods next to the best.
        ranks: The order of methods over seeds.
    """

    name: str
    score_on: Literal["test", "holdout"]
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    comparisons: tuple[Comparison, ...] = ()
    ranks: tuple[Ranks, ...] = ()

    @model_validator(mode="after")
    def _every_row_has_every_column(self) -> Self:
        for row in self.rows:
            if set(row.scores) != {*self.columns}:
                raise ValueError(f"{row.scenario}, {row.method} has other columns than the table")
        return self


class Table(Results, File):
    """The table of a study (``table.json``): every method on every forget request, with all replicates.

    Attributes:
        name: Of the study.
        score_on: What stands for unseen data in the scores, ``test`` or ``holdout``.
        columns: Every score, in order.
        rows: One for each forget request and method; the original and the retrained models come first.
        comparisons: Methods next to the best.
        ranks: The order of methods over seeds.
        recipe: What was asked for.
        hardware: What the jobs ran on.
        versions: Package name to version, of what wrote the table; each replicate says its own.
        files: Digest of each other file that belongs to the table, by its name; ``write_study`` fills it in.
    """

    remedy: ClassVar[str] = "run the study again"

    format: Literal[3] = 3
    recipe: RecipeSettings
    hardware: Hardware
    versions: dict[str, str]
    files: dict[str, Digest] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _every_row_is_of_a_request(self) -> Self:
        asked = {request.text for request in self.recipe.forget}
        for row in self.rows:
            if row.scenario.strip() not in asked:
                raise ValueError(f"{row.scenario!r} is no forget request of the recipe")
        return self

    def request(self, scenario: str) -> ForgetRequest:
        """The forget request of rows.

        Args:
            scenario: Its text, as rows have it.
        """
        return next(request for request in self.recipe.forget if request.text == scenario.strip())


class SummaryRow(Value):
    """The means of one row of a table.

    Attributes:
        scenario: Text of the forget request.
        method: Label of the method.
        scores: Mean by column; None where a column does not apply or the method failed.
    """

    scenario: str
    method: str
    scores: dict[str, float | None]


class StoryRow(Value):
    """One model as a story of the demo shows it, in means over replicates and in percent.

    Attributes:
        method: Label of the method, ``original`` or ``retrained``.
        unwanted: Predictions of what is to be forgotten: of wrong labels, or of the class on its test images.
        corrected_acc: Accuracy against the true labels; None where labels are right.
        avg_gap: As in the table; None where it is not known.
        retrain_fraction: As in the table, in percent; None of the original.
        audit: What the audit says of the forget set, in a word; None where there is none.
        finding: Its most telling number, in a sentence; None where there is no audit.
    """

    method: str
    unwanted: float
    corrected_acc: float | None = None
    avg_gap: float | None = None
    retrain_fraction: float | None = None
    audit: str | None = None
    finding: str | None = None


class Story(Value):
    """What one forget set of the demo shows.

    Attributes:
        scenario: Text of the forget request.
        title: What is forgotten.
        unwanted: What ``unwanted`` of its rows is, in words.
        rows: The original, the retrained models, then the methods that have a model.
        conclusion: Sentences that follow from the rows.
    """

    scenario: str
    title: str
    unwanted: str
    rows: tuple[StoryRow, ...]
    conclusion: tuple[str, ...]


class Summary(File):
    """What the demo came to, in brief (``summary.json``).

    Attributes:
        seconds: Wall time from start to end.
        rows: The means of the table.
        stories: What each forget set shows.
    """

    format: Literal[3] = 3
    seconds: float = Field(ge=0)
    rows: tuple[SummaryRow, ...]
    stories: tuple[Story, ...] = ()
