"""What a score of an unlearned model allows to be said, next to the same score of retrained models.

The question is whether the unlearned model could be one more retrained model. The retrained models answer it: they say
where one more of them would lie, and a value outside of that is distinguishable. All models are judged on the same
samples, so it does not matter how these were drawn; the interval over samples says what others might give, and decides
nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natmu.errors import UsageError
from natmu.scores import correction
from natmu.scores.baseline import FEWEST, Side, retraining_baseline
from natmu.scores.uncertainty import LEVEL, POWER, Interval, smallest_shift

ENOUGH = 8
"""Retrained models with which the standard level works."""


@dataclass(frozen=True)
class Verdict:
    """One score of an unlearned model, compared with retrained models.

    Attributes:
        score: The score's name.
        value: That of the unlearned model.
        interval: Of the value over samples; None where it is not known.
        baseline_low: Lowest value that one more retrained model would have at the level; None if nothing can be
            concluded.
        baseline_high: The highest.
        original: The original's value; None where it is not known.
        detectable: Smallest distance from the mean of the retrained models that is seen with the power.
        distinguishable: Whether the value lies outside the baseline on a side that counts.
        sentence: All this in one sentence, which claims no more than the power allows.
        p_value: Probability that one more retrained model lies as far out, before any correction.
        references: Number of retrained models.
        sees_original: Whether the original is distinguishable; None where that is not known.
    """

    score: str
    value: float
    interval: Interval | None
    baseline_low: float | None
    baseline_high: float | None
    original: float | None
    detectable: float | None
    distinguishable: bool
    sentence: str
    p_value: float | None = None
    references: int = 0
    sees_original: bool | None = None


def judge(
    score: str,
    value: float,
    interval: Interval | None,
    retrained: Sequence[float],
    original: float | None = None,
    *,
    side: Side = "both",
    level: float = LEVEL,
    power: float = POWER,
    baseline_of: str = "retrained model",
    mutual: bool = False,
) -> Verdict:
    """Compare an unlearned model's score with the same score of retrained models.

    A value is distinguishable where it lies outside Student's prediction interval of the retrained ones, mean ± t · sd
    · √(1 + 1/K): one retrained model more would do so with probability ``1 - level``. Where a score is itself a
    distance from retrained models, give each retrained model's distance from the others, and say that only values above
    count. Where the retrained models agree to the last digit, as scores of few samples do, the width of the interval
    over samples stands in for their spread; where that is unknown too, nothing can be concluded.

    Mean distances of K retrained models from each other hang together: a model that lies apart is in the distances of
    all the others too. Their standard deviation is ``(K - 2) / (K - 1)`` of what it is for models that are no part of
    each other's distances, and is multiplied by the inverse; two models have only one distance, which shows no spread.

    Args:
        score: The score's name.
        value: That of the unlearned model.
        interval: Of the value over samples, at the same level.
        retrained: ``(K,)``, one value for each retrained model.
        original: The original's value, which shows whether the score can show anything at all.
        side: Which values make the unlearned model distinguishable. A leak shows on either side of retrained models, so
            this is "both" for all attacks; the harmless side costs no level, so a one-sided test errs half as often.
        level: One minus the probability that a retrained model is distinguishable.
        power: Probability with which ``detectable`` is seen, 0.5 to below 1.
        baseline_of: What each value of ``retrained`` is of, for scores of whole groups of models.
        mutual: Whether the values are mean distances from the models that the others are of.

    Returns:
        The verdict; without a baseline it says how many retrained models are needed.

    Raises:
        UsageError: If a value is not finite, or a probability is out of range.
    """
    _require_finite(score, [value, *retrained, *(interval or ()), *([] if original is None else [original])])
    baseline = retraining_baseline(retrained, interval, level, mutual=mutual)
    smallest = None if baseline is None else smallest_shift(baseline.error, baseline.freedom, level, power)
    shown = _Shown(score, value, interval, len(retrained), smallest, baseline_of, FEWEST + mutual)
    if baseline is None:
        return Verdict(score, value, interval, None, None, original, None, False, shown.open(), None, len(retrained))
    distinguishable = baseline.outside(value, side)
    sees_original = None if original is None else baseline.outside(original, side)
    band = (baseline.centre - baseline.half, baseline.centre + baseline.half)
    return Verdict(
        score=score,
        value=value,
        interval=interval,
        baseline_low=band[0],
        baseline_high=band[1],
        original=original,
        detectable=smallest,
        distinguishable=distinguishable,
        sentence=shown.distinguishable(band, level) if distinguishable else shown.alike(power, sees_original),
        p_value=baseline.p_value(value, side),
        references=len(retrained),
        sees_original=sees_original,
    )


def holm(verdicts: Sequence[Verdict], level: float = LEVEL) -> list[Verdict]:
    """Those that are distinguishable although many scores were looked at: Holm's step-down correction.

    Whatever depends on whatever, a retrained model comes into this list with probability ``1 - level`` at most.

    Args:
        verdicts: One per score that was looked at; those without a p-value are not counted.
        level: One minus the probability of finding a retrained model distinguishable by any score.

    Returns:
        Verdicts in the order of their p-values, the clearest first.

    """
    ranked = sorted((one for one in verdicts if one.p_value is not None), key=lambda one: one.p_value or 0.0)
    clear = correction.holm([one.p_value or 0.0 for one in ranked], level)
    return [one for one, rejected in zip(ranked, clear, strict=True) if rejected]


@dataclass(frozen=True)
class _Shown:
    """The sentences on one score, with as many digits as the comparison supports."""

    score: str
    value: float
    interval: Interval | None
    count: int
    smallest: float | None
    baseline_of: str
    fewest: int

    def open(self) -> str:
        """Nothing can be concluded."""
        if self.count >= self.fewest:
            why = f"the {self._models()} agree to the last digit, so that their spread is unknown"
        else:
            why = (
                f"there {'is' if self.count == 1 else 'are'} {self._models()}, {self.fewest} are "
                f"needed to know how far apart they lie, and {ENOUGH} to know it well"
            )
        return f"{self._head()}: nothing can be concluded; {why}."

    def distinguishable(self, band: Interval, level: float) -> str:
        """The value lies outside."""
        low, high = map(self._number, band)
        overlap = self.interval is not None and self.interval[0] <= band[1] and self.interval[1] >= band[0]
        remark = ", though on other samples it may lie there too" if overlap else ""
        return (
            f"{self._head()}: distinguishable from {self._models()}; one more would lie between {low} and "
            f"{high} with {100 * level:.3g} % probability{remark}."
        )

    def alike(self, power: float, sees_original: bool | None) -> str:
        """The value lies within."""
        step = 10.0 ** -(self._places() or 0)
        seen = self._number(math.ceil((self.smallest or 0.0) / step - 1e-9) * step)  # rounded up, to claim no more
        known = f"or more would have been seen with {100 * power:.3g} % probability"
        if sees_original is False:
            claim = f"not distinguishable from {self._models()}, but neither is the original"
            return f"{self._head()}: {claim}, so this score shows nothing; a difference of {seen} {known}."
        claim = f"not distinguishable from {self._models()} at this power"
        return f"{self._head()}: {claim}; a difference of {seen} {known}."

    def _models(self) -> str:
        """What the baseline is made of."""
        return _counted(self.count, self.baseline_of)

    def _head(self) -> str:
        """The value and its interval."""
        between = "" if self.interval is None else " ({} to {})".format(*map(self._number, self.interval))
        return f"{self.score} {self._number(self.value)}{between}"

    def _number(self, value: float) -> str:
        """A value with the digits that matter."""
        places = self._places()
        return f"{value:.6g}" if places is None else f"{round(value, places) + 0.0:.{places}f}"

    def _places(self) -> int | None:
        """Decimals that show two digits of the smallest difference that is seen; None where no width is known."""
        width = self.smallest or (self.interval[1] - self.interval[0] if self.interval else 0.0)
        return None if width <= 0 else max(0, 1 - math.floor(math.log10(width)))


def _require_finite(score: str, values: Sequence[float]) -> None:
    """Refuse values that cannot be compared."""
    if not np.isfinite(values).all():
        raise UsageError(f"{score} is not a finite number for every model; leave it out, or correct that model.")


def _counted(count: int, word: str) -> str:
    """A number and its noun."""
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"
