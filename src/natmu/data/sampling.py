"""Class-balanced random draws: the same share of every class."""

from __future__ import annotations

import numpy as np

from natmu.types import IntArray

FIXED_SEED = 20_240_525
"""Seeds every split that is the same for all users: the digits' test set, a part of a folder, a holdout."""


def allocate(counts: IntArray, total: int, rng: np.random.Generator) -> IntArray:
    """Divide a total over classes in proportion to their sizes, by largest remainder.

    Args:
        counts: Samples per class, int64 ``(C,)``.
        total: How many to draw in all, ``0 … counts.sum()``.
        rng: Decides between classes of equal remainder.

    Returns:
        How many to draw of each class, int64 ``(C,)``; sums to ``total`` exactly and never exceeds ``counts``.
    """
    size = max(int(counts.sum()), 1)
    quota = counts * total // size
    remainder = counts * total % size
    lottery = rng.permutation(len(counts))
    largest_first = lottery[np.argsort(-remainder[lottery], kind="stable")]
    quota[largest_first[: total - int(quota.sum())]] += 1
    return quota


def balanced_draw(labels: IntArray, total: int, rng: np.random.Generator) -> IntArray:
    """Draw samples at random without replacement, the same share of every class.

    Args:
        labels: Class of each sample, ``(N,)``, not negative.
        total: How many to draw, ``0 … N``.
        rng: Source of randomness; equal states give equal draws.

    Returns:
        Sorted, unique positions, int64 ``(total,)``.
    """
    counts = np.bincount(labels).astype(np.int64)
    quota = allocate(counts, total, rng)
    order = rng.permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    first_of_class = np.cumsum(counts) - counts
    rank = np.arange(len(labels)) - first_of_class[labels[order]]
    return np.sort(order[rank < quota[labels[order]]]).astype(np.int64)


def fixed_part(labels: IntArray, fraction: float = 0.2) -> tuple[IntArray, IntArray]:
    """Set a part of the samples apart, class-balanced and always the same.

    Args:
        labels: Class of each sample, ``(N,)``.
        fraction: How much, between 0 and 1; a fifth by default.

    Returns:
        Sorted positions of the rest and of the part; each has at least one sample when ``N > 1``.
    """
    total = min(max(round(len(labels) * fraction), 1), len(labels) - 1)
    part = balanced_draw(labels, max(total, 0), np.random.default_rng(FIXED_SEED))
    return np.setdiff1d(np.arange(len(labels)), part), part
