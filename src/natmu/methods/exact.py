"""Methods that forget exactly, of models that were trained so that it can be done."""

from __future__ import annotations

import numpy as np
from torch import nn

from natmu.errors import ModelError
from natmu.methods.base import Method, Paper
from natmu.methods.problem import Problem
from natmu.types import Settings

UNSHARDED = (
    "sisa trains the shards of a model again, and this one was not trained in shards; train one with natmu "
    "train --shards 5."
)
"""Refuses any other model."""

UNFITTED = (
    "downdate takes samples out of a ridge or logistic head, and this model has none; train one with natmu "
    "train --head "
    "ridge --features-from MODEL."
)
"""Refuses any other model."""


class SISA(Method):
    """Train each shard that holds forgotten samples again, from its last stage that saw none of them."""

    name = "sisa"
    paper = Paper("Machine Unlearning", "Bourtoule et al.", 2021, "https://arxiv.org/abs/1912.03817")
    needs_shards = True
    reads_forget = False
    stochastic = False

    class Config(Settings):
        """The division is that of the original."""

    def check(self, problem: Problem) -> None:
        """Refuse a model that was not trained in shards."""
        super().check(problem)
        if problem.sharded is None:
            raise ModelError(UNSHARDED)

    def run(self, problem: Problem) -> nn.Module:
        """Train the affected shards again."""
        assert problem.sharded is not None, "it was checked"
        model, history = problem.sharded.retrained(np.union1d(problem.forget.left_out, problem.aside))
        problem.history.extend(history)
        return model


class Downdate(Method):
    """Take the forgotten samples out of a head that was fitted on the features of a frozen backbone."""

    name = "downdate"
    needs_retain = False
    needs_head = True
    reads_forget = False
    stochastic = False

    class Config(Settings):
        """There is nothing to choose."""

    def check(self, problem: Problem) -> None:
        """Refuse a model without such a head."""
        super().check(problem)
        if problem.fitted is None:
            raise ModelError(UNFITTED)

    def run(self, problem: Problem) -> nn.Module:
        """Take the samples out of the head."""
        assert problem.fitted is not None, "it was checked"
        left_out = np.union1d(problem.forget.left_out, problem.aside)
        return problem.fitted.downdated(problem.forget.indices, left_out)
