"""How useful a model still is, and how far its scores lie from those of a retrained one."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from natmu.errors import UsageError
from natmu.types import Part

SAMPLE_WISE = ("test_acc", "retain_acc", "forget_acc", "mia_entropy")
"""The scores that ``avg_gap`` averages over, whether samples or whole classes are forgotten.

Examples:
    >>> SAMPLE_WISE
    ('test_acc', 'retain_acc', 'forget_acc', 'mia_entropy')
"""

_ACCURACIES = ("forget_acc", "retain_acc", "test_acc")


def accuracy(part: Part) -> float:
    """Percent of samples whose most probable class is their label.

    Args:
        part: Logits ``(N, C)`` and labels ``(N,)``.

    Returns:
        A percentage, 0 to 100.

    Raises:
        UsageError: If the part is empty.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> accuracy(part)  # equal logits count for the first class
        100.0
    """
    if not len(part):
        raise UsageError("An accuracy needs at least one sample; leave it out for an empty part.")
    return 100.0 * float(np.mean(part.logits.argmax(axis=1) == part.labels))


def avg_gap(scores: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Mean of |unlearned - retrained| over ``test_acc``, ``retain_acc``, ``forget_acc`` and ``mia_entropy``.

    When whole classes are forgotten the four are the same, and ``test_acc`` is without the forgotten classes.

    Args:
        scores: The unlearned model's scores in percent.
        reference: The retrained model's scores in percent, or the mean over several retrained models.

    Returns:
        Percentage points, 0 to 100; 0 is as close as these scores can tell.

    Raises:
        UsageError: If either side lacks one of the four.

    Examples:
        >>> retrained = {"test_acc": 90.0, "retain_acc": 100.0, "forget_acc": 90.0, "mia_entropy": 20.0}
        >>> avg_gap(retrained | {"forget_acc": 94.0}, retrained)  # one of four scores is 4 points off
        1.0
    """
    _require("avg_gap", SAMPLE_WISE, scores, reference)
    return float(np.mean([abs(scores[name] - reference[name]) for name in SAMPLE_WISE]))


def tow(scores: Mapping[str, float], reference: Mapping[str, float]) -> float:
    """Tug of war: the product of (1 - |difference of accuracy|) over the forget, the retain and the test set.

    Args:
        scores: The unlearned model's accuracies in percent.
        reference: The retrained model's, or the mean over several retrained models.

    Returns:
        0 to 1; 1 where all three accuracies are those of retraining.

    Raises:
        UsageError: If either side lacks one of the three.

    References:
        What Makes Unlearning Hard and What to Do About It (Zhao et al., 2024), https://arxiv.org/abs/2406.01257

    Examples:
        >>> retrained = {"forget_acc": 90.0, "retain_acc": 100.0, "test_acc": 90.0}
        >>> tow(retrained | {"forget_acc": 100.0}, retrained)
        0.9
    """
    _require("tow", _ACCURACIES, scores, reference)
    return math.prod(1 - abs(scores[name] - reference[name]) / 100 for name in _ACCURACIES)


def mean_scores(references: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average the scores of several retrained models, so that they serve as one reference.

    Args:
        references: One mapping of score names to values per retrained model, all with the same names.

    Returns:
        Score name to mean, in the order of the first mapping.

    Raises:
        UsageError: If there is no model, or the models were scored differently.

    Examples:
        >>> mean_scores([{"test_acc": 90.0}, {"test_acc": 92.0}])
        {'test_acc': 91.0}
    """
    if not references:
        raise UsageError("A mean of scores needs at least one model; retrain one first.")
    names = list(references[0])
    if any(set(reference) != set(names) for reference in references):
        raise UsageError("The retrained models carry different scores; score all of them on the same forget set.")
    return {name: float(np.mean([reference[name] for reference in references])) for name in names}


def _require(score: str, names: Sequence[str], scores: Mapping[str, float], reference: Mapping[str, float]) -> None:
    """Refuse to compare two models of which one lacks a score."""
    missing = [name for name in names if name not in scores or name not in reference]
    if missing:
        raise UsageError(
            f"{score} needs {', '.join(missing)} of both models; give both models retain, forget and test samples."
        )
