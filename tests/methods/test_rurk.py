"""RURK against Algorithm 1 of its paper (arXiv 2601.22359, Appendix B.2), and the neighbours that it climbs on."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from natmu.engine.compute import Compute
from natmu.errors import SettingError
from natmu.methods import RURK, rurk
from natmu.methods.neighbours import easiest, noisy, recognised
from natmu.types import seed_for

from .problems import UNIT, intercept, noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(0, 250, 5))


def slow_run(model, batches, method):
    """Lines 4 to 20 of Algorithm 1, with the descent that its objective asks for, noise and a clipped gradient."""
    config = method.config
    optimizer = torch.optim.SGD(
        model.parameters(), config.lr, momentum=config.momentum, weight_decay=config.weight_decay
    )
    model.train()
    for epoch in range(config.epochs):
        torch.manual_seed(seed_for(batches.seed, "model", epoch))
        for batch in batches.epoch(epoch):
            images, labels = batch.paired.images, batch.paired.labels
            loss = functional.cross_entropy(model(batch.images), batch.labels)
            loss = loss - config.forget_weight * functional.cross_entropy(model(images), labels)
            for _ in range(config.neighbours):
                near = torch.clamp(images + config.tau * torch.randn_like(images), 0, 1)
                near_loss = functional.cross_entropy(model(near), labels)
                loss = loss - config.neighbour_weight / config.neighbours * near_loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
            optimizer.step()
    return model


@pytest.mark.parametrize("neighbours", [1, 3])
def test_a_run_is_that_of_algorithm_1(monkeypatch, trained, digits, neighbours):
    problem = problem_of(digits, FORGET, model=trained)
    method = RURK(
        schedule="constant", forget_weight=0.2, neighbour_weight=0.3, neighbours=neighbours, max_grad_norm=0.2
    )
    caught = intercept(monkeypatch, method, problem)
    expected = slow_run(copy.deepcopy(caught.model), caught.batches, method)
    found = method(problem).model.state_dict()
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=1e-4)


def test_noise_has_the_stated_deviation_and_leaves_the_range_of_images_nowhere():
    torch.manual_seed(0)
    grey = torch.full((50, 3, 16, 16), 0.5)
    noise = noisy(grey, 0.03, UNIT) - grey
    count = noise.numel()
    assert abs(float(noise.mean())) < 5 * 0.03 / math.sqrt(count)
    assert abs(float(noise.var()) / 0.03**2 - 1) < 5 * math.sqrt(2 / count)
    wild = noisy(torch.rand(2, 1, 8, 8), 10, UNIT)
    assert wild.min() == 0
    assert wild.max() == 1


def slow_easiest(model, image, label, start, bound, step, steps):
    """One sample, pixel by pixel."""
    moved = (image + bound * (2 * start - 1)).clamp(0, 1)
    for _ in range(steps):
        shown = moved[None].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(-model(shown)[0].log_softmax(0)[label], shown)
        for place, slope in enumerate(gradient.flatten().tolist()):
            here, own = float(moved.flatten()[place]), float(image.flatten()[place])
            here -= step * (slope > 0) - step * (slope < 0)
            moved.view(-1)[place] = min(max(here, own - bound, 0.0), own + bound, 1.0)
    return moved


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 4, 4)])
def test_the_search_is_projected_descent_from_a_random_start(shape):
    torch.manual_seed(1)
    model = small_net(shape, 4, 2).double().train()
    model(torch.rand(16, *shape, dtype=torch.float64))
    before = state_of(model)
    images, labels = torch.rand(6, *shape, dtype=torch.float64), torch.arange(6) % 4
    torch.manual_seed(5)
    found = easiest(model, images, labels, UNIT, bound=0.1, step=0.03, steps=6)
    torch.manual_seed(5)
    starts = torch.rand_like(images)
    frozen = copy.deepcopy(model).eval()
    for row in range(6):
        expected = slow_easiest(frozen, images[row], int(labels[row]), starts[row], 0.1, 0.03, 6)
        torch.testing.assert_close(found[row], expected)
    assert model.training
    assert same_state(state_of(model), before)
    assert not found.requires_grad
    assert all(weight.grad is None for weight in model.parameters())
    losses = [functional.cross_entropy(frozen(each), labels) for each in (found, images)]
    assert losses[0] < losses[1]


def test_only_what_is_still_recognised_is_climbed_on(monkeypatch, trained, digits):
    torch.manual_seed(0)
    images, labels = torch.rand(60, 1, 8, 8), digits.labels[:60]
    monkeypatch.setattr(rurk, "noisy", lambda images, deviation, span: images)
    known = copy.deepcopy(trained).eval()(images).argmax(1) == labels
    assert 0 < known.sum() < 60
    answers = copy.deepcopy(trained).train()(images)
    losses = [-row.log_softmax(0)[label].item() for row, label in zip(answers, labels.tolist(), strict=True)]
    for only, expected in ((False, sum(losses) / 60), (True, sum(np.array(losses)[known.numpy()]) / 60)):
        found = RURK(recognised_only=only)._neighbour_loss(copy.deepcopy(trained).train(), images, labels, UNIT)
        assert found.item() == pytest.approx(expected, rel=1e-4)


def test_recognition_is_in_eval_mode_and_changes_nothing(trained, digits):
    model = copy.deepcopy(trained).train()
    images = digits.images[:40].float() / 255
    known = recognised(model, images, digits.labels[:40])
    assert torch.equal(known, copy.deepcopy(trained).eval()(images).argmax(1) == digits.labels[:40])
    assert model.training
    assert same_state(state_of(model), state_of(trained))


@pytest.mark.parametrize("settings", [{"search": "pgd"}, {"search": "pgd", "recognised_only": True}], ids=str)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_searched_neighbours_are_forgotten_too(trained, digits, settings, precision):
    problem = replace(problem_of(digits, FORGET, model=trained), compute=Compute(torch.device("cpu"), precision))
    images, labels = digits.images[FORGET].float() / 255, digits.labels[FORGET]
    recipe = {"epochs": 3, "forget_weight": 0.0, "lr": 0.05, "search_steps": 3}
    losses = []
    for weight in (0.6, 1e-9):
        model = RURK(neighbour_weight=weight, **recipe, **settings)(problem).model.eval()
        torch.manual_seed(0)
        near = easiest(model, images, labels, UNIT, bound=0.03, step=2 / 255, steps=10)
        losses.append(functional.cross_entropy(model(near), labels).item())
    assert losses[0] > 1.5 * losses[1]


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 8, 8)])
def test_a_single_forget_sample_serves(shape):
    problem = problem_of(noise_data(40, shape), [3])
    for model in (problem.model, unnormed_net(shape, 5)):
        own = replace(problem, model=model)
        after = state_of(RURK(search="pgd", search_steps=2)(own).model)
        assert not same_state(after, state_of(model))


def test_forgetting_nothing_is_refused():
    with pytest.raises(SettingError, match="give one of them a weight above 0"):
        RURK(forget_weight=0, neighbour_weight=0)(problem_of(noise_data(60), FORGET[:12]))
