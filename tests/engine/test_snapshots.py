"""Snapshots: what they keep, that it is a copy, and that it goes through a checkpoint."""

from __future__ import annotations

import torch
from torch import nn

from natmu.engine.snapshots import Snapshots


def test_wanted_epochs_are_kept_as_they_were():
    model, snapshots = nn.BatchNorm1d(3), Snapshots([0, 2])
    for epoch in range(4):
        with torch.no_grad():
            model.weight.fill_(epoch)
            model.running_mean.fill_(10 * epoch)
        snapshots.take(epoch, model)
    assert list(snapshots.taken) == [0, 2]
    for epoch, state in snapshots.taken.items():
        assert state.keys() == model.state_dict().keys()
        assert state["weight"].tolist() == [epoch] * 3
        assert state["running_mean"].tolist() == [10 * epoch] * 3


def test_a_saved_state_brings_all_of_them_back_in_order_and_leaves_others_alone():
    model, snapshots = nn.Linear(2, 1), Snapshots(range(12))
    for epoch in (9, 10, 11):
        snapshots.take(epoch, model)
    saved = dict(sorted((snapshots.state() | {"visits": torch.zeros(2)}).items()))
    again = Snapshots(range(12))
    again.load(saved)
    assert list(again.taken) == [9, 10, 11]
    assert all(torch.equal(again.taken[9][name], value) for name, value in model.state_dict().items())
