"""A learning rate that suits a model of which nobody knows how it was trained: the largest that a short trial allows.

A method's default rate is the published one, for models that were trained from scratch. A model that was fine-tuned at
a low rate loses at it what it knew. So a few steps of the method are taken at the default rate, and where they cost
accuracy on samples that they do not see, at a third, a tenth and a thirtieth of it.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import torch

from natmu.data import ImageData
from natmu.engine.predict import logits_of
from natmu.errors import TrainingError, UsageError
from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.progress import decide
from natmu.records.settings import TrainSettings
from natmu.types import BoolArray, IntArray

FACTORS = (1.0, 1 / 3, 1 / 10, 1 / 30)
"""Parts of the default rate, in the order in which they are tried."""

STEPS = 48
"""Steps of a trial, about."""

JUDGES = 512
"""Samples on which accuracy is measured, at most."""

FEWEST = 20
"""Retain samples without which there is no trial where there is no holdout."""

LOST = 0.05
"""Largest p-value of a one-sided sign test at which accuracy counts as lost."""

TOLERATED = 2.0
"""Points of accuracy that a rate may lose: what is learnt in the place of what is forgotten costs a little, and a rate
that costs nothing forgets nothing."""

FROM_SCRATCH = {"sgd": 0.01, "adam": 3e-4, "adamw": 3e-4}
"""Least rates of training that suit initial weights; who trained at lower ones has fine-tuned."""


@dataclass(frozen=True)
class RateTrial:
    """What a trial found.

    Attributes:
        lr: The chosen rate.
        lost: Points of accuracy that each tried rate lost, in the order in which they were tried.
        sentence: What was chosen, and why.
    """

    lr: float
    lost: dict[float, float]
    sentence: str


def with_suitable_rate(
    method: Method,
    problem: Problem,
    recipe: TrainSettings | None,
    given: Collection[str] = (),
    *,
    forget_only: bool = False,
) -> tuple[Method, str | None]:
    """The method with a learning rate that suits the model, where the user and the original's recipe leave it open.

    Args:
        method: The method with its settings.
        problem: What it is to do; it holds no test data.
        recipe: How the original was trained, where that is known.
        given: Names of the settings that the user gave, ``preset`` among them.
        forget_only: Whether samples that are kept may not be read; without a holdout there is no trial then.

    Returns:
        The method, its rate explicit where a trial chose it, and what was chosen in a sentence; the method as it came
        and None where there was nothing to choose.
    """
    few = problem.holdout is None and (forget_only or len(problem.retain_positions) < FEWEST)
    if few or not is_open(method, recipe, given):
        return method, None
    try:
        found = rate_trial(method, problem)
    except UsageError:  # a part of the problem is too small for the method; the whole one may serve
        return method, None
    decide(found.sentence)
    return _at_rate(method, lr=found.lr), found.sentence


def is_open(method: Method, recipe: TrainSettings | None, given: Collection[str] = ()) -> bool:
    """Whether nobody has chosen the method's rate, and its default need not suit the original.

    Methods that count no epochs have no short form, and keep their default. A preset of a source is a choice.
    """
    fields = type(method.config).model_fields
    if not {"lr", "epochs"} <= fields.keys() or {"lr", "preset"} & {*given, *method.config.model_fields_set}:
        return False
    return recipe is None or recipe.lr < FROM_SCRATCH[recipe.optimizer]


def rate_trial(method: Method, problem: Problem) -> RateTrial:
    """Try rates in turn on copies of the model until one loses nothing beyond noise; the same for the same seed.

    Where each of them loses something, the one that loses least is taken: a method that draws weights anew has to learn
    them, and loses more at a lower rate.

    Accuracy is measured on the holdout or, where there is none, on samples of the retain set that the trial leaves out.
    """
    judges, positions, aside = _judges(problem)
    short, epochs = _short(method, problem, aside)
    labels = judges.labels[positions].numpy()

    def right(model: torch.nn.Module) -> BoolArray:
        predictions: IntArray = logits_of(model, judges, positions, problem.compute).argmax(1).cpu().numpy()
        return np.asarray(predictions == labels, bool)

    before, default, lost = right(problem.compute.place(copy.deepcopy(problem.model))), method.config.lr, {}
    after = np.zeros_like(before)
    for factor in FACTORS:
        rate = float(f"{default * factor:.3g}")
        try:
            after = right(_at_rate(method, lr=rate, epochs=epochs)(short).model)
        except TrainingError:
            after = np.zeros_like(before)
        lost[rate] = 100 * float(before.mean() - after.mean())
        if not loses(before, after):
            break
    where = f"{len(labels)} {'samples of the holdout' if problem.holdout is not None else 'retain samples set apart'}"
    chosen = rate if not loses(before, after) else min(lost, key=lambda one: lost[one])
    return RateTrial(chosen, lost, _sentence(method.name, chosen, lost, where))


def loses(before: BoolArray, after: BoolArray) -> bool:
    """Whether more is lost than is tolerated, and more samples went wrong than right beyond what chance explains."""
    from scipy.special import bdtrc  # slow to import

    worse, better = int((before & ~after).sum()), int((after & ~before).sum())
    return 100 * (worse - better) > TOLERATED * len(before) and bool(bdtrc(worse - 1, worse + better, 0.5) <= LOST)


def _sentence(name: str, chosen: float, lost: dict[float, float], where: str) -> str:
    """What was chosen, and why."""
    default, *lower = lost
    if not lower:
        return f"{name}: lr {default:g}, the default, loses nothing in a short trial on {where}."
    told = ", ".join(f"{rate:g} {max(points, 0):.1f}" for rate, points in lost.items())
    caution = "" if chosen == default else " A lower rate also forgets less, so audit the result."
    choice = f"lr {chosen:g}" + (", the default" if chosen == default else f" instead of the default {default:g}")
    return (
        f"{name}: {choice}; points of accuracy lost in a short trial on {where}: {told}. Give lr or a preset to choose "
        f"it yourself.{caution}"
    )


def _at_rate(method: Method, **changed: float) -> Method:
    """The method with some of its settings changed."""
    other = copy.copy(method)
    other.config = method.config.model_copy(update=changed)
    if "warmup_epochs" in type(method.config).model_fields and "epochs" in changed:
        part = changed["epochs"] / method.config.epochs
        other.config = other.config.model_copy(update={"warmup_epochs": method.config.warmup_epochs * part})
    return other


def _judges(problem: Problem) -> tuple[ImageData, torch.Tensor, IntArray]:
    """Where accuracy is measured: data, positions in it, and what of the training data the trial must leave out."""
    held = problem.holdout is not None and len(problem.holdout) > 0
    data = problem.holdout if held and problem.holdout is not None else problem.data
    pool = np.arange(len(data)) if held else problem.retain_positions.numpy()
    count = min(JUDGES, len(pool) if held else len(pool) // 5)
    chosen = np.sort(problem.rng("rate trial", "judges").choice(pool, count, replace=False))
    return data, torch.from_numpy(chosen), np.zeros(0, np.int64) if held else chosen


def _short(method: Method, problem: Problem, aside: IntArray) -> tuple[Problem, int]:
    """A part of the problem, of both sets the same, and the epochs on it that take about ``STEPS`` steps."""
    retain = np.setdiff1d(problem.retain_positions.numpy(), aside)
    rows = len(problem.forget) + (len(retain) if method.needs_retain else 0)
    room = STEPS * (method.batch_size or problem.batch_size)
    part, rng = min(1.0, room / rows), problem.rng("rate trial", "samples")

    def drawn(positions: IntArray) -> IntArray:
        count = min(len(positions), max(1, round(part * len(positions))))
        return np.sort(rng.choice(positions, count, replace=False))

    kept, forgotten = drawn(retain), drawn(problem.forget.indices)
    left = np.setdiff1d(np.arange(len(problem.data)), np.concatenate([kept, forgotten, problem.forget.before]))
    short = replace(
        problem,
        forget=replace(problem.forget, indices=forgotten),
        aside=np.union1d(left, problem.aside),
        checkpoint=None,
        history=[],
    )
    return short, max(1, min(method.config.epochs, room // max(1, len(kept) + len(forgotten))))
