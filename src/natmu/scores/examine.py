"""Everything that is scored on one unlearned model, beside the same scores of retrained models and of the original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from natmu.errors import UsageError
from natmu.scores.accuracy_loss import loss_to_original, loss_to_retrained
from natmu.scores.answers import Answer, Compared, equals_retrained, forgotten
from natmu.scores.answers import kept as kept_answer
from natmu.scores.base import Score
from natmu.scores.builtin import ATTACKS, OURS
from natmu.scores.catalogue import SCORES, ScoreInfo
from natmu.scores.evaluation import PARTS, evaluate, kept, require_different_models, same_predictions
from natmu.scores.groups import group_scores
from natmu.scores.panel import Level, Measured, Panel, names_of
from natmu.scores.poor_baseline import poor_baseline
from natmu.scores.population import forgotten_and_unseen
from natmu.scores.registry import outside_scores
from natmu.scores.signals import SIGNALS
from natmu.scores.uncertainty import Interval, accuracy_interval, auc_interval
from natmu.scores.verdict import ENOUGH, Verdict, judge
from natmu.types import seed_for

Value = TypeVar("Value")

_SIDES = {row.name: row.side for row in SCORES}

KEPT = ("retain", "test", "holdout")
"""The parts on which a model should be as often right as before."""


@dataclass(frozen=True)
class Examination:
    """What came of an audit; all in the order of the catalogue, scores that are not ours last.

    Attributes:
        scores: Value of the unlearned model by name.
        retrained: For each score, its values for the retrained models, or for random divisions of all models.
        original: Scores of the original.
        verdicts: One per score that is compared.
        missing: For each score of the level that there is not, a sentence that says what it lacks.
        forgotten: Whether the forget set is forgotten, as far as these scores can see.
        kept: Whether the model is still right on the retain set, the test set and the holdout.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> examination = examine(panel, "quick")
        >>> examination.verdicts.keys() <= examination.retrained.keys()
        True
    """

    scores: dict[str, float]
    retrained: dict[str, list[float]]
    original: dict[str, float]
    verdicts: dict[str, Verdict]
    missing: dict[str, str]
    forgotten: Answer
    kept: Answer

    @property
    def poor_baseline(self) -> list[str]:
        """A warning where the retrained models did not learn what the original did; else nothing."""
        retrained = self.retrained.get("retain_acc")
        return poor_baseline(float(np.mean(retrained)) if retrained else None, self.original.get("retain_acc"))


def examine(panel: Panel, level: Level, seed: int = 0, extra: Sequence[Score] = ()) -> Examination:
    """Score an unlearned model, compare it with retrained ones, and say what that allows to be said.

    Retrained models are scored in the same way, each against the others; the first ``ENOUGH`` of them are the
    retraining baseline.

    Args:
        panel: The models' predictions.
        level: ``quick``, ``standard`` or ``full``.
        seed: Of subsamples, bootstrap draws and random divisions.
        extra: Scores beside ours and those of installed packages.

    Raises:
        UsageError: If predictions are of different data, classes or order, retrained models are all the same one, or an
            extra score has the name of another.
        TrainingError: If logits are not finite numbers.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> examination = examine(panel, "quick")
        >>> examination.scores["forget_acc"] < examination.original["forget_acc"]  # it was unlearned
        True
    """
    outside, broken = outside_scores(level, extra)
    names = [*names_of(level), *(one.name for one in outside), *broken]
    wanted = [*(OURS[name] for name in names_of(level) if name in OURS), *outside]
    judges = list(panel.retrained[:ENOUGH])
    require_different_models(judges, panel.original)
    judged = kept(replace(panel, retrained=judges, seed=seed))
    intervals = _intervals(judged, seed)
    found = _of_predictions(wanted, judged, intervals)
    found.missing.update(broken)
    _add_groups(found, panel, level, seed)
    _add_measured(found, panel)

    rows = {row.name: row for row in SCORES} | {one.name: one.row for one in outside}
    asked = {name: _compared(rows[name], found) for name in names if name in found.scores}
    of_forget_set = [one for name, one in asked.items() if rows[name].question == "forgotten"]
    of_rest = {name: one for name, one in asked.items() if rows[name].question == "kept"}
    accuracies = [of_rest.pop(name) for part in KEPT if (name := f"{part}_acc") in of_rest]
    equal = any(same_predictions(panel.model, one) for one in judges)

    def in_order(values: Mapping[str, Value]) -> dict[str, Value]:
        return {name: values[name] for name in asked if name in values}

    return Examination(
        in_order(found.scores),
        in_order(found.retrained),
        in_order(found.original),
        in_order(found.verdicts),
        {name: found.missing.get(name, f"{name} was not measured.") for name in names if name not in asked},
        equals_retrained(of_forget_set) if equal else forgotten(of_forget_set, len(judges)),
        kept_answer(
            [_with_losses(one, panel, intervals.get(one.name)) for one in accuracies],
            list(of_rest.values()),
        ),
    )


@dataclass(frozen=True)
class _Found:
    """What has been scored so far, by name; as in ``Examination``."""

    scores: dict[str, float]
    retrained: dict[str, list[float]]
    original: dict[str, float]
    verdicts: dict[str, Verdict]
    missing: dict[str, str]

    def add(self, name: str, one: Measured, verdict: Verdict) -> None:
        """Enter a score that has a value."""
        assert one.value is not None, "what has none is missing"
        self.scores[name], self.retrained[name], self.verdicts[name] = one.value, list(one.retrained), verdict
        if one.original is not None:
            self.original[name] = one.original


def _of_predictions(wanted: Sequence[Score], panel: Panel, intervals: Mapping[str, Interval | None]) -> _Found:
    """The scores of the models one by one, each retrained model against the others."""
    found = evaluate(wanted, panel)
    judges, scores = list(panel.retrained), dict(found.scores)
    others = [judges[:number] + judges[number + 1 :] for number in range(len(judges))]
    baselines = [evaluate(wanted, panel.judging(*pair)).scores for pair in zip(judges, others, strict=True)]
    original = {} if panel.original is None else evaluate(wanted, panel.judging(panel.original, judges)).scores
    retrained = {name: [one[name] for one in baselines] for name in scores if all(name in one for one in baselines)}
    verdicts = {
        one.name: judge(
            one.name,
            scores[one.name],
            intervals.get(one.name),
            retrained[one.name],
            original.get(one.name),
            side=one.row.side,
            mutual=one.kind == "distance",
        )
        for one in wanted
        if one.name in retrained and one.kind != "gap"  # which sums up scores that are judged one by one
    }
    return _Found(scores, retrained, dict(original), verdicts, dict(found.missing))


def _add_groups(found: _Found, panel: Panel, level: Level, seed: int) -> None:
    """The scores of many unlearned models beside many retrained ones, judged by random divisions of all."""
    groups, lacking = group_scores(panel, level, seed)
    found.missing.update(lacking)
    for name, group in groups.items():
        one, side = Measured(group.value, group.divisions, group.original), _SIDES[name]
        verdict = judge(
            name, group.value, None, group.divisions, group.original, side=side, baseline_of="random division"
        )
        found.add(name, one, verdict)


def _add_measured(found: _Found, panel: Panel) -> None:
    """The scores that need more than predictions."""
    for name, one in panel.measured.items():
        if one.value is None:
            found.missing[name] = one.reason
        else:
            found.add(name, one, judge(name, one.value, None, one.retrained, one.original, side=_SIDES[name]))


def _compared(row: ScoreInfo, found: _Found) -> Compared:
    """A score beside those of other models."""
    name, one_sided = row.name, row.side != "both"
    retrained, verdict = found.retrained.get(name, ()), found.verdicts.get(name)
    value, original = found.scores[name], found.original.get(name)
    return Compared(name, row.unit, value, original, retrained, verdict, row.remembers, one_sided=one_sided)


def _with_losses(accuracy: Compared, panel: Panel, interval: Interval | None) -> Compared:
    """An accuracy with what was lost of it."""
    part = accuracy.name.removesuffix("_acc")
    before = None if panel.original is None else getattr(panel.original, part)
    return replace(
        accuracy,
        to_original=None if before is None else loss_to_original(before, getattr(panel.model, part)),
        to_retrained=loss_to_retrained(accuracy.value, accuracy.retrained, interval),
    )


def _intervals(panel: Panel, seed: int) -> dict[str, Interval | None]:
    """Bootstrap intervals of the unlearned model's accuracies and attacks, over samples."""
    found: dict[str, Interval | None] = {}
    for part in (*PARTS, "holdout"):
        predictions = getattr(panel.model, part)
        if predictions is not None and len(predictions):
            hits = 100.0 * (predictions.logits.argmax(axis=1) == predictions.labels)
            found[f"{part}_acc"] = accuracy_interval(hits, seed_for(seed, "interval", part))
    try:
        inside, outside = forgotten_and_unseen(panel.model)
    except UsageError:
        return found
    sides = {f"auc_forget_test_{name}": (signal(inside), signal(outside)) for name, signal in SIGNALS.items()}
    for attack in ATTACKS:
        known = panel.known(attack)
        sides |= {} if known is None else {f"{attack}_auc": known}
    for name, (members, non_members) in sides.items():
        found[name] = auc_interval(np.asarray(members), np.asarray(non_members), seed_for(seed, "interval", name))
    return found
