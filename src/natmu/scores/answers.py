"""The two parts of a verdict: is the forget set forgotten, and is the rest kept?

Neither part says that a sample was forgotten: that a model is not distinguishable from retrained ones by these scores
at this power is all that an audit can find.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from natmu.scores.accuracy_loss import TOLERANCE, Loss
from natmu.scores.baseline import FEWEST
from natmu.scores.correction import holm
from natmu.scores.uncertainty import LEVEL, POWER
from natmu.scores.verdict import Verdict
from natmu.scores.verdict import holm as clear

Outcome = Literal["yes", "no", "too much", "unlike retraining", "not distinguishable", "not shown", "cannot be said"]
"""What an answer comes to; ``yes`` is said of what is kept only."""


FORGET_ACCURACY, CORRECTED_ACCURACY = "forget_acc", "corrected_acc"


@dataclass(frozen=True)
class Answer:
    """One part of the verdict.

    Attributes:
        outcome: In a word.
        sentence: With the most telling number beside those of the original and of retrained models.
    """

    outcome: Outcome
    sentence: str

    def __str__(self) -> str:
        return self.sentence


@dataclass(frozen=True)
class Compared:
    """One score of the unlearned model beside the same score of others.

    Attributes:
        name: The score's name.
        unit: Its unit.
        value: That of the unlearned model.
        original: The original's; None where it is not known.
        retrained: Those of retrained models.
        verdict: What may be said of it; None where nothing is compared.
        remembers: On which side of the retrained models a model lies that remembers the forget set, where that is
            fixed.
        one_sided: Whether only one side of the retrained models counts.
        to_original: Accuracy that was lost against the original, of accuracies.
        to_retrained: Likewise against retrained models.
    """

    name: str
    unit: str
    value: float
    original: float | None
    retrained: Sequence[float]
    verdict: Verdict | None = None
    remembers: Literal["above", "below"] | None = None
    one_sided: bool = False
    to_original: Loss | None = None
    to_retrained: Loss | None = None

    def side(self) -> Literal["remembers", "beyond"] | None:
        """On which side of retrained models the value lies; None where that says neither.

        The original shows which side is that of a model that remembers. Where it is not distinguishable from retrained
        models itself, the catalogue says it.
        """
        if self.one_sided or not self.retrained:
            return None
        centre = statistics.fmean(self.retrained)
        above = None if self.remembers is None else self.remembers == "above"
        if self.verdict is not None and self.verdict.sees_original and self.original is not None:
            above = self.original > centre
        if above is None:
            return None
        return "remembers" if (self.value > centre) == above else "beyond"

    def figures(self) -> str:
        """The value beside those of the original and of retrained models."""
        others = [] if self.original is None else [f"the original has {self._number(self.original)}"]
        if self.retrained:
            mean = self._number(statistics.fmean(self.retrained))
            models = "retrained models" if len(self.retrained) > 1 else "a retrained model"
            others.append(f"{models} {mean}{self._spread()}")
        unit = f" {self.unit}" if self.unit == "%" else ""
        return f"{self.name} {self._number(self.value)}{unit}" + (f" ({', '.join(others)})" if others else "")

    def power(self) -> str:
        """Which difference would have been seen."""
        assert self.verdict is not None and self.verdict.detectable is not None, "it has a baseline"  # noqa: PT018
        step = 10.0 ** -self._places()
        seen = math.ceil(self.verdict.detectable / step - 1e-9) * step  # rounded up, to claim no more
        return f"a difference of {self._number(seen)} would have been seen with {100 * POWER:.3g} % probability"

    def _spread(self) -> str:
        return f" ± {self._number(statistics.stdev(self.retrained))}" if len(self.retrained) > 1 else ""

    def _number(self, value: float) -> str:
        places = self._places()
        return f"{round(value, places) + 0.0:.{places}f}"

    def _places(self) -> int:
        """Decimals: one digit of the retrained models' spread, and one at least of percentages."""
        std = statistics.stdev(self.retrained) if len(self.retrained) > 1 else 0.0
        if std > 0:
            return min(6, max(int(self.unit == "%"), -math.floor(math.log10(std))))
        return 1 if abs(self.value) >= 10 or self.unit in ("%", "pp") else 3


