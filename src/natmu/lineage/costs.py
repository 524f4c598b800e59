"""What unlearning and retraining take here: costs of methods times the measured time of a sample."""

from __future__ import annotations

import copy

import torch

from natmu.engine.compute import hardware
from natmu.engine.store import Run, Store
from natmu.engine.training import train_classifier
from natmu.methods import Method, Problem, Retrain
from natmu.methods.cost import cost_of
from natmu.models import Ensemble
from natmu.records.lineage import Everything, HalfOfPool, Imported, Trained, Unlearned
from natmu.records.run import History
from natmu.records.settings import (
    AnyTraining,
    HeadTraining,
    OwnTraining,
    RetrainSettings,
    TrainSettings,
    in_words,
    sharding_of,
)

STEPS = 4
"""Training steps that are timed."""

AS_CHEAP = 2.0
"""Times a method's seconds that retraining may take and still be called as cheap."""

A_MINUTE = 60.0
"""Seconds that nobody minds, whatever the method takes."""


def seconds_per_sample(problem: Problem, original: Run | None = None) -> float:
    """Seconds of a forward and a backward pass of one sample in training.

    Args:
        problem: Its model, its data and its device.
        original: The run of the original; where it was trained on this hardware, it tells without anything being timed.
    """
    if original is not None:
        record, lineage = original.record, original.record.lineage
        ours = isinstance(lineage, Trained) and isinstance(lineage.on, Everything)
        recipe = lineage.recipe if isinstance(lineage, Trained) and ours else None
        known = isinstance(recipe, TrainSettings) and record.seconds > 0
        if known and record.hardware == hardware(problem.compute):
            assert isinstance(recipe, TrainSettings)
            return record.seconds / (recipe.epochs * len(problem.data))
    kept = problem.retain_positions
    positions = (kept if len(kept) else torch.from_numpy(problem.forget.indices))[: STEPS * problem.batch_size]
    few = TrainSettings(epochs=2, warmup_epochs=0, lr=1e-6, batch_size=problem.batch_size)
    model = problem.model
    if isinstance(model, Ensemble):  # training shows a sample to the model of its shard alone
        model = next(iter(model.by_shard().values()))
    model = problem.compute.place(copy.deepcopy(model))
    history: History = []
    with problem.compute.private_randomness():
        train_classifier(model, problem.data, positions, few, problem.compute, seed=0, history=history)
    return history[-1]["seconds"] / len(positions)


def seconds_of(
    method: Method,
    problem: Problem,
    per_sample: float,
    recipe: AnyTraining | None = None,
    retraining: float | None = None,
) -> float | None:
    """About how long a method takes; None where nobody knows.

    Args:
        method: The method.
        problem: Its model and its data.
        per_sample: Seconds of a forward and a backward pass of one sample.
        recipe: How the original was trained, where that is known.
        retraining: Seconds of retraining, which alone tell how long the user's own function takes.
    """
    cost, sharding = cost_of(method, problem), sharding_of(recipe)
    if cost is None:
        return None
    if method.needs_shards and sharding is not None and isinstance(recipe, OwnTraining):
        whole = len(problem.retain_positions) * (sharding.slices + 1) / 2  # slice i is shown in stages i to R
        return None if retraining is None or not whole else retraining * cost.samples / whole
    return cost.samples * per_sample


def retraining_seconds(problem: Problem, per_sample: float, original: Run, store: Store) -> float | None:
    """About how long retraining takes by the recipe of the original; by the default one where nobody says.

    Args:
        problem: Its model and its data.
        per_sample: Seconds of a forward and a backward pass of one sample.
        original: The run to unlearn from.
        store: Its runs tell how long the user's own function takes, and the fit of a head.

    Returns:
        None where the user's own function trains or a head is fitted, and no run tells how long it took.
    """
    lineage = original.record.lineage
    assert isinstance(lineage, Trained | Imported | Unlearned), "one can unlearn from it"
    if not isinstance(lineage.recipe, OwnTraining | HeadTraining):
        return seconds_of(Retrain(**RetrainSettings(init="fresh").model_dump()), problem, per_sample)
    runs = [original, *store.all()]
    own = [_seconds_of_sample(run, lineage, problem) for run in {run.record.digest: run for run in runs}.values()]
    known = [seconds for seconds in own if seconds is not None]
    return sum(known) / len(known) * len(problem.retain_positions) if known else None


def _seconds_of_sample(run: Run, like: Trained | Imported | Unlearned, problem: Problem) -> float | None:
    """Seconds that training by its recipe took for each sample; None of a run that was not trained alike on all it had.

    Args:
        run: Any run.
        like: The model whose retraining is asked about.
        problem: Its data and its device.
    """
    record, lineage = run.record, run.record.lineage
    if not isinstance(lineage, Trained) or isinstance(lineage.on, HalfOfPool) or record.seconds <= 0:
        return None
    alike = (lineage.recipe, lineage.data, lineage.architecture) == (like.recipe, like.data, like.architecture)
    if not alike or record.hardware != hardware(problem.compute):
        return None
    left_out = 0 if isinstance(lineage.on, Everything) else len(run.forget().left_out)
    return record.seconds / (len(problem.data) - left_out)


def advice(unlearning: float, retraining: float) -> str | None:
    """The sentence that says to retrain, where that is as cheap, or takes so little that it does not matter.

    Args:
        unlearning: Seconds of a method.
        retraining: Seconds of training without the forget set; 0 where nothing else is left to train on.
    """
    if not retraining or retraining > max(AS_CHEAP * unlearning, A_MINUTE):
        return None
    return "Retraining is quick here, and exact: retrain (--method retrain --set init=fresh)."


def duration(seconds: float) -> str:
    """A rough duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 else f"{seconds:.1g} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def head_line(method: Method, problem: Problem, original: Run, store: Store) -> str:
    """What a run of a method says before it begins."""
    per_sample = seconds_per_sample(problem, original)
    lineage = original.record.lineage
    assert isinstance(lineage, Trained | Imported | Unlearned), "one can unlearn from it"
    again = retraining_seconds(problem, per_sample, original, store)
    own = seconds_of(method, problem, per_sample, lineage.recipe, again)
    told = "its time is not known" if own is None else f"about {duration(own)}"
    if again is None:
        return f"{method.name}: {told}; retraining {in_words(lineage.recipe)}: not known before it has run once."
    default = f" with the default {TrainSettings().epochs} epochs, as nobody says how the original was trained"
    line = f"{method.name}: {told}; retraining: about {duration(again)}{default if lineage.recipe is None else ''}."
    advised = None if own is None or lineage.recipe is None else advice(own, again)
    return line if advised is None else f"{line} {advised}"
