"""Scores and attacks: pure functions of stored predictions."""

from natmu.scores.base import Score, score
from natmu.scores.basic import SCORE_NAMES, holdout_as_test, scores
from natmu.scores.calibration import calibration_error
from natmu.scores.catalogue import ScoreInfo, Source
from natmu.scores.distances import activation_distance, agreement, js, kl, zrf, zrf_code
from natmu.scores.evaluation import Found, evaluate
from natmu.scores.examine import Examination, examine
from natmu.scores.exposure import exposed_samples
from natmu.scores.panel import LEVELS, Level, Measured, Panel, Shadows, names_of
from natmu.scores.population import (
    FEATURES,
    LIMIT,
    auc_forget_test,
    efficacy_samples,
    leak,
    mia_efficacy,
    mia_entropy,
    tpr_forget_test,
)
from natmu.scores.quick import QUICK_NAMES, quick_scores
from natmu.scores.rates import Roc, auc, resolvable, roc, tpr_at_fpr
from natmu.scores.registry import score_named, score_of_table
from natmu.scores.relearn import relearn_time
from natmu.scores.signals import (
    BOUND,
    SIGNALS,
    Softmax,
    confidence,
    entropy,
    log_probabilities,
    loss,
    margin,
    modified_entropy,
    softmax_of,
)
from natmu.scores.utility import SAMPLE_WISE, accuracy, avg_gap, mean_scores, tow
from natmu.scores.weights import WeightDistance, weight_distance

__all__ = [
    "BOUND",
    "FEATURES",
    "LEVELS",
    "LIMIT",
    "QUICK_NAMES",
    "SAMPLE_WISE",
    "SCORE_NAMES",
    "SIGNALS",
    "Examination",
    "Found",
    "Level",
    "Measured",
    "Panel",
    "Roc",
    "Score",
    "ScoreInfo",
    "Shadows",
    "Softmax",
    "Source",
    "WeightDistance",
    "accuracy",
    "activation_distance",
    "agreement",
    "auc",
    "auc_forget_test",
    "avg_gap",
    "calibration_error",
    "confidence",
    "efficacy_samples",
    "entropy",
    "evaluate",
    "examine",
    "exposed_samples",
    "holdout_as_test",
    "js",
    "kl",
    "leak",
    "log_probabilities",
    "loss",
    "margin",
    "mean_scores",
    "mia_efficacy",
    "mia_entropy",
    "modified_entropy",
    "names_of",
    "quick_scores",
    "relearn_time",
    "resolvable",
    "roc",
    "score",
    "score_named",
    "score_of_table",
    "scores",
    "softmax_of",
    "tow",
    "tpr_at_fpr",
    "tpr_forget_test",
    "weight_distance",
    "zrf",
    "zrf_code",
]
