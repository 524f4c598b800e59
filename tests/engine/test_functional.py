"""A model that is called with other weights than its own."""

from __future__ import annotations

import copy

import torch
from torch import nn

from natmu.engine.functional import called_with


class TwoNames(nn.Module):
    """A layer under two names, both of them used, and a weight that two layers share."""

    def __init__(self):
        super().__init__()
        self.layer, self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)
        self.again, self.second.weight = self.layer, self.first.weight
        self.norm = nn.BatchNorm1d(6).eval()

    def forward(self, values):
        return self.norm(self.second(self.first(self.again(torch.tanh(self.layer(values))))))


def test_other_weights_take_effect_wherever_the_model_uses_them_and_leave_it_as_it_was():
    torch.manual_seed(0)
    model, values = TwoNames(), torch.randn(4, 6)
    weights, before = list(model.parameters()), copy.deepcopy(model.state_dict())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in (*other.parameters(), other.norm.running_mean):
            tensor.add_(torch.randn_like(tensor))
    given = {**dict(other.named_parameters()), "norm.running_mean": other.norm.running_mean}
    assert torch.equal(called_with(model, given, values), other(values))
    assert not torch.equal(other(values), model(values))
    assert all(after is weight for after, weight in zip(model.parameters(), weights, strict=True))
    assert all(torch.equal(model.state_dict()[name], value) for name, value in before.items())
