"""How far two models' predictions on the same samples lie apart; no label decides anything here."""

from __future__ import annotations

import math

import numpy as np

from natmu.errors import UsageError
from natmu.scores.signals import Softmax, Values, softmax_of
from natmu.types import Part


def kl(unlearned: Part, retrained: Part) -> float:
    """Mean Kullback-Leibler divergence KL(p_retrained || p_unlearned) over the samples.

    Computed in log space, so finite logits give a finite number. Where the unlearned model's logit is minus infinity,
    its log-probability counts as ``-BOUND`` of ``natmu.scores.signals``.

    Args:
        unlearned: Logits ``(N, C)`` of the model to be judged.
        retrained: Logits ``(N, C)`` of a retrained model on the same samples in the same order.

    Returns:
        Nats, 0 and above; 0 for equal predictions.

    Raises:
        UsageError: If the parts are empty or differ in samples or classes. All distances raise it.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> round(kl(sure, unsure), 4)  # 0.5 log(0.5 / 0.8) + 0.5 log(0.5 / 0.2)
        0.2231
    """
    ours, theirs = _paired(unlearned, retrained)
    total = np.einsum("nc,nc->", theirs.shares, theirs.log_shares - ours.log_shares)
    return max(0.0, float(total) / len(ours))


def js(unlearned: Part, retrained: Part) -> float:
    """Mean Jensen-Shannon divergence over the samples: ½ KL(p || m) + ½ KL(q || m) with m = ½ (p + q).

    Args:
        unlearned: Logits ``(N, C)`` of one model.
        retrained: Logits ``(N, C)`` of another on the same samples in the same order.

    Returns:
        Nats, 0 (equal predictions) to log 2 (no class in common).

    References:
        Divergence Measures Based on the Shannon Entropy (Lin, 1991), https://doi.org/10.1109/18.61115

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> js(sure, sure), round(js(sure, unsure), 4)
        (0.0, 0.0507)
    """
    ours, theirs = _paired(unlearned, retrained)
    mixture_NC = (ours.shares + theirs.shares) / 2
    apart_N = (_relative(ours.shares, mixture_NC) + _relative(theirs.shares, mixture_NC)) / 2
    return float(np.clip(apart_N, 0.0, math.log(2)).mean())


def agreement(unlearned: Part, retrained: Part) -> float:
    """Percent of samples, 0 to 100, for which both models find the same class most probable.

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> agreement(sure, unsure)
        100.0
    """
    ours, theirs = _paired(unlearned, retrained)
    return 100.0 * float(np.mean(ours.logits.argmax(axis=1) == theirs.logits.argmax(axis=1)))


def activation_distance(unlearned: Part, retrained: Part) -> float:
    """Mean Euclidean distance of the two softmax vectors, 0 to √2; asked for on the forget set.

    References:
        Mixed-Privacy Forgetting in Deep Networks (Golatkar et al., 2021), https://arxiv.org/abs/2012.13431
        Can Bad Teaching Induce Forgetting? (Chundawat et al., 2023), https://arxiv.org/abs/2205.08096

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> round(activation_distance(sure, unsure), 4)  # the norm of (0.3, -0.3)
        0.4243
    """
    ours, theirs = _paired(unlearned, retrained)
    return float(np.linalg.norm(ours.shares - theirs.shares, axis=1).mean())


def zrf(unlearned: Part, initial: Part) -> float:
    """Zero retrain forgetting: 1 - the mean Jensen-Shannon divergence, in bits, from a model that learned nothing.

    Args:
        unlearned: Logits ``(N, C)`` of the model to be judged on the forget set.
        initial: Logits ``(N, C)`` of a randomly initialised model on the forget set.

    Returns:
        0 to 1; 1 where the model knows as little as the random one. What counts is to be close to a retrained model's.

    References:
        Can Bad Teaching Induce Forgetting? (Chundawat et al., 2023), https://arxiv.org/abs/2205.08096

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> zrf(sure, sure)
        1.0
    """
    return 1.0 - js(unlearned, initial) / math.log(2)


def zrf_code(unlearned: Part, initial: Part) -> float:
    """Zero retrain forgetting by the formula in the authors' code, for comparison with numbers that it printed.

    1 - the mean over samples *and classes* of ½ m log(m / p) + ½ m log(m / q) with m = ½ (p + q), in nats: the
    divergences are of the mixture from each model, and not the other way round.

    Args:
        unlearned: Logits ``(N, C)`` of the model to be judged on the forget set.
        initial: Logits ``(N, C)`` of a randomly initialised model on the forget set.

    Returns:
        At most 1, and without a lower bound: far below 0 where both models are sure of different classes. A probability
        of 0 counts as exp(-``BOUND``), so that the value is finite. The more classes, the closer to 1.

    References:
        Can Bad Teaching Induce Forgetting? (Chundawat et al., 2023), https://arxiv.org/abs/2205.08096

    Examples:
        >>> import numpy as np
        >>> from natmu.types import Part
        >>> labels = np.array([0])
        >>> sure, unsure = Part(np.log([[0.8, 0.2]]), labels), Part(np.log([[0.5, 0.5]]), labels)
        >>> zrf_code(sure, sure)
        1.0
    """
    ours, theirs = _paired(unlearned, initial)
    mixture_NC = (ours.shares + theirs.shares) / 2
    log_mixture_NC = np.logaddexp(ours.log_shares, theirs.log_shares) - math.log(2)
    apart_NC = mixture_NC * (log_mixture_NC - (ours.log_shares + theirs.log_shares) / 2)
    return min(1.0, 1.0 - float(apart_NC.mean()))


def require_same_samples(one: Part, other: Part) -> None:
    """Refuse parts that cannot be predictions on the same samples in the same order.

    Raises:
        UsageError: If they differ in length, in labels or in the number of classes.
    """
    if len(one) != len(other) or not np.array_equal(one.labels, other.labels):
        raise UsageError(
            "The two models predicted different samples or in a different order; compare them on the same split."
        )
    if len(one) and one.logits.shape[1] != other.logits.shape[1]:
        raise UsageError(
            f"The two models have {one.logits.shape[1]} and {other.logits.shape[1]} classes; "
            "compare models with the same classes."
        )


def _paired(one: Part, other: Part) -> tuple[Softmax, Softmax]:
    """Both parts with their softmax, after the checks."""
    require_same_samples(one, other)
    if not len(one):
        raise UsageError("A distance of predictions needs at least one sample; leave it out for an empty part.")
    return softmax_of(one), softmax_of(other)


def _relative(shares_NC: Values, mixture_NC: Values) -> Values:
    """KL(p || m) of each sample; a probability of 0 adds nothing."""
    ratio_NC = np.divide(shares_NC, mixture_NC, out=np.ones_like(shares_NC), where=mixture_NC > 0)
    log_NC = np.log(ratio_NC, out=np.zeros_like(ratio_NC), where=ratio_NC > 0)
    return np.asarray(np.einsum("nc,nc->n", shares_NC, log_NC))
