"""A single forget sample: every method that serves single samples forgets it, whatever the network normalises by."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.methods import METHODS, FineTune, SalUn, method_named
from natmu.testing.exact_problems import equipped

from .problems import QUICK, noise_data, problem_of, state_of

FORGOTTEN = 7
NAMES = [method.name for method in METHODS if "indices" in method.scenarios]
FORGET_ONLY = ("grad_ascent", "boundary_shrink", "boundary_expand", "delete", "jit")
"""Their batches hold nothing but the one sample."""
BESIDE = ("neggrad_plus", "munba", "sfron", "scrub")
"""Some of their batches do."""


def network(shape, kind):
    """A network whose convolution may be followed by normalisation of images, and its features by that of values."""
    values = {"none": nn.Identity(), "images": nn.Identity(), "values": nn.BatchNorm1d(8), "no statistics": None}[kind]
    if kind == "no statistics":
        values = nn.BatchNorm1d(8, track_running_stats=False)
    images = nn.Identity() if kind == "none" else nn.BatchNorm2d(4)
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        body = nn.Sequential(nn.Conv2d(shape[0], 4, 3), images, nn.ReLU(), nn.Flatten())
        head = nn.Sequential(nn.Linear(4 * (shape[1] - 2) * (shape[2] - 2), 8), values, nn.Tanh(), nn.Linear(8, 5))
    return nn.Sequential(*body, *head)


def problem_with(kind, **changed):
    data = noise_data(60)
    model = network(data.image_shape, kind).train()
    if kind != "no statistics":
        with torch.no_grad():
            for _ in range(20):
                model(data.images.float() / 255)
    given = {"initial_model": lambda: network(data.image_shape, kind), "holdout": data} | changed
    return problem_of(data, [FORGOTTEN], model=model, **given)


@pytest.mark.parametrize("kind", ["none", "images", "values"])
@pytest.mark.parametrize("name", NAMES)
def test_one_forget_sample_works_with_every_method_that_can(name, kind):
    problem = equipped(method_named(name), problem_with(kind))
    after = state_of(method_named(name)(**QUICK[name])(problem).model)
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert any(not torch.equal(after[key], value) for key, value in problem.model.state_dict().items()) or name == "ssd"


@pytest.mark.parametrize("name", [*FORGET_ONLY, *BESIDE])
def test_running_statistics_are_not_those_of_one_sample(name):
    problem = problem_with("values")
    after, before = state_of(method_named(name)(**QUICK[name])(problem).model), state_of(problem.model)
    kept = [key for key in before if "running" in key or "tracked" in key]
    assert len(kept) == 6
    assert all(torch.equal(after[key], before[key]) for key in kept)


def test_with_the_forget_set_first_salun_keeps_the_statistics_too():
    problem = problem_with("values")
    after = state_of(SalUn(epochs=2, order="forget_first")(problem).model)
    assert torch.equal(after["5.running_mean"], problem.model.state_dict()["5.running_mean"])
    mixed = state_of(SalUn(epochs=2)(problem).model)
    assert not torch.equal(mixed["5.running_mean"], problem.model.state_dict()["5.running_mean"])


@pytest.mark.parametrize("name", FORGET_ONLY)
def test_two_forget_samples_move_the_statistics_and_one_does_not(name):
    one = problem_with("images")
    two = problem_of(one.data, [FORGOTTEN, 8], model=one.model)
    moved = [
        not torch.equal(method_named(name)(**QUICK[name])(p).model[1].running_mean, one.model[1].running_mean)
        for p in (one, two)
    ]
    assert moved == [False, name != "grad_ascent"]


def test_a_single_retain_sample_is_trained_on_with_the_running_statistics():
    data = noise_data(60)
    problem = problem_of(data, np.arange(59), model=problem_with("values").model)
    after = state_of(FineTune(epochs=2)(problem).model)
    assert torch.equal(after["5.running_mean"], problem.model.state_dict()["5.running_mean"])
    assert not torch.equal(after["4.weight"], problem.model.state_dict()["4.weight"])


@pytest.mark.parametrize("name", ["boundary_expand", "jit"])
def test_a_network_that_has_no_statistics_to_keep_is_refused_in_a_sentence(name):
    problem = problem_with("no statistics")
    before = state_of(problem.model)
    with pytest.raises(ModelError, match=r"^Batch normalisation cannot .* single sample; use .*running statistics\.$"):
        method_named(name)(**QUICK[name])(problem)
    assert all(torch.equal(value, before[key]) for key, value in problem.model.state_dict().items())
