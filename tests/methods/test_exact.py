"""What the exact methods hand on, and what in-memory shards and heads of the suite really do."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch

from natmu.engine.training import train_classifier
from natmu.errors import ModelError, SettingError
from natmu.heads.ridge import RidgeHead
from natmu.methods import SISA, Downdate, NatMU
from natmu.methods.cost import Cost, cost_of
from natmu.methods.rate_trial import is_open
from natmu.records.settings import Sharding
from natmu.testing import problem_for, same_state, state_of
from natmu.testing.exact_problems import equipped


@pytest.mark.parametrize(("method", "hint"), [(SISA, "--shards 5"), (Downdate, "--head ridge")])
def test_other_models_are_refused_with_the_command_that_makes_one(method, hint):
    with pytest.raises(ModelError, match=hint):
        method()(problem_for("random"))


def test_sisa_trains_the_shard_of_a_sample_without_it_and_leaves_the_other():
    problem = problem_for("indices")
    problem = equipped(SISA, replace(problem, forget=replace(problem.forget, indices=np.array([4]))))
    model = SISA()(problem).model.by_shard()
    alone, rows = copy.deepcopy(problem.initial_model()), [p for p in range(60) if p // 2 % 2 == 0 and p != 4]
    train_classifier(alone, problem.data, torch.tensor(rows), problem.training, problem.compute, seed=0)
    assert same_state(state_of(model[0]), state_of(alone))
    assert same_state(state_of(model[1]), state_of(problem.model.by_shard()[1]))
    assert cost_of(SISA(), problem) == Cost(problem.training.epochs * len(rows))


def test_downdate_gives_the_fit_that_never_had_the_samples_and_costs_nothing_in_the_network():
    problem = equipped(Downdate, problem_for("random"))
    kept = problem.retain_positions.numpy()
    wanted = RidgeHead.fit(problem.fitted.rows[kept], problem.fitted.labels[kept], num_classes=10).weights
    model = Downdate()(problem).model
    assert torch.equal(model[-1].weight, torch.from_numpy(wanted[:, :-1] * 0.75).float())
    assert not torch.equal(model[-1].weight, problem.model[-1].weight)
    assert cost_of(Downdate(), problem) == Cost(0)


def test_there_is_no_rate_to_try():
    assert not any(is_open(method, None) for method in (SISA(), Downdate()))
    assert is_open(NatMU(), None)


def test_a_division_of_sisa_is_whole_or_none():
    assert SISA().config.division is None
    assert SISA(shards=3).config.division == Sharding(shards=3)
    assert SISA(slices=4, combine="votes").config.division == Sharding(slices=4, combine="votes")
    with pytest.raises(SettingError, match="no division"):
        _ = SISA(shards=1).config.division
