"""What cannot be done is refused before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
from torch import nn

from natmu.data import Splits, holds_kept_classes, resolve_forget, without_earlier_classes
from natmu.errors import DataError
from natmu.lineage.sisa import Untrained, untrained
from natmu.lineage.workspace import Workspace
from natmu.methods import Method, Problem, Retrain
from natmu.methods.refusal import unserved_by
from natmu.records.forgetting import ForgetRequest
from natmu.records.settings import (
    AnyTraining,
    HeadTraining,
    OwnTraining,
    TrainSettings,
    batch_size_of,
    sharding_of,
)
from natmu.types import ForgetSet, IntArray


def refuse(
    workspace: Workspace,
    recipe: AnyTraining | None,
    requests: Sequence[ForgetRequest],
    methods: Iterable[tuple[str, Method]],
    *,
    seed: int,
    batch_size: int | None = None,
    trained_here: bool = True,
    before: ForgetSet | None = None,
    copies: bool = False,
    scored_on: Literal["test", "holdout"] = "test",
) -> dict[tuple[str, str], str]:
    """Let each method check each forget set with an untrained model in the original's place; nothing is written.

    Args:
        workspace: The data and the architecture.
        recipe: How originals are trained; None where nobody says.
        requests: What is to be forgotten.
        methods: Label and method.
        seed: Of forget sets that are drawn at random.
        batch_size: Samples per step of the methods; training's if None.
        trained_here: Whether the original's initial weights will be known.
        before: What the model forgot before.
        copies: Whether copies of forget samples are forgotten with them.
        scored_on: The unseen part that models are scored on.

    Returns:
        By text of the request and label, why a method does not serve a forget set, where it serves another of them.

    Raises:
        UsageError: A forget set does not fit the data, a method does not fit the model or its settings, or it serves
            none of the forget sets.
    """
    train, sharding = workspace.splits.train, sharding_of(recipe)
    if isinstance(recipe, OwnTraining | HeadTraining):  # nothing hangs on initial weights that natmu draws
        trained_here, methods = False, [(label, _at_any_weights(method)) for label, method in methods]
    problem = Problem(
        model=workspace.build(0) if sharding is None else untrained(workspace, sharding, 0),
        data=train,
        forget=ForgetSet(np.zeros(0, np.int64), "", "indices"),
        training=_in_memory(recipe),
        compute=workspace.compute,
        seed=seed,
        batch_size=batch_size or batch_size_of(recipe),
        initial_model=partial(workspace.build, 0) if trained_here else None,
        fresh_model=workspace.fresh if sharding is None else partial(untrained, workspace, sharding),
        sharded=None if sharding is None or recipe is None else Untrained(workspace, workspace.original(recipe, seed)),
        fitted=_Unmade() if isinstance(recipe, HeadTraining) else None,
    )
    # As many samples at random where only a trained model tells which are the hardest; by its criteria.
    anything = np.random.default_rng(seed).random(len(train), np.float32)
    difficulty = dict.fromkeys(["loss", "confidence"] if trained_here else ["loss"], anything)
    forgets = {
        request.text: resolve_forget(request, train, seed=seed, difficulty=difficulty, after=before, copies=copies)
        for request in requests
    }
    for forget in forgets.values():
        require_scored(workspace.splits, forget, scored_on)
    holdout = workspace.splits.holdout
    problems = {
        text: replace(problem, forget=forget, holdout=without_earlier_classes(holdout, forget))
        for text, forget in forgets.items()
    }
    return unserved_by(methods, problems)


def require_scored(splits: Splits, forget: ForgetSet, part: Literal["test", "holdout"]) -> None:
    """Refuse a forget set that leaves no unseen sample to score on, as nobody could tell how much was lost.

    Args:
        splits: The data.
        forget: What is forgotten.
        part: Name of the unseen part.

    Raises:
        DataError: All samples of that part are of classes that are forgotten.
    """
    unseen = splits.test if part == "test" else splits.holdout
    if unseen is None or not len(unseen):
        return
    if not holds_kept_classes(unseen, forget):
        name = "test set" if part == "test" else part
        raise DataError(
            f"All samples of the {name} are of classes that {forget.request} forgets, so no score could show what the "
            "model still knows; add samples of other classes."
        )


class _Unmade:
    """A head that is not there yet: methods ask whether there is one."""

    def downdated(self, forget: IntArray, left_out: IntArray, *, refit: bool = False) -> nn.Module:
        """Nothing is fitted before all was checked."""
        raise NotImplementedError


def _in_memory(recipe: AnyTraining | None) -> TrainSettings | None:
    """How methods are told that the original was trained; that it is divided, or a head, is no matter of theirs."""
    if recipe is None or isinstance(recipe, TrainSettings):
        return None if recipe is None else recipe.model_copy(update={"sharding": None})
    return TrainSettings()


def _at_any_weights(method: Method) -> Method:
    """The method; retraining as it is wherever it starts."""
    return Retrain(init="fresh") if isinstance(method, Retrain) else method
