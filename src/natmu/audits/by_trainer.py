"""Audits of models in memory whose references the user's own function trains, with a store that goes on where it was.

The references have lineages as those of the command line do; the architecture is that of the model in memory.
"""

from __future__ import annotations

import copy
import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from natmu.audits.in_memory import ReferenceModels, ShadowModels
from natmu.audits.models import NUMBERS, AuditModels, Part
from natmu.audits.obtaining import make_models, refuse_shadows_of_corrected
from natmu.data import ImageData, OwnParts, Splits
from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.errors import NatmuError
from natmu.lineage.given_trainer import as_given, recipe_of, require_one_network
from natmu.lineage.importing import keep_imported
from natmu.lineage.model_workspace import ModelWorkspace
from natmu.lineage.workspace import Workspace
from natmu.methods import Retrain, method_named
from natmu.progress import say
from natmu.records.derived import retrained
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import (
    Arithmetic,
    DroppedOutputs,
    Forget,
    Imported,
    Trained,
    Unlearned,
)
from natmu.records.settings import DataSettings, OwnTraining
from natmu.scores.panel import Level
from natmu.scores.pool import half_of_pool
from natmu.types import ForgetSet


def trained_for_audit(
    trainer: object,
    model: nn.Module,
    data: tuple[tuple[object, ImageData], tuple[object, ImageData]],
    forget: ForgetSet,
    made_by: Mapping[str, Any] | None,
    *,
    original: bool,
    level: Level,
    references: int | None,
    compute: Compute,
    folder: Path | None,
) -> ReferenceModels:
    """The models that a model in memory is compared with, trained by the user's own function.

    Args:
        trainer: As ``recipe_of``.
        model: The original, or the model that is judged, whose architecture all have.
        original: Whether it is the original.
        data: Training and test data, each as the user gave it and as natmu reads it.
        forget: The forget set.
        made_by: The settings of the result that is judged; without, its method cannot be repeated on other originals.
        level: How much is asked for.
        references: How many retrained models; those of the level if None.
        compute: Device and precision.
        folder: Where the models are kept; a temporary one if None.

    Raises:
        UsageError: The function is none, or returns no such model.
        TrainingError: It fails.
    """
    refuse_shadows_of_corrected(forget, level)
    require_one_network(model)
    recipe, function = recipe_of(trainer, kept=folder is not None)
    (given_train, train), (given_test, test) = data
    own = OwnParts(as_given(given_train, train), as_given(given_test, test))
    with _folder(folder) as root:
        workspace = ModelWorkspace(
            settings=DataSettings(source="given"),
            splits=Splits("given", train, test, (), (), own=own),
            model=type(model).__name__,
            compute=compute,
            store=Store(root),
            trainer=function,
            network=compute.place(copy.deepcopy(model)),
        )
        models = _models(workspace, recipe, _forget(workspace, forget), made_by, level, references or NUMBERS[level])
        wanted: list[Part] = ["initial", "retrained"]
        wanted += ["shadow"] if level == "full" else []
        if made_by is not None and _is_named(made_by["method"]):
            wanted += ["original", "unlearned", "unlearned shadow"]
        if level == "full" and original and "unlearned" in wanted:
            wanted += ["again"]
            keep_imported(models.source, workspace.network, workspace)
        parts = {part: models.parts[part] if part in wanted else () for part in models.parts}
        make_models([([one for found in parts.values() for one in found], False)], workspace, "models of the audit")
        runs = {part: [workspace.store.find(one.digest) for one in found] for part, found in parts.items()}
        there = {part: [workspace.load(run) for run in found if run is not None] for part, found in runs.items()}
        shadows = _shadows(workspace, models, there["shadow"], there["unlearned shadow"]) if there["shadow"] else None
    initial = there["initial"][0] if there["initial"] else None
    return ReferenceModels(there["retrained"], initial, there["original"], there["unlearned"], there["again"], shadows)


def _models(
    workspace: ModelWorkspace,
    recipe: OwnTraining,
    forget: Forget,
    made_by: Mapping[str, Any] | None,
    level: Level,
    number: int,
) -> AuditModels:
    """What the model is compared with, as lineages."""
    at = workspace.arithmetic
    weights = _weights_digest(workspace.network)
    source = Imported(
        data=workspace.data, architecture=workspace.architecture, arithmetic=at, weights=weights, recipe=recipe
    )
    told = made_by or {"method": "", "settings": {}, "batch_size": 1, "seed": 0, "precision": at.precision}
    if told["method"] == Retrain.name:
        subject: Trained | Unlearned = retrained(source, forget, at, told["seed"], fresh=True)
    else:
        settings = told["settings"]
        if _is_named(told["method"]):
            settings = method_named(told["method"])(**settings).config.model_dump(mode="json")
        subject = Unlearned(
            source=source,
            forget=forget,
            method=told["method"],
            settings=settings,
            batch_size=told["batch_size"],
            seed=told["seed"],
            arithmetic=Arithmetic(precision=told["precision"]),
            dropped=DroppedOutputs.model_validate(told["dropped"], strict=False) if "dropped" in told else None,
        )
    return AuditModels(subject, source, level, number)


def _forget(workspace: Workspace, forget: ForgetSet) -> Forget:
    """A forget set in memory, as lineages tell of it: by its positions."""
    before = forget.before
    after = None
    if len(before):
        earlier = ForgetSet(before, "", "indices", corrections=forget.corrections)
        after = Forget(request=parse_forget(f"indices:{earlier.digest}"), positions=earlier.digest)
        workspace.remember(after, earlier)
    found = Forget(request=parse_forget(forget.request), positions=forget.digest, after=after)
    workspace.remember(found, forget)
    return found


def _shadows(
    workspace: Workspace, models: AuditModels, trained: list[nn.Module], unlearned: list[nn.Module]
) -> ShadowModels:
    """Shadow models as ``natmu.audit`` takes them; those that are unlearned only where all are."""
    pool = workspace.pool(models.forget)
    halves = [half_of_pool(pool.forget, len(pool.positions), number) for number in range(len(trained))]
    return ShadowModels(trained, np.stack(halves), pool.rows, unlearned if len(unlearned) == len(trained) else ())


def _is_named(method: str) -> bool:
    """Whether a method is known by its name, so that it can be repeated."""
    try:
        method_named(method)
    except NatmuError:
        if method:
            say(f"{method} is not a method of natmu or of an installed package, so it is not repeated.")
        return False
    return method != Retrain.name


def _weights_digest(network: nn.Module) -> str:
    """Hexadecimal digest of a model's weights."""
    state = hashlib.blake2b(digest_size=16)
    for name, value in network.state_dict().items():
        state.update(name.encode())
        state.update(value.detach().cpu().double().numpy().tobytes())
    return state.hexdigest()


@contextmanager
def _folder(folder: Path | None) -> Iterator[Path]:
    """The folder of the references."""
    if folder is not None:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="natmu-") as temporary:
        say(f"The references are kept in {temporary} until the audit ends; give folder=… to keep them.")
        yield Path(temporary)
