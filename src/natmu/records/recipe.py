"""What was asked of a study, as its table keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field
from pydantic_core import to_json

from natmu.records.files import Value
from natmu.records.forgetting import Request
from natmu.records.settings import DataSettings, TrainSettings

Level = Literal["quick", "standard", "full"]
Objective = Literal["retrained", "no-retrain"]


class SearchRange(Value):
    """Where the values of one setting are looked for.

    Attributes:
        low: Lowest value; None where there are choices.
        high: Highest value; None where there are choices.
        log: Whether values are drawn on a logarithmic scale.
        choices: The values, instead of ``low`` and ``high``.
    """

    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] | None = None


class AskedSearch(Value):
    """How the settings of methods are searched.

    Attributes:
        trials: Trials of each method.
        objective: ``retrained`` or ``no-retrain``.
        seed: Of the settings that are tried.
    """

    trials: int
    objective: Objective
    seed: int


class AskedMethod(Value):
    """One method of a recipe, or several that differ by a grid of settings.

    Attributes:
        method: Name of the method.
        label: Its name in the table; None if it is that of the method.
        settings: Settings that were given; the others have their defaults.
        grid: Settings that were tried in every combination.
        search: Settings that were searched.
    """

    method: str
    label: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    search: dict[str, SearchRange] = Field(default_factory=dict)


class AskedRetraining(Value):
    """How retrained models start.

    Attributes:
        init: From the original's initial weights, or from fresh ones.
    """

    init: Literal["original", "fresh"]


class AskedSeeds(Value):
    """Seeds of a study; a single seed serves all replicates.

    Attributes:
        split: Of random forget sets.
        training: Of original and retrained models.
        unlearning: Of the methods.
    """

    split: tuple[int, ...]
    training: tuple[int, ...]
    unlearning: tuple[int, ...]


class AskedExecutor(Value):
    """Where the jobs of a study ran.

    Attributes:
        kind: ``local`` or ``ray``.
        cpus: Threads of each job; None for all of the machine's.
        gpus: Of Ray, each job's part of a GPU.
        retries: Of Ray, how often a job is started again whose worker was lost.
        address: Of Ray, the cluster.
    """

    kind: Literal["local", "ray"]
    cpus: int | None
    gpus: float
    retries: int
    address: str | None


class AskedStudy(Value):
    """A recipe, with every default filled in.

    Attributes:
        name: Of the study.
        data: Which data.
        model: Name of a model, or ``package.module:factory``.
        training: How originals and retrained models are trained.
        retrain: How retrained models start.
        forget: The forget requests.
        methods: What is compared with retraining.
        batch_size: Samples per step of the methods; None if it is that of the training.
        seeds: Of the replicates.
        score_on: What stands for unseen data in the scores.
        scores: Columns beyond those that every table has.
        audit: Level of the audit of each method's first replicate; None without one.
        references: Retrained models of an audit; None for as many as its level asks for.
        search: How settings are searched; None without a search.
        precision: Of the arithmetic.
        sync_batch_norm: Whether batch normalisation sees the samples of all processes.
        executor: Where the jobs ran.
    """

    name: str
    data: DataSettings
    model: str
    training: TrainSettings
    retrain: AskedRetraining
    forget: tuple[Request, ...] = Field(min_length=1)
    methods: tuple[AskedMethod, ...]
    batch_size: int | None
    seeds: AskedSeeds
    score_on: Literal["test", "holdout"]
    scores: tuple[str, ...]
    audit: Level | None
    references: int | None
    search: AskedSearch | None
    precision: Literal["auto", "fp32", "bf16"]
    sync_batch_norm: bool
    executor: AskedExecutor

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Self:
        """A recipe from its plain values.

        Args:
            recipe: As ``Recipe.model_dump(mode="json")`` gives them.
        """
        return cls.model_validate_json(to_json(recipe))
