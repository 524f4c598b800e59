"""A method's own copy of the problem, whose models it may train, and what it sends through them."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
from torch import nn

from natmu.engine.half import in_half, in_single
from natmu.engine.passes import Counter, counter_of, of_all_processes
from natmu.methods.problem import Problem
from natmu.records.passes import Passes, Shown


def private_problem(problem: Problem, counter: Counter) -> Problem:
    """The problem with a copy of its model, on the device, that may be trained, in single precision.

    Args:
        problem: It is not changed.
        counter: Counts what goes through every model of the copy.
    """
    start, fresh = problem.initial_model, problem.fresh_model
    half = in_half(problem.model)

    def counted(model: nn.Module) -> nn.Module:
        model = in_single(model) if half else model
        return model if counter_of(model) is counter else counter.attached(model)

    return replace(
        problem,
        model=counted(problem.compute.place(copy.deepcopy(problem.model))),
        initial_model=None if start is None else lambda: counted(copy.deepcopy(start())),
        fresh_model=None if fresh is None else lambda seed: counted(fresh(seed)),
    )


def passes_of(problem: Problem, counted: Shown, *, sharded: bool) -> Passes | None:
    """What all processes sent through models; None where the user's own function trained them.

    Args:
        problem: What was done.
        counted: What this process sent through the models of the private problem.
        sharded: Whether shards were trained again, which may happen anywhere, or be found in the store.
    """
    if sharded and problem.sharded is not None:
        if problem.training is None:
            return None
        left_out = np.union1d(problem.forget.left_out, problem.aside)
        counted = Shown(trained=round(problem.sharded.work(left_out)))
    else:
        counted = of_all_processes(counted, problem.compute.device)
    return Passes(training_set=len(problem.data), request=counted)
