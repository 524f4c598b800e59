"""RELOAD: gradients, knowledge values and the weights before fine-tuning by a slow computation."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.methods import RELOAD
from natmu.methods.reload import knowledge_values, lowest
from natmu.testing.problems import state_of

from .problems import intercept, noise_data, problem_of

FORGET = list(range(0, 250, 10))


def slow_gradients(problem, positions):
    """The gradient of the summed cross-entropy, sample by sample in double precision, one vector."""
    model = problem.frozen_copy().double()
    weights = [weight.requires_grad_() for weight in model.parameters()]
    total = torch.zeros(sum(weight.numel() for weight in weights), dtype=torch.float64)
    for position in positions.tolist():
        logits = model(problem.data.images[position : position + 1].double() / 255)
        loss = nn.functional.cross_entropy(logits, problem.data.labels[position : position + 1])
        total += torch.cat([gradient.flatten() for gradient in torch.autograd.grad(loss, weights)])
    return total


def vector(model):
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


@pytest.fixture
def problem(digits, trained):
    return problem_of(digits, FORGET, model=trained)


@pytest.mark.parametrize(("share", "rate"), [(0.1, 1.0), (0.4, 0.0)])
def test_weights_step_up_and_the_lowest_are_drawn_anew(monkeypatch, problem, share, rate):
    """The paper's rule; the step is that of reload.py of its code, ``param + ga_lr * gradients``."""
    whole = slow_gradients(problem, torch.arange(len(problem.data)))
    retain = slow_gradients(problem, problem.retain_positions)
    forget = whole - retain
    values = (forget.abs() + 1e-10) / (whole.abs() + 1e-10)
    count = math.ceil(share * len(values))
    border = values.sort().values[count - 1]
    before, after = (
        vector(problem.model),
        vector(intercept(monkeypatch, RELOAD(reset_share=share, ascent_lr=rate), problem).model),
    )
    stepped = before.double() + rate * forget / len(FORGET)
    sure = (values - border).abs() > 1e-3 * border  # others may be chosen by rounding
    kept = values > border
    torch.testing.assert_close(after.double()[kept & sure], stepped[kept & sure], rtol=1e-4, atol=1e-5)
    fresh = after.double()[~kept & sure]
    assert (fresh != stepped[~kept & sure]).float().mean() > 0.99
    assert int(sure.sum()) > 0.99 * len(sure)


def test_knowledge_values_and_the_share_of_lowest():
    whole, retain = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([1.0, -3.0, 0.0])
    assert knowledge_values(whole, retain, 0.5).tolist() == pytest.approx([1.5 / 2.5, 2.5 / 1.5, 1.0])
    values = [torch.tensor([[0.3, 0.1], [0.9, 0.2]]), torch.tensor([0.05, 0.8])]
    assert [mask.int().tolist() for mask in lowest(values, 0.5)] == [[[0, 1], [0, 1]], [1, 0]]
    assert sum(int(mask.sum()) for mask in lowest([torch.ones(3), torch.ones(7)], 0.25)) == 3, "ties count once"


def test_new_weights_are_drawn_in_the_layers_own_way_and_by_the_seed(monkeypatch, problem):
    drawn = [
        vector(intercept(monkeypatch, RELOAD(reset_share=1), problem_of(
            problem.data, FORGET, model=problem.frozen_copy().requires_grad_(), seed=seed)).model)
        for seed in (0, 0, 1)
    ]  # fmt: skip
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    bound = 1 / 128**0.5  # of the linear layer, as PyTorch draws it
    assert 0.9 * bound < float(drawn[0][-1280:].abs().max()) <= bound
    assert torch.equal(drawn[0][80:88], torch.ones(8)), "scales of batch normalisation"


def test_frozen_weights_neither_step_nor_are_drawn(monkeypatch, problem):
    problem.model[0].requires_grad_(False)
    before = state_of(problem.model)
    try:
        after = intercept(monkeypatch, RELOAD(reset_share=0.9, ascent_lr=5), problem).model.state_dict()
    finally:
        problem.model[0].requires_grad_(True)
    assert all(torch.equal(before[name], after[name]) for name in ("0.weight", "0.bias"))
    assert not torch.equal(before["5.weight"], after["5.weight"])
    assert torch.equal(before["1.running_mean"], after["1.running_mean"])


def test_samples_forgotten_before_count_for_nothing(monkeypatch, problem):
    aside = np.arange(1, 250, 10)
    data = problem.data
    changed = replace(data, images=data.images.clone())
    changed.images[aside] = 255 - changed.images[aside]
    first, second = (
        vector(intercept(monkeypatch, RELOAD(), replace(problem, data=one, aside=aside)).model)
        for one in (data, changed)
    )
    assert torch.equal(first, second)


class Opaque(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(math.prod(shape), classes))

    def forward(self, images):
        return images.flatten(1) @ self.weight


def test_a_model_that_cannot_be_drawn_anew_is_refused_before_anything_is_trained():
    data = noise_data(60)
    with pytest.raises(ModelError, match="cannot be drawn anew"):
        RELOAD().check(problem_of(data, [0, 4], model=Opaque(data.image_shape, 5)))
