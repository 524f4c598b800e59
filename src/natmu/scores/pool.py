"""Pools of shadow models: the forget set and as many non-members, halves of which shadow models are trained on.

Shadow models come in pairs whose halves of the pool complement each other, so that every sample is in exactly half of
them and more can be added to those that there are.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from natmu.types import ForgetSet, IntArray, seed_for


def draw_non_members(forget: ForgetSet, unseen: int) -> IntArray:
    """As many unseen samples as there are forget samples, or all of them.

    Args:
        forget: The forget set.
        unseen: How many unseen samples there are to draw from.

    Returns:
        Their places among the unseen samples, sorted, int64.
    """
    rng = np.random.default_rng(seed_for(0, "strangers", forget.digest))
    return np.sort(rng.choice(unseen, min(len(forget), unseen), replace=False)).astype(np.int64)


def half_of_pool(forget: ForgetSet, size: int, number: int) -> npt.NDArray[np.bool_]:
    """Which samples of a pool a shadow model is trained on, bool ``(P,)``.

    Args:
        forget: The forget set.
        size: Samples in the pool.
        number: Which half; 2k and 2k + 1 complement each other.
    """
    order = np.random.default_rng(seed_for(0, "shadow split", forget.digest, number // 2)).permutation(size)
    half = np.zeros(size, bool)
    half[order[: size // 2]] = True
    return half if number % 2 == 0 else ~half
