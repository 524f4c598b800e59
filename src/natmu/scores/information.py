"""How much of what is to be forgotten can be read, by a linear probe, from the features within a model.

The paper estimates the information with a network of its own for each layer, trained on InfoNCE. A linear probe takes a
second, has no seed, and sees what a head retrained on these features would see. Like InfoNCE it is a lower bound, and
it is measured on samples that it was not fitted to, so that it does not grow with the width of the features.

On digits, of which some had wrong labels, the original and the original with a new last layer had an index of 1.00,
where one more retrained model would lie between -0.26 and 0.26; a model whose features of forget samples were made to
collapse had -1.2. Training on wrong labels until the model was wrong on all forget samples left 0.24: that changed its
predictions, but its features only a little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from natmu.errors import TrainingError, UsageError
from natmu.linear_algebra import load_linear_algebra

Features = npt.NDArray[np.floating]

PENALTY = 0.01
"""Weight of half the squared norm of a probe, next to the mean loss. Features have a mean square of 1 per sample, so
that it means the same for all widths, scales and numbers of samples."""


def label_information(
    features: npt.ArrayLike, labels: npt.ArrayLike, held_features: npt.ArrayLike, held_labels: npt.ArrayLike
) -> float:
    """Information about labels that a linear probe finds in features of samples that it was not fitted to.

    With the probe's probabilities q it is ``H(Y) + E[log q(Y | features)]``, which is at most the mutual information of
    features and labels. A probe that is worse than no probe finds nothing, which is 0.

    Args:
        features: ``(M, D)``, to fit a multinomial logistic regression to.
        labels: int ``(M,)``.
        held_features: ``(N, D)``, to measure on.
        held_labels: int ``(N,)``, each of them among ``labels``.

    Returns:
        Nats, 0 to the entropy of ``held_labels``.

    Raises:
        UsageError: There is nothing to fit to or to measure on, or a held label is not among ``labels``.
        TrainingError: A feature is not a finite number.

    References:
        The IM Algorithm: A Variational Approach to Information Maximization (Barber and Agakov, 2003)
    """
    from scipy.special import log_softmax  # slow to import, as is the next
    from sklearn.linear_model import LogisticRegression

    load_linear_algebra()
    (seen_MD, held_ND), labels_M, held_N = _scaled(features, held_features), np.asarray(labels), np.asarray(held_labels)
    classes, counts = np.unique(held_N, return_counts=True)
    if len(labels_M) != len(seen_MD) or len(held_N) != len(held_ND) or not np.isin(classes, labels_M).all():
        raise UsageError(
            "A probe needs one label per row of features, and each held label among those it is fitted to."
        )
    if len(np.unique(labels_M)) < 2:
        return 0.0
    probe = LogisticRegression(C=1 / (PENALTY * len(labels_M)), max_iter=5000).fit(seen_MD, labels_M)
    logits = probe.decision_function(held_ND)
    logits_NC = np.stack([np.zeros_like(logits), logits], axis=1) if logits.ndim == 1 else logits
    own_N = log_softmax(logits_NC, axis=1)[np.arange(len(held_N)), np.searchsorted(probe.classes_, held_N)]
    share = counts / counts.sum()
    return max(0.0, float(own_N.mean() - (share * np.log(share)).sum()))


def membership_information(forget: npt.ArrayLike, retain: npt.ArrayLike) -> float:
    """Information on which of two sets a sample is of, from a probe on every other sample, measured on the rest.

    Both halves serve both ends in turn, and the mean is taken.

    Args:
        forget: Features ``(M, D)`` of forget samples, two at least.
        retain: Features ``(N, D)`` of retain samples, two at least; best as many.

    Returns:
        Nats, 0 to ln 2.

    Raises:
        UsageError: There are fewer.
        TrainingError: A feature is not a finite number.
    """
    sets = [np.asarray(forget), np.asarray(retain)]
    if min(map(len, sets)) < 2:
        raise UsageError("A probe needs at least 2 forget and 2 retain samples; forget more, or keep more.")
    even, odd = (
        (np.concatenate([one[start::2] for one in sets]), np.repeat([1, 0], [len(one[start::2]) for one in sets]))
        for start in (0, 1)
    )
    return 0.5 * (label_information(*even, *odd) + label_information(*odd, *even))


def information_difference(information: float, retrained: Sequence[float], original: float) -> float:
    """Information difference index: a model's excess over retrained models, as a fraction of the original's excess.

    ``IDI = (I(θ) - I(θ_retrained)) / (I(θ_original) - I(θ_retrained))``, where I is the sum over blocks and
    I(θ_retrained) the mean over retrained models. The original always has 1, and retrained models have 0 on average;
    their spread says what a difference means.

    If the original knows more than retrained models, a value below 0 means that less is known than by a model that
    never saw the samples, which is over-forgetting and gives them away too. If the original knows less than retrained
    models, the sign is reversed. Where both know almost the same, the ratio divides by almost 0 and means nothing: its
    values, also those of retrained models, are then far from 0 on either side.

    Args:
        information: Nats, the sum over the model's blocks.
        retrained: The same of retrained models.
        original: The same of the original.

    Raises:
        UsageError: There is no retrained model, or the original knows exactly as much as they do.

    References:
        An Information Theoretic Evaluation Metric for Strong Unlearning (Jeon et al., 2026),
        https://arxiv.org/abs/2405.17878
    """
    if not len(retrained):
        raise UsageError("idi needs a retrained model; retrain one on the same split.")
    centre = float(np.mean(retrained))
    if original == centre:
        raise UsageError("idi needs an original whose features say something else than those of retrained models do.")
    return (information - centre) / (original - centre)


def _scaled(features: npt.ArrayLike, held: npt.ArrayLike) -> tuple[Features, Features]:
    """Both sets less the mean of the first, in units of its root mean square distance from it.

    One unit serves all columns: one for each would raise a feature that is 0 but for a sample or two to any height.
    """
    seen, other = np.asarray(features, np.float64), np.asarray(held, np.float64)
    if seen.ndim != 2 or other.ndim != 2 or not len(seen) or not len(other) or seen.shape[1:] != other.shape[1:]:
        raise UsageError(f"A probe needs rows of features of one width, not {seen.shape} and {other.shape}.")
    if not (np.isfinite(seen).all() and np.isfinite(other).all()):
        raise TrainingError("A feature is not a finite number, so training diverged; lower the learning rate.")
    unit = np.sqrt(seen.var(axis=0).sum()) or 1.0
    return (seen - seen.mean(axis=0)) / unit, (other - seen.mean(axis=0)) / unit
