"""Python: the user's own function retrains, and trains what an audit compares with, in a folder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import natmu
from lineage import cluster_trainer
from natmu.errors import SettingError, UsageError
from natmu.testing.problems import digits

CALLS = []


def train(samples, seed):
    """The same training as on the cluster; notes what it is called with."""
    CALLS.append((len(samples), seed))
    return cluster_trainer.train(samples, seed)


def test_one_call_trains_what_a_standard_audit_compares_with_and_the_next_one_finds_it(tmp_path):
    data, test = digits(0, 120), digits(120, 200)
    pairs = [(data.images[row].float() / 255, int(data.labels[row])) for row in range(len(data))]
    given = torch.utils.data.Subset(pairs, range(len(pairs)))
    original = cluster_trainer.train(given, 0)
    result = natmu.unlearn(original, given, "random:10%", "amnesiac", epochs=1, force=True, progress=False)
    wanted = {"original": original, "trainer": train, "references": 2, "folder": tmp_path, "force": True}
    CALLS.clear()
    audit = natmu.audit(result, given, test, result.forget, progress=False, **wanted)
    assert sorted(CALLS) == [(108, 0), (108, 1), (120, 1)]
    again = natmu.audit(result, given, test, result.forget, progress=False, **wanted)
    assert (len(CALLS), again.scores) == (3, audit.scores)

    retain = np.setdiff1d(np.arange(120), result.forget.indices)
    by_hand = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        by_hand.append(cluster_trainer.train(torch.utils.data.Subset(given, retain.tolist()), seed))
    expected = natmu.audit(
        result.model, given, test, result.forget, retrained=by_hand, original=original, progress=False, force=True
    )
    assert audit.retrained["forget_acc"] == expected.retrained["forget_acc"]
    assert audit.scores["avg_gap"] == pytest.approx(expected.scores["avg_gap"])

    retrained = natmu.unlearn(original, given, result.forget, "retrain", trainer=train, seed=1, progress=False)
    state = by_hand[1].state_dict()
    assert all(torch.equal(value, state[name]) for name, value in retrained.model.state_dict().items())
    assert retrained.settings["training"]["trainer"].endswith("test_by_trainer:train")

    with pytest.raises(SettingError, match="forgot other samples"):
        natmu.audit(result, given, test, [1, 2], **wanted)
    with pytest.raises(SettingError, match="trainer makes the models that retrained gives"):
        natmu.audit(result, given, test, result.forget, retrained=by_hand, **wanted)
    with pytest.raises(SettingError, match="folder is of models that a trainer makes"):
        natmu.audit(result, given, test, result.forget, folder=tmp_path)
    with pytest.raises(SettingError, match="write method='retrain'"):
        natmu.unlearn(original, given, result.forget, trainer=train)


def test_a_trainer_that_ignores_its_seed_is_refused_after_its_second_model():
    data, test = digits(0, 60), digits(60, 90)
    pairs = [(data.images[row].float() / 255, int(data.labels[row])) for row in range(len(data))]
    model = cluster_trainer.train(torch.utils.data.Subset(pairs, range(60)), 0)
    calls = []

    def always_the_same(samples, seed):
        calls.append(seed)
        torch.manual_seed(0)
        return cluster_trainer.train(samples, 0)

    with pytest.raises(UsageError, match=r"the same weights for retrained, .*, seed 0 and for retrained, .*, seed 1"):
        natmu.audit(model, pairs, test, [1, 2], trainer=always_the_same, references=4, level="quick", progress=False)
    assert calls == [0, 1]
