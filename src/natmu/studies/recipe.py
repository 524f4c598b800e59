"""Recipes: everything a study needs to know, validated before anything runs."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator, model_validator

from natmu.errors import NatmuError, SettingError, some
from natmu.methods import SISA, method_named
from natmu.methods.exact import SISASettings
from natmu.records.forgetting import ForgetRequest
from natmu.records.recipe import MethodSettings, Range, RecipeSettings
from natmu.records.settings import HeadTraining
from natmu.records.yaml_text import is_mapping, read_yaml_file
from natmu.scores import score_of_table
from natmu.studies.search.ranges import require_fit
from natmu.types import REFERENCES


class MethodEntry(MethodSettings):
    """One method of a study, or several that differ by a grid of settings; all are known and in their bounds."""

    @model_validator(mode="after")
    def _is_known(self) -> MethodEntry:
        for _, name, settings in self.expanded():
            try:
                configured = method_named(name).configured(settings)
                if isinstance(configured, SISASettings):
                    _ = configured.division  # which must divide
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
        if known.data.get("method") == SISA.name:
            raise ValueError("each division is an original of its own, and a search has one original; give sisa a grid")
        if "method" in known.data and "settings" in known.data:
            try:
                require_fit(known.data["method"], known.data["settings"], ranges)
            except NatmuError as error:
                raise ValueError(str(error)) from None
        return ranges


class Recipe(RecipeSettings):
    """A study: one model trained with each training seed, forget sets, and the methods to compare."""

    methods: tuple[MethodEntry, ...] = Field((), description="methods to compare with retraining")

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
            raise ValueError(f"each forget set is named once; named again: {some(twice)}")
        return requests

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        labels = [label for entry in self.methods for label, _, _ in entry.expanded()]
        twice = sorted({label for label in labels if labels.count(label) > 1} | ({*REFERENCES} & {*labels}))
        if twice:
            raise ValueError(f"methods need different labels; taken twice or reserved: {some(twice)}")
        head = isinstance(self.training, HeadTraining)
        if head and self.original is None and self.features_from is None:
            raise ValueError("a head is fitted on the features of a model; name that model under features_from")
        if self.features_from is not None and (not head or self.original is not None):
            raise ValueError("features_from is for heads that are fitted here; write training.head, or leave it out")
        if self.original is not None and len(set(self.seeds.training)) > 1:
            raise ValueError("original is one model; give seeds.training one seed, that of the retrained models")
        if self.score_on == "holdout" and not self.data.holdout:
            raise ValueError("score_on: holdout needs data.holdout: true")
        if self.audit is not None and self.score_on == "holdout":
            raise ValueError("an audit looks at the test set; leave it out of a study that is scored on the holdout")
        if self.references is not None and self.audit is None:
            raise ValueError("references are those of an audit; name its level, such as audit: standard")
        corrected = next((request.text for request in self.forget if request.relabels), None)
        if self.audit == "full" and corrected is not None:
            raise ValueError(f"an audit of {corrected!r} has no shadow models; write audit: standard")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read and validate a recipe.

    Raises:
        SettingError: The file is missing, is not YAML, or a key is wrong; names its path.
    """
    try:
        values = read_yaml_file(path)
    except FileNotFoundError:
        raise SettingError(
            f"There is no recipe {path}; write one, or copy one from recipes/ of natmu's source."
        ) from None
    except OSError as error:
        raise SettingError(f"The recipe {path} cannot be read: {error.strerror or error}.") from None
    if not is_mapping(values):
        raise SettingError(f"{path} holds no recipe; it must be a mapping with name, data, model, forget and methods.")
    return Recipe.parse(values, where=str(path))
