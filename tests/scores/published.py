"""Scores as the code that papers publish computes them, one sample after another.

Written from the rules of that code, of which each docstring names the project, the file and the lines, as they were in
November 2026.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC


def klom(unlearned, retrained, *, drops_the_largest=True):
    """KL(unlearned || retrained) of 20 bins: data-unlearning-bench, unlearning_bench/eval.py, lines 80-153.

    ``np.digitize`` puts the largest margin behind the last bin, where nothing counts it (lines 106-111). Both lists of
    shares are scaled to a sum of 1 after the floor (line 130).
    """

    def shares(margins, edges):
        bins = [sum(low <= value < high for value in margins) for low, high in pairwise(edges)]
        bins[-1] += 0 if drops_the_largest else sum(value == edges[-1] for value in margins)
        return [count / max(1, sum(bins)) for count in bins]

    values = []
    for ours, theirs in zip(np.clip(unlearned, -100, 100).T, np.clip(retrained, -100, 100).T, strict=True):
        low, high = min(*ours, *theirs), max(*ours, *theirs)
        edges = np.linspace(low, high if high > low else low + 1, 21)
        p, q = shares(ours, edges), shares(theirs, edges)
        q = [max(other, 1e-5) if share > 0 else other for share, other in zip(p, q, strict=True)]
        pairs = [(share / sum(p), other / sum(q)) for share, other in zip(p, q, strict=True) if share > 0]
        values.append(math.fsum(share * math.log(share / other) for share, other in pairs))
    return np.array(values)


def epsilon(unlearned, retrained, delta=1e-5):
    """Epsilon of the NeurIPS'23 challenge: unlearning_evaluation, metric.py, lines 64-201 and 223-300.

    Two grids of thresholds, all of whose rules are tried (lines 77-99 and 141-144). What its line 188 gives where one
    range is below 1 % of the other is left to ``peaked``.
    """
    values = []
    for ours, theirs in zip(unlearned.T, retrained.T, strict=True):
        positive, negative = (theirs, ours) if np.median(theirs) > np.median(ours) else (ours, theirs)
        rules = [rates(positive >= cut, negative >= cut) for cut in _single_thresholds(positive, negative)]
        narrow, wide = (negative, positive) if np.ptp(positive) >= np.ptp(negative) else (positive, negative)
        width = np.ptp(narrow)
        for right in np.linspace(narrow.min() + width - 2, narrow.max() + 2, 400):
            left = np.linspace(right - width - 2, right - width + 2, 400)[:, None]
            rules.append(rates((left <= narrow) & (narrow <= right), (left <= wide) & (wide <= right)))
        fpr, fnr = np.concatenate([np.atleast_2d(np.transpose(rule)) for rule in rules]).T
        values.append(min(50.0, _largest_epsilon(fpr, fnr, delta)))
    return np.array(values)


def peaked(unlearned, retrained):
    """Where the challenge gives the cap without looking at rules: metric.py, lines 184-193."""
    ranges = np.ptp(unlearned, axis=0), np.ptp(retrained, axis=0)
    return np.minimum(*ranges) / np.maximum(*ranges) < 0.01


def rates(taken_of_positive, taken_of_negative):
    """Rates of false positives and of false negatives of a rule, or of several in rows."""
    return np.mean(taken_of_negative, axis=-1), 1 - np.mean(taken_of_positive, axis=-1)


def _single_thresholds(positive, negative):
    low, high = min(*positive, *negative), max(*positive, *negative)
    return np.linspace(low, high, math.ceil((high - low) * 100))


def _largest_epsilon(fpr, fnr, delta):
    """Of all rules, with those left out that are without errors of one kind alone (lines 223-269)."""
    if ((fpr == 0) & (fnr == 0)).any():
        return math.inf
    some = (fpr > 0) & (fnr > 0)
    gains = (1 - delta - fpr[some]) / fnr[some], (1 - delta - fnr[some]) / fpr[some]
    return math.log(max(1.0, *(gain.max(initial=0) for gain in gains)))


def rmia(target_x, references_x, target_z, references_z, a):
    """Off-line RMIA: ml_privacy_meter, modules/mia/attacks/rmia.py, lines 130-147; a larger ratio is asked for."""

    def ratio(target, references):
        return target / ((1 + a) / 2 * references.mean() + (1 - a) / 2)

    of_z = np.array([ratio(*pair) for pair in zip(np.exp(target_z), np.exp(references_z).T, strict=True)])
    of_x = [ratio(*pair) for pair in zip(np.exp(target_x), np.exp(references_x).T, strict=True)]
    return np.array([np.mean(one / of_z > 1.0) for one in of_x])


def lira_online(target, shadows, member, *, fix_variance):
    """On-line LiRA: privacy, research/mi_lira_2021/plot.py, lines 62-102; its result has the other sign there.

    Every sample has as many shadows of a kind here, so that none is cut off (lines 76-80).
    """
    inside, outside = _shadows_of(shadows, member), _shadows_of(shadows, ~member)
    # Both are of the shadows trained on a sample (lines 86-87), and of all samples together.
    both = np.std(inside)
    spread_in, spread_out = (both, both) if fix_variance else (np.std(inside, 1), np.std(outside, 1))
    return _log_density(target, np.median(inside, 1), spread_in) - _log_density(
        target, np.median(outside, 1), spread_out
    )


def lira_offline(target, shadows, member, *, fix_variance):
    """Off-line LiRA: the same file, lines 104-136: low density under the shadows without the sample, on both sides."""
    outside = _shadows_of(shadows, ~member)
    return -_log_density(target, np.median(outside, 1), np.std(outside) if fix_variance else np.std(outside, 1))


def _shadows_of(shadows, chosen):
    return np.array([shadows[chosen[:, at], at] for at in range(shadows.shape[1])])


def _log_density(values, mean, spread):
    return -np.square((values - mean) / spread) / 2 - np.log(spread) - np.log(2 * np.pi) / 2


def zrf(unlearned, untrained):
    """1 - JSDiv of the softmax: bad-teaching-unlearning, metrics.py, lines 5-25.

    PyTorch's ``kl_div(log p, m)`` is of m against p, and the mean is over samples and classes, not samples alone.
    """

    def kl_div(log_input, target):
        terms = [
            share * (math.log(share) - log_share)
            for row, log_row in zip(target, log_input, strict=True)
            for share, log_share in zip(row, log_row, strict=True)
        ]
        return math.fsum(terms) / len(terms)

    mixture = (unlearned + untrained) / 2
    return 1 - (kl_div(np.log(unlearned), mixture) / 2 + kl_div(np.log(untrained), mixture) / 2)


def modified_entropy(shares, labels):
    """m_entropy of Unlearn-Sparse and Unlearn-Saliency, evaluation/SVC_MIA.py, lines 13-23.

    ``[:, labels]`` replaces the columns of all labels of the batch in every row, and the logarithm of what is not the
    label's is log p where log(1 - p) is meant.
    """
    probabilities, logarithms = shares.copy(), np.log(shares)
    for row in range(len(shares)):
        for label in labels:
            probabilities[row, label] = 1 - shares[row, label]
    return -(probabilities * logarithms).sum(axis=1)


def mia_entropy(retain, test, forget):
    """Share of the forget set called members by its entropy: JiT, src/metrics.py, lines 56-85.

    NatMU has the same, sample-wise/utils/mia.py, lines 43-93. Both ask for a multinomial regression of two classes,
    which the versions of scikit-learn that they name fit with a penalised slope for each: that is C = 2 with one.
    """
    attack = LogisticRegression(C=2, class_weight="balanced", solver="lbfgs")
    attack.fit(np.concatenate([retain, test])[:, None], np.repeat([1, 0], [len(retain), len(test)]))
    return 100 * attack.predict(forget[:, None]).mean()


def svc_entropy(retain, test, forget):
    """What Chundawat et al. publish today: bad-teaching-unlearning, metrics.py, lines 53-59, with sides as they are."""
    attack = SVC(C=3, gamma="auto", kernel="rbf")
    attack.fit(np.concatenate([retain, test])[:, None], np.repeat([1, 0], [len(retain), len(test)]))
    return 100 * attack.predict(forget[:, None]).mean()
