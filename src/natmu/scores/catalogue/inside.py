"""Scores that ask more of models than their stored predictions: their weights, features, training and neighbours."""

from __future__ import annotations

from natmu.scores.catalogue import papers
from natmu.scores.catalogue.row import ONE_RETRAINED, ScoreInfo

BEHIND = (
    ScoreInfo(
        name="relearn_time",
        family="Weights and relearning",
        level="standard",
        needs=("predictions", "original", "training"),
        cost="some training on the forget set",
        unit="steps",
        low=0,
        high=61,
        measures="How quickly the model learns the forget set again.",
        formula="steps of fine-tuning on D_f until its mean loss is at most 1.05 times the original's, or 0.001 nats; "
        "61 if it is not after 60",
        source=papers.MIXED_PRIVACY,
        baseline="that of a retrained model",
        original="0",
        question="forgotten",
        remembers="below",
    ),
    ScoreInfo(
        name="weight_distance",
        family="Weights and relearning",
        level="standard",
        needs=("weights", "retrained"),
        cost=ONE_RETRAINED,
        unit="ratio",
        low=0,
        high=None,
        identical=0,
        measures="How far the weights lie from those of a retrained model, for each layer and in total.",
        formula="‖θ_unlearned - θ_retrained‖ / ‖θ_retrained‖",
        source=None,
        baseline="that of two retrained models, far above 0",
        original="often no larger than the baseline",
        side="above",
    ),
    ScoreInfo(
        name="idi",
        family="Information in features",
        level="standard",
        needs=("inside", "original", "retrained"),
        cost="8 retrained models",
        unit="ratio",
        low=None,
        high=None,
        measures="How much more the features of all blocks say about the forget set than after retraining; the "
        "original has 1.",
        formula="IDI = (I(unlearned) - I(retrained)) / (I(original) - I(retrained)); I = Σ over blocks of "
        "(H(Y) + E[log q(Y; features)]), q a logistic regression measured on samples that it was not fitted to; "
        "Y is forgotten or not for whole classes, else the class of a forget sample",
        source=papers.IDI,
        baseline="0 on average; the spread is that of retrained models",
        original="1",
        question="forgotten",
        remembers="above",
    ),
    ScoreInfo(
        name="residual_knowledge",
        family="Residual knowledge",
        level="standard",
        needs=("inside", "retrained"),
        cost="8 retrained models",
        unit="ratio",
        low=0,
        high=None,
        measures="How often the model is right on neighbours of forget samples, divided by how often retrained models "
        "are.",
        formula="(1 + right predictions) / (1 + right predictions of retrained models), on the same 20 neighbours of "
        "each of 500 forget samples, drawn uniformly within 8/255 of each pixel",
        source=papers.RESIDUAL,
        baseline="1 on average",
        original="above 1; far above where a class is forgotten",
        question="forgotten",
        remembers="above",
    ),
)
