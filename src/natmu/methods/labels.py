"""Wrong labels for forget samples, shared by the methods that relabel."""

from __future__ import annotations

import numpy as np

from natmu.errors import ScenarioError
from natmu.methods.problem import Problem
from natmu.types import IntArray


def wrong_labels(true_F: IntArray, classes_K: IntArray, rng: np.random.Generator) -> IntArray:
    """One label per sample, uniform over the classes that are not its own.

    Args:
        true_F: The true labels, each one of the classes.
        classes_K: The classes to draw from, sorted.
        rng: Source of the draw.

    Raises:
        ScenarioError: There is only one class.
    """
    count = len(classes_K)
    if count < 2:
        raise ScenarioError("Relabelling needs at least two classes.")
    drawn: IntArray = classes_K[(np.searchsorted(classes_K, true_F) + rng.integers(1, count, len(true_F))) % count]
    return drawn


def borrowed_labels(own_F: IntArray, retain_labels_R: IntArray, rng: np.random.Generator) -> IntArray:
    """For each sample the label of a random retain image of another class than its own.

    Among the samples of one class an image serves once, as in the research code of NatMU, or more often where there are
    not enough images.

    Args:
        own_F: Label of each sample, a class of the model.
        retain_labels_R: Labels of the retain set.
        rng: Source of the draw.

    Returns:
        ``(F,)``.

    Raises:
        ScenarioError: All retain images are of some sample's own class.
    """
    labels = np.empty_like(own_F)
    for own in np.unique(own_F):
        others, rows = retain_labels_R[retain_labels_R != own], np.flatnonzero(own_F == own)
        if not len(others):
            raise ScenarioError("Relabelling needs retain images of other classes; retain some, or use another method.")
        labels[rows] = rng.choice(others, len(rows), replace=len(rows) > len(others))
    return labels


def relabelled(problem: Problem, *purpose: str | int) -> IntArray:
    """New labels for the forget set, ``(F,)``, never a sample's own.

    Single samples get a wrong label, uniform over the classes that were not forgotten before. Where whole classes or
    sub-classes are forgotten, each sample gets the label of a random retain image of another class, which follows the
    classes that remain. The siblings of a sub-class are retained, but its own superclass is no such label.
    """
    rng, own = problem.rng("labels", *purpose), problem.labels(problem.forget_positions).numpy()
    if problem.forget.class_wise:
        return borrowed_labels(own, problem.labels(problem.retain_positions).numpy(), rng)
    return wrong_labels(own, problem.classes, rng)
