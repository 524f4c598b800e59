"""How far Gaussian noise may be shifted before anybody can tell."""

from __future__ import annotations

import math


def delta_of_shift(shift: float, epsilon: float) -> float:
    """The smallest delta for which a standard normal and a shifted one are (epsilon, delta)-indistinguishable.

    Equal noise in every direction makes this a question of one dimension: that of the shift.

    Source:
        Balle & Wang, Improving the Gaussian Mechanism for Differential Privacy, 2018, theorem 8,
        https://arxiv.org/abs/1805.06530. It holds for every epsilon, both ways round, and is exact.
    """
    from scipy.special import log_ndtr, ndtr

    if shift <= 0:
        return 0.0
    likely, unlikely = shift / 2 - epsilon / shift, -shift / 2 - epsilon / shift
    return float(ndtr(likely) - math.exp(min(epsilon + float(log_ndtr(unlikely)), 0.0)))


def largest_shift(epsilon: float, delta: float) -> float:
    """The largest shift, in standard deviations of the noise, that stays (epsilon, delta)-indistinguishable.

    Args:
        epsilon: More than 0.
        delta: Between 0 and 1.

    Returns:
        A number that is never above the exact one, and below it by no more than rounding.
    """
    low, high = 0.0, 1.0
    while delta_of_shift(high, epsilon) <= delta:
        low, high = high, 2 * high
    while low < (middle := (low + high) / 2) < high:
        if delta_of_shift(middle, epsilon) <= delta:
            low = middle
        else:
            high = middle
    return low
