"""What every score owes, ours or another's."""

from __future__ import annotations

import copy
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import numpy as np

from natmu.errors import UsageError
from natmu.scores import Examination, Level, Panel, Score, examine, mean_scores, scores
from natmu.scores.base import range_of
from natmu.scores.catalogue import CATALOGUED, FAMILIES
from natmu.testing import panels

SEEDS = range(6)
"""Panels that a range is looked at on."""

TOLERANCE = 1e-6
"""How far, as a fraction of the value, rounding may carry it when the same is asked in another way."""


@dataclass(frozen=True, eq=False, repr=False)
class ScoreRow:
    """A score, and what the suite cannot know from its declarations.

    Attributes:
        score: The score.
        panel: Makes panels from seeds, where those of ``natmu.testing.panels.panel_of`` do not suit the score.
        draws_samples: Whether it reads samples that it draws at random, so that their order and the seed decide what it
            reads. The suite then does not ask for the same value in another order or under another seed.

    Examples:
        >>> from natmu.scores import score_named
        >>> ScoreRow(score_named("forget_acc")).name
        'forget_acc'
    """

    score: Score
    panel: Callable[[int], Panel] = field(default=panels.panel_of)
    draws_samples: bool = False

    def __repr__(self) -> str:
        return f"ScoreRow({self.name})"

    @property
    def name(self) -> str:
        """Name of the row in test names."""
        return self.score.name

    def made(self, seed: int) -> Panel:
        """A panel that no other check has seen, so that a score that changes it fails where this is looked at."""
        return copy.deepcopy(self.panel(seed))

    def value(self, panel: Panel) -> float:
        """The score of a panel of its own, so that nothing that was kept for another call is read."""
        return self.score(replace(panel))


def says_how_it_is_read(row: ScoreRow) -> None:
    """A text that says how to read it, and a source or a formula that does not only repeat what it measures."""
    facts = row.score.row
    assert facts.about or facts.family in FAMILIES, f"{row.name}: its docstring says nothing after the first paragraph"
    assert facts.formula != facts.measures, f"{row.name}: its formula is what it measures, in the same words"


def gives_a_plain_number(row: ScoreRow) -> None:
    """A Python float, which can be written as JSON, and no array of one or NumPy scalar."""
    value = _raw(row.score, row.made(0))
    assert type(value) in (float, int), f"{row.name} gives {type(value).__name__} and not a float: {value!r}"


def stays_in_its_range(row: ScoreRow) -> None:
    """On panels of several seeds."""
    for seed in SEEDS:
        value = float(_raw(row.score, row.made(seed)))
        assert row.score.holds(value), f"{row.name} gives {value}, and its range is {range_of(row.score.row)}"


def is_not_the_same_for_all_models(row: ScoreRow) -> None:
    """Some model has another value than the rest."""
    values = {row.value(row.made(seed)) for seed in SEEDS}
    assert len(values) > 1, f"{row.name} gives {values} for every model"


def gives_the_same_value_again(row: ScoreRow) -> None:
    """Whatever the global random numbers are, and whatever was scored in between."""
    panel = row.made(0)
    first = row.value(panel)
    state = np.random.get_state(), random.getstate()  # noqa: NPY002 - what a score must not read
    try:
        np.random.seed(12345)  # noqa: NPY002
        random.seed(12345)
        row.value(row.made(1))
        again = row.value(panel)
    finally:
        np.random.set_state(state[0])  # noqa: NPY002
        random.setstate(state[1])
    assert again == first, f"{row.name} gives {first} and then {again} for the same panel"


def gives_the_same_value_under_every_seed(row: ScoreRow) -> None:
    """The seed decides nothing in a score that draws no samples."""
    values = {row.value(replace(row.made(0), seed=seed)) for seed in SEEDS}
    spread = max(values) - min(values)
    assert _alike(max(values), min(values)), f"{row.name} moves by {spread} with the seed; say draws_samples=True"


def leaves_the_world_as_it_was(row: ScoreRow) -> None:
    """The panel's arrays and the global random numbers, to the bit."""
    panel = row.made(0)
    before, state = _bytes(panel), repr(np.random.get_state()) + repr(random.getstate())  # noqa: NPY002
    row.value(panel)
    after = _bytes(panel)
    moved = [name for name, value in before.items() if after[name] != value]
    assert not moved, f"{row.name} changes {', '.join(moved)}"
    now = repr(np.random.get_state()) + repr(random.getstate())  # noqa: NPY002
    assert now == state, f"{row.name} draws from a global generator; draw from panel.rng"


def ignores_the_order_of_samples(row: ScoreRow) -> None:
    """The same samples in another order."""
    _require_alike(row, panels.reordered, "samples come in another order")


def ignores_the_order_of_retrained_models(row: ScoreRow) -> None:
    """The same retrained models in another order."""
    _require_alike(row, lambda panel: replace(panel, retrained=panel.retrained[::-1]), "retrained models change places")


def ignores_what_is_added_to_all_logits(row: ScoreRow) -> None:
    """Logits are known up to a number for each sample, which no probability shows."""
    _require_alike(row, panels.lifted, "a number is added to all logits of a sample")


