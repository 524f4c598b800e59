"""How models are trained on a subset: in the loop, by the user's own function, in shards, as heads on features."""

from __future__ import annotations

import time

import numpy as np
import torch

from natmu.engine.loop import load_optimizers
from natmu.engine.passes import Counter, detached, of_all_processes
from natmu.engine.training import train_classifier
from natmu.engine.workplace import Workplace
from natmu.errors import ForgetSetError
from natmu.lineage.finishing import finish
from natmu.lineage.heads import in_network
from natmu.lineage.model_samples import ModelSamples, head_data, model_samples, require_samples
from natmu.lineage.own_training import samples_of, train_own
from natmu.lineage.shard_training import divided, sharding_in, shards_of, shards_of_pool, whole_of
from natmu.lineage.shards import assembled_original, unfinished
from natmu.lineage.workspace import Workspace
from natmu.models import Ensemble
from natmu.records.derived import forget_of, title
from natmu.records.lineage import (
    Backbone,
    Everything,
    Initial,
    Trained,
)
from natmu.records.passes import Passes
from natmu.records.run import DIVISION, History
from natmu.records.settings import LogisticTraining, OwnTraining, RidgeTraining, TrainSettings

NOTHING_LEFT = (
    "All of the training data is forgotten, so no model can be retrained on the rest; use natmu audit --offline, which "
    "retrains no model."
)
"""Refuses to train on nothing."""


def train(model: Trained, workspace: Workspace, work: Workplace) -> None:
    """Train from initial weights on a subset."""
    samples = model_samples(workspace, model, forget_of(model))
    require_samples(workspace, samples.whole)
    kept = torch.ones(len(samples.data), dtype=torch.bool)
    kept[torch.from_numpy(samples.left_out)] = False
    if not kept.any():
        raise ForgetSetError(NOTHING_LEFT)
    compute = workspace.compute.at(model.arithmetic)
    if isinstance(model.recipe, OwnTraining):
        network, log = workspace.build(0), work.folder.with_name("trainer.log")
        seen = samples_of(workspace.splits, np.flatnonzero(kept.numpy()), samples.pool, samples.forget)
        seconds = train_own(network, seen, model.recipe, model.seed, workspace, log)
        finish(network, workspace, work, compute, samples, seconds)
        return
    if isinstance(model.recipe, RidgeTraining | LogisticTraining):
        _fit(model, workspace, work, samples)
        return
    assert isinstance(model.start, Initial), "only heads start at a backbone"
    assert isinstance(model.recipe, TrainSettings), "nothing else is trained in the loop"
    counter = Counter()
    network = counter.attached(workspace.start(model.start))
    history: History = []
    load_optimizers()
    start = time.perf_counter()
    meter = train_classifier(
        network,
        samples.data,
        kept.nonzero().squeeze(1),
        model.recipe,
        compute,
        seed=model.seed,
        label=title(model),
        checkpoint=unfinished(workspace, work),
        history=history,
    )
    seconds = time.perf_counter() - start
    told = isinstance(model.on, Everything) and workspace.remaining is None  # by the position of each sample
    confidence = meter.confidence() if told else None
    passes = Passes(training_set=len(samples.data), request=of_all_processes(counter.now(), compute.device))
    finish(detached(network), workspace, work, compute, samples, seconds, history, confidence, passes=passes)


def train_shards(model: Trained, workspace: Workspace, work: Workplace) -> None:
    """An original from its shards in the store; any other model in memory, by the same stages."""
    compute = workspace.compute.at(model.arithmetic)
    if isinstance(model.on, Everything):
        made, confidence, whole = assembled_original(model, workspace)
        np.save(work.folder / DIVISION, whole.array)
        told = made.seconds, made.history, confidence, made.outputs
        finish(made.model, workspace, work, compute, model_samples(workspace, model, None), *told)
        return
    samples = model_samples(workspace, model, forget_of(model))
    require_samples(workspace, samples.whole)
    if samples.pool is None:
        sharding = sharding_in(model)
        whole = whole_of(workspace, divided(workspace, sharding, model.seed))
        np.save(work.folder / DIVISION, whole.array)
        shards = shards_of(workspace, model, whole, samples.forget)
    else:
        shards = shards_of_pool(workspace, model, samples.pool, samples.left_out)
    if not shards.alive:
        raise ForgetSetError(NOTHING_LEFT)
    checkpoint, log = unfinished(workspace, work), work.folder.with_name("trainer.log")
    models, history, seconds = shards.in_memory(checkpoint, log, title(model))
    network = Ensemble(models, shards.sharding.combine)
    finish(network, workspace, work, compute, samples, seconds, history)


def _fit(model: Trained, workspace: Workspace, work: Workplace, samples: ModelSamples) -> None:
    """Fit a head on the stored features of its backbone."""
    assert isinstance(model.start, Backbone), "a head stands on one"
    assert isinstance(model.recipe, RidgeTraining | LogisticTraining), "it is one of these"
    left_out = samples.aside if samples.whole is None else samples.whole.left_out
    data = head_data(model.start, workspace, samples)
    _ = data.rows  # are read before the clock starts
    start = time.perf_counter()
    head = data.fitted(model.recipe, left_out, model.seed)
    seconds = time.perf_counter() - start
    fitted = in_network(head, data, model.recipe, model.seed)
    finish(fitted.network, workspace, work, workspace.compute.at(model.arithmetic), samples, seconds, fitted=fitted)
