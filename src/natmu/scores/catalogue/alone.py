"""Scores of one model, alone or next to a retrained one."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from natmu.scores.catalogue import papers
from natmu.scores.catalogue.row import ALONE, ONE_RETRAINED, PARTS, ScoreInfo, by_part, each, seen_in_forget_set


def _accuracy(
    name: str,
    of: str,
    baseline: str,
    original: str,
    *,
    forgotten: bool = False,
    remembers: Literal["above", "below"] = "above",
) -> ScoreInfo:
    """A row of the family of accuracies, of what should be forgotten or of what should be kept."""
    return ScoreInfo(
        name=name,
        family="Accuracies",
        level="quick",
        needs=("predictions",),
        cost=ALONE,
        unit="%",
        low=0,
        high=100,
        measures=f"How often the model is right on {of}.",
        formula="100 · (right predictions) / (samples)",
        source=None,
        baseline=baseline,
        original=original,
        question="forgotten" if forgotten else "kept",
        remembers=remembers if forgotten else None,
    )


ACCURACIES = (
    _accuracy("test_acc", "the test set, without forgotten classes", "that of retraining", "usually the highest"),
    _accuracy("retain_acc", "the retain set", "near 100 after full training", "near 100"),
    _accuracy("holdout_acc", "the holdout, without forgotten classes", "that of retraining", "usually the highest"),
    _accuracy("forget_acc", "the forget set", "near `test_acc`, or 0 for a whole class", "near 100", forgotten=True),
    _accuracy(
        "forget_test_acc",
        "test samples of forgotten classes",
        "near 0 for a whole class",
        "near `test_acc`",
        forgotten=True,
    ),
    _accuracy(
        "before_acc",
        "what earlier requests had forgotten",
        "near `test_acc`, or 0 for whole classes",
        "near 100",
        forgotten=True,
    ),
    _accuracy(
        "corrected_acc",
        "the forget samples of a request that corrects labels, against the right ones",
        "near 100, for these are trained on",
        "low where wrong labels were learned by heart",
        forgotten=True,
        remembers="below",
    ),
)

CLOSENESS = (
    ScoreInfo(
        name="avg_gap",
        family="Closeness of accuracies",
        level="quick",
        needs=("predictions", "retrained"),
        cost=ONE_RETRAINED,
        unit="pp",
        low=0,
        high=100,
        identical=0,
        measures="How far four scores lie from those of retraining, on average.",
        formula="mean of |unlearned - retrained| over `test_acc`, `retain_acc`, `forget_acc` and `mia_entropy`",
        source=papers.SALUN,
        baseline="`avg_gap` of a retrained model from the others",
        original="tens of points where training was memorising",
        side="above",
    ),
    ScoreInfo(
        name="tow",
        family="Closeness of accuracies",
        level="quick",
        needs=("predictions", "retrained"),
        cost=ONE_RETRAINED,
        unit="0-1",
        low=0,
        high=1,
        identical=1,
        measures="Tug of war: how close the accuracies on forget, retain and test set are to retraining, together.",
        formula="∏ over forget, retain and test set of (1 - |accuracy unlearned - accuracy retrained| / 100)",
        source=papers.RUM,
        baseline="just below 1",
        original="1 - (what `forget_acc` has to fall) / 100, or less",
        side="below",
    ),
)

KL = ScoreInfo(
    name="kl_*",
    family="Distance of predictions",
    level="quick",
    needs=("predictions", "retrained"),
    cost=ONE_RETRAINED,
    unit="nats",
    low=0,
    high=None,
    identical=0,
    measures="How surprising a retrained model's predictions on * are to the unlearned model.",
    formula="E[KL(p_retrained ‖ p_unlearned)]",
    source=papers.KULLBACK,
    baseline="that of two retrained models, above 0",
    original="far above the baseline",
    side="above",
)
JS = replace(
    KL,
    name="js_*",
    high=math.log(2),
    measures="How far the predictions of the two models on * lie from their mean.",
    formula="E[½ KL(p ‖ m) + ½ KL(q ‖ m)], m = ½ (p + q); 0 to ln 2 = 0.69",
    source=papers.LIN,
)
AGREEMENT = replace(
    KL,
    name="agreement_*",
    unit="%",
    high=100,
    identical=100,
    measures="How often both models predict the same class on *.",
    formula="100 · E[argmax p_unlearned = argmax p_retrained]",
    source=papers.STANTON,
    baseline="that of two retrained models, below 100",
    original="below the baseline",
    side="below",
)
DISTANCES = (
    *by_part(seen_in_forget_set(each(KL, PARTS))),
    replace(
        KL,
        name="kl_avg",
        measures="How surprising a retrained model's predictions are to the unlearned model on all three parts.",
        formula="(`kl_retain` + `kl_forget` + `kl_test`) / 3",
        original="above the baseline",
    ),
    *by_part(seen_in_forget_set(each(JS, PARTS))),
    *by_part(seen_in_forget_set(each(AGREEMENT, PARTS))),
    replace(
        KL,
        name="activation_distance",
        unit="0-1.41",
        high=math.sqrt(2),
        measures="How far the probabilities of the two models lie apart on the forget set.",
        formula="E[‖p_unlearned - p_retrained‖₂]",
        source=papers.MIXED_PRIVACY,
        question="forgotten",
    ),
    replace(
        KL,
        name="zrf",
        needs=("predictions", "untrained"),
        cost="1 untrained model",
        unit="0-1",
        high=1,
        identical=None,
        measures="Zero retrain forgetting: how close predictions on the forget set are to those of an untrained model.",
        formula="1 - E[JS(p_unlearned, p_untrained)], JS in bits",
        source=papers.BAD_TEACHING,
        baseline="that of a retrained model, well below 1",
        original="below the baseline",
        side="both",
        question="forgotten",
        remembers="below",
        published="The authors' code computes `zrf_code`: 0.872 where `zrf` is 0.301, for a sure model of 10 classes.",
    ),
    replace(
        KL,
        name="zrf_code",
        needs=("predictions", "untrained"),
        cost="1 untrained model",
        unit="nats",
        low=None,
        high=1,
        identical=None,
        measures="Zero retrain forgetting by the formula in the authors' code, to compare with numbers that it gave.",
        formula="1 - mean over samples and classes of ½ m log(m / p) + ½ m log(m / q), m = ½ (p + q), in nats; without "
        "a lower bound, and far below 0 where both models are sure of different classes",
        source=papers.BAD_TEACHING,
        baseline="that of a retrained model, near 1",
        original="below the baseline",
        side="both",
        question="forgotten",
        remembers="below",
        published="This is the formula of the authors' code. It is not `zrf` in another unit: the divergences are of m "
        "from p, not of p from m, and the mean is over classes too, so that more classes bring it closer to 1.",
    ),
)

CALIBRATION = by_part(
    each(
        ScoreInfo(
            name="calibration_*",
            family="Calibration",
            level="quick",
            needs=("predictions",),
            cost=ALONE,
            unit="pp",
            low=0,
            high=100,
            measures="How far the model's confidence on * is from how often it is right.",
            formula="Σ over 15 bins of confidence of (fraction of the samples) · |accuracy - mean confidence|",
            source=papers.GUO,
            baseline="that of retraining",
            original="near that of retraining",
        ),
        PARTS,
    )
)
