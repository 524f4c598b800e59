"""Which shard and slice a sample belongs to, how long slices are trained on, and what forgetting costs."""

from __future__ import annotations

import hashlib
import unicodedata
from fractions import Fraction

import numpy as np
import pytest
import torch

from natmu.engine import processes
from natmu.errors import UsageError
from natmu.lineage.division import (
    Division,
    divide,
    first_affected,
    settled,
    stage_epochs,
    stage_seed,
    stage_settings,
    work_of,
)
from natmu.records.settings import OwnTraining, RidgeTraining, Sharding, TrainSettings
from natmu.types import seed_for

NAMES = [f"class/{row:04}.png" for row in range(600)]
SHARDING = Sharding(shards=3, slices=2)


def test_shard_and_slice_are_digits_of_a_keyed_hash_of_the_name():
    division = divide(NAMES, SHARDING, 7)
    key = seed_for(7, "division").to_bytes(8, "little")
    for name, shard, part in zip(NAMES, division.shards, division.slices, strict=True):
        number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "little")
        assert (shard, part) == (number % 3, number // 3 % 2)
    counts = np.unique(division.array, axis=0, return_counts=True)[1]
    assert len(counts) == 6
    assert (np.abs(counts - 100) < 5 * 100**0.5).all()


def test_a_sample_stays_where_it_is_whatever_becomes_of_others():
    whole, order = divide(NAMES, SHARDING, 0), np.random.default_rng(0).permutation(600)[:400]
    part = divide([NAMES[row] for row in order], SHARDING, 0)
    assert np.array_equal(part.array, whole.at(order).array)
    assert not np.array_equal(divide(NAMES, SHARDING, 1).array, whole.array)


def test_an_accent_is_the_same_however_a_file_system_writes_it():
    forms = [unicodedata.normalize(form, "café/né.png") for form in ("NFC", "NFD")]
    assert forms[0] != forms[1]
    first, second = (divide([name], Sharding(shards=1000, slices=100), 0).array.tolist() for name in forms)
    assert first == second
    divide(["\udcff.png"], SHARDING, 0)  # no name that a file may have stops it


def test_a_division_is_kept_as_an_array_with_those_that_are_gone():
    division = divide(NAMES[:5], SHARDING, 0).followed_by(Division(np.array([-1]), np.array([-1])))
    again = Division.of_array(division.array)
    assert np.array_equal(again.shards, division.shards)
    assert np.array_equal(again.slices, division.slices)
    assert first_affected(again, np.array([5])) == {}


def test_epochs_of_stages_are_those_of_the_authors_code_but_for_a_last_stage_without_any():
    """cleverhans-lab/machine-unlearning, sisa.py: avg_epochs_per_slice and slice_epochs."""
    for epochs in (1, 2, 3, 7, 20, 100):
        for slices in (1, 2, 3, 5, 8, 20):
            average = 2 * slices / (slices + 1) * epochs / slices
            # What they cut off by int() may be a whole number that a float just misses.
            ends = [int(Fraction(2 * epochs, slices + 1) * number) for number in range(slices + 1)]
            assert all(abs(end - int(number * average)) <= 1 for number, end in enumerate(ends))
            theirs = np.diff(ends).tolist()
            ours = list(stage_epochs(epochs, slices))
            assert ours[-1] >= 1
            assert sum(ours) == sum(theirs)
            assert ours == theirs or theirs[-1] == 0


@pytest.mark.parametrize(("epochs", "slices"), [(1, 1), (1, 5), (4, 3), (11, 20), (30, 5), (43, 28), (100, 2)])
def test_stages_show_as_many_samples_as_the_epochs_on_everything_to_half_an_epoch(epochs, slices):
    shown = sum(count * number / slices for number, count in enumerate(stage_epochs(epochs, slices), start=1))
    assert abs(shown - epochs) <= 0.5 + 1e-9


def test_the_expected_share_of_one_deletion_is_that_of_a_count():
    """Stages of equal epochs cost i units; a sample of slice j takes those from j on: the mean is (2R + 1) / (3R)."""
    for slices in (1, 2, 3, 10):
        division = Division(np.zeros(2 * slices, np.int64), np.arange(2 * slices) // 2)  # two samples in each slice
        kept, epochs, rows = np.ones(2 * slices, bool), (1,) * slices, range(2 * slices)
        whole = work_of(division, kept, {0: 1}, epochs)
        assert whole == slices * (slices + 1)
        counted = [work_of(division, kept, first_affected(division, np.array([row])), epochs) for row in rows]
        assert np.mean(counted) / whole == pytest.approx((2 * slices + 1) / (3 * slices))


def test_work_is_what_affected_stages_show():
    division = divide(NAMES, Sharding(shards=4, slices=3), 0)
    left_out = np.array([3, 77, 300, 301])
    kept = np.ones(600, bool)
    kept[left_out] = False
    epochs, expected = (2, 0, 5), 0
    for shard in range(4):
        hit = [division.slices[row] for row in left_out if division.shards[row] == shard]
        for stage in range(min(hit), 3) if hit else ():
            seen = [row for row in range(600) if division.shards[row] == shard and division.slices[row] <= stage]
            expected += epochs[stage] * sum(bool(kept[row]) for row in seen)
    assert work_of(division, kept, first_affected(division, left_out), epochs) == expected > 0
    assert work_of(division.at(np.arange(1)), kept[:1], dict.fromkeys(range(4), 1), epochs) == 0


def test_a_stage_has_its_part_of_epochs_and_warm_up_and_a_seed_of_its_own():
    recipe = TrainSettings(epochs=30, warmup_epochs=3, sharding=Sharding(shards=2, slices=2))
    first, second = stage_settings(recipe, 1), stage_settings(recipe, 2)
    assert (first.epochs, second.epochs) == (20, 20)
    assert first.warmup_epochs == pytest.approx(2)
    assert first.sharding is None
    assert stage_settings(recipe.model_copy(update={"epochs": 1}), 1) is None
    assert len({stage_seed(seed, shard, part) for seed in range(3) for shard in range(3) for part in range(3)}) == 27


def test_threads_are_those_that_there_are_for_each_shard(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    recipe = settled(TrainSettings(sharding=SHARDING))
    assert recipe.sharding.threads == 2
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert settled(recipe) == recipe
    assert settled(OwnTraining(trainer="a:b", sharding=SHARDING)).sharding.threads == 1
    for plain in (TrainSettings(), RidgeTraining()):
        assert settled(plain) is plain
    monkeypatch.setattr(processes, "count", lambda: 2)
    with pytest.raises(UsageError, match="leave torchrun out"):
        settled(recipe)
