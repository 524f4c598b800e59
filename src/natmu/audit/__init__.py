"""Scores and attacks: pure functions of stored predictions."""

from natmu.audit.attacks import entropy, mia_entropy
from natmu.audit.scores import SCORE_NAMES, holdout_as_test, scores
from natmu.audit.utility import SAMPLE_WISE, accuracy, avg_gap, mean_scores

__all__ = [
    "SAMPLE_WISE",
    "SCORE_NAMES",
    "accuracy",
    "avg_gap",
    "entropy",
    "holdout_as_test",
    "mean_scores",
    "mia_entropy",
    "scores",
]
