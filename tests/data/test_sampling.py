"""Class-balanced draws."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from natmu.data.sampling import allocate, balanced_draw, fixed_part


@given(
    counts=st.lists(st.integers(0, 50), min_size=1, max_size=8).filter(any),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_every_class_gets_its_share_within_one(counts: list[int], share: float, seed: int) -> None:
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    total = round(share * len(labels))
    drawn = balanced_draw(labels, total, np.random.default_rng(seed))
    assert len(drawn) == total
    assert np.array_equal(drawn, np.unique(drawn))
    got = np.bincount(labels[drawn], minlength=len(counts))
    assert (np.abs(got - np.array(counts) * total / len(labels)) < 1).all()


def test_allocation_matches_the_textbook() -> None:
    quota = allocate(np.array([47, 30, 23]), 10, np.random.default_rng(0))
    assert quota.tolist() == [5, 3, 2]


def test_equal_remainders_are_decided_by_the_seed_not_by_the_class_number() -> None:
    first = {tuple(allocate(np.array([10, 10, 10]), 1, np.random.default_rng(seed))) for seed in range(30)}
    assert len(first) == 3


def test_draws_depend_on_the_seed_alone() -> None:
    labels = np.arange(1000) % 10
    first, again, other = (balanced_draw(labels, 100, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_sample_of_a_class_is_as_likely_as_the_next() -> None:
    labels = np.repeat([0, 1], [20, 10])
    hits = np.zeros(30)
    for seed in range(600):
        hits[balanced_draw(labels, 9, np.random.default_rng(seed))] += 1
    assert np.abs(hits / 600 - 0.3).max() < 0.09


def test_the_fifth_is_fixed_and_disjoint() -> None:
    labels = np.arange(50) % 5
    rest, fifth = fixed_part(labels)
    assert sorted([*rest, *fifth]) == list(range(50))
    assert np.bincount(labels[fifth]).tolist() == [2] * 5
    assert np.array_equal(fifth, fixed_part(labels)[1])
