"""How much accuracy unlearning took from what should be kept, and how well that is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natmu.errors import UsageError
from natmu.scores.baseline import FEWEST, retraining_baseline
from natmu.scores.uncertainty import LEVEL, Interval, quantile, student_cdf
from natmu.types import Part

TOLERANCE = 1.0
"""Percentage points of accuracy that a model may lose and still be called kept."""


@dataclass(frozen=True)
class Loss:
    """Accuracy that was lost, in percentage points; a gain is a negative loss.

    Attributes:
        points: The estimate.
        error: Its standard error, 0 where it is exact.
        freedom: Degrees of freedom with which the error was estimated; infinite where it is known.
    """

    points: float
    error: float
    freedom: float

    def at_most(self, level: float = LEVEL) -> float:
        """What is not exceeded with this confidence."""
        return self.points if self.error == 0 else self.points + self.error * quantile(level, self.freedom)

    def p_value(self) -> float:
        """Probability of seeing as large a loss although no more than ``TOLERANCE`` was lost."""
        excess = self.points - TOLERANCE
        return float(excess <= 0) if self.error == 0 else student_cdf(-excess / self.error, self.freedom)


def loss_to_original(original: Part, model: Part) -> Loss:
    """What the model lost on samples that both models answered.

    The samples are the same, so only those count that one model alone is right on. Half a sample is added to each of
    the four kinds, so that few samples without any difference do not make a certain loss of 0.

    Args:
        original: The original's predictions of a part.
        model: The unlearned model's, of the same samples.

    Raises:
        UsageError: The part is empty.

    References:
        Simple Improved Confidence Intervals for Comparing Matched Proportions (Agresti and Min, 2005)
    """
    if not len(model):
        raise UsageError("A loss of accuracy needs at least one sample; leave it out for an empty part.")
    before, after = (one.logits.argmax(axis=1) == one.labels for one in (original, model))
    lost, won = np.sum(before & ~after) + 0.5, np.sum(after & ~before) + 0.5
    count = len(model) + 2
    share = (lost - won) / count
    variance = ((lost + won) / count - share**2) / count
    return Loss(100 * float(share), 100 * math.sqrt(variance), math.inf)


def loss_to_retrained(value: float, retrained: Sequence[float], interval: Interval | None) -> Loss | None:
    """What the model lost against one more retrained model; None with fewer than two of them.

    Args:
        value: Accuracy of the unlearned model, in percent.
        retrained: Those of retrained models.
        interval: Of the value over samples; its width stands in for a spread of 0.
    """
    if len(retrained) < FEWEST:
        return None
    points = float(np.mean(retrained)) - value
    # A model that is as right as retrained models that all agree has lost nothing on these samples.
    baseline = None if {value} == {*retrained} else retraining_baseline(retrained, interval, LEVEL, mutual=False)
    return Loss(points, 0.0, math.inf) if baseline is None else Loss(points, baseline.error, baseline.freedom)
