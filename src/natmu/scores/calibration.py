"""Whether a model is as often right as it is sure."""

from __future__ import annotations

import numpy as np

from natmu.errors import UsageError
from natmu.scores.signals import softmax_of
from natmu.types import Part

BINS = 15
"""Bins of equal width between probabilities 0 and 1."""


def calibration_error(part: Part, bins: int = BINS) -> float:
    """Expected calibration error: |accuracy - mean confidence| in bins of the largest probability, by their samples.

    A bin holds its upper edge and not its lower one.

    Args:
        part: Logits ``(N, C)`` and labels ``(N,)``.
        bins: How many bins of equal width.

    Returns:
        Percentage points, 0 to 100.

    Raises:
        UsageError: If the part is empty.

    References:
        On Calibration of Modern Neural Networks (Guo et al., 2017), https://arxiv.org/abs/1706.04599

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> round(calibration_error(part), 1)  # both are right, with confidences 0.5 and 0.75
        37.5
    """
    if not len(part):
        raise UsageError("A calibration error needs at least one sample; leave it out for an empty part.")
    sure_N = softmax_of(part).shares.max(axis=1)
    right_N = part.logits.argmax(axis=1) == part.labels
    bin_N = np.linspace(0.0, 1.0, bins + 1)[1:-1].searchsorted(sure_N, "left")
    return 100.0 * float(np.abs(np.bincount(bin_N, right_N - sure_N)).sum()) / len(part)
