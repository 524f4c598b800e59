"""How a method makes a model of another one."""

from __future__ import annotations

import shutil

from torch import nn

from natmu.data import without_earlier_classes
from natmu.engine.store import Run
from natmu.engine.workplace import Workplace
from natmu.lineage.difficulty import difficulty_of
from natmu.lineage.finishing import finish
from natmu.lineage.heads import FittedHead, head_of_run
from natmu.lineage.model_samples import ModelSamples, head_data, model_samples, require_samples
from natmu.lineage.shards import unfinished
from natmu.lineage.sisa import StoredShards, fresh_of, initial_of, sharded_of
from natmu.lineage.workspace import Workspace
from natmu.methods import Problem, method_named
from natmu.models import without_outputs
from natmu.records.derived import backbone_of, root_of
from natmu.records.guarantees import DOWNDATE
from natmu.records.lineage import (
    Trained,
    Unlearned,
)
from natmu.records.run import DIVISION
from natmu.records.settings import TrainSettings
from natmu.types import FloatArray


def unlearn(model: Unlearned, workspace: Workspace, work: Workplace) -> None:
    """Run a method on a copy of its source."""
    problem = problem_of(model, workspace, work)
    samples = model_samples(workspace, root_of(model.source), model.forget)
    unlearned = method_named(model.method)(**model.settings)(problem)
    network, dropped = unlearned.model, model.dropped
    network = network if dropped is None else without_outputs(network, dropped.layer, dropped.classes)
    source, sharded, seconds, outputs = workspace.require(model.source), problem.sharded, unlearned.seconds, None
    if source.has(DIVISION):
        shutil.copyfile(source.verified(DIVISION), work.folder / DIVISION)
    if isinstance(sharded, StoredShards) and sharded.made is not None:
        seconds, outputs = sharded.made.seconds, sharded.made.outputs
    fitted = problem.fitted if model.method == DOWNDATE and isinstance(problem.fitted, FittedHead) else None
    told = samples, seconds, problem.history
    finish(network, workspace, work, problem.compute, *told, outputs=outputs, fitted=fitted, passes=unlearned.passes)


def problem_of(model: Unlearned, workspace: Workspace, work: Workplace | None = None) -> Problem:
    """What a method is handed to make a model, whose source is in the store.

    Args:
        model: What is to be made.
        workspace: Where.
        work: Where an unfinished run is kept.

    Raises:
        RunError: The source is not in the store, or samples are gone that the method reads.
    """
    run, root = workspace.require(model.source), root_of(model.source)
    samples, compute = model_samples(workspace, root, model.forget), workspace.compute.at(model.arithmetic)
    ours = root.recipe if isinstance(root.recipe, TrainSettings) else None
    assert samples.forget is not None, "there is something to forget"
    require_samples(workspace, samples.whole, needed=method_named(model.method).reads_forget)
    network = workspace.load(run)
    return Problem(
        model=network,
        data=samples.data,
        forget=samples.forget,
        training=ours,
        compute=compute,
        seed=model.seed,
        batch_size=model.batch_size,
        initial_model=initial_of(root, workspace, network) if ours is not None else None,
        fresh_model=fresh_of(root, workspace, network),
        holdout=without_earlier_classes(workspace.on_device.holdout, samples.forget),
        checkpoint=None if work is None else unfinished(workspace, work),
        aside=samples.aside,
        difficulty=_difficulty(run, workspace),
        sharded=sharded_of(model, workspace, network, samples.forget, samples.whole, work),
        fitted=_fitted(model, run, network, workspace, samples),
        gone=0 if samples.whole is None else len(samples.whole) - len(samples.forget),
    )


def _fitted(
    model: Unlearned, run: Run, network: nn.Module, workspace: Workspace, samples: ModelSamples
) -> FittedHead | None:
    """The head of a source with what it needs to forget, where its run holds that; None of any other model."""
    root = root_of(model.source)
    backbone = backbone_of(root)
    if backbone is None:
        return None
    assert isinstance(root, Trained), "it starts at a backbone"
    return head_of_run(run, network, head_data(backbone, workspace, samples), root, samples.whole)


def _difficulty(run: Run, workspace: Workspace) -> FloatArray | None:
    """How hard each sample in memory was to learn, where that was noted."""
    noted, remaining = difficulty_of(run), workspace.remaining
    return noted if noted is None or remaining is None else noted[remaining.train]
