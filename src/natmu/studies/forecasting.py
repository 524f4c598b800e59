"""What a recipe would do, what of it is in the store, and about how long the rest takes; nothing is written."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from natmu.engine.compute import hardware
from natmu.engine.relearning import STEPS as CURVE
from natmu.engine.store import Run
from natmu.engine.threads import threads
from natmu.engine.training import train_classifier
from natmu.errors import RunError
from natmu.lineage import Workspace, in_order, sources
from natmu.methods import method_named
from natmu.methods.cost import Sizes, cost_by_sizes
from natmu.records.derived import root_of, title
from natmu.records.lineage import AnyLineage, Relearned, Trained, Unlearned
from natmu.records.run import RECORD, History
from natmu.records.settings import AnyTraining, TrainSettings, batch_size_of
from natmu.studies.bench import opened, unserved_by
from natmu.studies.originals import given_original, require_recipe, with_original, with_resolved_training
from natmu.studies.plan import Place, audit_models, plan_of
from natmu.studies.recipe import Recipe

STEPS = 4
"""Training steps whose time stands for that of all others."""


@dataclass(frozen=True)
class Expected:
    """A model that a study would make.

    Attributes:
        name: What it is called.
        digest: Of its run.
        after: Digests of the models that it starts from.
        in_store: Whether its run is there.
        seconds: About how long it takes, if it is not there; None of a model that the user's own function trains, until
            one like it is in the store.
        basis: ``records`` of runs like it on this hardware, or ``steps`` of training that were timed.
    """

    name: str
    digest: str
    after: tuple[str, ...]
    in_store: bool
    seconds: float | None = None
    basis: str | None = None


@dataclass(frozen=True)
class Forecast:
    """All models of a study.

    Attributes:
        name: Of the study.
        models: Each after those that it needs.
        audits: Rows of the table that are audited, from stored predictions.
        unserved: By row, why a method cannot serve that forget set.
    """

    name: str
    models: tuple[Expected, ...]
    audits: tuple[Place, ...]
    unserved: dict[Place, str]

    @property
    def in_store(self) -> int:
        """How many models are there."""
        return sum(model.in_store for model in self.models)

    @property
    def seconds(self) -> float:
        """About how long the others take, one after another."""
        return sum(model.seconds or 0.0 for model in self.models)

    def plain(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "models": [asdict(model) for model in self.models],
            "audits": [{"scenario": text, "method": label} for text, label in self.audits],
            "not_run": [
                {"scenario": text, "method": label, "reason": reason} for (text, label), reason in self.unserved.items()
            ],
            "in_store": self.in_store,
            "seconds": round(self.seconds, 1),
        }


def forecast(recipe: Recipe, *, data_dir: Path, out: Path, device: str = "auto") -> Forecast:
    """Say what ``run_recipe`` would do with the same arguments, without doing it; features of a backbone are taken.

    Times are rough. They are those of stored runs of the same method and settings on the same hardware; where there are
    none, a few training steps are timed. A sample that a method trains on then counts as one of training, and a method
    of which nobody knows how many these are as one epoch.

    Args:
        recipe: What to do.
        data_dir: Where the data lies.
        out: Folder of all runs.
        device: As ``run_recipe``.

    Returns:
        Every model, whether its run is in the store, and else about how many seconds it takes. Audits are those of each
        row's first replicate.

    Raises:
        UsageError: As ``run_recipe``.
    """
    recipe = with_resolved_training(recipe)
    workspace, backbone = opened(recipe, data_dir, out, device)
    original = given_original(recipe, workspace)
    require_recipe(original, recipe)
    recipe = with_original(recipe, original)
    unserved = unserved_by(recipe, workspace, original)
    plan = plan_of(recipe, workspace, unserved, original, backbone)
    firsts = [runs[0] for runs in plan.rows.values()]
    names = {run.model.digest: run.name for run in reversed(plan.runs)}
    wanted = [*plan.models, *(model for run in firsts for model in audit_models(recipe, run))]
    times = _Times(workspace, recipe.training)

    def expected(model: AnyLineage) -> Expected:
        facts = names.get(model.digest, title(model)), model.digest, tuple(source.digest for source in sources(model))
        return Expected(*facts, True) if workspace.has(model) else Expected(*facts, False, *times.of(model))

    with threads(recipe.executor.cpus):
        models = tuple(map(expected, in_order(wanted, workspace.has)))
    audits = () if recipe.audit is None else tuple(run.place for run in firsts)
    return Forecast(recipe.name, models, audits, unserved)


@dataclass(frozen=True)
class _Times:
    """How long models take."""

    workspace: Workspace
    recipe: AnyTraining

    @cached_property
    def known(self) -> dict[str, float]:
        """Mean seconds of the runs in the store that were made on this hardware, by what tells them from others."""
        here = hardware(self.workspace.compute)
        seconds: defaultdict[str, list[float]] = defaultdict(list)
        for path in self.workspace.store.root.glob(f"*/{RECORD}"):
            with suppress(RunError):  # a damaged run says nothing, and is in the way of none of these models
                record = Run(path.parent).record
                if record.hardware == here and isinstance(record.lineage, Trained | Unlearned):
                    seconds[_key(record.lineage)].append(record.seconds)
        return {key: statistics.mean(values) for key, values in seconds.items()}

    @cached_property
    def epoch(self) -> float:
        """Seconds of an epoch of training, from a few steps."""
        workspace, train = self.workspace, self.workspace.on_device.train
        count = min(len(train), STEPS * batch_size_of(self.recipe))
        history: History = []
        known = self.recipe if isinstance(self.recipe, TrainSettings) else TrainSettings()
        few = known.model_copy(update={"epochs": 2, "warmup_epochs": 0})
        network, positions = workspace.build(0), torch.arange(count)
        train_classifier(network, train, positions, few, workspace.compute, seed=0, history=history)
        return history[-1]["seconds"] * len(train) / count

    def of(self, model: AnyLineage) -> tuple[float | None, str | None]:
        """Seconds of a model, and where they come from."""
        if isinstance(model, Relearned):
            return CURVE * batch_size_of(self.recipe) / len(self.workspace.splits.train) * self.epoch, "steps"
        if not isinstance(model, Trained | Unlearned):
            return 0.0, None
        key = _key(model)
        if key in self.known:
            return self.known[key], "records"
        if isinstance(model, Trained):
            recipe = model.recipe
            return (recipe.epochs * self.epoch, "steps") if isinstance(recipe, TrainSettings) else (None, None)
        method = method_named(model.method)
        if method.needs_head:
            return 0.0, None  # milliseconds
        if method.needs_shards:  # at most; how many shards are affected is not known before forget sets are
            return self.of(root) if isinstance(root := root_of(model), Trained) else (None, None)
        cost = cost_by_sizes(method(**model.settings), self._sizes(model))
        epochs = 1.0 if cost is None else cost.samples / len(self.workspace.splits.train)
        return epochs * self.epoch, "steps"

    def _sizes(self, model: Unlearned) -> Sizes:
        """Of the sets that a method would be given."""
        splits, request = self.workspace.splits, model.forget.request
        try:
            forget = self.workspace.forget_set(model.forget)
            forgotten, left_out = len(forget), len(forget.left_out)
        except RunError:
            if request.kind != "hardest" or request.amount is None:
                raise
            # the model that tells which samples are the hardest is still to be made
            forgotten = left_out = request.amount.of(len(splits.train))
        recipe = self.recipe if isinstance(self.recipe, TrainSettings) else TrainSettings()
        return Sizes(
            retain=len(splits.train) - left_out,
            forget=forgotten,
            batch=model.batch_size,
            epochs=recipe.epochs,
            holdout=0 if splits.holdout is None else len(splits.holdout),
        )


def _key(model: Trained | Unlearned) -> str:
    """What decides how long a run takes: everything but seeds and the choice of forget samples."""
    kept: dict[str, Any] = {
        "data": model.data.plain(),
        "model": model.architecture.plain(),
        "precision": model.arithmetic.precision,
        "training": None if model.recipe is None else model.recipe.model_dump(),
    }
    if isinstance(model, Unlearned):
        kept |= {"method": model.method, "settings": model.settings, "batch_size": model.batch_size}
    return json.dumps(kept, sort_keys=True)
