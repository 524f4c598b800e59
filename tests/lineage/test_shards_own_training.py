"""The user's own function trains shards: once each, or slice by slice from the model of the slices before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.errors import SettingError, TrainingError
from natmu.lineage import obtain, outcome_of
from natmu.lineage.costs import retraining_seconds, seconds_of
from natmu.lineage.division import Division, stage_seed
from natmu.lineage.own_training import SEEDS, require_signature
from natmu.lineage.unlearning import problem_of
from natmu.methods import SISA, Retrain
from natmu.progress import deciding
from natmu.records.derived import stages_of
from natmu.records.settings import OwnTraining, Sharding

from . import tiny_shards as tiny

CALLS: list[tuple[int, int, bool]] = []


def train(samples, seed, lr=0.1):
    """A step on all samples, from weights that the seed decides."""
    CALLS.append((len(samples), seed, False))
    return step(tiny.factory(), samples, lr)


def train_on(samples, seed, start, lr=0.1):
    """The same, from the model of the slices before; it is changed, as users do."""
    CALLS.append((len(samples), seed, start is not None))
    assert start is None or isinstance(start, nn.Sequential)
    return step(tiny.factory() if start is None else start, samples, lr)


def step(model, samples, lr):
    images, labels = zip(*(samples[row] for row in range(len(samples))), strict=True)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    nn.functional.cross_entropy(model(torch.stack(images)), torch.tensor(labels)).backward()
    optimizer.step()
    return model


def place_of(function, out):
    CALLS.clear()
    return replace(tiny.workspace(out, tiny.images(30)), trainer=function)


def recipe(**sharding):
    return OwnTraining(trainer="mine:train", arguments={"lr": 0.2}, sharding=Sharding(**sharding))


def test_each_shard_is_trained_by_one_call_and_only_affected_ones_again(tmp_path):
    place = place_of(train, tmp_path)
    model = place.original(recipe(shards=3), 5)
    run = obtain(model, place)
    division = Division.of_array(run.division())
    sizes = np.bincount(division.shards).tolist()
    assert [(sizes[shard], stage_seed(5, shard, 1) % SEEDS, False) for shard in (0, 0, 1, 2)] == CALLS
    assert run.history() == []
    assert not run.has("confidence.npy")
    assert run.record.seconds > 0
    made = tiny.by_sisa(place, np.flatnonzero(division.shards == 1)[:2], model)
    assert CALLS[4:] == [(sizes[1] - 2, stage_seed(5, 1, 1) % SEEDS, False)]
    # The hardest samples are those of the largest loss, where no confidence is noted.
    retrain = outcome_of(Retrain(), model, made.forget, seed=5, batch_size=None, at=place.arithmetic)
    retrained, unlearned = obtain(retrain, place).weights(), place.require(made).weights()
    assert all(torch.equal(value, retrained[name]) for name, value in unlearned.items())
    assert len(CALLS) == 4 + 1 + 3


def test_slices_go_on_from_the_model_of_those_before(tmp_path):
    place = place_of(train_on, tmp_path)
    model = place.original(recipe(shards=2, slices=2), 0)
    run = obtain(model, place)
    division = Division.of_array(run.division())
    assert [begun for _, _, begun in CALLS] == [False, False, True, False, True]
    expected = [int(division.until(shard, slices).sum()) for shard in range(2) for slices in (1, 2)]
    assert [count for count, _, _ in CALLS] == [expected[0], *expected]
    first, last = (place.require(stage).weights() for stage in stages_of(model, 0))
    assert any(not torch.equal(first[name], last[name]) for name in first)
    gone = np.flatnonzero((division.shards == 0) & (division.slices == 1))[:1]
    made = tiny.by_sisa(place, gone, model)
    assert [call[0] for call in CALLS[5:]] == [expected[1] - 1]
    retrain = outcome_of(Retrain(), model, made.forget, seed=0, batch_size=None, at=place.arithmetic)
    retrained, unlearned = obtain(retrain, place).weights(), place.require(made).weights()
    assert all(torch.equal(value, retrained[name]) for name, value in unlearned.items())


def test_what_sisa_takes_follows_from_what_the_function_took(tmp_path):
    """Nobody knows its epochs, so that the time of a step of natmu says nothing of it."""
    place = place_of(train_on, tmp_path)
    model = place.original(recipe(shards=2, slices=2), 0)
    run = obtain(model, place)
    division = Division.of_array(run.division())
    gone = np.flatnonzero((division.shards == 0) & (division.slices == 1))[:1]
    forget = tiny.forgotten(place, gone, model)
    made = outcome_of(SISA(), model, forget, seed=0, batch_size=None, at=place.arithmetic)
    problem = problem_of(made, place)
    retraining = retraining_seconds(problem, 1.0, run, place.store)
    assert retraining == pytest.approx(run.record.seconds / 30 * 29)
    # Samples of slice 1 are shown in both stages and those of slice 2 in one, with equal slices 1.5 times each.
    again = int(division.until(0, 2).sum()) - 1
    expected = retraining * again / (29 * 1.5)
    for per_sample in (1.0, 100.0):
        assert seconds_of(SISA(), problem, per_sample, model.recipe, retraining) == pytest.approx(expected)
    assert seconds_of(SISA(), problem, 1.0, model.recipe) is None


NETWORK = tiny.factory()


def train_the_same_network(samples, seed):
    """Goes on from what the call before left behind."""
    CALLS.append((len(samples), seed, False))
    return step(NETWORK, samples, 0.1)


def train_by_luck(samples, seed):
    """Draws random numbers that nobody seeded."""
    CALLS.append((len(samples), seed, False))
    torch.seed()
    return step(nn.Sequential(*tiny.factory()[:-1], nn.Linear(16, 3)), samples, 0.1)


@pytest.mark.parametrize("function", [train_the_same_network, train_by_luck])
@pytest.mark.parametrize("slices", [1, 2])
def test_a_function_that_does_not_train_the_same_again_is_refused_after_the_first_shard(tmp_path, function, slices):
    def sliced(samples, seed, start=None):
        return function(samples, seed)

    place = place_of(sliced if slices > 1 else function, tmp_path)
    model = place.original(OwnTraining(trainer="mine:train", sharding=Sharding(shards=3, slices=slices)), 0)
    for _ in range(2):  # nothing of it is kept
        CALLS.clear()
        with pytest.raises(TrainingError, match=r"mine:train gave other weights .*the same samples and seed"):
            obtain(model, place)
        assert len(CALLS) == 2
        assert CALLS[0] == CALLS[1]
    assert not place.store.all()


CACHE: dict[int, torch.Tensor] = {}


def train_from_a_cache(samples, seed):
    """Reads each position once: the second shard gets samples of the first one."""
    for row in range(len(samples)):
        CACHE.setdefault(row, samples[row])
    return step(tiny.factory(), CACHE, 0.1)


def step_by_step(samples, seed):
    """Keeps nothing."""
    return step(tiny.factory(), samples, 0.1)


@pytest.mark.parametrize(
    ("function", "named"), [(train_from_a_cache, ["CACHE"]), (train, ["CALLS"]), (step_by_step, [])]
)
def test_what_a_call_leaves_at_the_top_of_the_file_is_named(tmp_path, function, named):
    CACHE.clear()
    place = place_of(function, tmp_path)
    with deciding() as decisions:
        obtain(place.original(OwnTraining(trainer="mine:train", sharding=Sharding(shards=2)), 0), place)
    said = " ".join(decisions)
    assert [name for name in ("CACHE", "CALLS", "NETWORK") if f"has changed {name} at the top" in said] == named


def test_only_the_first_stage_of_an_original_is_trained_twice(tmp_path):
    place = place_of(train, tmp_path)
    model = place.original(recipe(shards=3), 0)
    division = Division.of_array(obtain(model, place).division())
    assert len(CALLS) == 3 + 1
    made = tiny.by_sisa(place, np.flatnonzero(division.shards == 0)[:1], model)
    assert len(CALLS) == 3 + 1 + 1
    obtain(outcome_of(Retrain(), model, made.forget, seed=0, batch_size=None, at=place.arithmetic), place)
    assert len(CALLS) == 3 + 1 + 1 + 3


def test_a_function_without_start_is_refused_before_anything_runs(tmp_path):
    place = place_of(train, tmp_path)
    with pytest.raises(SettingError, match=r"cannot be called as train\(samples, seed, lr=…, start=…\).*slices before"):
        obtain(place.original(recipe(shards=2, slices=2), 0), place)
    assert CALLS == []
    with pytest.raises(SettingError, match="leave that argument out"):
        require_signature(train_on, recipe(shards=2, slices=2).model_copy(update={"arguments": {"start": 1}}))
    require_signature(train_on, recipe(shards=2, slices=2))
