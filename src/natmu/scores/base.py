"""What a score is: a pure function of a panel of predictions, with its row of the catalogue."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from natmu.errors import SettingError, UsageError
from natmu.scores.catalogue.papers import Source
from natmu.scores.catalogue.row import ALONE, NEEDS, ONE_RETRAINED, Level, Question, ScoreInfo, Side
from natmu.scores.panel import Panel

Kind = Literal["panel", "distance", "gap"]
"""What the function of a score is given:

- ``panel``: a ``Panel``, which holds the model that is judged and all that it is compared with.
- ``distance``: the predictions of the model and of one retrained model. The score is the mean over retrained models.
- ``gap``: the accuracies and ``mia_entropy`` of the model by name, and their means over the retrained models.
"""

OTHERS = "Scores of other packages"
"""Family of scores that name none."""

_SLACK = 1e-9
"""How far, as a fraction of 1 and of the bound, rounding may carry a value out of its range."""


@dataclass(frozen=True)
class Score:
    """A score: ``score(panel)`` is its value for ``panel.model``.

    The function reads the panel and nothing else, changes nothing, and draws random numbers from ``panel.rng`` only. It
    raises a ``UsageError`` where the panel lacks what it needs; the message becomes the reason why there is no value.

    Attributes:
        row: All there is to know of it before it is used.
        function: Computes it from what its kind says.
        kind: What the function is given.

    Raises:
        SettingError: The row is not complete.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> retain_acc = score_named("retain_acc")
        >>> retain_acc(panel) == accuracy(panel.model.retain)
        True
    """

    row: ScoreInfo
    function: Callable[..., float]
    kind: Kind = "panel"

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise SettingError(f"Score {self.row.name!r} is not complete: {'; '.join(faults)}.")

    @property
    def name(self) -> str:
        """Its name everywhere."""
        return self.row.name

    def __call__(self, panel: Panel) -> float:
        """Score ``panel.model``.

        Raises:
            UsageError: The panel lacks what the score needs, or its function gives no number of its range.
        """
        from natmu.scores.evaluation import evaluate  # which knows scores

        found = evaluate([self], panel, lenient=False)
        if self.name in found.missing:
            raise UsageError(found.missing[self.name])
        return found.scores[self.name]

    def checked(self, value: object) -> float:
        """A value that its function gave, as a float.

        Raises:
            UsageError: It is no finite number of the score's range.
        """
        if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.number):
            raise UsageError(f"{self.name} gives {type(value).__name__} and not a number; correct its function.")
        number = float(value)
        if not math.isfinite(number):
            raise UsageError(f"{self.name} gives {number}, which is not a finite number; correct its function.")
        if not self.holds(number):
            span = range_of(self.row)
            raise UsageError(f"{self.name} gives {number:.6g}, and its range is {span}; correct one of the two.")
        return number

    def holds(self, value: float) -> bool:
        """Whether a value lies in the range of the score, as far as rounding allows."""
        low, high = self.row.low, self.row.high
        return (low is None or value >= low - _SLACK * (1 + abs(low))) and (
            high is None or value <= high + _SLACK * (1 + abs(high))
        )


def score(
    *,
    unit: str,
    low: float | None,
    high: float | None,
    formula: str,
    baseline: str,
    original: str,
    kind: Literal["panel", "distance"] = "panel",
    name: str | None = None,
    level: Level = "quick",
    needs: Sequence[str] | None = None,
    cost: str | None = None,
    side: Side | None = None,
    identical: float | None = None,
    source: Source | None = None,
    family: str = OTHERS,
    question: Question = "neither",
    remembers: Literal["above", "below"] | None = None,
) -> Callable[[Callable[..., float]], Score]:
    """Make a function a score; the first sentence of its docstring says what it measures, the rest how to read it.

    Args:
        unit: Unit, such as ``%`` or ``nats``, or the range where there is no unit.
        low: The least value that it can have; None where there is none.
        high: The largest.
        formula: How it is computed.
        baseline: What retrained models score.
        original: What the original scores.
        kind: ``panel`` for a function of a ``Panel``; ``distance`` for one of the predictions of the model and of
            one retrained model, of which the mean over retrained models is taken.
        name: Its name everywhere; the function's if None.
        level: The first level of an audit that has it.
        needs: Keys of ``natmu.scores.catalogue.NEEDS``; by default predictions, and for a distance retrained models.
        cost: How many models it takes beside the one that is judged; by default none, and for a distance one.
        side: On which side of retrained models a value makes the unlearned one distinguishable; by default on both, and
            for a distance above.
        identical: Its value where all models are the same; by default not fixed, and for a distance 0.
        source: Where it comes from.
        family: Title of the scores that it belongs to.
        question: Which part of the verdict it belongs to: ``forgotten``, ``kept``, or ``neither``.
        remembers: On which side of retrained models a model lies that remembers the forget set; None where that is not
            fixed.

    Returns:
        What makes a ``Score`` of the function.

    Examples:
        >>> @score(unit="nats", low=0, high=None, formula="mean of -log p_y", baseline="higher", original="lower")
        ... def mean_forget_loss(panel):
        ...     '''Mean loss on the forget set.'''
        ...     return float(loss(panel.model.forget).mean())
        >>> from natmu.testing.panels import panel_of
        >>> mean_forget_loss(panel_of(0)) > 0
        True
    """
    pairs = kind == "distance"

    def made(function: Callable[..., float]) -> Score:
        summary, _, about = inspect.cleandoc(function.__doc__ or "").partition("\n\n")
        row = ScoreInfo(
            name=name or function.__name__,
            family=family,
            level=level,
            needs=tuple(needs) if needs is not None else ("predictions", "retrained") if pairs else ("predictions",),
            cost=cost or (ONE_RETRAINED if pairs else ALONE),
            unit=unit,
            low=low,
            high=high,
            measures=" ".join(summary.split()),
            formula=formula,
            source=source,
            baseline=baseline,
            original=original,
            side=side or ("above" if pairs else "both"),
            identical=0.0 if pairs and identical is None else identical,
            question=question,
            remembers=remembers,
            about=" ".join(about.split()),
        )
        return Score(row, function, kind)

    return made


def range_of(row: ScoreInfo) -> str:
    """The range of a score in words."""
    if row.low is None:
        return "any number" if row.high is None else f"up to {row.high:.6g}"
    return f"{row.low:.6g} and above" if row.high is None else f"{row.low:.6g} to {row.high:.6g}"


def _faults(score: Score) -> list[str]:
    """What is wrong with a score as it is declared, in clauses."""
    row = score.row
    if not isinstance(row, ScoreInfo):
        return ["its row is no ScoreInfo"]
    texts = {key: getattr(row, key) for key in ("family", "cost", "unit", "formula", "baseline", "original")}
    empty = [key for key, text in texts.items() if not isinstance(text, str) or not text.strip()]
    unknown = [str(need) for need in row.needs if need not in NEEDS]
    bounds = (row.low, row.high, row.identical)
    numbers = all(one is None or (isinstance(one, int | float) and math.isfinite(one)) for one in bounds)
    wrong = {
        "its function cannot be called": not callable(score.function),
        f"its kind is not one of {', '.join(get_args(Kind))}": score.kind not in get_args(Kind),
        "its name cannot be typed on a command line": not re.fullmatch(r"[a-z][a-z0-9_.-]*", str(row.name)),
        "the first paragraph of its docstring, which says what it measures, is no sentence": not re.fullmatch(
            r"\w.*\.", str(row.measures)
        ),
        f"it says nothing of its {', '.join(empty)}": bool(empty),
        f"its level is not one of {', '.join(get_args(Level))}": row.level not in get_args(Level),
        f"its question is not one of {', '.join(get_args(Question))}": row.question not in get_args(Question),
        "remembers is above, below or None": row.remembers not in ("above", "below", None),
        f"its side is not one of {', '.join(get_args(Side))}": row.side not in get_args(Side),
        f"it needs {', '.join(unknown)}, and what a score can need is {', '.join(NEEDS)}": bool(unknown),
        "low, high and identical are finite numbers or None": not numbers,
        "low lies below high": numbers and row.low is not None and row.high is not None and row.low >= row.high,
        "identical lies in its range": numbers and row.identical is not None and not score.holds(row.identical),
    }
    return [fault for fault, is_so in wrong.items() if is_so]
