"""Everything that is scored on one unlearned model, beside the same scores of retrained models and of the original."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from natmu.errors import UsageError
from natmu.scores.catalogue import SCORES
from natmu.scores.exposed import Sides, exposed_by_rmia, exposed_by_shadows, guessed_right
from natmu.scores.groups import group_scores
from natmu.scores.panel import Level, Panel, names_of
from natmu.scores.population import forgotten_and_unseen
from natmu.scores.quick import DISTANCES, PARTS, RATES, quick_scores
from natmu.scores.rates import auc, tpr_at_fpr
from natmu.scores.signals import SIGNALS
from natmu.scores.uncertainty import Interval, auc_interval, mean_interval
from natmu.scores.verdict import ENOUGH, Verdict, judge, overall
from natmu.types import Predictions, seed_for

_SIDES = {row.name: row.side for row in SCORES}
_SUMMARIES = ("avg_gap", "tow")
"""They sum up scores that are judged one by one."""


@dataclass(frozen=True)
class Examination:
    """What came of an audit; all in the order of the catalogue.

    Attributes:
        scores: Value of the unlearned model by name.
        retrained: For each score, its values for the retrained models, or for random divisions of all models.
        original: Scores of the original.
        verdicts: One per score that is compared.
        missing: For each score of the level that there is not, a sentence that says what it lacks.
        sentence: The verdict on all of them together.
    """

    scores: dict[str, float]
    retrained: dict[str, list[float]]
    original: dict[str, float]
    verdicts: dict[str, Verdict]
    missing: dict[str, str]
    sentence: str


def examine(panel: Panel, level: Level, seed: int = 0) -> Examination:
    """Score an unlearned model, compare it with retrained ones, and say what that allows to be said.

    Retrained models are scored in the same way, each against the others; the first ``ENOUGH`` of them are the floor.

    Args:
        panel: The models' answers.
        level: ``quick``, ``standard`` or ``full``.
        seed: Of subsamples, bootstrap draws and random divisions.

    Raises:
        UsageError: If answers are of different data, classes or order.
        TrainingError: If answers are not finite numbers.
    """
    judges = list(panel.retrained[:ENOUGH])
    scores, missing, sides = _scored(panel.model, judges, panel, level, seed)
    others = [judges[:number] + judges[number + 1 :] for number in range(len(judges))]
    floors = [_scored(one, rest, panel, level, seed)[0] for one, rest in zip(judges, others, strict=True)]
    original = {} if panel.original is None else _scored(panel.original, judges, panel, level, seed)[0]
    retrained = {name: [one[name] for one in floors] for name in scores if all(name in one for one in floors)}
    intervals = _intervals(panel.model, sides, seed)
    verdicts = {
        name: judge(
            name,
            scores[name],
            intervals.get(name),
            values,
            original.get(name),
            side=_SIDES[name],
            mutual=name in DISTANCES,
        )
        for name, values in retrained.items()
        if name not in _SUMMARIES
    }
    groups, lacking = group_scores(panel, level, seed)
    missing |= lacking
    for name, group in groups.items():
        scores[name], retrained[name] = group.value, group.divisions
        original |= {} if group.original is None else {name: group.original}
        verdicts[name] = judge(
            name, group.value, None, group.divisions, group.original, side=_SIDES[name], floor_of="random division"
        )
    for name, one in panel.measured.items():
        if one.value is None:
            missing[name] = one.reason
            continue
        scores[name], retrained[name] = one.value, list(one.retrained)
        original |= {} if one.original is None else {name: one.original}
        verdicts[name] = judge(name, one.value, None, one.retrained, one.original, side=_SIDES[name])
    names = names_of(level)
    return Examination(
        {name: scores[name] for name in names if name in scores},
        {name: retrained[name] for name in names if name in scores and name in retrained},
        {name: original[name] for name in names if name in scores and name in original},
        {name: verdicts[name] for name in names if name in verdicts},
        {name: missing.get(name, f"{name} was not measured.") for name in names if name not in scores},
        overall([verdicts[name] for name in names if name in verdicts]),
    )


def _scored(
    target: Predictions, references: Sequence[Predictions], panel: Panel, level: Level, seed: int
) -> tuple[dict[str, float], dict[str, str], dict[str, Sides]]:
    """One model's scores, what is missing of them, and what each attack says of every sample."""
    found = quick_scores(target, references, panel.initial_forget, seed)
    scores, missing = dict(found.scores), dict(found.missing)
    sides: dict[str, Sides] = {}
    attacks = {"quick": (), "standard": ("rmia",), "full": ("rmia", "lira", "lira_offline", "ulira")}[level]
    for attack in attacks:
        try:
            seen = (
                exposed_by_rmia(target, references)
                if attack == "rmia"
                else exposed_by_shadows(attack, target, panel.shadows)
            )
        except UsageError as error:
            missing |= {name: str(error) for name in names_of("full") if name.startswith(f"{attack}_")}
            continue
        sides[f"{attack}_auc"] = seen
        scores[f"{attack}_auc"] = auc(*seen)
        if attack == "ulira":
            scores["ulira_acc"] = guessed_right(seen)
        elif level == "full" and attack != "lira_offline":
            _note_rates(attack, seen, scores, missing)
    return scores, missing, sides


def _note_rates(attack: str, seen: Sides, scores: dict[str, float], missing: dict[str, str]) -> None:
    """How much an attack gives away at few false alarms, or why that cannot be told."""
    for rate in RATES:
        name = f"{attack}_tpr_at_fpr_{100 * rate:g}"
        try:
            scores[name] = 100 * tpr_at_fpr(*seen, rate)
        except UsageError as error:
            missing[name] = str(error)


def _intervals(model: Predictions, sides: dict[str, Sides], seed: int) -> dict[str, Interval | None]:
    """Bootstrap intervals of the unlearned model's accuracies and attacks, over samples."""
    found: dict[str, Interval | None] = {}
    for part in PARTS:
        answers = getattr(model, part)
        if len(answers):
            hits = 100.0 * (answers.logits.argmax(axis=1) == answers.labels)
            found[f"{part}_acc"] = mean_interval(hits, seed_for(seed, "interval", part))
    try:
        inside, outside = forgotten_and_unseen(model)
    except UsageError:
        return found
    all_sides = {f"auc_forget_test_{name}": (signal(inside), signal(outside)) for name, signal in SIGNALS.items()}
    for name, (members, strangers) in (all_sides | sides).items():
        found[name] = auc_interval(np.asarray(members), np.asarray(strangers), seed_for(seed, "interval", name))
    return found
