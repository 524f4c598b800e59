"""Recipes: everything a study needs to know, validated before anything runs."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationInfo, field_validator, model_validator

from natmu.errors import NatmuError, SettingError
from natmu.lineage.executors.settings import ExecutorSettings
from natmu.methods import Retrain, method_named
from natmu.records.forgetting import ForgetRequest, Request
from natmu.records.settings import DataSettings, TrainSettings
from natmu.scores import Level, score_of_table
from natmu.studies.search.ranges import Range, SearchSettings, require_fit
from natmu.types import REFERENCES, Settings


class Seeds(Settings):
    """Seeds of a study; one replicate takes one of each, and a single seed serves all replicates."""

    split: tuple[int, ...] = Field((0,), min_length=1, description="of random forget sets")
    training: tuple[int, ...] = Field((0,), min_length=1, description="of original and retrained models")
    unlearning: tuple[int, ...] = Field((0,), min_length=1, description="of the methods")

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


class MethodEntry(Settings):
    """One method of a study, or several that differ by a grid of settings."""

    method: str = Field(description="name of the method")
    label: str | None = Field(None, description="name in the table")
    settings: dict[str, Any] = Field(default_factory=dict, description="settings of the method")
    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(
        default_factory=dict, description="settings to try in every combination"
    )
    search: dict[str, Range] = Field(default_factory=dict, description="settings to search, and where")

    @model_validator(mode="after")
    def _is_known(self) -> MethodEntry:
        for _, name, settings in self.expanded():
            try:
                method_named(name).Config.parse(settings, where=name)
            except NatmuError as error:
                raise ValueError(str(error)) from None
        return self

    @field_validator("search")
    @classmethod
    def _ranges_fit(cls, ranges: dict[str, Range], known: ValidationInfo) -> dict[str, Range]:
        if not ranges:
            return ranges
        if known.data.get("grid"):
            raise ValueError("give a method a grid or a search, not both")
        if "method" in known.data and "settings" in known.data:
            try:
                require_fit(known.data["method"], known.data["settings"], ranges)
            except NatmuError as error:
                raise ValueError(str(error)) from None
        return ranges

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


class Recipe(Settings):
    """A study: one model trained with each training seed, forget sets, and the methods to compare."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="name of the study and its folder")
    data: DataSettings
    model: str = Field(min_length=1, description="name of a model, or package.module:factory")
    training: TrainSettings = TrainSettings()
    retrain: Retrain.Config = Retrain.Config()
    forget: tuple[Request, ...] = Field(min_length=1, description="forget sets")
    methods: tuple[MethodEntry, ...] = Field((), description="methods to compare with retraining")
    batch_size: int | None = Field(None, ge=1, description="samples per step of the methods; training's if not given")
    seeds: Seeds = Seeds()
    score_on: Literal["test", "holdout"] = Field("test", description="what stands for unseen data in the scores")
    scores: tuple[str, ...] = Field((), description="further columns of the table; natmu scores explains them")
    audit: Level | None = Field(None, description="level of the audit of each method's first replicate")
    references: int | None = Field(None, ge=1, description="retrained models of the audits; the level's own if none")
    search: SearchSettings | None = Field(None, description="search of the methods' settings, for natmu search")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="precision of the arithmetic")
    sync_batch_norm: bool = Field(False, description="with several processes, batch statistics over all of them")
    executor: ExecutorSettings = ExecutorSettings()

    @field_validator("executor", mode="before")
    @classmethod
    def _executor_by_name(cls, value: object) -> object:
        return {"kind": value} if isinstance(value, str) else value

    @field_validator("scores")
    @classmethod
    def _scores_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            try:
                score_of_table(name)
            except NatmuError as error:
                raise ValueError(str(error)) from None
        return tuple(dict.fromkeys(names))

    @field_validator("forget")
    @classmethod
    def _forget_sets_differ(cls, requests: tuple[ForgetRequest, ...]) -> tuple[ForgetRequest, ...]:
        texts = [request.text for request in requests]
        twice = sorted({text for text in texts if texts.count(text) > 1})
        if twice:
            raise ValueError(f"each forget set is named once; named again: {', '.join(twice)}")
        return requests

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        labels = [label for entry in self.methods for label, _, _ in entry.expanded()]
        twice = sorted({label for label in labels if labels.count(label) > 1} | ({*REFERENCES} & {*labels}))
        if twice:
            raise ValueError(f"methods need different labels; taken twice or reserved: {', '.join(twice)}")
        if self.score_on == "holdout" and not self.data.holdout:
            raise ValueError("score_on: holdout needs data.holdout: true")
        if self.audit is not None and self.score_on == "holdout":
            raise ValueError("an audit looks at the test set; leave it out of a study that is scored on the holdout")
        if self.references is not None and self.audit is None:
            raise ValueError("references are those of an audit; name its level, such as audit: standard")
        return self


def demo_recipe() -> Recipe:
    """The recipe of ``natmu demo``."""
    return read_recipe(Path(__file__).with_name("demo.yaml"))


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        SettingError: The file is missing, is not YAML, or a key is wrong; names its path.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError:
        raise SettingError(f"There is no recipe {path}; see recipes/ for those that come with natmu.") from None
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, RecursionError) as error:
        # PyYAML lets the last four escape from values that do not fit their tag, such as `!!int ""`.
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SettingError(f"{path} is not readable as YAML: {first}.") from None
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise SettingError(f"{path} holds no recipe; it must be a mapping with name, data, model, forget and methods.")
    return Recipe.parse(values, where=str(path))