def ignores_the_names_of_classes(row: ScoreRow) -> None:
    """The same classes under other numbers."""
    _require_alike(row, panels.renamed, "classes have other numbers")


def is_finite_on_extreme_logits(row: ScoreRow, case: str) -> None:
    """A number of its range, or a reason, whether the model alone is extreme or all models are."""
    for model_only in (True, False):
        _require_value_or_reason(row, panels.extreme(row.made(0), case, model_only=model_only), f"logits are {case}")


def gives_a_value_or_a_reason(row: ScoreRow, case: str) -> None:
    """Where there is little to score on: a number of its range, or a UsageError with a sentence."""
    _require_value_or_reason(row, panels.edge(row.made(0), case), f"there is {case}")


def needs_what_it_declares(row: ScoreRow) -> None:
    """The same value without what it does not declare, and a reason without the retrained models that it declares."""
    needs, panel = row.score.row.needs, row.made(0)
    whole = row.value(panel)
    try:
        part: float | str = row.value(panels.without(panel, needs))
    except Exception as error:  # noqa: BLE001 - whatever it raises for want of what it does not declare
        part = f"{type(error).__name__}: {error}"
    assert part == whole, f"{row.name} needs more than it declares, {', '.join(needs)}: {whole} becomes {part}"
    if {"retrained", "references"} & {*needs}:
        try:
            value = row.value(replace(panel, retrained=()))
        except UsageError:
            return
        raise AssertionError(f"{row.name} needs retrained models, as it declares, and gives {value} without any")


def has_its_value_on_identical_models(row: ScoreRow) -> None:
    """A distance is 0 where all models are the same, and nowhere else."""
    wanted, panel = row.score.row.identical, row.made(0)
    value = row.value(panels.identical(panel))
    assert wanted is not None
    assert abs(value - wanted) <= 1e-9, f"{row.name} is {value} where all models are the same, and declares {wanted:g}"
    assert row.value(panel) != wanted, f"{row.name} is {wanted:g} where models differ, too"


def is_judged_beside_retrained_models(row: ScoreRow) -> None:
    """An audit gives it values of retrained models and of the original, and a verdict."""
    score = row.score
    if score.name in CATALOGUED:
        found = _examined(row.panel, score.row.level)
    else:
        found = examine(row.made(0), score.row.level, extra=[score])
    assert score.name in found.scores, f"{row.name} has no value in an audit: {found.missing.get(score.name)}"
    lacking = [what for what in ("retrained", "original") if score.name not in getattr(found, what)]
    assert not lacking, f"{row.name} has no value for {' and '.join(lacking)} in an audit"
    if score.kind != "gap":  # which sums up scores that are judged one by one
        verdict = found.verdicts.get(score.name)
        assert verdict is not None, f"{row.name} has no verdict"
        assert verdict.p_value is not None, f"{row.name} has no verdict: {verdict.sentence}"


@cache
def _examined(panel: Callable[[int], Panel], level: Level) -> Examination:
    """An audit that all of our scores of a level share."""
    return examine(panel(0), level)


def _require_alike(row: ScoreRow, change: Callable[[Panel], Panel], when: str) -> None:
    """The value stays where a panel is changed in a way that shows in no prediction."""
    for seed in list(SEEDS)[:3]:
        panel = row.made(seed)
        before, after = row.value(panel), row.value(change(panel))
        assert _alike(before, after), f"{row.name} goes from {before} to {after} when {when}"


def _require_value_or_reason(row: ScoreRow, panel: Panel, when: str) -> None:
    """A number of its range, or a UsageError with a sentence."""
    try:
        with np.errstate(all="raise", under="ignore"):
            value = float(_raw(row.score, panel))
    except UsageError as error:
        if not re.search(r"\w+ \w+.*[.!]$", str(error)):
            raise AssertionError(f"{row.name} gives no sentence when {when}: {error}") from error
    except Exception as error:
        raise AssertionError(f"{row.name} fails when {when}: {type(error).__name__}: {error}") from error
    else:
        assert np.isfinite(value), f"{row.name} is {value} when {when}"
        assert row.score.holds(value), f"{row.name} is {value} when {when}, out of {range_of(row.score.row)}"


def _alike(one: float, other: float) -> bool:
    """Whether two values are the same but for rounding."""
    return abs(one - other) <= TOLERANCE * max(1.0, abs(one), abs(other))


def _raw(score: Score, panel: Panel) -> Any:  # noqa: ANN401 - whatever a broken score gives
    """What the score's function gives, unchecked; of a distance for the first retrained model."""
    panel = replace(panel)
    if score.kind == "panel":
        return score.function(panel)
    if not panel.retrained:
        return score(panel)
    if score.kind == "distance":
        return score.function(panel.model, panel.retrained[0])
    return score.function(scores(panel.model), mean_scores([scores(one) for one in panel.retrained]))


def _bytes(panel: Panel) -> Mapping[str, bytes]:
    """All arrays of the model, of retrained ones and of the original, by what they are."""
    models = {"the model": panel.model, "a retrained model": panel.retrained[0], "the original": panel.original}
    return {
        f"the {what} of {name} on {part}": getattr(getattr(one, part), what).tobytes()
        for name, one in models.items()
        if one is not None
        for part in ("retain", "forget", "test")
        for what in ("logits", "labels")
    }
