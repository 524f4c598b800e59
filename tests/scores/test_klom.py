from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from natmu.errors import UsageError
from natmu.scores import references
from natmu.scores.klom import klom, klom_summary


def slow_klom(unlearned, retrained):
    """Sample by sample with NumPy's histogram."""
    values = []
    for of_unlearned, of_retrained in zip(
        np.clip(unlearned, -100, 100).T, np.clip(retrained, -100, 100).T, strict=True
    ):
        together = np.concatenate([of_unlearned, of_retrained])
        edges = np.histogram_bin_edges(together, bins=20)
        share = np.histogram(of_unlearned, edges)[0] / len(of_unlearned)
        other = np.histogram(of_retrained, edges)[0] / len(of_retrained)
        terms = (p * math.log(p / max(q, 1e-5)) for p, q in zip(share, other, strict=True) if p > 0)
        values.append(math.fsum(terms))
    return values


@pytest.mark.parametrize("models", [(8, 8), (100, 100), (12, 31)])
def test_klom_agrees_with_numpys_histogram_sample_by_sample(rng, models):
    unlearned = rng.normal(0, 2, (models[0], 40)) + rng.normal(size=40)
    retrained = rng.normal(0, 1, (models[1], 40))
    assert klom(unlearned, retrained) == pytest.approx(slow_klom(unlearned, retrained), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("step", [0.1, 1.0, 5.0, 1 / 3])
def test_margins_on_the_edges_of_bins_are_counted_as_numpy_does(rng, step):
    unlearned, retrained = rng.integers(0, 21, (20, 200)) * step, rng.integers(0, 21, (20, 200)) * step
    unlearned[0], retrained[0] = 0, 20 * step
    assert klom(unlearned, retrained) == pytest.approx(slow_klom(unlearned, retrained), rel=1e-12, abs=1e-12)


def test_margins_that_are_edges_of_bins_are_never_rounded_into_the_bin_below(rng):
    edges = np.linspace(rng.uniform(-20, 0, 300), rng.uniform(1, 30, 300), 21)
    # Every bin holds its lower edge; the last holds its upper one too.
    share = np.repeat(1 / 21, 20) + np.eye(20)[19] / 21
    # Both of these reach each bin but the last once, at its bottom or at its top.
    counted = np.repeat([1 / 19, 1e-5], [19, 1])
    for others in (edges[:-2], np.nextafter(edges[1:-1], -np.inf)):
        expected = (share * np.log(share / counted)).sum()
        assert klom(edges, others) == pytest.approx(np.full(300, expected), rel=1e-9)


def test_equal_sets_of_models_score_nothing(rng):
    margins = rng.normal(0, 50, (30, 20))
    assert np.array_equal(klom(margins, margins), np.zeros(20))
    assert np.array_equal(klom(rng.permuted(margins, axis=0), margins), np.zeros(20))


def test_models_that_all_say_the_same_score_nothing():
    assert klom(np.full((8, 3), 0.1), np.full((9, 3), 0.1)) == pytest.approx([0, 0, 0])


def test_a_disjoint_pair_scores_the_logarithm_of_one_over_the_floor():
    assert klom(np.full((8, 2), -3.0), np.full((9, 2), 5.0)) == pytest.approx([math.log(1e5)] * 2)
    assert klom(np.full((8, 2), 5.0), np.full((9, 2), -3.0)) == pytest.approx([math.log(1e5)] * 2)


def test_a_disjoint_pair_scores_less_by_the_entropy_of_the_unlearned_models():
    unlearned = np.repeat([0.0, 1.0], [4, 4])[:, None]
    expected = math.log(1e5) - math.log(2)
    assert klom(unlearned, np.full((8, 1), 20.0)) == pytest.approx([expected])


def test_the_direction_is_from_unlearned_to_retrained():
    spread, narrow = np.array([0.0] * 5 + [20.0] * 5)[:, None], np.array([0.0] * 9 + [20.0])[:, None]
    assert klom(spread, narrow) == pytest.approx([0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)])
    assert klom(narrow, spread) == pytest.approx([0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5)])


