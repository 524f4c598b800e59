"""Models that cannot learn, or not all that a method asks for: one sentence, and what works goes on working."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError, NatmuError, RunError, TrainingError
from natmu.methods import METHODS, method_named
from natmu.methods.rounds import rounds_of
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import usual

from .problems import QUICK, noise_data, problem_of

CLASSES = 5


def layers():
    body = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
    return nn.Sequential(*body, nn.Linear(16, CLASSES))


class Frozen(nn.Module):
    """Everything is frozen."""

    def __init__(self):
        super().__init__()
        self.net = layers().requires_grad_(False)

    def forward(self, images):
        return self.net(images)


class NoGrad(nn.Module):
    """Weights that may be trained, and a forward pass that keeps no gradient."""

    def __init__(self):
        super().__init__()
        self.net = layers()

    def forward(self, images):
        with torch.no_grad():
            return self.net(images)


class Single(nn.Module):
    """One output for five classes."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(layers(), nn.Linear(CLASSES, 1))

    def forward(self, images):
        return self.net(images)


class Buffers(nn.Module):
    """Weights that are no parameters."""

    def __init__(self):
        super().__init__()
        self.register_buffer("weight", torch.randn(3, CLASSES))

    def forward(self, images):
        return images.mean((2, 3)) @ self.weight


class Bare(nn.Module):
    """No weights at all."""

    def forward(self, images):
        return images.flatten(1)[:, :CLASSES]


class Constant(nn.Module):
    """Outputs that do not depend on the images."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(CLASSES))

    def forward(self, images):
        return self.bias.expand(len(images), -1)


class Whole(nn.Module):
    """A parameter of whole numbers, as quantised layers have."""

    def __init__(self):
        super().__init__()
        self.net, self.codes = layers(), nn.Parameter(torch.tensor([1, 2]), requires_grad=False)

    def forward(self, images):
        return self.net(images)


class Failing(nn.Module):
    """Fails on every image."""

    def __init__(self):
        super().__init__()
        self.net = layers()

    def forward(self, images):
        raise ValueError("these are no images of mine")


class Leaving(nn.Module):
    """Ends the program in training mode."""

    def __init__(self):
        super().__init__()
        self.net = layers()

    def forward(self, images):
        if self.training:
            sys.exit(0)
        return self.net(images)


@pytest.fixture(scope="module")
def data():
    return noise_data(30)


def attempt(name, kind, data, model=None):
    forget = list(range(0, 30, 4))
    if usual(method_named(name)) == "class":
        forget = resolve_forget(parse_forget("class:1"), data, seed=0)
    problem = problem_of(data, forget, model=model or kind(), initial_model=kind, holdout=data.subset(range(20)))
    return method_named(name)(**QUICK[name])(equipped(method_named(name), problem))


@pytest.mark.parametrize("kind", [Frozen, NoGrad, Single, Buffers, Bare], ids=lambda kind: kind.__name__)
def test_no_method_ends_in_anything_but_a_sentence_on_a_model_that_cannot_learn(kind, data):
    for name in (method.name for method in METHODS):
        if method_named(name).needs_head and kind in (Frozen, NoGrad):
            continue  # a head is fitted, which needs no gradient
        with pytest.raises(ModelError, match=r"\w+ \w+.*[.]$"):
            attempt(name, kind, data)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (Frozen, "unfreeze what may be trained"),
        (NoGrad, r"NoGrad have no gradient .* let its forward pass keep the gradient"),
        (Single, "Single has 1 outputs and the data 5 classes"),
        (Failing, r"Failing fails on two images .*ValueError: these are no images of mine"),
    ],
)
def test_what_is_wrong_is_said(kind, words, data):
    with pytest.raises(ModelError, match=words):
        attempt("finetune", kind, data)


@pytest.mark.parametrize("name", ["amun", "boundary_shrink"])
def test_a_method_that_follows_the_images_says_that_the_outputs_do_not(name, data):
    with pytest.raises(ModelError, match="do not depend on the images"):
        attempt(name, Constant, data)


@pytest.mark.parametrize("name", ["cf_k", "eu_k", "boundary_expand"])
def test_parameters_of_whole_numbers_stay_as_they_are(name, data):
    assert torch.equal(attempt(name, Whole, data).model.state_dict()["codes"], torch.tensor([1, 2]))


def test_a_model_that_ends_the_program_is_named(data):
    with pytest.raises(RunError, match=r"test_odd_models\.py, line \d+, ended the program with sys\.exit\(0\)"):
        attempt("finetune", Leaving, data)


def test_a_damaged_original_is_called_damaged_and_no_lower_rate_is_advised(data):
    model = layers()
    with torch.no_grad():
        model[5].bias[2] = float("nan")
    with pytest.raises(ModelError, match=r"The original is damaged: its weight 5\.bias is not finite") as caught:
        attempt("finetune", layers, data, model)
    assert "lr" not in str(caught.value)


def test_a_loss_that_is_not_finite_before_the_first_step_is_not_the_rates_fault(data):
    class Rooted(Frozen):
        def __init__(self):
            super().__init__()
            self.net.requires_grad_(True)

        def forward(self, images):
            return self.net(images) + (torch.sqrt(-images.sum() - 1) if self.training else 0)

    with pytest.raises(TrainingError, match=r"at step 1 \(epoch 1\); no weight had changed yet") as caught:
        attempt("finetune", Rooted, data)
    assert "lower lr" not in str(caught.value)
    assert isinstance(caught.value, NatmuError)


@pytest.mark.parametrize(("count", "size"), [(45, 8), (45, 45), (7, 5), (1, 2), (30, 1)])
def test_rounds_hold_each_sample_once_and_batches_none_twice(count, size):
    rows = rounds_of(count, 9 * size + 3, size, lambda number: np.random.default_rng(number)).tolist()
    assert len(rows) == 9 * size + 3
    for start in range(0, len(rows) - count, count):
        assert sorted(rows[start : start + count]) == list(range(count))
    if size <= count:
        for start in range(0, len(rows), size):
            batch = rows[start : start + size]
            assert len({*batch}) == len(batch)
    assert count < 5 or rows[:count] != rows[count : 2 * count] or len(rows) < 2 * count
