"""Counting what goes through a model."""

import copy

import pytest
import torch
from tests.engine import fakes
from torch import nn

from natmu.data.batches import plain
from natmu.engine.gradients import mean_over_samples, per_sample_gradients
from natmu.engine.passes import Counter, counted_as, counter_of, detached
from natmu.engine.predict import logits_of
from natmu.models import Ensemble
from natmu.records.passes import Passes, Shown

IMAGES = torch.zeros(5, 1, 8, 8)


def net():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))


def counted(call, model=None):
    counter = Counter()
    call(counter.attached(model or net()))
    return counter.now().trained, counter.now().forward


def twice(model):
    loss = model(IMAGES).sum()
    loss.backward(retain_graph=True)
    loss.backward()


def differentiated(model):
    images = IMAGES.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(images).square().sum(), images, create_graph=True)
    return gradient


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda model: model(IMAGES).sum().backward(), (5, 0)),
        (lambda model: model(IMAGES), (0, 5)),  # nothing comes back
        (lambda model: torch.autograd.grad(model(IMAGES).sum(), list(model.parameters())), (5, 0)),
        (lambda model: copy.deepcopy(model)(IMAGES).sum().backward(), (5, 0)),  # a copy is counted with it
        (twice, (10, 0)),
        (differentiated, (10, 0)),
        (lambda model: detached(model)(IMAGES), (0, 0)),
    ],
)
def test_each_sample_counts_as_often_as_it_goes(call, expected):
    assert counted(call) == expected


def test_through_an_ensemble_goes_what_goes_through_its_members():
    assert counted(lambda model: model(IMAGES), Ensemble({0: net(), 1: net()})) == (0, 10)


def test_what_hides_its_samples_from_hooks_is_counted_as_said():
    def call(model):
        with counted_as(model, Shown(trained=7)):
            model(IMAGES).sum().backward()

    assert counted(call) == (7, 0)
    call(net())  # which nothing counts


def test_the_models_of_a_problem_are_left_without_hooks():
    model = Counter().attached(net())
    assert counter_of(model) is not None
    assert counter_of(detached(model)) is None


@pytest.mark.parametrize("model", [fakes.model, lambda: nn.Sequential(fakes.model(), nn.Softmax(0))])
def test_gradients_of_single_samples_count_once_by_whichever_way_they_are_computed(model):
    data = fakes.image_data(20)
    rows = plain(torch.arange(12), data.labels[:12], augment=False)
    loss = nn.functional.cross_entropy

    def each(model):
        for _ in per_sample_gradients(model, data, rows, fakes.CPU, loss):
            pass

    assert counted(each, model()) == (12, 0)
    assert counted(lambda model: mean_over_samples(model, data, rows, fakes.CPU, loss, torch.square), model()) == (
        12,
        0,
    )
    assert counted(lambda model: logits_of(model, data, torch.arange(20), fakes.CPU), model()) == (0, 20)


def test_passes_are_in_units_of_a_pass_over_the_training_set():
    passes = Passes(training_set=50, request=Shown(trained=90, forward=30), preparation=Shown(forward=150))
    assert passes.passes == pytest.approx((90 + 30 / 3) / 50)
    assert passes.prepared == pytest.approx(150 / 3 / 50)