def forgotten(scores: Sequence[Compared], references: int) -> Answer:
    """Whether the forget set is forgotten, as far as attacks and distances can see.

    Holm's correction is for the number of these scores. Of those that are left, one that has a side decides: on the
    side of the original the model remembers; on the other side it knows less than models that never saw the samples.
    It is the accuracy if that is among them, else the clearest: attacks that learn from retain samples are misled by
    a model that is ruined on these too. Where labels were corrected, it is told how often the right ones are predicted.

    Args:
        scores: All scores of the forget set, not only those that look well.
        references: Number of retrained models.
    """
    answer = _forgotten(scores, references)
    corrected = next((one for one in scores if one.name == CORRECTED_ACCURACY), None)
    if corrected is None or CORRECTED_ACCURACY in answer.sentence:
        return answer
    return Answer(answer.outcome, f"{answer.sentence} Of the right labels: {corrected.figures()}.")


def _forgotten(scores: Sequence[Compared], references: int) -> Answer:
    """The same without what was corrected."""
    usable = [one for one in scores if one.verdict is not None and one.verdict.p_value is not None]
    if not usable:
        there = {0: "there is none", 1: "there is 1"}.get(references, f"there are {references}")
        shown = next((f"; {one.figures()}" for one in scores if one.name == FORGET_ACCURACY), "")
        takes = f"that takes {max(FEWEST, references + 1)} retrained models, and {there}"
        return Answer("cannot be said", f"Whether it is forgotten cannot be said: {takes}{shown}.")
    by_name = {one.name: one for one in usable}
    found = [by_name[one.score] for one in clear([one.verdict for one in usable if one.verdict is not None])]
    sided = sorted((one for one in found if one.side() is not None), key=lambda one: one.name != FORGET_ACCURACY)
    of_all = f"{len(found)} of {_counted(len(usable), 'score')} of the forget set, after Holm's correction"
    if sided:
        first = sided[0]
        other = next((f"; {one.figures()} lies on the other side" for one in sided if one.side() != first.side()), "")
        if first.side() == "remembers":
            text = f"Not forgotten: {first.figures()}; distinguishable from retrained models by {of_all}"
            return Answer("no", f"{text}{other}.")
        text = "so it knows less of the forget set than models that never saw it; distinguishable from them by"
        return Answer("too much", f"Over-forgotten: {first.figures()}, {text} {of_all}{other}.")
    if found:
        text = f"Unlike retrained models on the forget set: {found[0].figures()}; distinguishable by {of_all}"
        return Answer("unlike retraining", f"{text}, none of which says whether too much or too little is forgotten.")
    return _nothing_found(usable)


def equals_retrained(scores: Sequence[Compared]) -> Answer:
    """Of a model that predicts what a retrained one does: no score can distinguish these two, so none is asked.

    Args:
        scores: All scores of the forget set.
    """
    shown = next((f": {one.figures()}" for one in scores if one.name == FORGET_ACCURACY), "")
    text = "Not distinguishable from retraining: its predictions are those of a retrained model, bit for bit"
    return Answer("not distinguishable", f"{text}{shown}.")


def kept(accuracies: Sequence[Compared], others: Sequence[Compared]) -> Answer:
    """Whether the model is still right where it should be.

    An accuracy is kept where it is less than ``TOLERANCE`` points below the original or below retrained models, and
    lost where it is more than that below retrained models; both with confidence. Without a baseline of retrained
    models the original decides alone. Distances of predictions are told of and decide nothing: a model may predict
    otherwise than retrained ones and be as often right.

    Args:
        accuracies: On the retain set, the test set and the holdout.
        others: Other scores of these parts.
    """
    known = [one for one in accuracies if one.to_original is not None or one.to_retrained is not None]
    if not known:
        shown = f": {', '.join(one.figures() for one in accuracies)}" if accuracies else ""
        text = f"Whether the rest is kept cannot be said without the original or {FEWEST} retrained models"
        return Answer("cannot be said", f"{text}{shown}.")
    most = {one.name: min(_most(one.to_original), _most(one.to_retrained)) for one in known}
    rejected = holm([_p_value(one) for one in known], LEVEL)
    open_ones = [one for one in known if most[one.name] > TOLERANCE]
    lost = [one for one, is_lost in zip(known, rejected, strict=True) if is_lost and one in open_ones]
    if lost:
        lost.sort(key=lambda one: -_points(one))
        alone = any(one.to_retrained is None for one in lost)
        open_end = f"; what retraining loses takes {FEWEST} retrained models to know" if alone else ""
        return Answer("no", f"Not kept: {_listed(lost)}{open_end}{_otherwise(others)}.")
    if open_ones:
        text = f"a loss of more than {TOLERANCE:g} point is neither shown nor excluded"
        settled = [one for one in known if one not in open_ones]
        text += f", while {_listed(settled)} {'is' if len(settled) == 1 else 'are'} kept" if settled else ""
        return Answer("not shown", f"Not shown to be kept: {_listed(open_ones)}; {text}{_otherwise(others)}.")
    reference = "the original" if all(one.to_retrained is None for one in known) else "the original or retrained models"
    text = f"less than {TOLERANCE:g} point below {reference}"
    return Answer("yes", f"Kept: {_listed(known)}; {text}{_otherwise(others)}.")


