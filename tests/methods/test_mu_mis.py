"""MU-Mis: norms of gradients by the image against Jacobians, and the stopping rule."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.autograd.function import once_differentiable

from natmu.engine.checkpoint import Checkpoint
from natmu.errors import ModelError
from natmu.methods import MUMis, mu_mis
from natmu.methods.mu_mis import recovered_by, sensitivities
from natmu.models import build_model
from natmu.testing.problems import same_state, state_of
from natmu.testing.recorder import perform

from .problems import UNIT, noise_data, problem_of, small_net

FORGET = list(range(0, 60, 4))


def slow_squares(model, images, classes):
    """The square of the Jacobian's row, sample by sample in double precision."""
    model = model.double()
    rows = [
        torch.autograd.functional.jacobian(lambda one: model(one[None])[0], image.double())[label].square().sum()
        for image, label in zip(images, classes.tolist(), strict=True)
    ]
    return torch.stack(rows)


@pytest.mark.parametrize("name", ["small", "small_resnet", "small_vit"])
def test_squared_norms_are_those_of_the_jacobian(digits, trained, name):
    images, labels = digits.take(torch.arange(6)).float() / 255, digits.labels[:6]
    if name == "small":
        model = trained
    else:
        model = build_model(name, num_classes=10, image_shape=digits.image_shape, mean=(0.3,), std=(0.4,), seed=0)
    model = model.eval()
    own, other = sensitivities(model, images, UNIT.width, (labels, (labels + 3) % 10))
    for found, classes in ((own, labels), (other, (labels + 3) % 10)):
        torch.testing.assert_close(found.detach().double(), slow_squares(model, images, classes), rtol=1e-3, atol=1e-9)
        model.float()
    assert own.requires_grad
    assert not sensitivities(model, images, UNIT.width, (labels,), differentiable=False)[0].requires_grad


@pytest.mark.parametrize(
    ("now", "lowest", "first", "delta", "ends"),
    [
        (1.1, 0.5, 1.0, 1.0, True),
        (1.0, 0.5, 1.0, 1.0, False),
        (0.9, 0.5, 1.0, 0.8, True),
        (0.9, 0.9, 1.0, 0.8, False),  # still falling
        (1.2, 1.0, 1.0, 1.0, False),  # it never fell
        (float("nan"), 0.5, 1.0, 1.0, False),  # the loop says so
    ],
)
def test_a_run_ends_where_sensitivity_has_passed_its_lowest_value_and_recovered(now, lowest, first, delta, ends):
    assert recovered_by(*map(torch.tensor, (now, lowest, first)), delta) is ends


@pytest.mark.parametrize(("delta", "epochs"), [(0.0, 3), (0.6, 3), (0.8, 4), (1.0, 5), (1.4, 6), (9.0, 7)])
def test_the_rule_is_asked_between_epochs(monkeypatch, delta, epochs):
    measured = iter([2.0, 1.5, 1.0, 1.4, 1.7, 2.5, 3.0])
    monkeypatch.setattr(mu_mis, "_mean_sensitivity", lambda *_: torch.tensor(next(measured)))
    problem = problem_of(noise_data(60), FORGET)
    MUMis(epochs=7, delta=delta)(problem)
    assert len(problem.history) == epochs


def test_a_resumed_run_knows_the_first_and_the_lowest_value(monkeypatch, tmp_path):
    """Without them it would end at 1.4, which is above 0."""
    measured = iter([2.0, 1.5, 1.0, 1.4, 1.7])
    monkeypatch.setattr(mu_mis, "_mean_sensitivity", lambda *_: torch.tensor(next(measured)))
    problem = problem_of(noise_data(60), FORGET)
    problem = replace(problem, checkpoint=Checkpoint(tmp_path / "state", every_seconds=0))
    save = Checkpoint.save

    def save_and_stop_at_three(checkpoint, epochs, *arguments):
        save(checkpoint, epochs, *arguments)
        if epochs == 3:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop_at_three)
        with pytest.raises(KeyboardInterrupt):
            MUMis(epochs=6, delta=0.8)(problem)
    again = replace(problem, history=[])
    MUMis(epochs=6, delta=0.8)(again)
    assert len(again.history) == 4


def test_own_sensitivity_falls_below_that_of_the_others(digits, trained):
    problem = problem_of(digits, list(range(0, 250, 5)), model=trained)
    model = MUMis(epochs=10, lr=1e-3, delta=100)(problem).model.eval()
    images, labels = digits.take(problem.forget_positions).float() / 255, problem.labels(problem.forget_positions)

    def gap(model):
        own = sensitivities(model, images, UNIT.width, (labels,), differentiable=False)[0].sqrt().mean()
        others = [
            sensitivities(model, images, UNIT.width, ((labels + shift) % 10,), differentiable=False)[0].sqrt().mean()
            for shift in range(1, 10)
        ]
        return float(own - torch.stack(others).mean())

    assert gap(model) < gap(problem.frozen_copy()) - 0.1


def test_running_statistics_stay_and_one_sample_is_enough():
    data = noise_data(60)
    problem = problem_of(data, [7], model=small_net(data.image_shape, 5))
    model = MUMis(epochs=2)(problem).model
    before, after = state_of(problem.model), state_of(model)
    assert all(torch.equal(before[name], after[name]) for name in before if name.startswith("1.running"))
    assert not same_state(before, after)


def test_another_class_is_drawn_for_each_visit():
    problem = problem_of(noise_data(60), FORGET)
    seen = perform(MUMis(epochs=4, delta=100), problem, seconds=60).recording.seen
    drawn = [
        {position: label for one in seen if one.batch.epoch == epoch for position, label in zip(
            one.batch.positions.tolist(), one.batch.labels.tolist(), strict=True)}
        for epoch in range(4)
    ]  # fmt: skip
    assert all(label != position % 5 for labels in drawn for position, label in labels.items())
    assert len({tuple(sorted(labels.items())) for labels in drawn}) == 4


class Once(torch.autograd.Function):
    """The square, whose gradient has no gradient."""

    @staticmethod
    def forward(ctx, values):
        ctx.save_for_backward(values)
        return values**2

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        return 2 * ctx.saved_tensors[0] * gradient


class Squared(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.inner = small_net(shape, classes)

    def forward(self, images):
        return self.inner[3:](Once.apply(self.inner[:3](images)))


def test_what_cannot_be_done_is_refused_before_anything_is_trained():
    data = noise_data(60)
    with pytest.raises(ModelError, match=r"mu_mis needs a model that can be differentiated twice, and Squared cannot"):
        MUMis().check(problem_of(data, FORGET, model=Squared(data.image_shape, 5)))
    alone = noise_data(60, classes=1)
    with pytest.raises(ModelError, match="only one"):
        MUMis().check(problem_of(alone, [0], model=small_net(alone.image_shape, 1)))