def test_margins_beyond_a_hundred_count_as_a_hundred(rng):
    unlearned, retrained = np.full((8, 1), 100.0), np.full((8, 1), 1e4)
    assert klom(unlearned, retrained) == pytest.approx([0])
    wild = rng.choice([-1e4, 1e4], (16, 10))
    assert np.array_equal(klom(wild[:8], wild[8:]), klom(wild[:8] / 100, wild[8:] / 100))


def test_many_models_of_two_gaussians_score_their_divergence(rng):
    shift = 0.5
    unlearned, retrained = rng.normal(shift, 1, (40_000, 1)), rng.normal(0, 1, (30_000, 1))
    edges = np.linspace(min(unlearned.min(), retrained.min()), max(unlearned.max(), retrained.max()), 21)
    # The divergence between Gaussians is shift^2 / 2; binning can only lose some of it.
    share, other = np.diff(norm.cdf(edges, shift)), np.diff(norm.cdf(edges))
    assert klom(unlearned, retrained) == pytest.approx([(share * np.log(share / other)).sum()], abs=0.01)
    assert klom(unlearned, retrained) == pytest.approx([shift**2 / 2], abs=0.015)


def test_models_that_did_not_forget_score_above_the_noise_floor(rng):
    retrained, again = rng.normal(0, 1, (2, 100, 200))
    original = rng.normal(6, 1, (100, 200))
    assert klom(original, retrained).mean() > 10 * klom(again, retrained).mean()


def test_a_constant_added_to_all_margins_changes_nothing(rng):
    unlearned, retrained = rng.integers(-20, 21, (2, 30, 50)).astype(float)
    assert np.array_equal(klom(unlearned + 64, retrained + 64), klom(unlearned, retrained))


def test_samples_are_scored_alike_in_one_block_and_in_many(rng, monkeypatch):
    unlearned, retrained = rng.normal(size=(2, 10, 61))
    whole = klom(unlearned, retrained)
    monkeypatch.setattr(references.blocks, "__defaults__", (7 * 20,))
    assert np.array_equal(klom(unlearned, retrained), whole)


sets = st.lists(st.floats(-1e4, 1e4) | st.floats(-1, 1), min_size=8, max_size=12)


@given(unlearned=sets, retrained=sets)
def test_scores_are_finite_and_between_nothing_and_the_floors_logarithm(unlearned, retrained):
    (value,) = klom(np.array(unlearned)[:, None], np.array(retrained)[:, None])
    assert 0 <= value <= math.log(1e5) + 1e-9


def test_the_summary_is_the_mean_and_the_95th_percentile():
    assert klom_summary(np.arange(101) / 10) == pytest.approx({"mean": 5.0, "p95": 9.5})
    with pytest.raises(UsageError, match="klom needs at least 1 sample"):
        klom_summary([])


@pytest.mark.parametrize(("unlearned", "retrained", "kind"), [(7, 8, "unlearned"), (8, 7, "retrained")])
def test_fewer_than_eight_models_are_refused(unlearned, retrained, kind):
    with pytest.raises(UsageError, match=rf"klom needs at least 8 {kind} models \(got 7\)"):
        klom(np.zeros((unlearned, 2)), np.zeros((retrained, 2)))


def test_what_klom_cannot_score_is_refused():
    with pytest.raises(UsageError, match=r"klom needs one row per model .* align them"):
        klom(np.zeros((8, 2)), np.zeros((8, 3)))
    with pytest.raises(UsageError, match="one row per model"):
        klom(np.zeros(8), np.zeros(8))
    with pytest.raises(UsageError, match="finite numbers"):
        klom(np.full((8, 2), np.nan), np.zeros((8, 2)))
