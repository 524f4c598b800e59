"""How well a score tells members from non-members: exact ROC curves and what is read off them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError

Values = npt.NDArray[np.float64]

_ROUNDING = 1e-9
"""Share by which a product such as 0.29 * 100 may fall short of the whole number that it stands for."""


class Roc(NamedTuple):
    """A receiver operating characteristic: its corners, from (0, 0) to (1, 1).

    Attributes:
        fpr: False positive rates, float64 ``(K,)``, 0 to 1, not decreasing.
        tpr: True positive rates, float64 ``(K,)``, 0 to 1, not decreasing.

    Examples:
        >>> curve = roc(members=[3.0, 2.0], non_members=[1.0, 2.0])
        >>> curve.fpr.tolist(), curve.tpr.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """

    fpr: Values
    tpr: Values


def auc(members: npt.ArrayLike, non_members: npt.ArrayLike) -> float:
    """Chance that a random member scores higher than a random non-member, ties counted half.

    Exact, from ranks, in O(n log n).

    Args:
        members: Scores ``(M,)``; larger looks more like a member. Infinite scores are allowed.
        non_members: Scores ``(N,)``.

    Returns:
        0 to 1; 0.5 where the scores tell nothing. Below 0.5 they tell members apart too, by the other sign.

    Raises:
        UsageError: If a side is empty or holds something that is not a number.

    Examples:
        >>> auc(members=[3.0, 2.0], non_members=[1.0, 2.0])  # three pairs of four are right, and one is a tie
        0.875
    """
    inside, outside = _scores(members, non_members)
    outside.sort()
    inside.sort()
    below = outside.searchsorted(inside, "left").sum(dtype=np.int64)
    not_above = outside.searchsorted(inside, "right").sum(dtype=np.int64)
    return float((below + not_above) / (2 * len(inside) * len(outside)))


def roc(members: npt.ArrayLike, non_members: npt.ArrayLike) -> Roc:
    """The ROC curve of the rules "score >= threshold", without the points on the straight line between two others.

    Args:
        members: Scores ``(M,)``; larger looks more like a member.
        non_members: Scores ``(N,)``.

    Returns:
        Rates at the corners; equal scores are one step, so the area below the straight lines is ``auc``.

    Raises:
        UsageError: If a side is empty or holds something that is not a number.

    Examples:
        >>> curve = roc(members=[3.0, 2.0], non_members=[1.0, 2.0])
        >>> curve.fpr.tolist(), curve.tpr.tolist()
        ([0.0, 0.0, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0])
    """
    inside, outside = _scores(members, non_members)
    values, group = np.unique(np.concatenate([inside, outside]), return_inverse=True)
    hits = np.bincount(group[: len(inside)], minlength=len(values))[::-1]
    alarms = np.bincount(group[len(inside) :], minlength=len(values))[::-1]
    turns = hits[1:] * alarms[:-1] != hits[:-1] * alarms[1:]
    corner = np.concatenate([[True], turns, [True]])
    tpr, fpr = (np.concatenate([[0], np.cumsum(steps)])[corner] / steps.sum() for steps in (hits, alarms))
    return Roc(fpr, tpr)


def resolvable(non_members_count: int, fpr: float) -> bool:
    """Whether so many non-members can measure a false positive rate: it must be at least 1 / ``non_members_count``.

    Args:
        non_members_count: How many non-members were scored.
        fpr: False positive rate, above 0 and up to 1.

    Raises:
        UsageError: If ``fpr`` is out of its range.

    Examples:
        >>> resolvable(1000, fpr=0.001), resolvable(500, fpr=0.001)
        (True, False)
    """
    return _allowed_alarms(non_members_count, fpr) >= 1


def tpr_at_fpr(members: npt.ArrayLike, non_members: npt.ArrayLike, fpr: float) -> float:
    """Largest true positive rate of the rules "score >= threshold" whose false positive rate is at most ``fpr``.

    Equal scores are accepted or refused together, and nothing is interpolated.

    Args:
        members: Scores ``(M,)``; larger looks more like a member.
        non_members: Scores ``(N,)``.
        fpr: False positive rate, 1 / N to 1.

    Returns:
        0 to 1; a score that tells nothing has about ``fpr``.

    Raises:
        UsageError: If a side is empty or holds something that is not a number, or there are too few non-members.

    Examples:
        >>> tpr_at_fpr(members=[3.0, 2.0], non_members=[1.0, 2.0], fpr=0.5)
        1.0
    """
    inside, outside = _scores(members, non_members)
    if not resolvable(len(outside), fpr):
        needed = math.ceil(1 / fpr * (1 - _ROUNDING))
        raise UsageError(
            f"A false positive rate of {100 * fpr:g} % needs at least {needed} non-members to be measured, and there "
            f"are {len(outside)}; use more test samples or a higher rate."
        )
    alarms = _allowed_alarms(len(outside), fpr)
    if alarms >= len(outside):
        return 1.0
    first_refused = np.partition(outside, len(outside) - 1 - alarms)[len(outside) - 1 - alarms]
    return float(np.mean(inside > first_refused))


def _allowed_alarms(non_members_count: int, fpr: float) -> int:
    """How many non-members may be taken for members."""
    if not 0 < fpr <= 1:
        raise UsageError(f"A false positive rate lies above 0 and is at most 1 (got {fpr}); give it as a share.")
    return math.floor(fpr * non_members_count * (1 + _ROUNDING))


def _scores(members: npt.ArrayLike, non_members: npt.ArrayLike) -> tuple[Values, Values]:
    """Copies of both sides as float64."""
    inside, outside = (np.array(side, np.float64).ravel() for side in (members, non_members))
    if not (len(inside) and len(outside)):
        raise UsageError("An attack is judged on members and on non-members; give at least one score of each.")
    if np.isnan(inside).any() or np.isnan(outside).any():
        raise UsageError("A score is not a number; judge the attack without the samples that have no score.")
    return inside, outside
