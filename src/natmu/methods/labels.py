"""Wrong labels for forget samples, shared by the methods that relabel."""

from __future__ import annotations

import numpy as np

from natmu.errors import ScenarioError
from natmu.methods.base import Problem
from natmu.types import IntArray


def wrong_labels(true_F: IntArray, num_classes: int, rng: np.random.Generator) -> IntArray:
    """One label per sample, uniform over the classes that are not its own.

    Raises:
        ScenarioError: There is only one class.
    """
    if num_classes < 2:
        raise ScenarioError("Relabelling needs at least two classes.")
    return (true_F + rng.integers(1, num_classes, len(true_F))) % num_classes


def relabelled(problem: Problem, *purpose: str | int) -> IntArray:
    """New labels for the forget set, ``(F,)``.

    Single samples get a uniform wrong label. Where whole classes are forgotten, each sample gets the label of a random
    retain image, which follows the classes that remain.
    """
    rng = problem.rng("labels", *purpose)
    if problem.forget.class_wise:
        retain_labels = problem.labels(problem.retain_positions).numpy()
        return rng.choice(retain_labels, len(problem.forget))
    return wrong_labels(problem.labels(problem.forget_positions).numpy(), problem.data.num_classes, rng)
