"""UAM against the authors' minimiser, written out: Machine-Unlearning-PyTorch, torchunlearn/optim/minimizer.py."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from natmu.engine.compute import Compute
from natmu.methods import UAM
from natmu.methods.uam import without_descent

from .problems import intercept, noise_data, problem_of, same_state, state_of, unnormed_net

FORGET = list(range(0, 250, 5))


def flat(tensors):
    return torch.cat([tensor.flatten() for tensor in tensors])


def slow_run(model, batches, method):
    """The weights after a run, and the lengths of the steps up the forget loss.

    A step is lines 152 to 195 of the file: perturb in place, take the retain gradient, go back, let SGD step. Lines 124
    to 137 are the projection, which the file defines for two gradients that are opposed, here those of descending
    either loss.
    """
    config, weights, lengths = method.config, list(model.parameters()), []
    total = sum(map(batches.steps, range(config.epochs)))
    optimizer = torch.optim.SGD(weights, config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
    model.train()
    for epoch in range(config.epochs):
        for batch in batches.epoch(epoch):
            rho = config.rho * (1 + math.cos(math.pi * len(lengths) / total)) / 2
            images = torch.cat([batch.paired.images, batch.images])
            labels = torch.cat([batch.paired.labels, batch.labels])
            costs = functional.cross_entropy(model(images), labels, reduction="none")
            up = torch.autograd.grad(costs[: len(batch.paired.labels)].mean(), weights)
            steps = [rho / flat(up).norm() * gradient for gradient in up]
            lengths.append(float(flat(steps).norm()))
            with torch.no_grad():
                for weight, move in zip(weights, steps, strict=True):
                    weight += move
            down = torch.autograd.grad(functional.cross_entropy(model(batch.images), batch.labels), weights)
            agreement = float(flat(up) @ flat(down))
            for weight, move, gradient, uphill in zip(weights, steps, down, up, strict=True):
                with torch.no_grad():
                    weight -= move
                weight.grad = gradient.clone()
                if config.projection and agreement > 0:
                    weight.grad -= (1 + config.gamma) * agreement / float(flat(up) @ flat(up)) * uphill
            optimizer.step()
    return model, lengths


@pytest.mark.parametrize("settings", [{}, {"gamma": 1.0}, {"projection": False}], ids=str)
def test_a_run_is_that_of_the_authors_minimiser(monkeypatch, trained, digits, settings):
    problem = problem_of(digits, FORGET, model=trained)
    method = UAM(epochs=2, rho=0.5, **settings)
    caught = intercept(monkeypatch, method, problem)
    expected, lengths = slow_run(copy.deepcopy(caught.model), caught.batches, method)
    assert lengths[0] == pytest.approx(0.5, rel=1e-5)
    assert sorted(lengths, reverse=True) == lengths
    found = method(problem).model.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_batch_normalisation_sees_both_sets_and_then_the_retain_set(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    steps = math.ceil(200 / 32)
    after = state_of(UAM(epochs=1)(problem).model)
    assert after["1.num_batches_tracked"] - trained[1].num_batches_tracked == 2 * steps


@given(
    st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3)), min_size=2, max_size=6), st.sampled_from([0, 0.5, 1])
)
def test_what_descends_the_other_loss_is_removed_and_nothing_else(pairs, gamma):
    gradient, uphill = (torch.tensor(values, dtype=torch.float64) for values in zip(*pairs, strict=True))
    split = [1, len(pairs) - 1]
    found = flat(without_descent(list(gradient.split(split)), list(uphill.split(split)), gamma))
    product, square = float(gradient @ uphill), float(uphill @ uphill)
    expected = gradient - (1 + gamma) * product / square * uphill if product > 0 else gradient
    torch.testing.assert_close(found, expected)
    assert product <= 0 or gamma > 0 or abs(float(found @ uphill)) < 1e-9


def test_frozen_weights_stay_and_the_perturbation_is_taken_back(trained, digits):
    model = copy.deepcopy(trained)
    model[0].weight.requires_grad_(False)
    after = state_of(UAM(epochs=1, rho=50, lr=1e-30, weight_decay=0)(problem_of(digits, FORGET, model=model)).model)
    for name, value in model.named_parameters():
        torch.testing.assert_close(after[name], value, rtol=0, atol=1e-6)
    assert torch.equal(after["0.weight"], model[0].weight)


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 8, 8)])
def test_a_single_forget_sample_serves(shape):
    data = noise_data(40, shape)
    problem = problem_of(data, [3])
    assert not same_state(state_of(UAM(epochs=1)(problem).model), state_of(problem.model))
    bare = replace(problem, model=unnormed_net(shape, 5))
    assert not same_state(state_of(UAM(epochs=1)(bare).model), state_of(bare.model))


def test_half_precision_sees_the_raised_weights(digits, trained):
    """Casts of weights must not be kept from the pass before."""
    whole = problem_of(digits, FORGET, model=trained)
    half = replace(whole, compute=Compute(torch.device("cpu"), "bf16"))
    method = UAM(epochs=1, rho=5, rho_schedule="constant", lr=1e-3)
    moved, rounded = (
        flat(method(problem).model.parameters()) - flat(trained.parameters()) for problem in (whole, half)
    )
    assert (moved - rounded).norm() < 0.2 * moved.norm()
