"""What one model's logits say about each sample (loss, entropy, margin and others), from logits without overflow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from natmu.errors import TrainingError, UsageError
from natmu.types import Part

Values = npt.NDArray[np.float64]

BOUND = 1e5
"""A probability of exactly 0 counts as exp(-BOUND), so that every number here is finite. Logits within ±1e4 stay clear
of it.

Examples:
    >>> BOUND
    100000.0
"""


class Softmax(Part):
    """A part that keeps its softmax, so that several scores of the same part compute it once.

    It can stand wherever a ``Part`` can.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> softmax_of(part).labels.tolist()
        [0, 1]
    """

    @property
    def log_shares(self) -> Values:
        """Log-probabilities, float64 ``(N, C)``."""
        return self._softmax[0]

    @property
    def shares(self) -> Values:
        """Probabilities, float64 ``(N, C)``."""
        return self._softmax[1]

    @property
    def entropies(self) -> Values:
        """Entropies in nats, float64 ``(N,)``."""
        return self._softmax[2]

    @cached_property
    def margins(self) -> Values:
        """Log-odds of the labels, float64 ``(N,)``."""
        classes = self.logits.shape[1]
        if len(self) and not 0 <= self.labels.min() <= self.labels.max() < classes:
            raise UsageError(
                f"Labels must be 0 to {classes - 1}, one of the model's {classes} classes; relabel the data."
            )
        return _log_odds(self.log_shares, self.labels)

    @cached_property
    def _softmax(self) -> tuple[Values, Values, Values]:
        require_finite(self)
        logits_NC = self.logits.astype(np.float64)
        shifted_NC = np.maximum(logits_NC - logits_NC.max(axis=1, keepdims=True), -BOUND)
        weights_NC = np.exp(shifted_NC)
        total_N = weights_NC.sum(axis=1)
        log_total_N = np.log(total_N)
        entropies_N = log_total_N - np.einsum("nc,nc->n", weights_NC, shifted_NC) / total_N
        shifted_NC -= log_total_N[:, None]
        weights_NC /= total_N[:, None]
        return shifted_NC, weights_NC, entropies_N


def softmax_of(part: Part) -> Softmax:
    """The part, ready to keep its softmax.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> kept = softmax_of(part)
        >>> softmax_of(kept) is kept
        True
    """
    return part if isinstance(part, Softmax) else Softmax(part.logits, part.labels, part.fine_labels)


def require_finite(part: Part) -> None:
    """Refuse logits from which no most probable class can be read.

    Args:
        part: Logits ``(N, C)``; an entry of minus infinity is a probability of 0.

    Raises:
        TrainingError: If the largest logit of a sample is not a finite number.
    """
    if not np.isfinite(part.logits.max(axis=1)).all():
        raise TrainingError(
            "The model's logits are not finite numbers, so its training diverged; lower the learning rate."
        )


def log_probabilities(part: Part) -> Values:
    """Logarithm of the softmax.

    Args:
        part: Logits ``(N, C)``, each row with a finite largest value; an entry of minus infinity is a probability of 0.

    Returns:
        float64 ``(N, C)`` in nats, about ``-BOUND`` (which stands for log 0) to 0.

    Raises:
        TrainingError: If the largest logit of a sample is not a finite number. All signals raise it.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> np.exp(log_probabilities(part)).round(2).tolist()
        [[0.5, 0.5], [0.25, 0.75]]
    """
    return softmax_of(part).log_shares


def margin(part: Part) -> Values:
    """Scaled logit of the true class: phi = log p_y - log sum of p_i over i != y, the log-odds of the label.

    It keeps apart samples whose probabilities have all been rounded to 1.

    Args:
        part: Logits ``(N, C)`` and labels ``(N,)``.

    Returns:
        float64 ``(N,)``, clipped to ``[-BOUND, BOUND]``, which are the margins of a probability of exactly 0 and 1.

    Raises:
        UsageError: If a label is not one of the C classes.

    References:
        Membership Inference Attacks From First Principles (Carlini et al., 2022), https://arxiv.org/abs/2112.03570

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> np.exp(margin(part)).round(2).tolist()  # the odds of the label
        [1.0, 3.0]
    """
    return softmax_of(part).margins


def loss(part: Part) -> Values:
    """Cross-entropy -log p_y.

    Args:
        part: Logits ``(N, C)`` and labels ``(N,)``.

    Returns:
        float64 ``(N,)`` in nats, 0 to ``BOUND``; exact also where p_y is closer to 1 than a float64 can be.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> np.exp(-loss(part)).round(2).tolist()
        [0.5, 0.75]
    """
    return np.asarray(np.logaddexp(0.0, -margin(part)))


def confidence(part: Part) -> Values:
    """Probability p_y of the true class, float64 ``(N,)``, 0 to 1.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> confidence(part).round(2).tolist()
        [0.5, 0.75]
    """
    return np.asarray(np.exp(-loss(part)))


def entropy(part: Part) -> Values:
    """Entropy of the softmax.

    Args:
        part: Logits ``(N, C)``; labels are not read.

    Returns:
        float64 ``(N,)`` in nats, 0 to log C.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> entropy(part).round(4).tolist()  # in nats; the first is log 2
        [0.6931, 0.5623]
    """
    return softmax_of(part).entropies


def modified_entropy(part: Part) -> Values:
    """Entropy that knows the label: -(1 - p_y) log p_y - sum of p_i log(1 - p_i) over i != y.

    It is small for predictions that are sure and right, and large for predictions that are sure and wrong.

    Args:
        part: Logits ``(N, C)`` and labels ``(N,)``.

    Returns:
        float64 ``(N,)`` in nats, 0 to about ``2 * BOUND``.

    References:
        Systematic Evaluation of Privacy Risks of Machine Learning Models (Song and Mittal, 2021),
        https://arxiv.org/abs/2003.10595

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> part = Part(np.log([[0.5, 0.5], [0.25, 0.75]]), np.array([0, 1]))  # logits, labels
        >>> modified_entropy(part).round(4).tolist()  # the first is log 2, the second 0.5 log(4 / 3)
        [0.6931, 0.1438]
    """
    seen = softmax_of(part)
    of_label_N = np.exp(-np.logaddexp(0.0, seen.margins)) * loss(seen)
    others_NC = seen.shares.copy()
    others_NC[np.arange(len(seen)), seen.labels] = 0.0
    # 1 - p loses all digits for p near 1, which only the most probable class can be: its log-odds keep them.
    top_N = seen.logits.argmax(axis=1)
    wrong = np.flatnonzero(top_N != seen.labels)
    top = top_N[wrong]
    others_NC[wrong, top] = 0.0
    of_label_N[wrong] += seen.shares[wrong, top] * np.logaddexp(0.0, _log_odds(seen.log_shares[wrong], top))
    return np.asarray(of_label_N - np.einsum("nc,nc->n", others_NC, np.log1p(-others_NC)))


SIGNALS: Mapping[str, Callable[[Part], Values]] = {
    "loss": lambda part: -loss(part),
    "confidence": confidence,
    "entropy": lambda part: -entropy(part),
    "mentropy": lambda part: -modified_entropy(part),
    "margin": margin,
}
"""Each signal, turned so that a larger number looks more like a member of the training data.

Examples:
    >>> list(SIGNALS)
    ['loss', 'confidence', 'entropy', 'mentropy', 'margin']
"""


def _log_odds(log_shares_NC: Values, classes_N: npt.NDArray[Any]) -> Values:
    """Log-odds of one class per sample against all others together, within ``±BOUND``."""
    rows = np.arange(len(classes_N))
    if log_shares_NC.shape[1] == 1:
        return np.full(len(rows), BOUND)
    others_NC = log_shares_NC.copy()
    others_NC[rows, classes_N] = -np.inf
    peak_N = others_NC.max(axis=1)
    log_others_N = peak_N + np.log(np.exp(others_NC - peak_N[:, None]).sum(axis=1))
    return np.asarray(np.clip(log_shares_NC[rows, classes_N] - log_others_N, -BOUND, BOUND))
