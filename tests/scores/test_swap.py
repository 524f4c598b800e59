"""The advantage over swapped halves: exactly 0 where a model does not know which half was forgotten."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from natmu.errors import UsageError
from natmu.scores import Shadows
from natmu.scores.pool import half_of_pool
from natmu.scores.swap import (
    ATTACKERS,
    THRESHOLDS,
    advantage,
    pairs_of,
    swap_advantage,
    swap_scores,
    swapped_advantage,
)
from natmu.scores.ulira import ulira
from natmu.scores.verdict import judge
from natmu.types import ForgetSet

guesses = arrays(np.float64, 12, elements=st.floats(0, 1))
halves = arrays(np.bool_, 12).filter(lambda half: 0 < half.sum() < 12)


def world(rng, pairs, samples, lift=0.0, noise=1.0):
    """Margins of models that unlearned halves of the house's pools, and what is left on what they unlearned."""
    forget = ForgetSet(np.arange(samples // 2), "indices:x", "indices")
    forgotten = np.stack([half_of_pool(forget, samples, number) for number in range(2 * pairs)])
    difficulty = rng.normal(0, 3, samples)
    return difficulty + lift * forgotten + noise * rng.normal(size=forgotten.shape), forgotten


def slow_share(guessed, chosen):
    return sum(guess for guess, there in zip(guessed, chosen, strict=True) if there) / sum(chosen)


@given(guesses, guesses, halves)
def test_the_terms_are_those_of_the_paper(first, second, half):
    """TPR - FPR of each split, forget set and unseen samples exchanged in the second; the mean of the two."""
    other = [not there for there in half]
    one = slow_share(first, half) - slow_share(first, other)
    two = slow_share(second, other) - slow_share(second, half)
    assert swapped_advantage(first, second, half) == pytest.approx((one + two) / 2, abs=1e-12)
    assert advantage(first, half) == pytest.approx(one, abs=1e-12)


@given(guesses, halves)
def test_a_model_that_does_not_depend_on_which_half_was_forgotten_has_exactly_none_for_any_attack(guess, half):
    assert swapped_advantage(guess, guess, half) == 0


@pytest.mark.parametrize("attack", ATTACKERS)
def test_our_attackers_have_exactly_none_over_a_pair_of_one_and_the_same_model(rng, attack):
    """Whatever the other pairs taught them."""
    margins, forgotten = world(rng, 5, 40, lift=2.0)
    pairs = margins.reshape(5, 2, 40)
    pairs[3, 1] = pairs[3, 0]
    found = ATTACKERS[attack](pairs, forgotten[::2])
    assert found[3] == 0
    assert (found[[0, 1, 2, 4]] > 0).all()


def test_the_rule_on_the_margin_takes_the_best_threshold_and_direction_of_the_other_pairs(rng):
    margins, forgotten = world(rng, 4, 30, lift=1.0)
    pairs, half = margins.reshape(4, 2, 30), forgotten[::2]
    thresholds = sorted({float(np.quantile(margins, (at + 1) / (THRESHOLDS + 1))) for at in range(THRESHOLDS)})
    for number, found in enumerate(ATTACKERS["margin"](pairs, half)):
        others = [other for other in range(4) if other != number]
        learnt = []
        for threshold in thresholds:
            each = [swapped_advantage(*(pairs[other] > threshold), half[other]) for other in others]
            learnt.append(sum(each))
        best = int(np.argmax(np.round(np.abs(learnt), 12)))
        rule = pairs[number] > thresholds[best]
        assert found == pytest.approx(np.sign(learnt[best]) * swapped_advantage(*rule, half[number]), abs=1e-12)


def test_ulira_is_fitted_to_the_other_pairs_and_a_ratio_of_0_is_a_toss_of_a_coin(rng):
    margins, forgotten = world(rng, 4, 30, lift=1.0)
    margins[:, :5] = 2.0
    found = ATTACKERS["ulira"](margins.reshape(4, 2, 30), forgotten[::2])
    for number in range(4):
        others = [row for row in range(8) if row // 2 != number]
        guessed = []
        for row in (2 * number, 2 * number + 1):
            ratio = ulira(margins[row], margins[others], forgotten[others])
            guessed.append([0.5 if one == 0 else float(one > 0) for one in ratio])
        assert found[number] == pytest.approx(swapped_advantage(*guessed, forgotten[2 * number]), abs=1e-12)


def test_the_largest_attacker_counts_whatever_its_direction(rng):
    margins, forgotten = world(rng, 8, 60, lift=3.0)
    means = [abs(attack(margins.reshape(8, 2, 60), forgotten[::2]).mean()) for attack in ATTACKERS.values()]
    assert swap_advantage(margins, forgotten) == pytest.approx(max(means))
    order = rng.permutation(16)
    assert swap_advantage(margins[order], forgotten[order]) == pytest.approx(max(means), abs=0.02)


@pytest.mark.parametrize("lift", [2.0, -2.0])
def test_memory_and_over_forgetting_are_distinguishable_and_retraining_is_not(lift):
    rng = np.random.default_rng(3)
    verdicts = {}
    for name, height in (("left", lift), ("gone", 0.0)):
        after, forgotten = world(rng, 8, 80, lift=height)
        before, _ = world(rng, 8, 80, lift=4.0)
        shadows = Shadows(before, after, forgotten, np.arange(40))
        value, exchanged, original = swap_scores(shadows, 39, seed=0)
        verdicts[name] = judge("swap_advantage", value, None, exchanged, original, side="above")
        assert original > 0.5
        assert verdicts[name].sees_original
    assert verdicts["left"].distinguishable
    assert verdicts["left"].value > 0.3
    assert not verdicts["gone"].distinguishable
    assert verdicts["gone"].value < 0.15


def test_in_expectation_retraining_has_none():
    """Mean over many worlds of the signed advantage of each attacker; its size alone would never be 0."""
    for attack in ATTACKERS.values():
        means = []
        for seed in range(60):
            margins, forgotten = world(np.random.default_rng(seed), 4, 40)
            means.append(attack(margins.reshape(4, 2, 40), forgotten[::2]).mean())
        assert abs(np.mean(means)) < 4 * np.std(means) / np.sqrt(len(means))


def test_models_are_exchanged_within_their_pairs(rng, monkeypatch):
    asked = []

    def noted(margins, forgotten):
        asked.append((margins, forgotten))
        return 0.0

    after, forgotten = world(rng, 4, 20)
    monkeypatch.setattr("natmu.scores.swap.swap_advantage", noted)
    swap_scores(Shadows(after + 100, after, forgotten, np.arange(10)), 30, seed=1)
    moved = np.array([[(margins[row] == after[row]).all() for row in range(8)] for margins, _ in asked[1:-1]])
    assert all((again == forgotten).all() for _, again in asked)
    assert (moved[:, ::2] == moved[:, 1::2]).all(), "both models of a pair move, or none"
    assert 0.25 < moved.mean() < 0.75
    for (margins, _), stays in zip(asked[1:-1], moved, strict=True):
        for row in np.flatnonzero(~stays):
            assert (margins[row] == after[row ^ 1]).all()
    assert (asked[0][0] == after).all()
    assert (asked[-1][0] == after + 100).all()


def test_pairs_are_found_by_what_was_forgotten_wherever_they_stand():
    half, other = np.array([1, 1, 0, 0], bool), np.array([1, 0, 0, 1], bool)
    rows = np.stack([half, other, half, ~other, ~half, half])
    assert pairs_of(rows).tolist() == [[1, 3], [0, 4]]
    assert pairs_of(rows[:0]).shape == (0, 2)


def test_only_shadows_that_unlearned_take_part(rng):
    after, forgotten = world(rng, 5, 20, lift=3.0)
    kept = np.array([0, 1, 4, 5, 6, 7])
    shadows = Shadows(after, after[kept], forgotten, np.arange(10), kept)
    assert swap_scores(shadows, 3, 0) == swap_scores(Shadows(after[kept], after[kept], forgotten[kept], kept), 3, 0)


def test_what_is_missing_is_said(rng):
    after, forgotten = world(rng, 3, 20)
    with pytest.raises(UsageError, match="needs shadow models"):
        swap_scores(None, 39, 0)
    shadows = Shadows(after, after[:5], forgotten, np.arange(10), np.arange(5))
    with pytest.raises(UsageError, match=r"at least 3 pairs .* \(got 2\)"):
        swap_scores(shadows, 39, 0)
    with pytest.raises(UsageError, match=r"\(got 0\)"):
        swap_scores(replace(shadows, after=after[:0], unlearned=np.arange(0)), 39, 0)
    with pytest.raises(UsageError, match="align the two"):
        swap_advantage(after, forgotten[:, 1:])
    with pytest.raises(UsageError, match="1 forgotten and 1 unseen"):
        advantage(np.zeros(3), np.ones(3, bool))
