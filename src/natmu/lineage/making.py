"""How each kind of model is made. Nobody else trains: whoever wants a model obtains it by its lineage."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from natmu.data import ImageData, without_earlier_classes
from natmu.engine import processes
from natmu.engine.compute import Compute
from natmu.engine.predict import outputs_of, part_of
from natmu.engine.store import Run, Workplace
from natmu.engine.training import train_classifier
from natmu.errors import ForgetSetError, ModelError
from natmu.lineage.difficulty import difficulty_of
from natmu.lineage.graph import sources
from natmu.lineage.heads import FittedHead, HeadData, head_of_run, in_network
from natmu.lineage.importing import imported
from natmu.lineage.original_check import checked, report_check
from natmu.lineage.own_training import samples_of, train_own
from natmu.lineage.pools import Pool
from natmu.lineage.probing import make_probe
from natmu.lineage.relearning import relearn
from natmu.lineage.same_weights import refuse_forgetful
from natmu.lineage.shard_training import divided, sharding_in, shards_of, shards_of_pool, whole_of
from natmu.lineage.shards import assembled_original, make_stage, obtain_shards, shards_of_original, unfinished
from natmu.lineage.sisa import StoredShards, fresh_of, initial_of, sharded_of
from natmu.lineage.workspace import Workspace
from natmu.methods import Problem, method_named
from natmu.models import Ensemble, load_weights, without_outputs
from natmu.models.adapters import network_of
from natmu.progress import decided
from natmu.records.derived import backbone_of, classes_without_output, division_of, forget_of, root_of, title
from natmu.records.heads import HEAD
from natmu.records.lineage import (
    AnyLineage,
    Backbone,
    Everything,
    Forget,
    HalfOfPool,
    Imported,
    Initial,
    Probed,
    Relearned,
    Stage,
    Trained,
    Unlearned,
)
from natmu.records.promises import DOWNDATE
from natmu.records.run import DIVISION, History
from natmu.records.settings import AnyTraining, LogisticTraining, OwnTraining, RidgeTraining, TrainSettings
from natmu.scores import accuracy, scores
from natmu.types import FloatArray, ForgetSet, IntArray, Outputs

NOTHING_LEFT = (
    "All of the training data is forgotten, so that no model can be retrained on the rest; judge this one with natmu "
    "audit --offline, which retrains none."
)
"""Refuses to train on nothing."""


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
    processes.agree(lambda: refuse_forgetful(network_of(network).state_dict(), weights, workspace.store))
    outputs = workspace.predicted(outputs_of(network, workspace.on_device, workspace.compute))
    if not force:
        found = checked(network, outputs, None, workspace.on_device.train, workspace.compute)
        if found.causes:
            report_check(found, force=False)

    def make(work: Workplace) -> None:
        scored = _scores_of(model, outputs, None)
        work.finish(network, outputs, workspace.compute, seconds=0.0, scores=scored, history=[])

    workspace.store.obtain(model, make)
    return model


def keep_imported(model: AnyLineage, network: nn.Module, workspace: Workspace) -> Run:
    """A model that was trained elsewhere as a run in the store, from the network itself."""
    return workspace.store.obtain(model, lambda work: _finish(network, workspace, work, workspace.compute))


def _make(model: AnyLineage, workspace: Workspace, work: Workplace) -> None:
    """Make a model whose sources are in the store."""
    match model:
        case Initial():
            _finish(workspace.start(model), workspace, work, workspace.compute.at(model.arithmetic))
        case Stage():
            make_stage(model, shards_of_original(workspace, model), work)
        case Trained() if division_of(model) is not None:
            _train_shards(model, workspace, work)
        case Trained():
            _train(model, workspace, work)
        case Unlearned():
            _unlearn(model, workspace, work)
        case Relearned():
            relearn(model, workspace, work)
        case Probed():
            make_probe(model, workspace, work)
        case Imported():
            raise ModelError(f"The {title(model)} is not in {workspace.store.root}; name its weights file with --from.")
        case Backbone():
            raise ModelError(f"The {title(model)} is not in {workspace.store.root}; fit a head with --features-from.")


def _train(model: Trained, workspace: Workspace, work: Workplace) -> None:
    """Train from initial weights on a subset."""
    samples = _samples(workspace, model, forget_of(model))
    _require_samples(workspace, samples.whole)
    kept = torch.ones(len(samples.data), dtype=torch.bool)
    kept[torch.from_numpy(samples.left_out)] = False
    if not kept.any():
        raise ForgetSetError(NOTHING_LEFT)
    compute = workspace.compute.at(model.arithmetic)
    if isinstance(model.recipe, OwnTraining):
        network, log = workspace.build(0), work.folder.with_name("trainer.log")
        seen = samples_of(workspace.splits, np.flatnonzero(kept.numpy()), samples.pool, samples.forget)
        seconds = train_own(network, seen, model.recipe, model.seed, workspace, log)
        _finish(network, workspace, work, compute, samples, seconds)
        return
    if isinstance(model.recipe, RidgeTraining | LogisticTraining):
        _fit(model, workspace, work, samples)
        return
    assert isinstance(model.start, Initial), "only heads start at a backbone"
    assert isinstance(model.recipe, TrainSettings), "nothing else is trained in the loop"
    network = workspace.start(model.start)
    history: History = []
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
    _finish(network, workspace, work, compute, samples, seconds, history, confidence)


def _train_shards(model: Trained, workspace: Workspace, work: Workplace) -> None:
    """An original from its shards in the store; any other model in memory, by the same stages."""
    compute = workspace.compute.at(model.arithmetic)
    if isinstance(model.on, Everything):
        made, confidence, whole = assembled_original(model, workspace)
        np.save(work.folder / DIVISION, whole.array)
        told = made.seconds, made.history, confidence, made.outputs
        _finish(made.model, workspace, work, compute, _samples(workspace, model, None), *told)
        return
    samples = _samples(workspace, model, forget_of(model))
    _require_samples(workspace, samples.whole)
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
    _finish(network, workspace, work, compute, samples, seconds, history)


def _fit(model: Trained, workspace: Workspace, work: Workplace, samples: _Samples) -> None:
    """Fit a head on the stored features of its backbone."""
    assert isinstance(model.start, Backbone), "a head stands on one"
    assert isinstance(model.recipe, RidgeTraining | LogisticTraining), "it is one of these"
    left_out = samples.aside if samples.whole is None else samples.whole.left_out
    data = _head_data(model.start, workspace, samples)
    _ = data.rows  # are read before the clock starts
    start = time.perf_counter()
    head = data.fitted(model.recipe, left_out, model.seed)
    seconds = time.perf_counter() - start
    fitted = in_network(head, data, model.recipe, model.seed)
    _finish(fitted.network, workspace, work, workspace.compute.at(model.arithmetic), samples, seconds, fitted=fitted)


def _head_data(backbone: Backbone, workspace: Workspace, samples: _Samples) -> HeadData:
    """The rows of what a model is trained on, or of what a method is handed."""
    corrections = np.zeros((0, 2), np.int64) if samples.whole is None else samples.whole.corrections
    return HeadData(workspace, backbone, corrections, samples.pool)


def _unlearn(model: Unlearned, workspace: Workspace, work: Workplace) -> None:
    """Run a method on a copy of its source."""
    problem = problem_of(model, workspace, work)
    samples = _samples(workspace, root_of(model.source), model.forget)
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
    _finish(network, workspace, work, problem.compute, *told, outputs=outputs, fitted=fitted)


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
    samples, compute = _samples(workspace, root, model.forget), workspace.compute.at(model.arithmetic)
    ours = root.recipe if isinstance(root.recipe, TrainSettings) else None
    assert samples.forget is not None, "there is something to forget"
    _require_samples(workspace, samples.whole, needed=method_named(model.method).reads_forget)
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
    model: Unlearned, run: Run, network: nn.Module, workspace: Workspace, samples: _Samples
) -> FittedHead | None:
    """The head of a source with what it needs to forget; None where another method has changed it since."""
    root = root_of(model.source)
    backbone = backbone_of(root)
    if backbone is None or not run.has(HEAD):
        return None
    assert isinstance(root, Trained), "it starts at a backbone"
    return head_of_run(run, network, _head_data(backbone, workspace, samples), root, samples.whole)


def _difficulty(run: Run, workspace: Workspace) -> FloatArray | None:
    """How hard each sample in memory was to learn, where that was noted."""
    noted, remaining = difficulty_of(run), workspace.remaining
    return noted if noted is None or remaining is None else noted[remaining.train]


def _require_samples(workspace: Workspace, forget: ForgetSet | None, *, needed: bool = False) -> None:
    """Refuse to make a model for which samples are gone; arguments as for ``Remaining.require``."""
    if workspace.remaining is not None:
        workspace.remaining.require(forget, needed=needed)


@dataclass(frozen=True)
class _Samples:
    """All data of a model, what of it is to be forgotten, what it never sees beyond that, and a shadow model's pool.

    ``whole`` is what is to be forgotten in positions of the whole data, all others speak of what is in memory.
    """

    data: ImageData
    forget: ForgetSet | None
    aside: IntArray
    pool: Pool | None = None
    whole: ForgetSet | None = None

    @property
    def left_out(self) -> IntArray:
        """Positions of what a model that is trained on the rest never sees."""
        return self.aside if self.forget is None else self.forget.left_out


def _samples(workspace: Workspace, model: Trained | Imported, forget: Forget | None) -> _Samples:
    """The data of a model, or of what a method makes of it; a shadow model forgets what it had of the pool."""
    on = model.on if isinstance(model, Trained) else Everything()
    if not isinstance(on, HalfOfPool):
        none = np.zeros(0, np.int64)
        if forget is None:
            return _Samples(workspace.on_device.train, None, none)
        found = workspace.forget_set(forget)
        return _Samples(workspace.training_data(forget), found, none, whole=workspace.whole(forget))
    pool = workspace.pool(on.forget)
    half = None if forget is None else replace(pool.forget, indices=pool.trained_on(on.number))
    return _Samples(pool.data, half, pool.aside(on.number), pool)


def _finish(
    network: nn.Module,
    workspace: Workspace,
    work: Workplace,
    compute: Compute,
    samples: _Samples | None = None,
    seconds: float = 0.0,
    history: History | None = None,
    confidence: torch.Tensor | None = None,
    outputs: Outputs | None = None,
    fitted: FittedHead | None = None,
) -> None:
    """Keep a model, its logits and its scores: of a shadow model those of the pool, of others those of all data.

    The logits are computed unless they are given.
    """
    pool, forget = (None, None) if samples is None else (samples.pool, samples.whole)
    if pool is None:
        made = outputs
        if fitted is not None:
            made = workspace.predicted(fitted.outputs())
        made = made or workspace.predicted(outputs_of(network, workspace.on_device, compute))
        outputs = made.without_outputs(classes_without_output(work.lineage))
        scored = _scores_of(work.lineage, outputs, forget)
    elif fitted is not None:
        outputs, scored = fitted.outputs(), {}
    else:
        logits = part_of(network, pool.data.subset(pool.positions), compute)
        outputs, scored = Outputs(logits, logits.take(np.zeros(0, np.int64))), {}
    decisions = [*workspace.decisions, *decided()]
    if fitted is not None:
        fitted.write(work.folder)
        decisions += fitted.noted
    noted = history or []
    total = max(seconds, sum(row["seconds"] for row in noted))  # with the epochs before an interruption
    work.finish(
        network,
        outputs,
        compute,
        seconds=total,
        scores=scored,
        history=noted,
        confidence=confidence,
        forget=forget,
        decisions=tuple(dict.fromkeys(decisions)),
    )


def _scores_of(model: AnyLineage, outputs: Outputs, forget: ForgetSet | None) -> dict[str, float]:
    """The scores of every table, or accuracies where no forget set is known."""
    if forget is not None:
        return scores(outputs.split(forget))
    if isinstance(model, Initial):
        return {}
    parts = {"train_acc": outputs.train, "test_acc": outputs.test, "holdout_acc": outputs.holdout}
    return {name: accuracy(part) for name, part in parts.items() if part is not None and len(part)}
