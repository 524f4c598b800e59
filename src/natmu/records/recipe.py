"""Recipes as values: what is asked of a study. Methods and scores have their say in ``natmu.studies.recipe``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from natmu.bounds import LARGEST_COUNT, LARGEST_SEED, MOST_THREADS
from natmu.records.forgetting import Request
from natmu.records.settings import AnyTraining, DataSettings, RetrainSettings, Training, TrainSettings
from natmu.types import Settings

Level = Literal["quick", "standard", "full"]
Objective = Literal["retrained", "no-retrain"]


Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]


class Seeds(Settings):
    """Seeds of a study; one replicate takes one of each, and a single seed serves all replicates."""

    split: tuple[Seed, ...] = Field((0,), min_length=1, description="of random forget sets")
    training: tuple[Seed, ...] = Field((0,), min_length=1, description="of original and retrained models")
    unlearning: tuple[Seed, ...] = Field((0,), min_length=1, description="of the methods")

    @model_validator(mode="after")
    def _same_number(self) -> Seeds:
        counts = {len(self.split), len(self.training), len(self.unlearning)} - {1}
        if len(counts) > 1:
            raise ValueError("give each of split, training and unlearning one seed or the same number of seeds")
        return self

    def replicates(self) -> list[tuple[int, int, int]]:
        """Split, training and unlearning seed of each replicate."""
        count = max(len(self.split), len(self.training), len(self.unlearning))
        columns = [
            seeds * count if len(seeds) == 1 else seeds for seeds in (self.split, self.training, self.unlearning)
        ]
        return list(zip(*columns, strict=True))


class ExecutorSettings(Settings):
    """Where the models of a study are made, and what each job gets."""

    kind: Literal["local", "ray"] = Field("local", description="in this process, or on the machines of a Ray cluster")
    cpus: int | None = Field(
        None, ge=1, le=MOST_THREADS, description="threads of each job; all of the machine's if not given"
    )
    gpus: float = Field(
        0, ge=0, le=1, description="of ray: fraction of a GPU that each job gets; 0.25 puts four jobs on one"
    )
    retries: int = Field(3, ge=0, le=1000, description="of ray: how often a job is started again whose worker was lost")
    address: str | None = Field(None, description="of ray: the cluster; the one around, or this machine, if not given")

    @model_validator(mode="after")
    def _fits_the_kind(self) -> ExecutorSettings:
        defaults = type(self).model_fields
        given = [name for name in ("gpus", "retries", "address") if getattr(self, name) != defaults[name].default]
        if self.kind == "local" and given:
            raise ValueError(f"{', '.join(given)} is for kind: ray; leave it out, or name that kind")
        return self

    @field_validator("address")
    @classmethod
    def _is_no_proxy(cls, value: str | None) -> str | None:
        if value is not None and value.startswith("ray://"):
            raise ValueError("run natmu on a machine of the cluster, and write HOST:PORT without ray://")
        return value

    def at(self, kind: str) -> ExecutorSettings:
        """The same settings for another place, as far as they apply there.

        Raises:
            SettingError: There is no such place.
        """
        kept = {"cpus": self.cpus} if kind == "local" else self.model_dump()
        return type(self).parse(kept | {"kind": kind}, where="executor")


class SearchSettings(Settings):
    """How the settings of a recipe's methods are searched; every method has the same number of trials."""

    trials: int = Field(ge=1, le=100_000, description="trials of each method, failed ones included")
    objective: Objective = Field(
        description="closeness to retrained models, or what can be known of it without any; both on the holdout"
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="of the settings that are tried")


