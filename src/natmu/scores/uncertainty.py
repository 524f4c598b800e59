"""How sure a number is: intervals over samples and over seeds, and the smallest difference that would be seen.

Intervals over samples answer "what if other samples had been drawn", those over seeds "what if it were trained again".
All are pairs ``(low, high)``, and None where a single value leaves the spread unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError

Interval = tuple[float, float]

DRAWS = 1000
LEVEL, POWER = 0.95, 0.8
CHUNK = 2**16
"""Resampled entries that are counted at a time; the counts fit in a processor's cache, which is three times faster."""

SAME = 1e-12
"""Values that differ by less, relative to the largest, differ by the order of additions alone."""


def auc_interval(
    members: npt.ArrayLike, non_members: npt.ArrayLike, seed: int, draws: int = DRAWS, level: float = LEVEL
) -> Interval | None:
    """Bootstrap interval of the area under the ROC curve, members and non-members each resampled.

    The values are ranked once; a draw is then two cumulative counts. The interval is that of the percentiles. Where
    the two sides do not overlap at all every draw says the same, and the interval has no width.

    Args:
        members: Attack scores ``(M,)`` of members, higher for members; infinite ones are ranked as such.
        non_members: Attack scores ``(N,)`` of non-members.
        seed: Of the draws.
        draws: How many.
        level: Probability that such an interval covers the truth, above 0 and below 1.

    Returns:
        Two areas, 0 to 1, or None where a side has a single sample.

    Raises:
        UsageError: If a side is empty or has a NaN, or the level is out of range.

    References:
        An Introduction to the Bootstrap (Efron and Tibshirani, 1993)
    """
    member_M, nonmember_N = np.sort(_values(members, "members")), np.sort(_values(non_members, "non-members"))
    tails = _tails(level)
    if min(len(member_M), len(nonmember_N)) < 2:
        return None
    below_M = np.searchsorted(nonmember_N, member_M, side="left")
    upto_M = np.searchsorted(nonmember_N, member_M, side="right")
    rng = np.random.default_rng(seed)
    areas = []
    for rows in _chunks(draws, len(member_M) + len(nonmember_N)):
        ranks = np.zeros((rows, len(nonmember_N) + 1))
        np.cumsum(_counts(rng, len(nonmember_N), rows), axis=1, out=ranks[:, 1:])
        won = ranks.take(below_M, axis=1) + ranks.take(upto_M, axis=1)
        areas.append(np.einsum("bm,bm->b", won, _counts(rng, len(member_M), rows)))
    low, high = np.quantile(np.concatenate(areas), tails) / (2 * len(member_M) * len(nonmember_N))
    return float(low), float(high)


def mean_interval(values: npt.ArrayLike, seed: int, draws: int = DRAWS, level: float = LEVEL) -> Interval | None:
    """Bootstrap interval of a mean, by percentiles: for accuracies, divergences and all that averages over samples.

    Args:
        values: ``(N,)``, one number per sample, for an accuracy 100 where the prediction is right and 0 elsewhere.
        seed: Of the draws.
        draws: How many.
        level: Probability that such an interval covers the truth, above 0 and below 1.

    Returns:
        Two numbers in the unit of the values, or None for a single sample.

    Raises:
        UsageError: If there are no values or one is not finite, or the level is out of range.
    """
    value_N = _finite(values, "values")
    tails = _tails(level)
    if len(value_N) < 2:
        return None
    rng = np.random.default_rng(seed)
    means = [_counts(rng, len(value_N), rows) @ value_N for rows in _chunks(draws, len(value_N))]
    low, high = np.quantile(np.concatenate(means), tails) / len(value_N)
    return float(low), float(high)


def accuracy_interval(hits: npt.ArrayLike, seed: int, draws: int = DRAWS, level: float = LEVEL) -> Interval | None:
    """Interval of an accuracy: that of the bootstrap, and the exact one where every prediction is right, or none.

    There the bootstrap draws the same accuracy every time, as if twelve hits of twelve excluded a miss. The exact
    interval ends at the accuracy at which N samples are all right, or wrong, with probability ``(1 - level) / 2``.

    Args:
        hits: ``(N,)``, 100 where the prediction is right and 0 elsewhere.
        seed: Of the draws.
        draws: How many.
        level: Probability that such an interval covers the truth, above 0 and below 1.

    Returns:
        Two percentages, or None for a single sample.

    Raises:
        UsageError: If there are no values or one is not finite, or the level is out of range.

    References:
        The use of confidence or fiducial limits illustrated in the case of the binomial (Clopper and Pearson, 1934)
    """
    interval, hit_N = mean_interval(hits, seed, draws, level), _finite(hits, "hits")
    if interval is None or hit_N.any() != hit_N.all():
        return interval
    far = 100 * _tails(level)[0] ** (1 / len(hit_N))
    return (far, 100.0) if hit_N.all() else (0.0, 100 - far)


