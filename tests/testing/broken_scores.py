"""A sound score and a sound distance, and copies of them that break what every score owes."""

from __future__ import annotations

import itertools

import numpy as np

from natmu.errors import UsageError
from natmu.scores import confidence, log_probabilities, score
from natmu.testing import ScoreRow

FACTS = {
    "unit": "0-1",
    "low": 0,
    "high": 1,
    "formula": "E[p_y]",
    "baseline": "that of retraining",
    "original": "near 1",
}
APART = FACTS | {"formula": "E[½ ‖p - q‖₁]", "kind": "distance", "baseline": "that of two retrained models"}


def shares(part):
    return np.exp(log_probabilities(part))


def forget_of(panel):
    if not len(panel.model.forget):
        raise UsageError("sureness needs forget samples; leave it out without them.")
    return panel.model.forget


def panel_score(function, **facts):
    """A row with a score of a panel, under the function's name."""
    function.__doc__ = function.__doc__ or "How sure the model is of the forget set.\n\nCompare it with retraining."
    return ScoreRow(score(**FACTS | facts)(function))


def distance(function, **facts):
    """A row with a distance, under the function's name."""
    function.__doc__ = (
        "How far the answers to the forget set lie apart.\n\nCompare it with that of two retrained models."
    )
    return ScoreRow(score(**APART | facts)(function))


def sureness(panel):
    return float(confidence(forget_of(panel)).mean())


def variation(model, retrained):
    if not len(model.forget):
        raise UsageError("variation needs forget samples; leave it out without them.")
    return float(np.abs(shares(model.forget) - shares(retrained.forget)).sum(axis=1).mean() / 2)


def drawn(panel):
    rows = panel.rng("drawn").choice(len(forget_of(panel)), 20 if len(panel.model.forget) > 20 else 1)
    return float(confidence(panel.model.forget)[rows].mean())


def undescribed(panel):
    """How sure the model is of the forget set."""
    return sureness(panel)


def numpys(panel):
    return confidence(forget_of(panel)).mean()


def doubled(panel):
    return 2 * sureness(panel)


def constant(panel):
    return 0.5


CALLS = itertools.count()


def counting(panel):
    return sureness(panel) / (1 + next(CALLS))


def seeded(panel):
    return sureness(panel) * float(panel.rng("seeded").uniform())


def in_place(panel):
    panel.model.forget.logits[0, 0] += 1
    return sureness(panel)


def global_numbers(panel):
    np.random.uniform()  # noqa: NPY002 - the defect
    return sureness(panel)


def first_ten(panel):
    return float(confidence(forget_of(panel))[:10].mean())


def first_model(panel):
    if not panel.retrained:
        raise UsageError("first_model needs a retrained model; give one.")
    return abs(sureness(panel) - float(confidence(panel.retrained[0].forget).mean()))


def raw_logits(panel):
    return float(forget_of(panel).logits.max(axis=1).mean())


def of_class_0(panel):
    return float(np.mean(forget_of(panel).logits.argmax(axis=1) == 0))


def naive(panel):
    logits = forget_of(panel).logits.astype(np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return float(-(p * np.log(p)).sum(axis=1).mean())


def unguarded(panel):
    return float(confidence(panel.model.forget).mean())


def secretive(panel):
    return abs(sureness(panel) - float(confidence(panel.original.forget).mean()))


def modest(panel):
    return sureness(panel)


def never_zero(model, retrained):
    return (1 + variation(model, retrained)) / 2


def blunt(model, retrained):
    return 0.0 if np.isfinite(variation(model, retrained)) else 1.0


def of_siblings(panel):
    if not panel.unlearned:
        raise UsageError("of_siblings needs models that the method made; give some.")
    return abs(sureness(panel) - float(confidence(panel.unlearned[0].forget).mean()))


NEEDING = {"needs": ("predictions", "retrained")}
SOUND = [panel_score(sureness), distance(variation), ScoreRow(panel_score(drawn).score, draws_samples=True)]
BROKEN = [
    (panel_score(undescribed), "test_says_how_it_is_read", "nothing after the first paragraph"),
    (panel_score(numpys), "test_gives_a_plain_number", "gives float64 and not a float"),
    (panel_score(doubled), "test_stays_in_its_range", "its range is 0 to 1"),
    (panel_score(constant), "test_is_not_the_same_for_all_models", r"gives \{0.5\} for every model"),
    (panel_score(counting), "test_gives_the_same_value_again", "for the same panel"),
    (panel_score(seeded), "test_gives_the_same_value_under_every_seed", "with the seed; say draws_samples=True"),
    (panel_score(in_place), "test_leaves_the_world_as_it_was", "changes the logits of the model on forget"),
    (panel_score(global_numbers), "test_leaves_the_world_as_it_was", "draws from a global generator"),
    (panel_score(first_ten), "test_ignores_the_order_of_samples", "when samples come in another order"),
    (panel_score(first_model, **NEEDING), "test_ignores_the_order_of_retrained_models", "change places"),
    (panel_score(raw_logits, low=None, high=None), "test_ignores_what_is_added_to_all_logits", "a number is added"),
    (panel_score(of_class_0), "test_ignores_the_names_of_classes", "classes have other numbers"),
    (panel_score(naive, high=None), "test_is_finite_on_extreme_logits", "when logits are (huge|certain|wrong)"),
    (panel_score(unguarded), "test_gives_a_value_or_a_reason", "when there is empty forget"),
    (panel_score(secretive), "test_needs_what_it_declares", "needs more than it declares, predictions"),
    (panel_score(modest, **NEEDING), "test_needs_what_it_declares", "without any"),
    (distance(never_zero), "test_has_its_value_on_identical_models", "is 0.5 where all models are the same"),
    (distance(blunt), "test_has_its_value_on_identical_models", "where models differ, too"),
    (panel_score(of_siblings, needs=("many unlearned",)), "test_is_judged_beside_retrained_models", "no value for"),
]
