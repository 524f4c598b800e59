"""What a recipe wants: the models of each row of its table, as lineages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from natmu.audits import NUMBERS, AuditModels
from natmu.lineage import Workspace, outcome_of
from natmu.methods import Method, Retrain, method_named
from natmu.records.forgetting import ForgetRequest
from natmu.records.lineage import AnyLineage, Backbone, Forget, Imported, Trained, Unlearned
from natmu.scores.comparison import Seeds
from natmu.studies.originals import Original, originals_of, own_training
from natmu.studies.recipe import Recipe
from natmu.types import RETRAINED

Place = tuple[str, str]
"""A row of the table: text of the forget request, and label."""


@dataclass(frozen=True)
class PlannedRun:
    """One replicate of one row of the table.

    Attributes:
        request: What is to be forgotten.
        label: Name of the row.
        seeds: Split, training and unlearning seed; the last is None where no method is at work.
        source: The original.
        original: The training seed under which the original stands.
        forget: What the request means with these seeds.
        model: The model.
        own: Whether the original is that of this row alone.
    """

    request: ForgetRequest
    label: str
    seeds: Seeds
    source: Trained | Imported
    original: int
    forget: Forget
    model: Trained | Unlearned
    own: bool = False

    @property
    def place(self) -> Place:
        """The row."""
        return self.request.text, self.label

    @property
    def name(self) -> str:
        """What it is called in messages."""
        split, training, unlearning = self.seeds
        seeds = f"{split}, {training}" + ("" if unlearning is None else f", {unlearning}")
        source = "" if training == self.original else f" (original {self.original})"
        return f"{self.label}, {self.request.text}, seeds {seeds}{source}"


@dataclass(frozen=True)
class Plan:
    """All models of a study, but for those of audits.

    Attributes:
        originals: The originals, those of single rows last.
        runs: What methods make of them, retrained models included, replicate by replicate.
    """

    originals: tuple[Trained | Imported, ...]
    runs: tuple[PlannedRun, ...]

    @property
    def models(self) -> list[AnyLineage]:
        """All models."""
        return [*self.originals, *(run.model for run in self.runs)]

    @cached_property
    def rows(self) -> dict[Place, list[PlannedRun]]:
        """The replicates of each row."""
        rows: defaultdict[Place, list[PlannedRun]] = defaultdict(list)
        for run in self.runs:
            rows[run.place].append(run)
        return dict(rows)


def plan_of(
    recipe: Recipe,
    workspace: Workspace,
    unserved: Collection[Place] = (),
    original: Original | None = None,
    backbone: Backbone | None = None,
) -> Plan:
    """The models that a recipe wants.

    Args:
        recipe: What to do.
        workspace: Its data and its architecture.
        unserved: Rows that a method cannot serve, which are left out.
        original: The original, where it is given and not trained.
        backbone: The network on whose features heads are fitted; None where originals are no heads.
    """
    originals = originals_of(recipe, workspace, original, backbone)
    runs: dict[str, PlannedRun] = {}
    for split, training, unlearning in recipe.seeds.replicates():
        source = originals[training]
        for request in recipe.forget:
            forget = workspace.forget(request, split, source)
            for label, method, seeds in _rows(recipe, workspace, originals, forget, (split, training, unlearning)):
                seed, batch_size, at = (
                    seeds[1] if seeds[2] is None else seeds[2],
                    recipe.batch_size,
                    workspace.arithmetic,
                )
                own = own_training(recipe, method)
                start = source if own is None else workspace.original(own, training)
                model = outcome_of(method, start, forget, seed=seed, batch_size=batch_size, at=at)
                run = PlannedRun(request, label, seeds, start, training, forget, model, own is not None)
                if run.place not in unserved:
                    runs.setdefault(run.name, run)
    others = (run.source for run in runs.values())
    return Plan(tuple(dict.fromkeys([*originals.values(), *others])), tuple(runs.values()))


def methods_of(recipe: Recipe) -> dict[str, Method]:
    """Every method of a recipe with its settings, by label, retraining first."""
    entries = [entry for group in recipe.methods for entry in group.expanded()]
    retraining = {RETRAINED: Retrain(**recipe.retrain.model_dump())}
    return retraining | {label: method_named(name)(**settings) for label, name, settings in entries}


def audit_models(recipe: Recipe, run: PlannedRun) -> list[AnyLineage]:
    """Everything that the audit of a run compares it with."""
    if recipe.audit is None:
        return []
    return AuditModels(run.model, run.source, recipe.audit, recipe.references or NUMBERS[recipe.audit]).all


def _rows(
    recipe: Recipe,
    workspace: Workspace,
    originals: Mapping[int, Original],
    forget: Forget,
    seeds: tuple[int, int, int],
) -> Iterator[tuple[str, Method, Seeds]]:
    """Label, method and seeds of each model of one replicate on one forget set.

    A forget set that only one retrained model would serve gets a second one, from other initial weights: without it
    nobody could say how far two retrained models lie apart.
    """
    split, training, unlearning = seeds
    retraining, *methods = methods_of(recipe).items()
    yield *retraining, (split, training, None)
    alike = {
        other_training
        for other_split, other_training, _ in recipe.seeds.replicates()
        if workspace.forget(forget.request, other_split, originals[other_training]) == forget
    }
    if alike == {training}:
        second = Retrain(**recipe.retrain.model_dump() | {"init": "fresh"})
        yield RETRAINED, second, (split, training + 1, None)
    for label, method in methods:
        yield label, method, (split, training, unlearning)