def _nothing_found(usable: Sequence[Compared]) -> Answer:
    """No score distinguishes the model from retrained ones."""
    verdicts = {one.name: one.verdict for one in usable if one.verdict is not None}
    blind = [name for name, verdict in verdicts.items() if verdict.sees_original is False]
    of_all = "the one score" if len(usable) == 1 else f"any of {len(usable)} scores"
    telling = max(usable, key=_clearness)
    if len(blind) == len(usable):
        text = "not even the original is distinguishable from retrained models by"
        shown = f"Whether it is forgotten cannot be said: {text} {of_all} of the forget set; {telling.figures()}."
        return Answer("cannot be said", shown)
    remarks = [telling.power()]
    if blind:
        remarks.append(
            f"{len(blind)} of them {'does' if len(blind) == 1 else 'do'} not distinguish the original either"
        )
    alone = min((one for one in verdicts.values() if one.distinguishable), key=_p_of, default=None)
    if alone is not None:
        remarks.append(f"{alone.score} alone would (p = {alone.p_value:.2g}), so more retrained models would decide it")
    text = f"Not distinguishable from retrained models by {of_all} of the forget set, after Holm's correction"
    return Answer("not distinguishable", f"{text}: {telling.figures()}; {'; '.join(remarks)}.")


def _clearness(one: Compared) -> tuple[bool, float]:
    """How clearly a score distinguishes the original, in half widths of its baseline; accuracies and attacks first."""
    verdict = one.verdict
    if verdict is None or verdict.original is None or verdict.baseline_low is None or verdict.baseline_high is None:
        return (not one.one_sided, 0.0)
    half = (verdict.baseline_high - verdict.baseline_low) / 2
    distance = abs(verdict.original - (verdict.baseline_low + half)) / half
    return (not one.one_sided and bool(verdict.sees_original), distance)


def _p_of(verdict: Verdict) -> float:
    """The p-value of a verdict that has one."""
    return 1.0 if verdict.p_value is None else verdict.p_value


def _most(loss: Loss | None) -> float:
    """The largest loss that is not excluded."""
    return math.inf if loss is None else loss.at_most()


def _p_value(one: Compared) -> float:
    """How well a loss is explained without one beyond the tolerance.

    One retrained model has no spread, and excuses what it lost itself.
    """
    if one.to_retrained is not None:
        return one.to_retrained.p_value()
    if one.to_original is None or any(one.value >= other - TOLERANCE for other in one.retrained):
        return 1.0
    return one.to_original.p_value()


def _points(one: Compared) -> float:
    """What was lost, by what decides it."""
    loss = one.to_retrained or one.to_original
    return 0.0 if loss is None else loss.points


def _otherwise(others: Sequence[Compared]) -> str:
    """What the distances say."""
    found = clear([one.verdict for one in others if one.verdict is not None])
    if not found:
        return ""
    (first,) = [one for one in others if one.name == found[0].score]
    return f"; predictions there differ from those of retrained models, most clearly by {first.figures()}"


def _listed(scores: Sequence[Compared]) -> str:
    return ", ".join(one.figures() for one in scores)


def _counted(count: int, word: str) -> str:
    """A number and its noun."""
    return f"{count} {word}{'' if count == 1 else 's'}"