class Range(Settings):
    """Where the values of one setting are looked for: from ``low`` to ``high``, or a list of choices."""

    low: float | None = Field(None, description="lowest value")
    high: float | None = Field(None, description="highest value")
    log: bool = Field(False, description="draw on a logarithmic scale")
    choices: tuple[Any, ...] | None = Field(None, min_length=1, description="the values, instead of low and high")

    @model_validator(mode="before")
    @classmethod
    def _a_list_is_choices(cls, value: object) -> object:
        return {"choices": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Range:
        if self.choices is not None:
            if self.low is not None or self.high is not None or self.log:
                raise ValueError("give either low and high or a list of choices")
        elif self.low is None or self.high is None:
            raise ValueError("give low and high, or a list of choices")
        elif self.low > self.high:
            raise ValueError(f"low must not be above high, and {self.low:g} is above {self.high:g}")
        elif self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range needs low above 0, and it is {self.low:g}")
        return self

    def ends(self, *, whole: bool) -> Iterator[tuple[str, Any]]:
        """Its outermost values by their place in the recipe, or all choices; whole numbers where they must be."""
        if self.choices is not None:
            yield from ((str(number), choice) for number, choice in enumerate(self.choices))
        else:
            for name, value in (("low", self.low), ("high", self.high)):
                yield name, int(value) if whole and value is not None and value.is_integer() else value


class MethodSettings(Settings):
    """One method of a study, or several that differ by a grid of settings."""

    method: str = Field(description="name of the method")
    label: str | None = Field(None, description="name in the table")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="settings to try in every combination"
    )
    search: dict[str, Range] = Field(default_factory=dict, description="settings to search, and where")

    def expanded(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Label, method and settings of every combination."""
        name = self.label or self.method
        if not self.grid:
            return [(name, self.method, self.settings)]
        return [
            (
                " ".join([name, *(f"{key}={value}" for key, value in zip(self.grid, values, strict=True))]),
                self.method,
                self.settings | dict(zip(self.grid, values, strict=True)),
            )
            for values in itertools.product(*self.grid.values())
        ]


class RecipeSettings(Settings):
    """A study: one model trained with each training seed, forget sets, and the methods to compare."""

    name: str = Field(description="name of the study and its folder")
    data: DataSettings = Field(description="which data")
    model: str = Field(min_length=1, description="name of a model, or package.module:factory")
    original: str | None = Field(
        None, min_length=1, description="weights from elsewhere or a run folder; originals are trained if not given"
    )
    training: Training = Field(TrainSettings(), description="how originals and retrained models are trained")
    features_from: str | None = Field(
        None, min_length=1, description="of a head: the model whose features it is fitted on, as natmu train takes it"
    )
    retrain: RetrainSettings = Field(RetrainSettings(), description="how retrained models start")
    forget: tuple[Request, ...] = Field(min_length=1, description="forget sets")
    methods: tuple[MethodSettings, ...] = Field((), description="methods to compare with retraining")
    batch_size: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="samples per step of the methods; training's if not given"
    )
    seeds: Seeds = Field(Seeds(), description="seeds of the replicates")
    score_on: Literal["test", "holdout"] = Field("test", description="what stands for unseen data in the scores")
    scores: tuple[str, ...] = Field((), description="further columns of the table; natmu scores explains them")
    audit: Level | None = Field(None, description="level of the audit of each method's first replicate")
    references: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="retrained models of the audits; the level's own if none"
    )
    search: SearchSettings | None = Field(None, description="search of the methods' settings, for natmu search")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="precision of the arithmetic; auto is the faster one on this machine"
    )
    sync_batch_norm: bool = Field(False, description="with several processes, batch statistics over all of them")
    executor: ExecutorSettings = Field(ExecutorSettings(), description="where models are made")

    @property
    def told(self) -> AnyTraining | None:
        """How models are trained; None where the original is given, and the recipe does not say how it was."""
        return None if self.original is not None and "training" not in self.model_fields_set else self.training

    @field_validator("name")
    @classmethod
    def _name_of_a_folder(cls, value: str) -> str:
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value):
            raise ValueError("write at most 100 letters, digits, '.', '_' and '-', a letter or digit first")
        return value

    @field_validator("executor", mode="before")
    @classmethod
    def _executor_by_name(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value
