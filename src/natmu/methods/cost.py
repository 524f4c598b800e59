"""What a method costs: how many samples it sends through the model, from its settings and the sizes of the two sets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from natmu.methods.base import Method
from natmu.methods.problem import Problem
from natmu.records.passes import FORWARD
from natmu.records.settings import TrainSettings


@dataclass(frozen=True)
class Cost:
    """Samples that go through a model.

    Attributes:
        trained: Forward and backward.
        forward: Forward alone.
    """

    trained: float
    forward: float = 0

    @property
    def samples(self) -> float:
        """All of them, in units of a forward and a backward pass of one sample."""
        return self.trained + FORWARD * self.forward


@dataclass(frozen=True)
class Sizes:
    """What a cost depends on beside settings.

    Attributes:
        retain: Samples of the retain set; for a rule, of what the method reads of it.
        forget: Samples of the forget set.
        batch: Samples per step.
        epochs: Epochs of the original's recipe.
        holdout: Samples of the holdout.
    """

    retain: int
    forget: int
    batch: int
    epochs: int
    holdout: int = 0

    @property
    def paired(self) -> int:
        """Forget samples of an epoch over the retain set whose every step has a batch of them."""
        return -(-self.retain // self.batch) * max(2, min(self.batch, self.forget))


Rule = Callable[[Any, Sizes], Cost]


def _over_retain(config: Any, of: Sizes) -> Cost:  # noqa: ANN401 - the settings of any method
    return Cost(config.epochs * of.retain)


def _over_forget(config: Any, of: Sizes) -> Cost:  # noqa: ANN401
    return Cost(config.epochs * of.forget)


def _over_both(config: Any, of: Sizes) -> Cost:  # noqa: ANN401
    return Cost(config.epochs * (of.retain + of.forget))


def _by_importance(config: Any, of: Sizes) -> Cost:  # noqa: ANN401
    return Cost(config.data_fraction * (of.retain + of.forget) + of.forget)


def _searched(config: Any) -> int:  # noqa: ANN401
    """Passes of RURK over each batch of neighbours."""
    return 1 + config.search_steps if config.search == "pgd" else 1


RULES: Mapping[str, Rule] = {
    "downdate": lambda *_: Cost(0),
    "retrain": lambda _, of: Cost(of.epochs * of.retain),
    "natmu": lambda config, of: Cost(config.epochs * (of.retain + (config.n or 4) * of.forget), of.forget),
    "amnesiac": _over_both,
    "random_label": _over_both,
    "bad_teacher": lambda config, of: Cost(config.epochs * (of.retain + of.forget), of.retain + of.forget),
    "salun": lambda config, of: Cost(of.forget + config.epochs * (of.retain + of.forget)),
    "scrub": lambda config, of: Cost(config.epochs * of.retain + config.max_steps * of.forget, of.retain + of.forget),
    "delete": lambda config, of: Cost(config.epochs * of.forget, of.forget),
    "jit": lambda config, of: (
        Cost(config.epochs * (config.draws + 1) * of.forget)
        if config.both
        else Cost(config.epochs * of.forget, config.epochs * config.draws * of.forget)
    ),
    "rurk": lambda config, of: Cost(
        config.epochs * (of.retain + (1 + config.neighbours) * of.paired * _searched(config))
    ),
    "unsir": lambda config, of: Cost((config.epochs + config.repair_epochs) * of.retain),
    "grad_ascent": _over_forget,
    "neggrad_plus": lambda config, of: Cost(config.epochs * (of.retain + of.paired)),
    "munba": lambda config, of: Cost(config.epochs * (of.retain + of.paired)),
    "uam": lambda config, of: Cost(config.epochs * (2 * of.retain + of.paired)),
    "sfron": lambda config, of: Cost(
        config.steps * min(of.batch, of.retain) * (1 + 1 / config.forget_every) + of.retain + of.forget
    ),
    "finetune": _over_retain,
    "l1_sparse": _over_retain,
    "conv_transpose": _over_retain,
    "cf_k": _over_retain,
    "eu_k": _over_retain,
    "msg": lambda config, of: Cost(2 * of.forget + config.epochs * of.retain),
    "reload": lambda config, of: Cost(of.forget + (1 + config.epochs) * of.retain),
    "boundary_shrink": lambda config, of: Cost((config.epochs + 1) * of.forget, of.forget),
    "boundary_expand": _over_forget,
    "fisher": lambda config, of: Cost(config.draws * of.retain),
    "influence": lambda config, of: Cost(of.forget + 2 * min(config.gradients, of.retain)),
    "ssd": _by_importance,
    "lfssd": _by_importance,
    "amun": lambda config, of: Cost(12 * config.attack_steps * of.forget + config.epochs * (of.retain + 2 * of.forget)),
    "regun": lambda config, of: Cost(2 * config.epochs * of.forget),
    "lotus": lambda config, of: Cost(
        config.epochs * (of.retain + of.forget), of.retain + (1 + config.epochs) * of.forget
    ),
    "quantile_match": lambda config, of: Cost(
        config.epochs * (of.retain + of.forget), of.retain + of.forget + config.epochs * of.holdout
    ),
    "mu_mis": lambda config, of: Cost(3 * config.epochs * of.forget),
}
"""By name of the method, as ``Cost`` in its docstring says; a gradient per sample counts as one of a batch."""


def cost_of(method: Method, problem: Problem) -> Cost | None:
    """What a method costs on a problem.

    Args:
        method: The method with its settings.
        problem: What it is to do.

    Returns:
        The cost; that of training on both sets where the method has no rule but counts epochs, and None where it counts
        none.
    """
    if method.needs_shards and problem.sharded is not None:
        return Cost(problem.sharded.work(np.union1d(problem.forget.left_out, problem.aside)))
    return cost_by_sizes(
        method,
        Sizes(
            retain=len(problem.retain_positions),
            forget=len(problem.forget),
            batch=method.batch_size or problem.batch_size,
            epochs=(problem.training or TrainSettings()).epochs,
            holdout=0 if problem.holdout is None else len(problem.holdout),
        ),
    )


def cost_by_sizes(method: Method, sizes: Sizes) -> Cost | None:
    """What a method costs on sets of these sizes; otherwise as ``cost_of``, of which shards are not asked."""
    rule = RULES.get(method.name, _over_both if hasattr(method.config, "epochs") else None)
    read = round(getattr(method.config, "retain_fraction", 1) * sizes.retain)
    return None if rule is None else rule(method.config, replace(sizes, retain=read))
