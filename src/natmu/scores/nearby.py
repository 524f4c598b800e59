"""Residual knowledge: whether a model is right beside forget samples where retrained models are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from natmu.errors import UsageError


def residual_knowledge(right: float, retrained: Sequence[float]) -> float:
    """Ratio of a model's right predictions to those of retrained models, on the same neighbours of the forget samples.

    The paper's ratio is ``Pr[m(x') = y] / Pr[a(x') = y]`` for one sample, with x' drawn from a ball around it. Ours is
    of all samples together, because retrained models may be wrong on all neighbours of a sample. It adds one right
    prediction on either side, because they may be wrong on all of a forgotten class. 1 is the mean of the retrained
    models. Above 1 the model still knows the neighbourhood of what it forgot; below 1 it is wrong there more often than
    a model that never saw it, which gives the forget set away too.

    A model that predicts like a retrained one is not noticed, whatever it has kept behind its last layer: on digits, of
    which some had wrong labels, the original had 1.51 and with a new last layer 0.98, where one more retrained model
    would lie between 0.97 and 1.03. Where retrained models never predict the forgotten class, over-forgetting cannot be
    detected, because no value lies below theirs.

    Args:
        right: Right predictions of the model.
        retrained: Right predictions of each retrained model.

    Raises:
        UsageError: There is no retrained model, or a number of right predictions is negative or not finite.

    References:
        The Unseen Threat: Residual Knowledge in Machine Unlearning under Perturbed Samples (Hsu et al., 2025),
        https://arxiv.org/abs/2601.22359
    """
    if not len(retrained):
        raise UsageError("residual_knowledge needs a retrained model; retrain one on the same split.")
    counts = np.array([right, *retrained], np.float64)
    if not (np.isfinite(counts).all() and (counts >= 0).all()):
        raise UsageError("residual_knowledge needs numbers of correct predictions, 0 or above.")
    return float((counts[0] + 1) / (counts[1:].mean() + 1))
