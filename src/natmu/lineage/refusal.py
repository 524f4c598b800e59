"""What cannot be done is refused before anything is trained: each method checks a stand-in of each of its problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from natmu.data import resolve_forget
from natmu.errors import ScenarioError
from natmu.lineage.workspace import Workspace
from natmu.methods import Method, Problem
from natmu.records.forgetting import ForgetRequest
from natmu.records.settings import TrainSettings
from natmu.types import ForgetSet

Unserved = dict[tuple[str, str], str]
"""By text of the request and label, why a method cannot serve that kind of forget set."""


def refuse(
    workspace: Workspace,
    recipe: TrainSettings,
    requests: Sequence[ForgetRequest],
    methods: Iterable[tuple[str, Method]],
    *,
    seed: int,
    batch_size: int | None = None,
    trained_here: bool = True,
) -> Unserved:
    """Let each method check each forget set with an untrained model in the original's place; nothing is written.

    Args:
        workspace: The data and the architecture.
        recipe: How originals are trained.
        requests: What is to be forgotten.
        methods: Label and method.
        seed: Of forget sets that are drawn at random.
        batch_size: Samples per step of the methods; training's if None.
        trained_here: Whether the original's initial weights will be known.

    Returns:
        The forget sets that a method does not serve, where it serves another of them.

    Raises:
        UsageError: A forget set does not fit the data, a method does not fit the model or its settings, or it serves
            none of the forget sets.
    """
    problem = _stand_in(workspace, recipe, batch_size, trained_here, seed)
    problems = {one.text: replace(problem, forget=_forget_set(one, problem, seed)) for one in requests}
    unserved: Unserved = {}
    for label, method in methods:
        faults = {text: fault for text, problem in problems.items() if (fault := _unserved(method, problem))}
        if len(faults) == len(problems):
            raise next(iter(faults.values()))
        unserved |= {(text, label): str(fault) for text, fault in faults.items()}
    return unserved


def _unserved(method: Method, problem: Problem) -> ScenarioError | None:
    """Why a method does not serve a kind of forget set."""
    try:
        method.check(problem)
    except ScenarioError as error:
        return error
    return None


def _stand_in(
    workspace: Workspace, recipe: TrainSettings, batch_size: int | None, trained_here: bool, seed: int
) -> Problem:
    """A problem like those that the methods will get, with a model that has learnt nothing, and nothing to forget."""
    return Problem(
        model=workspace.build(0),
        data=workspace.splits.train,
        forget=ForgetSet(np.zeros(0, np.int64), "", "indices"),
        training=recipe,
        compute=workspace.compute,
        seed=seed,
        batch_size=batch_size or recipe.batch_size,
        initial_model=(lambda: workspace.build(0)) if trained_here else None,
        fresh_model=workspace.fresh,
        holdout=workspace.splits.holdout,
    )


def _forget_set(request: ForgetRequest, problem: Problem, seed: int) -> ForgetSet:
    """The forget set of a request; as many samples at random where only a trained model tells which are the hardest."""
    anything = np.random.default_rng(seed).random(len(problem.data), np.float32)
    known = ["loss"] if problem.initial_model is None else ["loss", "confidence"]  # as ``hardness_of`` has them
    return resolve_forget(request, problem.data, seed=seed, hardness=dict.fromkeys(known, anything))
