"""How far the running statistics of batch normalisations moved between two models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MEAN, VARIANCE = ".running_mean", ".running_var"
"""How the names of the statistics of a layer end."""


@dataclass(frozen=True, eq=False)
class BatchNorm:
    """The running statistics of a batch normalisation.

    Attributes:
        mean: ``(C,)``.
        variance: ``(C,)``.
        eps: What the layer adds to the variance.
    """

    mean: npt.NDArray[Any]
    variance: npt.NDArray[Any]
    eps: float = 1e-5


def mean_drift(before: BatchNorm, after: BatchNorm) -> float:
    """Mean over channels of the shift of the running mean, in standard deviations of before."""
    shift = np.abs(np.asarray(after.mean, np.float64) - before.mean)
    return float(np.mean(shift / np.sqrt(np.asarray(before.variance, np.float64) + before.eps)))


def variance_ratio(before: BatchNorm, after: BatchNorm) -> float:
    """Geometric mean over channels of the running variance after, divided by that before."""
    after_C, before_C = (np.asarray(one.variance, np.float64) + one.eps for one in (after, before))
    return float(np.exp(np.mean(np.log(after_C) - np.log(before_C))))


def batch_norms_of(weights: Mapping[str, npt.NDArray[Any]]) -> dict[str, BatchNorm]:
    """The running statistics among a model's weights, by layer.

    Weights do not tell what a layer adds to its variance; PyTorch's default stands in.

    Args:
        weights: Arrays by name, as a state dict has them.
    """
    layers = [name.removesuffix(MEAN) for name in weights if name.endswith(MEAN)]
    return {
        layer: BatchNorm(weights[layer + MEAN], weights[layer + VARIANCE])
        for layer in layers
        if layer + VARIANCE in weights
    }
