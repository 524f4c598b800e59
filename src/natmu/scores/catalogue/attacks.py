"""Attacks on one model that need no other model."""

from __future__ import annotations

from dataclasses import replace

from natmu.scores.catalogue import papers
from natmu.scores.catalogue.row import ALONE, CHANCE, RATES, ScoreInfo, each

ENTROPY_ATTACK = (
    ScoreInfo(
        name="mia_entropy",
        family="Entropy attack",
        level="quick",
        needs=("predictions",),
        cost=ALONE,
        unit="%",
        low=0,
        high=100,
        measures="How much of the forget set an attack on the entropy calls training data.",
        formula="logistic regression (C = 2) on entropy, retain against test, classes balanced; fraction of D_f called "
        "member; 50 where all entropies are equal",
        source=papers.NATMU,
        baseline="that of retraining, which is not 0",
        original="near 100",
        question="forgotten",
        remembers="above",
        called_mia_by=("SSD (Foster et al. 2024)", "JiT (Foster et al. 2024)", "NatMU (He et al. 2025)"),
        published="The code of SSD, JiT and NatMU differs only in the solver: both give 45.8. They took the attack "
        "from Chundawat et al. 2023. That code now fits a support vector machine to sides of unequal size: 70.9 on the "
        "same predictions.",
    ),
)

EFFICACY = tuple(
    replace(score, called_mia_by=("Unlearn-Sparse (Jia et al. 2023)", "SalUn (Fan et al. 2024)"))
    if score.name == "mia_efficacy_confidence"
    else score
    for score in each(
        ScoreInfo(
            name="mia_efficacy_*",
            family="Efficacy attacks",
            level="quick",
            needs=("predictions",),
            cost=ALONE,
            unit="%",
            low=0,
            high=100,
            measures="How much of the forget set an attack on * calls unseen.",
            formula="SVC (C = 3, rbf) on as many retain as test samples; fraction of D_f called non-member",
            source=papers.SPARSITY,
            baseline="that of retraining, far from 100",
            original="near 0",
            question="forgotten",
            remembers="below",
            published="The authors' code learns from as many retain as test samples. Ours draws at most 1,500 of each, "
            "which have the weight of all. With 10,000 of each, the mean of 20 draws is within 0.15 points of the "
            "authors' score for all five. A draw has a standard deviation of 0.8 points at most. Their modified "
            "entropy replaces the columns of all labels of a batch, not each sample's own: 38.5 nats for 0.29.",
        ),
        {
            "correctness": "whether the prediction is right",
            "confidence": "the probability of the true class",
            "entropy": "the entropy",
            "mentropy": "the modified entropy",
            "prob": "all probabilities",
        },
    )
)

SEPARATION = ScoreInfo(
    name="auc_forget_test_*",
    family="Forget set against test set",
    level="quick",
    needs=("predictions",),
    cost=ALONE,
    unit="0-1",
    low=0,
    high=1,
    measures="How well * distinguishes forget samples from unseen ones.",
    formula="P(forget sample looks more like a member than an unseen one does) + ½ P(equal); "
    "low loss, low entropy, high confidence and high margin look like a member",
    source=papers.SONG,
    baseline=CHANCE,
    original="up to 1",
    question="forgotten",
    remembers="above",
)
POPULATION = (
    *(
        replace(
            score, source={"loss": papers.YEOM, "margin": papers.LIRA}.get(score.name.rpartition("_")[2], papers.SONG)
        )
        for score in each(
            SEPARATION,
            {
                "loss": "the loss",
                "confidence": "the probability of the true class",
                "entropy": "the entropy",
                "mentropy": "the modified entropy",
                "margin": "the margin",
            },
        )
    ),
    *each(
        replace(
            SEPARATION,
            name="tpr_at_fpr_*",
            unit="%",
            high=100,
            measures="How much of the forget set the margin exposes, if it takes * unseen samples for members.",
            formula="fraction of D_f above the threshold that at most this fraction of unseen samples exceeds",
            source=papers.LIRA,
            baseline="about the rate of false alarms",
            original="several times the rate of false alarms",
        ),
        RATES,
    ),
)
