"""Every score that stored predictions of one model and of retrained models allow, in seconds."""

from __future__ import annotations

from collections.abc import Sequence

from natmu.scores.builtin import OURS
from natmu.scores.evaluation import Found, evaluate
from natmu.scores.panel import Panel, names_of
from natmu.scores.registry import score_named
from natmu.types import Part, Predictions

QUICK_NAMES = tuple(names_of("quick"))
"""Every quick score of ours, in the order of the catalogue.

Examples:
    >>> QUICK_NAMES == tuple(names_of("quick"))
    True
"""

DISTANCES = tuple(name for name, score in OURS.items() if score.kind == "distance")
"""Scores of one model and a retrained one; with several retrained models the mean."""


def quick_scores(
    model: Predictions,
    retrained: Sequence[Predictions],
    initial_forget: Part | None = None,
    seed: int = 0,
    names: Sequence[str] = QUICK_NAMES,
) -> Found:
    """Score one model's predictions, alone and against retrained models.

    ``avg_gap`` and ``tow`` compare with the mean of the retrained models' scores; a distance is the mean of the
    distances from each of them.

    Args:
        model: Predictions of the model to be judged.
        retrained: Predictions of retrained models on the same split; with none, what needs them is missing.
        initial_forget: A randomly initialised model's predictions on the forget set, for ``zrf``.
        seed: Decides the samples that ``mia_efficacy`` learns from, and what else is random.
        names: The scores that are wanted, ours or of installed packages.

    Returns:
        The scores, and what is missing.

    Raises:
        UsageError: If a retrained model or ``initial_forget`` belongs to other data, another order or other classes,
            or there is no such score.
        TrainingError: If logits are not finite numbers.

    Examples:
        >>> from natmu.testing.panels import panel_of
        >>> panel = panel_of(0)  # made-up predictions of an unlearned model, and of all that it is compared with
        >>> found = quick_scores(panel.model, panel.retrained, names=["test_acc", "kl_test"])
        >>> list(found.scores)
        ['test_acc', 'kl_test']
    """
    wanted = [score_named(name) for name in names]
    return evaluate(wanted, Panel(model, retrained, initial_forget=initial_forget, seed=seed))