def seed_interval(values: npt.ArrayLike, level: float = LEVEL) -> Interval | None:
    """Student's interval of the mean over seeds: mean ± t · sd / √K, with K - 1 degrees of freedom.

    Args:
        values: ``(K,)``, one number per seed.
        level: Probability that such an interval covers the truth, above 0 and below 1.

    Returns:
        Two numbers in the unit of the values, or None for one seed.

    Raises:
        UsageError: If there are no values or one is not finite, or the level is out of range.
    """
    value_K = _finite(values, "seeds")
    tail = _tails(level)[1]
    if len(value_K) < 2:
        return None
    centre = float(value_K.mean())
    half = math.sqrt(1 / len(value_K)) * spread(value_K) * quantile(tail, len(value_K) - 1)
    return centre - half, centre + half


def paired_interval(first: npt.ArrayLike, second: npt.ArrayLike, level: float = LEVEL) -> Interval | None:
    """Student's interval of the mean difference of two things measured with the same seeds.

    Args:
        first: ``(K,)``, one number per seed.
        second: ``(K,)``, in the same order of seeds.
        level: Probability that such an interval covers the truth, above 0 and below 1.

    Returns:
        The interval of ``first - second``, or None for one seed.

    Raises:
        UsageError: If the two differ in length, are empty or not finite, or the level is out of range.
    """
    first_K, second_K = _finite(first, "seeds"), _finite(second, "seeds")
    if len(first_K) != len(second_K):
        raise UsageError(f"{len(first_K)} and {len(second_K)} seeds do not pair; give both sides the same seeds.")
    return seed_interval(first_K - second_K, level)


def smallest_shift(error: float, freedom: float, level: float = LEVEL, power: float = POWER) -> float:
    """The shift that a two-sided test sees with the given power; the far side's share of the power is left out.

    Args:
        error: Standard error of the difference that is tested, 0 or more.
        freedom: Degrees of freedom with which it was estimated; infinite where it is known.
        level: One minus the probability of seeing a difference where there is none.
        power: Probability of seeing the shift, 0.5 to below 1.

    Returns:
        The shift, in the unit of the error.

    Raises:
        UsageError: If a probability is out of range.
    """
    if not 0.5 <= power < 1:
        raise UsageError("A power is a probability; give one from 0.5 to below 1, such as 0.8.")
    return error * (quantile(_tails(level)[1], freedom) + quantile(power, freedom))


def quantile(probability: float, freedom: float) -> float:
    """Quantile of Student's distribution, or of the normal one for infinitely many degrees of freedom."""
    from scipy.special import ndtri, stdtrit  # slow to import

    return float(ndtri(probability) if math.isinf(freedom) else stdtrit(freedom, probability))


def student_cdf(value: float, freedom: float) -> float:
    """Probability of a smaller value under Student's distribution."""
    from scipy.special import stdtr  # slow to import

    return float(stdtr(freedom, value))


def spread(values: npt.ArrayLike) -> float:
    """Sample standard deviation of two values or more; exactly 0 where they agree but for the order of additions."""
    value_K = np.asarray(values, np.float64)
    return 0.0 if np.ptp(value_K) <= SAME * np.abs(value_K).max() else float(value_K.std(ddof=1))


def _counts(rng: np.random.Generator, size: int, rows: int) -> npt.NDArray[np.int64]:
    """How often each of ``size`` samples is drawn when as many are drawn with replacement, int64 ``(rows, size)``."""
    drawn = rng.integers(0, size, (rows, size))
    drawn += np.arange(rows)[:, None] * size
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def _chunks(draws: int, width: int) -> Iterator[int]:
    """Numbers of draws that fit in memory together, all draws in total."""
    rows = max(1, CHUNK // width)
    for start in range(0, draws, rows):
        yield min(rows, draws - start)


def _tails(level: float) -> tuple[float, float]:
    """The two probabilities that a level leaves outside in equal parts."""
    if not 0 < level < 1:
        raise UsageError("A level is a probability; give one above 0 and below 1, such as 0.95.")
    return (1 - level) / 2, (1 + level) / 2


def _values(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    """One dimension of float64, not empty and without NaN."""
    array = np.asarray(values, np.float64).ravel()
    if not len(array) or np.isnan(array).any():
        raise UsageError(f"An interval needs {what}, and each must be a number; leave it out where there are none.")
    return array


def _finite(values: npt.ArrayLike, what: str) -> npt.NDArray[np.float64]:
    """One dimension of float64, not empty and finite."""
    array = _values(values, what)
    if not np.isfinite(array).all():
        raise UsageError("An interval needs finite values; leave it out where one is infinite.")
    return array
