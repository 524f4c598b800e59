"""The values of several scores for one panel, or why there are none."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from natmu.errors import FAULTS, UsageError, quoted
from natmu.scores.base import Score
from natmu.scores.basic import scores
from natmu.scores.catalogue import CATALOGUED
from natmu.scores.distances import require_same_samples
from natmu.scores.panel import Panel
from natmu.scores.signals import Softmax, require_finite, softmax_of
from natmu.scores.utility import mean_scores
from natmu.types import Predictions

PARTS = ("retain", "forget", "test")
"""The parts on which models are compared."""


@dataclass(frozen=True)
class Found:
    """What could be computed, and why the rest could not; every score that was asked for is in one of the two.

    Attributes:
        scores: Value by name, in the order in which they were asked for and in the units of the catalogue.
        missing: For each score that there is not, a sentence that says what it lacks.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> found = evaluate([score_named("retain_acc"), score_named("ulira_auc")], panel_of(0, forget_test=9))
        >>> sorted(found.scores), sorted(found.missing)  # this panel has no shadow models
        (['retain_acc'], ['ulira_auc'])
    """

    scores: dict[str, float]
    missing: dict[str, str]


def evaluate(wanted: Sequence[Score], panel: Panel, *, lenient: bool = True) -> Found:
    """Score ``panel.model``. Retrained models are read one after another, and each softmax is computed once.

    Args:
        wanted: The scores.
        panel: The model that is judged, and what it is compared with.
        lenient: Whether an error in a function that is not ours is a reason why there is no value, and not raised.

    Raises:
        UsageError: A retrained or initial model belongs to other data, another order or other classes.
        TrainingError: Logits are not finite numbers.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> found = evaluate([score_named("retain_acc"), score_named("kl_forget")], panel)
        >>> sorted(found.scores)
        ['kl_forget', 'retain_acc']
    """
    _require_one_split(panel)
    panel = kept(panel)
    notes = _Notes(lenient)
    for one in wanted:
        if one.kind == "panel":
            notes.enter(one, panel)
    compared = [one for one in wanted if one.kind != "panel"]
    if compared and not panel.retrained:
        for one in compared:
            notes.missing[one.name] = f"{one.name} needs a retrained reference; retrain a model on the same split."
    elif compared:
        _compare(notes, compared, panel)
    return Found(
        {one.name: notes.scores[one.name] for one in wanted if one.name in notes.scores},
        {one.name: notes.missing[one.name] for one in wanted if one.name in notes.missing},
    )


def kept(panel: Panel) -> Panel:
    """The panel with a model, and an initial one, that keep their softmax.

    Raises:
        TrainingError: The model's logits are not finite numbers.
    """
    if isinstance(panel.model.retain, Softmax):
        return panel
    untrained = panel.initial_forget
    return replace(panel, model=_kept(panel.model), initial_forget=None if untrained is None else softmax_of(untrained))


def own_scores(panel: Panel) -> dict[str, float]:
    """The accuracies and ``mia_entropy`` of the model that is judged, as far as it has them."""
    return panel.once("own scores", lambda: scores(panel.model))


@dataclass
class _Notes:
    """Scores so far, and reasons for those that cannot be computed."""

    lenient: bool
    scores: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def enter(self, score: Score, *inputs: object) -> float | None:
        """Enter a score of what its function is given, or why there is none."""
        self.scores.pop(score.name, None)
        faults = FAULTS if self.lenient and score.name not in CATALOGUED else ()
        try:
            self.scores[score.name] = score.checked(score.function(*inputs))
        except UsageError as error:
            self.missing[score.name] = str(error)
        except faults as error:
            self.missing[score.name] = f"{score.name} failed ({quoted(error)}); correct the function that computes it."
        return self.scores.get(score.name)


def _compare(notes: _Notes, wanted: Sequence[Score], panel: Panel) -> None:
    """Enter the scores that compare the model with retrained ones, each of which is read once."""
    gaps = [one for one in wanted if one.kind == "gap"]
    distances = [one for one in wanted if one.kind == "distance"]
    references: list[dict[str, float]] = []
    each: defaultdict[str, list[float]] = defaultdict(list)
    for retrained in map(_kept, panel.retrained):
        references += [scores(retrained)] if gaps else []
        for one in distances:
            value = notes.enter(one, panel.model, retrained)
            each[one.name] += [] if value is None else [value]
    for one in distances:
        if one.name in notes.missing:
            notes.scores.pop(one.name, None)
        else:
            notes.scores[one.name] = float(np.mean(each[one.name]))
    for one in gaps:
        notes.enter(one, own_scores(panel), mean_scores(references))


def require_different_models(retrained: Sequence[Predictions], original: Predictions | None) -> None:
    """Refuse one model under the name of two: what retrained models differ by is what everything is measured against.

    Args:
        retrained: Predictions of retrained models.
        original: Those of the original, where it is known.

    Raises:
        UsageError: Two retrained models, or one and the original, have the same logits on every sample.
    """
    for number, one in enumerate(retrained):
        if original is not None and same_predictions(one, original):
            raise UsageError(
                f"Retrained model {number + 1} has the predictions of the original on every sample; give models that "
                "were trained without the forget set."
            )
        earlier = next((row for row in range(number) if same_predictions(one, retrained[row])), None)
        if earlier is not None:
            raise UsageError(
                f"Retrained models {earlier + 1} and {number + 1} have the same predictions on every sample, so they "
                "do not show how much retrained models differ. Train each with its own seed, and let a trainer use the "
                "seed that it gets. If training draws nothing at random, compare with a single retrained model."
            )


def same_predictions(one: Predictions, other: Predictions) -> bool:
    """Whether two models have the same logits on the training data, to the last bit."""
    return all(np.array_equal(getattr(one, name).logits, getattr(other, name).logits) for name in ("forget", "retain"))


def _require_one_split(panel: Panel) -> None:
    """Refuse models of other samples."""
    for other in panel.retrained:
        for name in PARTS:
            require_same_samples(getattr(panel.model, name), getattr(other, name))
    if panel.initial_forget is not None:
        require_same_samples(panel.model.forget, panel.initial_forget)


def _kept(predictions: Predictions) -> Predictions:
    """The predictions with parts that keep their softmax."""
    for name in PARTS:
        require_finite(getattr(predictions, name))
    parts = {one.name: getattr(predictions, one.name) for one in fields(predictions)}
    return replace(predictions, **{name: softmax_of(part) for name, part in parts.items() if part is not None})
