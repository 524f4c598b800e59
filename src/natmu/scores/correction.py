"""How many findings of many are believed."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float], level: float) -> list[bool]:
    """Which of several null hypotheses are rejected: Holm's step-down correction.

    Whatever depends on whatever, one that is true is among them with probability ``1 - level`` at most.

    Args:
        p_values: ``(K,)``, one per hypothesis that was looked at, in any order.
        level: One minus the probability of rejecting any that is true.

    Returns:
        ``(K,)``, in the same order.

    References:
        A Simple Sequentially Rejective Multiple Test Procedure (Holm, 1979)
    """
    rejected = [False] * len(p_values)
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        if p_values[index] >= (1 - level) / (len(p_values) - rank):
            break
        rejected[index] = True
    return rejected
