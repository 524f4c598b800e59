"""Models that were trained elsewhere, as lineages and as runs."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from natmu.data import require_sure_order
from natmu.engine import processes
from natmu.engine.predict import outputs_of
from natmu.engine.store import Run
from natmu.engine.workplace import Workplace
from natmu.errors import ModelError, SettingError
from natmu.lineage.exporting import weights_digest
from natmu.lineage.finishing import finish, scores_of
from natmu.lineage.original_check import checked, report_check
from natmu.lineage.same_weights import refuse_forgetful
from natmu.lineage.workspace import Workspace
from natmu.models import load_weights
from natmu.models.adapters import network_of
from natmu.models.finite import require_finite_weights
from natmu.records.lineage import (
    AnyLineage,
    Imported,
)
from natmu.records.settings import AnyTraining, sharding_of

DIVIDED = (
    "A model from elsewhere is one model, whatever it was trained on, so it has no sharding. Leave sharding out, or "
    "train shards here with natmu train --shards 5."
)
"""Refuses a division that nobody can go back to."""


def require_undivided(recipe: AnyTraining | None) -> None:
    """Refuse to be told of a model from elsewhere that it was trained in shards.

    Raises:
        SettingError: That is told.
    """
    if sharding_of(recipe) is not None:
        raise SettingError(DIVIDED)


def imported(workspace: Workspace, weights: Path, recipe: AnyTraining | None) -> Imported:
    """The lineage of a model that was trained elsewhere; arguments as for ``import_model``.

    Raises:
        ModelError: There is no such file.
        SettingError: Two orders of the classes are plausible, and nobody has said which one the weights have; or it is
            said to have been trained in shards.
    """
    require_undivided(recipe)
    train, data = workspace.splits.train, workspace.settings
    chosen = data.classes is not None or data.class_order is not None
    require_sure_order(train.class_names, data.source, chosen=chosen)
    if not weights.exists():
        raise ModelError(f"There are no weights at {weights}; name a run folder, a .safetensors or a .pt file.")
    return Imported(
        data=workspace.data,
        architecture=workspace.architecture,
        arithmetic=workspace.arithmetic,
        weights=weights_digest(weights),
        recipe=recipe,
    )


def import_model(workspace: Workspace, weights: Path, recipe: AnyTraining | None, *, force: bool = False) -> Imported:
    """A model that was trained elsewhere, from its weights file, as a run in the store.

    Args:
        workspace: Its data and its architecture.
        weights: A file of weights or a HuggingFace folder; see ``natmu.models.load_weights``.
        recipe: How it is said to have been trained; None where nobody says.
        force: Whether to take weights that do not seem to belong to the data.

    Raises:
        ModelError: The file is missing, does not fit the architecture or the data, or holds the weights of a run that
            has forgotten something; nothing is written then.
        SettingError: Two orders of the classes are plausible, and nobody has said which one the weights have.
    """
    model = imported(workspace, weights, recipe)
    if processes.agree(lambda: workspace.has(model)):
        return model
    network = workspace.fresh(0)
    load_weights(network, weights)
    require_finite_weights(network_of(network), str(weights))
    processes.agree(lambda: refuse_forgetful(network_of(network).state_dict(), weights, workspace.store))
    outputs = workspace.predicted(outputs_of(network, workspace.on_device, workspace.compute))
    if not force:
        found = checked(network, outputs, None, workspace.on_device.train, workspace.compute)
        if found.causes:
            report_check(found, force=False)

    def make(work: Workplace) -> None:
        scored = scores_of(model, outputs, None)
        work.finish(network, outputs, workspace.compute, seconds=0.0, scores=scored, history=[])

    workspace.store.obtain(model, make)
    return model


def keep_imported(model: AnyLineage, network: nn.Module, workspace: Workspace) -> Run:
    """A model that was trained elsewhere as a run in the store, from the network itself."""
    return workspace.store.obtain(model, lambda work: finish(network, workspace, work, workspace.compute))
