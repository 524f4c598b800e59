"""The SWAP test: the advantage of an attacker when forget set and unseen samples change places."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from natmu.errors import UsageError
from natmu.scores.panel import Shadows
from natmu.scores.references import Float64, by_model
from natmu.scores.ulira import ulira
from natmu.types import seed_for

Mask = npt.NDArray[np.bool_]

FEWEST = 3
"""Pairs without which there is no fit: the attack on one learns from the others, and a spread takes two."""

THRESHOLDS = 255
"""Quantiles of all margins among which the rule on the margin chooses its threshold."""

SAMPLES = 2000
"""Samples of the pool on which attacks play at most, evenly spread."""


def advantage(guesses: npt.ArrayLike, forgotten: npt.ArrayLike) -> Float64:
    """How much more often an attacker says "forgotten" of forgotten samples than of unseen ones.

    Args:
        guesses: ``(..., P)``, 1 for "forgotten", 0 for "unseen", or the probability of the former.
        forgotten: The truth, bool of the same shape or of one that fits, with both kinds in each row.

    Returns:
        ``(...)``, -1 to 1.

    Raises:
        UsageError: There are no samples of one kind.
    """
    guesses_P, forgotten_P = np.broadcast_arrays(np.asarray(guesses, np.float64), np.asarray(forgotten, np.bool_))
    if not (forgotten_P.any(axis=-1).all() and (~forgotten_P).any(axis=-1).all()):
        raise UsageError("An advantage needs at least 1 forgotten and 1 unseen sample; forget more.")
    inside = np.where(forgotten_P, guesses_P, 0).sum(axis=-1) / forgotten_P.sum(axis=-1)
    outside = np.where(forgotten_P, 0, guesses_P).sum(axis=-1) / (~forgotten_P).sum(axis=-1)
    return np.asarray(inside - outside)


def swapped_advantage(first: npt.ArrayLike, second: npt.ArrayLike, half: npt.ArrayLike) -> float:
    """The advantage over a pair of splits, in the second of which forget set and unseen samples have changed places.

    Let ``a(H)`` be the share of a half H of the pool that the attacker calls forgotten, with ``H'`` the other half. One
    model unlearned H and gives ``a(H) - a(H')``, the other unlearned ``H'`` and gives ``a(H') - a(H)``. Where both
    models are one and the same, the terms are each other's opposite, so that the mean is exactly 0, for any attacker
    that is told nothing but the model and the samples. Retraining makes models that do not depend on which half was
    forgotten: both terms have the same distribution with opposite signs, and the mean is 0 in expectation.

    Args:
        first: Guesses ``(P,)`` on the model that unlearned ``half``.
        second: Guesses of the same attacker on the model that unlearned the rest.
        half: Which samples the first unlearned, bool ``(P,)``.

    Returns:
        -1 to 1; its size over many pairs is the advantage.
    """
    half_P = np.asarray(half, np.bool_)
    return float(advantage(first, half_P) + advantage(second, ~half_P)) / 2


def swap_advantage(margins: npt.ArrayLike, forgotten: npt.ArrayLike) -> float:
    """The largest advantage of our attackers over pairs of models that unlearned complementary halves of a pool.

    Each attacker learns from all pairs but the one that it is played against, so that it knows nothing of which half
    that one forgot:

    - a rule on the margin: the threshold and the direction that have the largest advantage over the other pairs. Rules
      on the loss and on the confidence are this rule, as each is the other's monotone function.
    - U-LiRA: "forgotten" where its ratio, fitted to the other pairs, is above 0.

    A model that over-forgets has a large advantage, just as one that remembers: attackers learn the direction, too.

    Args:
        margins: Of the models on the pool, ``(U, P)``; models without a partner are left out.
        forgotten: Which model unlearned which sample, bool ``(U, P)``; rows of a pair complement each other.

    Returns:
        0 to 1.

    Raises:
        UsageError: There are too few pairs, or the margins do not fit.

    References:
        A Reliable Cryptographic Framework for Empirical Machine Unlearning Evaluation (Tu et al., 2025),
        https://arxiv.org/abs/2404.11577
    """
    forgotten_UP = np.asarray(forgotten, np.bool_)
    (margins_UP,) = by_model("swap_advantage", 0, shadow=margins)
    if forgotten_UP.shape != margins_UP.shape:
        raise UsageError("swap_advantage needs to know which model unlearned which sample; align the two.")
    pairs_K2 = pairs_of(forgotten_UP)
    if len(pairs_K2) < FEWEST:
        raise UsageError(
            f"swap_advantage needs at least {FEWEST} pairs of unlearned shadow models whose halves of the pool "
            f"complement each other (got {len(pairs_K2)}); unlearn more of them."
        )
    paired, half = margins_UP[pairs_K2].astype(np.float64), forgotten_UP[pairs_K2[:, 0]]
    return max(abs(float(attack(paired, half).mean())) for attack in ATTACKERS.values())


def swap_scores(shadows: Shadows | None, divisions: int, seed: int) -> tuple[float, list[float], float]:
    """The advantage over unlearned shadow models, after exchanging models within pairs, and before unlearning.

    If the models of a pair were retrained, exchanging them would change nothing. So random exchanges within pairs are
    the baseline. With K pairs one exchange in ``2^(K - 1)`` gives the same advantage as none, so that fewer than about
    eight pairs distinguish nothing, however large the advantage is.

    Args:
        shadows: What attackers know.
        divisions: How many random exchanges.
        seed: Of the exchanges.

    Raises:
        UsageError: There are no shadow models, or too few pairs of them.
    """
    if shadows is None:
        raise UsageError("swap_advantage needs shadow models; audit at the level full, with the data in memory.")
    count = shadows.member.shape[1]
    rows = np.unique(np.linspace(0, count - 1, min(count, SAMPLES)).round().astype(np.int64))
    after, forgotten = shadows.after[:, rows], shadows.forgot[:, rows]
    before = shadows.before if shadows.unlearned is None else shadows.before[shadows.unlearned]
    pairs_K2, rng = pairs_of(shadows.forgot), np.random.default_rng(seed_for(seed, "swaps"))
    value = swap_advantage(after, forgotten)
    exchanged = []
    for _ in range(divisions):
        order = np.arange(len(after))
        chosen = pairs_K2[rng.random(len(pairs_K2)) < 0.5]
        order[chosen] = chosen[:, ::-1]
        exchanged.append(swap_advantage(after[order], forgotten))
    return value, exchanged, swap_advantage(before[:, rows], forgotten)


def pairs_of(forgotten_UP: Mask) -> npt.NDArray[np.int64]:
    """Rows that complement each other, int64 ``(K, 2)``, each in one pair at most."""
    waiting: dict[bytes, list[int]] = {}
    pairs = []
    for row, forgotten_P in enumerate(forgotten_UP):
        partners = waiting.get((~forgotten_P).tobytes(), [])
        if partners:
            pairs.append((partners.pop(0), row))
        else:
            waiting.setdefault(forgotten_P.tobytes(), []).append(row)
    return np.array(pairs, np.int64).reshape(-1, 2)


def _by_margin(margins_K2P: Float64, half_KP: Mask) -> Float64:
    """Advantage of the rule on the margin over each pair, by the threshold that is best over the others, ``(K,)``."""
    thresholds = np.unique(np.quantile(margins_K2P, np.linspace(0, 1, THRESHOLDS + 2)[1:-1]))
    below_K2P = np.searchsorted(thresholds, margins_K2P)  # a margin is above so many of them
    cells_K2P = below_K2P + (len(thresholds) + 1) * np.arange(2 * len(half_KP)).reshape(-1, 2, 1)

    def shares(chosen_K2P: Mask) -> Float64:
        """Share of the chosen samples of each model that lie above each threshold, ``(K, 2, T)``."""
        counts = np.bincount(cells_K2P[chosen_K2P], minlength=2 * len(half_KP) * (len(thresholds) + 1))
        at_least = counts.reshape(len(half_KP), 2, -1)[..., ::-1].cumsum(axis=-1)[..., ::-1]
        return np.asarray(at_least[..., 1:] / chosen_K2P.sum(axis=-1, keepdims=True))

    forgotten_K2P = np.stack([half_KP, ~half_KP], axis=1)
    advantage_KT = (shares(forgotten_K2P) - shares(~forgotten_K2P)).mean(axis=1)
    others_KT = advantage_KT.sum(axis=0) - advantage_KT
    best_K = np.abs(others_KT).argmax(axis=1)
    each = np.arange(len(half_KP))
    return np.asarray(np.where(others_KT[each, best_K] < 0, -1, 1) * advantage_KT[each, best_K])


def _by_ulira(margins_K2P: Float64, half_KP: Mask) -> Float64:
    """Advantage of U-LiRA over each pair, fitted to the others, ``(K,)``; a ratio of 0 is a toss of a coin."""
    forgotten_K2P = np.stack([half_KP, ~half_KP], axis=1)
    guesses = np.empty_like(margins_K2P)
    for pair, targets_2P in enumerate(margins_K2P):
        shadows, member = (
            np.delete(one, pair, axis=0).reshape(-1, half_KP.shape[1]) for one in (margins_K2P, forgotten_K2P)
        )
        guesses[pair] = [(1 + np.sign(ulira(target, shadows, member))) / 2 for target in targets_2P]
    return _over_pairs(guesses, half_KP)


def _over_pairs(guesses_K2P: npt.ArrayLike, half_KP: Mask) -> Float64:
    """The swapped advantage of each pair, ``(K,)``."""
    return np.asarray(advantage(guesses_K2P, np.stack([half_KP, ~half_KP], axis=1)).mean(axis=-1))


ATTACKERS: Mapping[str, Callable[[Float64, Mask], Float64]] = {"margin": _by_margin, "ulira": _by_ulira}
"""From margins ``(K, 2, P)`` of pairs, and what the first of each unlearned, to the advantage over each pair."""
