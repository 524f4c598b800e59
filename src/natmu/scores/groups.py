"""Scores of two groups of models, unlearned and retrained ones, and what dividing all of them at random gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from natmu.errors import UsageError
from natmu.scores.evaluation import PARTS
from natmu.scores.klom import klom, klom_summary
from natmu.scores.panel import Level, Margins, Panel
from natmu.scores.quality import epsilons, final_score, forgetting_quality
from natmu.scores.signals import Values, margin
from natmu.scores.swap import swap_scores
from natmu.scores.utility import accuracy
from natmu.types import Part, Predictions, seed_for

DIVISIONS = 39
"""Random divisions: where unlearned models are like retrained ones, theirs is one more of them."""

SAMPLES = 5000
"""Samples of a part that divisions are scored on at most, evenly spread; the value itself is of the same ones."""

Scores = dict[str, float]


@dataclass(frozen=True)
class GroupScore:
    """A score of two groups of models.

    Attributes:
        value: Of unlearned against retrained models.
        divisions: Of as many models each, divided at random.
        original: Of originals against retrained models, where there are any.
    """

    value: float
    divisions: list[float]
    original: float | None


def group_scores(panel: Panel, level: Level, seed: int) -> tuple[dict[str, GroupScore], dict[str, str]]:
    """KLoM on every part, and at the level full the forgetting quality and the advantage over swapped halves.

    Args:
        panel: Of which unlearned and retrained models are compared.
        level: ``quick`` has none of these scores.
        seed: Of the divisions.

    Returns:
        Scores by name, and for each that there is not a sentence that says what it lacks.
    """
    found: dict[str, GroupScore] = {}
    missing: dict[str, str] = {}
    if level == "quick":
        return found, missing
    for part in PARTS:
        names = {f"klom_{part}_mean": "mean", f"klom_{part}_p95": "p95"}

        def score(left: Margins, right: Margins, names: dict[str, str] = names) -> Scores:
            summary = klom_summary(klom(left, right))
            return {name: summary[key] for name, key in names.items()}

        unlearned = chain([panel.model], panel.unlearned)
        groups = [_margins(models, part) for models in (unlearned, panel.retrained, panel.originals)]
        _enter(found, missing, list(names), score, groups, seed_for(seed, "divisions", part))
    if level == "full":
        again = chain([panel.model], panel.again)
        groups = [_margins(models, "forget") for models in (again, panel.retrained, [])]
        _enter(
            found, missing, ["epsilon", "forgetting_quality"], _quality, groups, seed_for(seed, "divisions", "quality")
        )
        _enter_final(found, missing, panel)
        try:
            found["swap_advantage"] = GroupScore(*swap_scores(panel.shadows, DIVISIONS, seed))
        except UsageError as error:
            missing["swap_advantage"] = str(error)
    return found, missing


def _quality(unlearned: Margins, retrained: Margins) -> Scores:
    """Median epsilon, and forgetting quality."""
    epsilon = epsilons(unlearned, retrained)
    return {"epsilon": float(np.median(epsilon)), "forgetting_quality": forgetting_quality(epsilon)}


def _enter(
    found: dict[str, GroupScore],
    missing: dict[str, str],
    names: Sequence[str],
    score: Callable[[Margins, Margins], Scores],
    groups: Sequence[Margins],
    seed: int,
) -> None:
    """Enter scores of unlearned against retrained models with their divisions, or why there are none."""
    unlearned, retrained, originals = groups
    try:
        values = score(unlearned, retrained)
    except UsageError as error:
        missing |= dict.fromkeys(names, str(error))
        return
    of_originals = score(originals, retrained) if len(originals) == len(unlearned) else {}
    models, rng = np.concatenate([unlearned, retrained]), np.random.default_rng(seed)
    divided = []
    for _ in range(DIVISIONS):
        order = rng.permutation(len(models))
        divided.append(score(models[order[: len(unlearned)]], models[order[len(unlearned) :]]))
    for name in names:
        found[name] = GroupScore(values[name], [one[name] for one in divided], of_originals.get(name))


def _enter_final(found: dict[str, GroupScore], missing: dict[str, str], panel: Panel) -> None:
    """The challenge's final score: forgetting quality times what is left of the accuracies."""
    if "forgetting_quality" not in found:
        missing["final_score"] = missing["forgetting_quality"]
        return
    quality = found["forgetting_quality"]

    def mean_accuracies(models: Iterable[Predictions]) -> tuple[float, float]:
        retain, test = np.mean([(accuracy(one.retain), accuracy(one.test)) for one in models], axis=0)
        return float(retain), float(test)

    try:
        retain, test = mean_accuracies(chain([panel.model], panel.again))
        retrained_retain, retrained_test = mean_accuracies(panel.retrained)
        value = final_score(quality.value, retain, retrained_retain, test, retrained_test)
    except UsageError as error:
        missing["final_score"] = str(error)
        return
    divisions = [final_score(one, 1, 1, 1, 1) for one in quality.divisions]
    found["final_score"] = GroupScore(value, divisions, None)


def _margins(models: Iterable[Predictions], part: str) -> Margins:
    """Margins of each model on a part, or on ``SAMPLES`` of it, ``(models, N)``."""
    found = [_margins_of(getattr(one, part)) for one in models]  # one by one: all predictions may not fit in memory
    return np.stack(found) if found else np.zeros((0, 0))


def _margins_of(predictions: Part) -> Values:
    """One model's margins on a part, or on ``SAMPLES`` of it, evenly spread."""
    count = len(predictions)
    rows = np.unique(np.linspace(0, max(0, count - 1), min(count, SAMPLES)).round().astype(np.int64))
    return margin(predictions.take(rows))
