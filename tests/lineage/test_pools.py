"""Pools of shadow models: who is in them, and which half each shadow model is trained on."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from natmu.errors import DataError
from natmu.lineage.pools import Pool, draw_non_members, half_of_pool
from natmu.types import ForgetSet

from . import fakes


def forget_set(count, first=0):
    return ForgetSet(np.arange(first, first + count), "indices:x", "indices")


@settings(max_examples=60)
@given(st.integers(1, 40), st.integers(0, 40), st.integers(1, 6))
def test_halves_complement_each_other_so_that_each_sample_is_in_exactly_half_of_them(members, non_members, pairs):
    forget, size = forget_set(members), members + non_members
    halves = np.stack([half_of_pool(forget, size, number) for number in range(2 * pairs)])
    assert halves.shape == (2 * pairs, size)
    assert np.array_equal(halves[::2], ~halves[1::2])
    assert (halves.sum(0) == pairs).all()
    assert (halves[::2].sum(1) == size // 2).all()


def test_halves_follow_from_the_forget_set_and_their_number():
    first, second = forget_set(20), forget_set(20, first=1)
    assert np.array_equal(half_of_pool(first, 40, 5), half_of_pool(forget_set(20), 40, 5))
    assert not np.array_equal(half_of_pool(first, 40, 0), half_of_pool(first, 40, 2))
    assert not np.array_equal(half_of_pool(first, 40, 0), half_of_pool(second, 40, 0))


@settings(max_examples=60)
@given(st.integers(1, 30), st.integers(1, 60))
def test_there_are_as_many_non_members_as_members_or_all(members, unseen):
    drawn = draw_non_members(forget_set(members), unseen)
    assert drawn.tolist() == sorted({*drawn.tolist()})
    assert len(drawn) == min(members, unseen)
    assert drawn.min() >= 0
    assert drawn.max() < unseen


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return fakes.workspace(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("text", ["random:20", "class:3"])
def test_the_pool_is_the_forget_set_and_test_samples_behind_the_training_data(place, text):
    forget = fakes.forget(place, text)
    pool, members, test = place.pool(forget), place.forget_set(forget), place.splits.test
    assert len(pool.rows) == len(members)
    assert pool.positions.tolist() == [*members.indices, *range(150, 150 + len(pool.rows))]
    assert len(pool.data) == 150 + len(pool.rows)
    assert np.array_equal(pool.data.images[150:], test.images[pool.rows])
    assert np.array_equal(pool.data.labels[150:], test.labels[pool.rows])
    assert np.array_equal(pool.data.images[:150], place.splits.train.images)
    if text == "class:3":
        assert set(test.labels[pool.rows].tolist()) == {3}


def test_what_a_shadow_model_sees_and_what_it_does_not_are_the_pool(place):
    pool = place.pool(fakes.forget(place, "random:20"))
    for number in range(4):
        seen, aside = pool.trained_on(number), pool.aside(number)
        assert seen.tolist() == sorted(seen.tolist())
        assert sorted([*seen, *aside]) == sorted(pool.positions)
    assert np.array_equal(pool.trained_on(2), np.sort(pool.aside(3)))


def test_only_one_pool_is_in_memory_and_it_is_made_once(place):
    first, second = fakes.forget(place, "random:20"), fakes.forget(place, "class:3")
    pool = place.pool(first)
    assert place.pool(first) is pool
    place.pool(second)
    assert len(place.pools) == 1
    assert np.array_equal(place.pool(first).positions, pool.positions)


def test_a_pool_needs_unseen_samples(place):
    splits = place.splits
    rows = np.flatnonzero(np.asarray(splits.test.labels) != 3)
    without = replace(splits, test=splits.test.subset(rows))
    with pytest.raises(DataError, match=r"class:3 leaves no unseen samples .*; audit at a lower level"):
        _ = Pool(without, place.forget_set(fakes.forget(place, "class:3"))).rows
