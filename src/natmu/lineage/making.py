"""How each kind of model is made. Nobody else trains: whoever wants a model obtains it by its lineage."""

from __future__ import annotations

from functools import partial

from natmu.engine import processes
from natmu.engine.store import Run
from natmu.engine.workplace import Workplace
from natmu.errors import ModelError
from natmu.lineage.finishing import finish
from natmu.lineage.graph import sources
from natmu.lineage.probing import make_probe
from natmu.lineage.relearning import relearn
from natmu.lineage.shards import make_stage, obtain_shards, shards_of_original
from natmu.lineage.training import train, train_shards
from natmu.lineage.unlearning import unlearn
from natmu.lineage.workspace import Workspace
from natmu.records.derived import division_of, title
from natmu.records.lineage import (
    AnyLineage,
    Backbone,
    Everything,
    Imported,
    Initial,
    Probed,
    Relearned,
    Stage,
    Trained,
    Unlearned,
)


def obtain(model: AnyLineage, workspace: Workspace, name: str | None = None) -> Run:
    """The run of a model: found in the store, or made after the models that it starts from.

    Args:
        model: What is wanted.
        workspace: Where it is made.
        name: Name of its folder; the digest if None.

    Raises:
        UsageError: It cannot be made as asked, or the name is taken.
        TrainingError: A loss is no longer finite.
    """
    if processes.agree(lambda: workspace.store.find(model.digest)) is None:
        if isinstance(model, Trained) and isinstance(model.on, Everything) and division_of(model) is not None:
            obtain_shards(model, workspace)
        for source in sources(model):
            obtain(source, workspace)
    make = partial(_make, model, workspace)
    return workspace.store.obtain(model, make, name=name, resume=workspace.resume)


def _make(model: AnyLineage, workspace: Workspace, work: Workplace) -> None:
    """Make a model whose sources are in the store."""
    match model:
        case Initial():
            finish(workspace.start(model), workspace, work, workspace.compute.at(model.arithmetic))
        case Stage():
            make_stage(model, shards_of_original(workspace, model), work)
        case Trained() if division_of(model) is not None:
            train_shards(model, workspace, work)
        case Trained():
            train(model, workspace, work)
        case Unlearned():
            unlearn(model, workspace, work)
        case Relearned():
            relearn(model, workspace, work)
        case Probed():
            make_probe(model, workspace, work)
        case Imported():
            raise ModelError(f"The {title(model)} is not in {workspace.store.root}; name its weights file with --from.")
        case Backbone():
            raise ModelError(f"The {title(model)} is not in {workspace.store.root}; fit a head with --features-from.")
