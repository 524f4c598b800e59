"""The retraining baseline of a score: where one more retrained model would lie."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from natmu.scores.uncertainty import Interval, quantile, spread, student_cdf

Side = Literal["both", "above", "below"]
"""On which side of the retrained models a value makes the unlearned model distinguishable."""

FEWEST = 2
"""Retrained models without which there is no retraining baseline."""


@dataclass(frozen=True)
class Baseline:
    """Where one more retrained model would lie.

    Attributes:
        centre: Mean of the retrained models.
        error: Standard error of the distance of one more from it, above 0.
        freedom: Degrees of freedom with which the error was estimated; infinite where it is known.
        half: Half the width of the interval in which one more lies at the level.
    """

    centre: float
    error: float
    freedom: float
    half: float

    def outside(self, value: float, side: Side) -> bool:
        """Whether a value lies out on a side that counts."""
        above, below = value > self.centre + self.half, value < self.centre - self.half
        return (above and side != "below") or (below and side != "above")

    def p_value(self, value: float, side: Side) -> float:
        """Probability of lying as far out on either side; 1 where the value lies on a side that does not count."""
        distance = value - self.centre
        if (side == "above" and distance <= 0) or (side == "below" and distance >= 0):
            return 1.0
        return 2 * student_cdf(-abs(distance) / self.error, self.freedom)


def retraining_baseline(
    retrained: Sequence[float], interval: Interval | None, level: float, *, mutual: bool
) -> Baseline | None:
    """Where one more retrained model would lie; None where that is not known.

    Args:
        retrained: ``(K,)``, one value for each retrained model.
        interval: Of the unlearned model's value over samples; its width stands in for a spread of 0.
        level: Probability with which one more retrained model lies within.
        mutual: Whether the values are mean distances from the models that the others are of.
    """
    count = len(retrained)
    if count < FEWEST + mutual:
        return None
    error, freedom = spread(retrained) * math.sqrt(1 + 1 / count), float(count - 1)
    if mutual:
        error *= (count - 1) / (count - 2)
    if error == 0 and interval is not None:
        freedom = math.inf
        error = (interval[1] - interval[0]) / 2 / quantile((1 + level) / 2, freedom)
    if error == 0:
        return None
    return Baseline(float(np.mean(retrained)), error, freedom, error * quantile((1 + level) / 2, freedom))
