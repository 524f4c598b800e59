"""Attacks that tell members from non-members by one model's answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression

from natmu.errors import UsageError
from natmu.types import Predictions


def entropy(logits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Entropy of the softmax, computed from the logits so that nothing overflows.

    Args:
        logits: ``(N, C)``, each row with a finite largest value; an entry of minus infinity is a probability of 0.

    Returns:
        float64 ``(N,)`` in nats, 0 to log C.
    """
    logits_NC = np.asarray(logits, np.float64)
    shifted_NC = logits_NC - logits_NC.max(axis=1, keepdims=True)
    weights_NC = np.exp(shifted_NC)
    total_N = weights_NC.sum(axis=1)
    # 0 log 0 is 0, also where the logit is minus infinity.
    np.copyto(shifted_NC, 0.0, where=weights_NC == 0)
    expected_N = np.einsum("nc,nc->n", weights_NC, shifted_NC) / total_N
    return np.asarray(np.log(total_N) - expected_N)


def mia_entropy(predictions: Predictions) -> float:
    """Share of the forget set that an attack on the softmax entropy calls training data.

    Logistic regression (balanced classes, C = 1) on the entropy alone, fitted on retain (member) against test
    (non-member). A retrained model does not score 0: what counts is to be close to its score.

    Args:
        predictions: One model's answers; ``retain``, ``test`` and ``forget`` must not be empty.

    Returns:
        Percent of the forget samples called members, 0 to 100.

    Raises:
        UsageError: If one of the three parts is empty.

    References:
        Can Bad Teaching Induce Forgetting? (Chundawat et al., 2023), https://arxiv.org/abs/2205.08096
        Towards Natural Machine Unlearning (He et al., 2025), https://arxiv.org/abs/2405.15495
    """
    if not (len(predictions.retain) and len(predictions.test) and len(predictions.forget)):
        raise UsageError("mia_entropy needs retain, test and forget samples; leave it out where one of them is empty.")
    member, stranger, forgotten = (
        entropy(part.logits) for part in (predictions.retain, predictions.test, predictions.forget)
    )
    features = np.concatenate([member, stranger])[:, None]
    is_member = np.repeat([1, 0], [len(member), len(stranger)])
    # Entropies of a confident model are tiny, and the default solver stops well before the optimum on them.
    attack = LogisticRegression(C=1.0, class_weight="balanced", solver="newton-cholesky", tol=1e-8)
    attack.fit(features, is_member)
    return 100.0 * float(np.mean(attack.predict(forgotten[:, None])))
