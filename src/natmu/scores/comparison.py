"""Methods against each other over seeds: paired differences, and how steady their order is.

Every method is measured with the same seeds, so what a split or an original does to all of them cancels in differences
between two. A method's values are a mapping from the seeds of a replicate, ``(split, training, unlearning)``, to a
number that is the better the lower it is. Models that no unlearning seed made, the original and the retrained ones,
have None in its place, and pair with all replicates of the same split and training seed.

Student's interval of a difference takes the replicates for independent. Where they share a training seed it says what
other unlearning seeds would give, and not what another original would.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import numpy.typing as npt

from natmu.scores.correction import holm
from natmu.scores.uncertainty import LEVEL, SAME, Interval, paired_interval, student_cdf

Seeds = tuple[int, int, int | None]
Values = Mapping[Seeds, float]


@dataclass(frozen=True)
class Difference:
    """What separates two methods.

    Attributes:
        best: The one with the lower mean over all its replicates.
        method: The other.
        mean: Mean of ``best - method`` over the replicates that both have; None if there are none.
        interval: Student's interval of it, not corrected for the number of comparisons; None where it is not known.
        n: How many replicates both have.
        p_value: Of Student's paired test, two-sided and not corrected; None where the spread is not known.
        within_noise: Whether the two are not distinguishable after correction; None where there is no p-value.
    """

    best: str
    method: str
    mean: float | None
    interval: Interval | None
    n: int
    p_value: float | None
    within_noise: bool | None = None


@dataclass(frozen=True)
class Place:
    """Where a method stands among others over replicates, 1 being the lowest value; ties share their mean rank.

    Attributes:
        mean: Mean rank.
        best: The lowest rank of any replicate.
        worst: The highest.
        first: Share of replicates, 0 to 1, in which no other method is lower.
    """

    mean: float
    best: float
    worst: float
    first: float


@dataclass(frozen=True)
class Stability:
    """How steady the order of methods is over replicates.

    Attributes:
        n: How many replicates were ranked.
        agreement: Kendall's W; None where it does not exist.
        places: One for each method that was ranked.
    """

    n: int
    agreement: float | None
    places: dict[str, Place]


def paired(first: Values, second: Values) -> list[tuple[float, float]]:
    """Pair two methods' values by their seeds.

    Args:
        first: Values of one method, by seeds.
        second: Values of another, or of models that no unlearning seed made; the two may change places.

    Returns:
        One pair for each replicate that both have.
    """
    both = [(_at(first, seeds), _at(second, seeds)) for seeds in dict.fromkeys([*first, *second])]
    return [(one, other) for one, other in both if one is not None and other is not None]


def differences(methods: Mapping[str, Values], *, every_pair: bool = False, level: float = LEVEL) -> list[Difference]:
    """Compare methods with the best of them, or each with each.

    The best is chosen by the data, among many. That is why a method counts as distinguishable from it only after Holm's
    correction for the number of methods that the best is compared with: without, the best of ten equal methods is
    "better" than another of them in half of all studies, with it in about a tenth. A correction for all pairs would
    keep to the promised 5 %, but with three seeds it finds next to nothing any more. Where all pairs are asked for,
    each method is so compared with those that it beats. Intervals are left as they are, for readers who had one pair
    in mind before they looked: one may well exclude 0 where ``within_noise`` is true.

    Differences that agree to the last digit without being 0, as happens to accuracies of few samples, say nothing of
    their spread; they have neither an interval nor a verdict.

    Args:
        methods: Values by seeds, lower is better; methods without any are left out.
        every_pair: Compare each with each.
        level: Of intervals; one minus the probability of finding a method distinguishable from its equals.

    Returns:
        Comparisons from best to worst, so that the first is the best with the runner-up.
    """
    means = {label: statistics.fmean(values.values()) for label, values in methods.items() if values}
    order = sorted(means, key=means.__getitem__)
    pairs = list(combinations(order, 2)) if every_pair else [(order[0], other) for other in order[1:]]
    found = [_difference(best, other, paired(methods[best], methods[other]), level) for best, other in pairs]
    apart: dict[tuple[str, str], bool] = {}
    for label in order:
        family = [(one.method, one.p_value) for one in found if one.best == label and one.p_value is not None]
        clear = holm([p_value for _, p_value in family], level)
        apart |= {(label, other): rejected for (other, _), rejected in zip(family, clear, strict=True)}
    return [one if one.p_value is None else replace(one, within_noise=not apart[one.best, one.method]) for one in found]


def stability(methods: Mapping[str, Values]) -> Stability | None:
    """Rank methods in each replicate, and see how well the replicates agree.

    Ranked are the replicates of the method that has most of them; methods that lack one of these are left out, because
    a rank among fewer is another rank.

    Args:
        methods: Values by seeds, lower is better.

    Returns:
        None if no method has a value.
    """
    from scipy.stats import rankdata  # slow to import, and reports rank nothing

    seeds = max(map(list, methods.values()), key=len, default=[])
    ranked = [label for label, values in methods.items() if all(one in values for one in seeds)]
    if not seeds:
        return None
    value_NK = np.array([[methods[label][one] for label in ranked] for one in seeds])
    rank_NK = rankdata(value_NK, axis=1)
    first_NK = value_NK == value_NK.min(axis=1, keepdims=True)
    places = {
        label: Place(float(rank_N.mean()), float(rank_N.min()), float(rank_N.max()), float(first_N.mean()))
        for label, rank_N, first_N in zip(ranked, rank_NK.T, first_NK.T, strict=True)
    }
    return Stability(len(seeds), concordance(rank_NK), places)


def concordance(rank_NK: npt.ArrayLike) -> float | None:
    """Kendall's coefficient of concordance with the correction for ties: 1 if all agree, about ``1 / N`` by chance.

    W = 12 S / (N² (K³ - K) - N T), where S is the sum of squared deviations of the rank sums from their mean and T the
    sum of t³ - t over all groups of t ties.

    Args:
        rank_NK: Ranks ``(N, K)`` of K methods in N replicates, ties with their mean rank.

    Returns:
        0 to 1; None for fewer than two replicates or methods, or where every replicate ties all methods.

    References:
        Rank Correlation Methods (Kendall, 1948)
    """
    rank_NK = np.asarray(rank_NK, np.float64)
    count, methods = rank_NK.shape
    sum_K = rank_NK.sum(axis=0)
    ties = [np.unique(rank_K, return_counts=True)[1] for rank_K in rank_NK]
    most = count**2 * (methods**3 - methods) - count * sum(int((tied**3 - tied).sum()) for tied in ties)
    if count < 2 or most == 0:
        return None
    return float(12 * ((sum_K - sum_K.mean()) ** 2).sum() / most)


def _at(values: Values, seeds: Seeds) -> float | None:
    """The value of a replicate, or of the model that no unlearning seed made of its split and training seed."""
    split, training, _ = seeds
    return values.get(seeds, values.get((split, training, None)))


def _difference(best: str, method: str, pairs: Sequence[tuple[float, float]], level: float) -> Difference:
    """Compare two methods, before any correction."""
    if len(pairs) < 2:
        alone = pairs[0][0] - pairs[0][1] if pairs else None
        return Difference(best, method, alone, None, len(pairs), None)
    first, second = np.array(pairs, np.float64).T
    apart = first - second
    apart[np.abs(apart) <= SAME * np.abs(pairs).max()] = 0.0
    if np.ptp(apart) <= SAME * np.abs(pairs).max():
        equal = not apart.any()
        interval, p_value = ((0.0, 0.0), 1.0) if equal else (None, None)
        return Difference(best, method, float(apart.mean()), interval, len(pairs), p_value)
    error = float(apart.std(ddof=1)) / math.sqrt(len(apart))
    p_value = 2 * student_cdf(-abs(float(apart.mean())) / error, len(apart) - 1)
    return Difference(best, method, float(apart.mean()), paired_interval(first, second, level), len(pairs), p_value)
