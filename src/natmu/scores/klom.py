"""KLoM: per sample, how far the margins of unlearned models are distributed from those of retrained ones."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.references import Float64, blocks, by_model

BINS = 20
CLIP = 100.0
FLOOR = 1e-5
MODELS_NEEDED = 8
"""Fewer models of a kind say nothing about a distribution; the paper takes 100."""


def klom(unlearned: npt.ArrayLike, retrained: npt.ArrayLike) -> Float64:
    """KL(unlearned || retrained) of the margins of many models, for each sample.

    Margins are clipped to -100 to 100 and counted in 20 bins of equal width between the smallest and the largest of
    both kinds of models for that sample, edges included; where all margins are equal, they share a bin. Shares of the
    retrained models are raised to 1e-5 where they are lower, and not scaled back to a sum of 1, so that a disjoint pair
    scores the same whatever the number of empty bins. With fewer than 36,000 unlearned models no score is negative.

    The authors' code leaves the largest margin out of the histogram, because it lies on the edge of the last bin, and
    scales the raised shares back to a sum of 1. With 100 models of a kind the second moves a sample's score by less
    than 2e-4 nats. The first moves it by 0.13 nats at most on the made-up models of ``tests.scores.differences``. But
    where a retrained model has the largest margin, and is the only retrained one in a bin with half of the unlearned
    models, it moves the score by several nats: the retrained models' share of that bin falls to 1e-5.

    Args:
        unlearned: Margins of the unlearned models, ``(A, N)``.
        retrained: Margins of the retrained models, ``(B, N)``.

    Returns:
        float64 ``(N,)`` in nats: 0 for equal histograms, log(1e5) = 11.5 where all unlearned models fall into one bin
        that no retrained one reaches.

    Raises:
        UsageError: If there are fewer than 8 models of a kind, shapes do not fit, or a margin is not finite.

    References:
        Attribute-to-Delete: Machine Unlearning via Datamodel Matching (Georgiev et al., 2024),
        https://arxiv.org/abs/2410.23232
    """
    unlearned_AN, retrained_BN = by_model("klom", MODELS_NEEDED, unlearned=unlearned, retrained=retrained)
    models, samples = len(unlearned_AN) + len(retrained_BN), unlearned_AN.shape[1]
    result_N = np.zeros(samples)
    for block in blocks(models, samples):
        result_N[block] = _divergence(_clipped(unlearned_AN[:, block]), _clipped(retrained_BN[:, block]))
    return result_N


def klom_summary(values: npt.ArrayLike) -> dict[str, float]:
    """What is reported of a part of the data.

    Args:
        values: KLoM of each sample, ``(N,)``.

    Returns:
        ``mean`` and ``p95``, the 95th percentile with linear interpolation, in nats.

    Raises:
        UsageError: If there is no sample.
    """
    values_N = np.asarray(values, np.float64)
    if not values_N.size:
        raise UsageError("klom needs at least 1 sample; leave it out for an empty part.")
    return {"mean": float(values_N.mean()), "p95": float(np.percentile(values_N, 95))}


def _clipped(margins: npt.NDArray[np.number]) -> Float64:
    return np.clip(margins.astype(np.float64), -CLIP, CLIP)


def _divergence(unlearned_AN: Float64, retrained_BN: Float64) -> Float64:
    low_N = np.minimum(unlearned_AN.min(axis=0), retrained_BN.min(axis=0))
    high_N = np.maximum(unlearned_AN.max(axis=0), retrained_BN.max(axis=0))
    edges_EN = np.linspace(low_N, high_N, BINS + 1)
    share_SN, floored_SN = _shares(unlearned_AN, edges_EN), np.maximum(_shares(retrained_BN, edges_EN), FLOOR)
    # An empty bin of the unlearned models adds nothing: 0 log 0 is 0.
    return np.asarray((share_SN * np.log(np.where(share_SN > 0, share_SN / floored_SN, 1))).sum(axis=0))


def _shares(values_MN: Float64, edges_EN: Float64) -> Float64:
    """Share of the models in each bin, ``(BINS, N)``; a value on an edge is in the upper bin, if there is one."""
    width_N = edges_EN[-1] - edges_EN[0]
    place_MN = ((values_MN - edges_EN[0]) / np.where(width_N > 0, width_N, 1) * BINS).astype(np.intp)
    place_MN = np.minimum(place_MN, BINS - 1)
    column_N = np.arange(values_MN.shape[1])
    # The division may round across an edge, and the edges decide.
    place_MN -= values_MN < edges_EN[place_MN, column_N]
    place_MN += (place_MN < BINS - 1) & (values_MN >= edges_EN[place_MN + 1, column_N])
    flat = (place_MN * len(column_N) + column_N).ravel()
    counts = np.bincount(flat, minlength=BINS * len(column_N)).reshape(BINS, -1)
    return counts / len(values_MN)
