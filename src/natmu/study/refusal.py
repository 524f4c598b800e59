"""What cannot be done is refused before anything is trained: each method checks a stand-in of each of its problems."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from natmu.data import resolve_forget
from natmu.errors import ScenarioError
from natmu.methods import Method, Problem
from natmu.study.jobs import Bench
from natmu.types import ForgetSet

Unserved = dict[tuple[str, str], str]
"""By forget spec and label, why a method cannot serve that kind of forget set."""


def refuse(
    bench: Bench,
    texts: Sequence[str],
    methods: Iterable[tuple[str, Method]],
    *,
    seed: int,
    batch_size: int | None = None,
    trained_here: bool = True,
) -> Unserved:
    """Let each method check each forget set with an untrained model in the original's place; nothing is written.

    Args:
        bench: The data and the architecture.
        texts: Forget specs.
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
    problem = _stand_in(bench, batch_size, trained_here, seed)
    problems = {text: replace(problem, forget=_forget_set(text, problem, seed)) for text in texts}
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


def _stand_in(bench: Bench, batch_size: int | None, trained_here: bool, seed: int) -> Problem:
    """A problem like those that the methods will get, with a model that has learnt nothing, and nothing to forget."""
    return Problem(
        model=bench.build(0),
        data=bench.splits.train,
        forget=ForgetSet(np.zeros(0, np.int64), "", "indices"),
        training=bench.training,
        compute=bench.compute,
        seed=seed,
        batch_size=batch_size or bench.training.batch_size,
        initial_model=(lambda: bench.build(0)) if trained_here else None,
        fresh_model=bench.build,
        holdout=bench.splits.holdout,
    )


def _forget_set(text: str, problem: Problem, seed: int) -> ForgetSet:
    """The forget set of a spec; as many samples at random where only a trained model tells which are the hardest."""
    anything = np.random.default_rng(seed).random(len(problem.data), np.float32)
    known = ["loss"] if problem.initial_model is None else ["loss", "confidence"]  # as ``Original.hardness`` has them
    return resolve_forget(text, problem.data, seed=seed, hardness=dict.fromkeys(known, anything))
