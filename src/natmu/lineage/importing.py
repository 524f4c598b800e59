"""Models that were trained elsewhere, as lineages."""

from __future__ import annotations

from pathlib import Path

from natmu.data import require_sure_order
from natmu.errors import ModelError, SettingError
from natmu.lineage.exporting import weights_digest
from natmu.lineage.workspace import Workspace
from natmu.records.lineage import Imported
from natmu.records.settings import AnyTraining, sharding_of

DIVIDED = (
    "A model from elsewhere is one model, whatever it was trained on, so that sharding cannot be told of it; leave it "
    "out, or train shards here with natmu train --shards 5."
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
