"""What was asked for, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from natmu.records.data_lineage import DataLineage
from natmu.records.derived import backbone_of, forget_of, root_of
from natmu.records.forgetting import ALL, ForgetRequest
from natmu.records.lineage import AllBut, AnyLineage, Backbone, Forget, Imported, Trained, Unlearned
from natmu.records.recipe import MethodSettings
from natmu.records.run import RunRecord
from natmu.records.settings import DataSettings, LogisticTraining, RetrainSettings, in_words
from natmu.records.table import Table

Facts = list[tuple[str, str]]

SECRET = "kept secret"
"""Stands for the seed of the noise of a head: whoever knows it can subtract the noise."""


def asked(table: Table) -> Facts:
    """A study's recipe as terms and sentences."""
    recipe = table.recipe
    seeds = recipe.seeds
    replicates = max(map(len, (seeds.split, seeds.training, seeds.unlearning)))
    names = [_method(entry) for entry in recipe.methods]
    level = recipe.audit
    return [
        ("Data", data(recipe.data)),
        ("Model", recipe.model),
        ("Training", in_words(recipe.training)),
        *([("Features from", recipe.features_from)] if recipe.features_from else []),
        ("Forget sets", "; ".join(f"{request.text} ({forget_set(request)})" for request in recipe.forget)),
        ("Methods", "; ".join(names) if names else "none besides retraining"),
        ("Retraining", f"on the retain set alone, from {_start(recipe.retrain)}"),
        (
            "Seeds",
            f"{count(replicates, 'replicate')}; of the forget sets {listed(seeds.split)}, of training "
            f"{listed(seeds.training)}, of unlearning {listed(seeds.unlearning)}",
        ),
        ("Scored on", "the test set" if table.score_on == "test" else "a holdout; nothing here has seen the test set"),
        ("Audit", f"level {level}, of each method's first replicate" if level else "none asked for"),
    ]


def asked_of_run(record: RunRecord) -> Facts:
    """What determines one run, as terms and sentences."""
    lineage = record.lineage
    facts = [("Data", data(lineage.data)), ("Model", lineage.architecture.name)]
    facts += [("Training", in_words(lineage.recipe))] if isinstance(lineage, Imported | Trained | Unlearned) else []
    backbone = _backbone(lineage)
    facts += [] if backbone is None else [("Backbone", f"{backbone.origin}, frozen, weights {backbone.weights}")]
    forget, forgotten = forget_of(lineage), record.forgotten
    if forget is not None:
        amount = "" if forgotten is None else f", {count(forgotten.count, 'sample')}"
        facts.append(("Forget set", f"{forget.request.text}: {forget_set(forget.request)}{amount}"))
        earlier = [request.text for request in _before(forget)]
        facts += [("Forgotten before", ", then ".join(earlier))] if earlier else []
    if isinstance(lineage, Unlearned):
        facts.append(("Method", f"{lineage.method}{_settings(lineage.settings)}"))
        facts.append(("Batch size", str(lineage.batch_size)))
    if isinstance(lineage, Trained) and isinstance(lineage.on, AllBut):
        facts.append(("Method", "retraining on the retain set alone"))
    drawn = [] if forget is None or forget.seed is None else [("Seed of the forget set", str(forget.seed))]
    secret = isinstance(lineage, Trained) and isinstance(lineage.recipe, LogisticTraining)
    return [*facts, *drawn, ("Seed", SECRET if secret else str(getattr(lineage, "seed", "none")))]


def _backbone(lineage: AnyLineage) -> Backbone | None:
    """The frozen network below a head."""
    return backbone_of(root_of(lineage)) if isinstance(lineage, Trained | Imported | Unlearned) else None


def shared_plain(lineage: AnyLineage) -> dict[str, Any]:
    """A lineage as plain values that may be shown to others: without the seed that decides the noise of a head."""
    shared: dict[str, Any] = _without_seeds(lineage.plain())
    return shared


def _without_seeds(value: Any) -> Any:  # noqa: ANN401 - a plain value of any kind
    if isinstance(value, list | tuple):
        return [_without_seeds(one) for one in value]
    if not isinstance(value, Mapping):
        return value
    held = {name: _without_seeds(one) for name, one in value.items()}
    recipe = value.get("recipe")
    noisy = value.get("kind") == "trained" and isinstance(recipe, Mapping) and recipe.get("head") == "logistic"
    return held | {"seed": SECRET} if noisy else held


def _before(forget: Forget) -> list[ForgetRequest]:
    """What was forgotten before, the first request first."""
    return [] if forget.after is None else [*_before(forget.after), forget.after.request]


def data(asked_for: DataSettings | DataLineage) -> str:
    """Which data."""
    parts = [asked_for.source]
    parts += [f"{asked_for.train_size:,} training images, balanced by class"] if asked_for.train_size else []
    parts += [f"resized to {asked_for.image_size} pixels"] if asked_for.image_size else []
    parts += [f"shorter side resized to {asked_for.resize} pixels"] if asked_for.resize else []
    parts += [f"the middle {asked_for.crop} by {asked_for.crop} pixels"] if asked_for.crop else []
    parts += [f"{'grey' if asked_for.channels == 1 else 'RGB'} images"] if asked_for.channels else []
    parts += [f"tested on {asked_for.test}"] if asked_for.test else []
    parts += [f"{asked_for.test_fraction:.4g} of it set apart as test set"] if asked_for.test_fraction else []
    parts += ["a fifth of the test set held out for tuning"] if asked_for.holdout else []
    return ", ".join(parts)


def forget_set(request: ForgetRequest) -> str:
    """What a forget request means."""
    amount = ""
    if request.amount is not None:
        number = f"{float(request.amount.number):g}"
        amount = f"{number} % of the training set" if request.amount.percent else f"{number} samples"
    names = ", ".join(request.names)
    listed = "kept with the right labels of" if request.relabels else "listed in"
    words = {
        "random": f"{amount}, drawn at random",
        "hardest": f"the hardest {amount} by {request.criterion}",
        "class": f"all of class {names}",
        "subclass": f"all of sub-class {names}",
        "indices": "all samples" if request.text == ALL else f"the samples {listed} {request.file}",
    }
    return words[request.kind]


def count(number: int, what: str) -> str:
    """A number and its noun."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(values: Sequence[Any]) -> str:
    """Values in a row; runs of many are cut."""
    shown = [str(value) for value in values]
    return ", ".join(shown if len(shown) <= 12 else [*shown[:10], "…", shown[-1]])


def _method(entry: MethodSettings) -> str:
    """One method of a recipe with what was set."""
    name = entry.method if entry.label in (None, entry.method) else f"{entry.label} ({entry.method})"
    grid = "".join(f", {key} one of {listed(values)}" for key, values in entry.grid.items())
    return f"{name}{_settings(entry.settings)}{grid}"


def _settings(settings: Mapping[str, Any]) -> str:
    """Settings behind a method's name."""
    written = (f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in settings.items())
    return " with " + ", ".join(written) if settings else ""


def _start(retrain: RetrainSettings) -> str:
    """From which weights retraining starts."""
    return "the original's initial weights" if retrain.init == "original" else "fresh initial weights"
