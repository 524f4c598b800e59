"""JiT: its loss sample by sample, what its gradient goes through, and that it reads images of the forget set alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from natmu.engine.compute import Compute
from natmu.methods import JiT
from natmu.methods.smoothing import roughness

from .problems import intercept, noise_data, problem_of, same_state, state_of, unnormed_net

FORGET = list(range(0, 60, 4))


def slow_loss(student, images, sigma, draws):
    """The sum over images of the mean over draws, one noisy image after the other; draws as the method does."""
    total = 0.0
    for _ in range(draws):
        noise = sigma * torch.randn_like(images)
        for image, shift in zip(images, noise, strict=True):
            change = student(image[None])[0] - student((image + shift)[None])[0]
            total += change.pow(2).sum().sqrt() / shift.pow(2).sum().sqrt() / draws
    return total


def caught_loss(monkeypatch, **settings):
    problem = problem_of(noise_data(60), FORGET, model=unnormed_net((3, 8, 8), 5))
    caught = intercept(monkeypatch, JiT(**settings), problem)
    return caught, next(iter(caught.batches.epoch(0))), unnormed_net((3, 8, 8), 5, 4)


@pytest.mark.parametrize(("sigma", "draws"), [(0.01, 1), (0.2, 6)])
def test_the_loss_is_the_slow_one(monkeypatch, sigma, draws):
    caught, batch, student = caught_loss(monkeypatch, sigma=sigma, draws=draws)
    torch.manual_seed(3)
    fast = caught.loss(student, batch)
    torch.manual_seed(3)
    assert fast.item() == pytest.approx(slow_loss(student, batch.images, sigma, draws).item(), rel=2e-3)
    assert len(batch.images) == len(FORGET)


def gradients(loss, student):
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(student.parameters()))])


def test_the_gradient_goes_through_clean_answers_alone_unless_both_are_asked_for(monkeypatch):
    found = []
    for both in (False, True):
        caught, batch, student = caught_loss(monkeypatch, sigma=0.1, draws=3, both=both)
        torch.manual_seed(3)
        fast = gradients(caught.loss(student, batch), student)
        torch.manual_seed(3)
        full = gradients(slow_loss(student, batch.images, 0.1, 3), student)
        found.append(torch.allclose(fast, full, rtol=1e-3, atol=1e-4 * float(full.abs().max())))
    assert found == [False, True]


def test_clean_gradients_are_those_with_fixed_noisy_answers(monkeypatch):
    caught, batch, student = caught_loss(monkeypatch, sigma=0.1, draws=1)
    torch.manual_seed(3)
    fast = gradients(caught.loss(student, batch), student)
    torch.manual_seed(3)
    noise = 0.1 * torch.randn_like(batch.images)
    fixed = student(batch.images + noise).detach()
    ratios = (student(batch.images) - fixed).norm(dim=1) / noise.flatten(1).norm(dim=1)
    torch.testing.assert_close(fast, gradients(ratios.sum(), student))


def test_roughness_has_a_gradient_of_zero_where_nothing_changes():
    clean = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    noisy = torch.tensor([[1.0, 2.0], [0.0, 0.0]])
    rough = roughness(clean, noisy, torch.full((2, 1, 2, 2), 2.0))
    assert rough.tolist() == pytest.approx([0, 5 / 4])
    rough.sum().backward()
    assert clean.grad[0].tolist() == [0, 0]
    assert clean.grad[1].tolist() == pytest.approx([3 / 5 / 4, 4 / 5 / 4])


def mean_roughness(model, problem):
    images = problem.data.images[problem.forget_positions].float() / 255
    generator = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(40, *images.shape, generator=generator)
    with torch.no_grad():
        clean = model.eval()(images)
        return sum(roughness(clean, model(images + one), one).mean().item() for one in noise) / len(noise)


def test_with_both_the_model_gets_smoother_around_the_forget_set(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    smoothed = JiT(both=True, lr=1e-2, freeze_statistics=True)(problem).model
    assert mean_roughness(smoothed, problem) < 0.97 * mean_roughness(trained.eval(), problem)


def test_it_weakens_a_forgotten_class(trained, digits):
    """At a rate that leaves most of the other classes; see its remark on the exact gradient."""
    problem = problem_of(digits, (digits.labels == 3).nonzero().squeeze(1).numpy(), model=trained)
    model = JiT(lr=2e-3)(problem).model.eval()
    images = digits.images.float() / 255
    with torch.no_grad():
        right = model(images).argmax(1) == digits.labels
    assert right[problem.forget_positions].float().mean() < 0.7
    assert right[problem.retain_positions].float().mean() > right[problem.forget_positions].float().mean() + 0.2


def test_labels_and_retain_images_change_nothing(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    images, labels = digits.images.clone(), digits.labels.clone()
    images[problem.retain_positions] = 255 - images[problem.retain_positions]
    labels[:] = (labels + 1) % 10
    other = replace(problem, data=replace(digits, images=images, labels=labels))
    one, two = (state_of(JiT(draws=2)(p).model) for p in (problem, other))
    assert same_state(one, two)
    assert not JiT.needs_labels
    assert not JiT.needs_retain


def test_statistics_stay_to_the_bit_where_asked_and_drift_otherwise(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    kept, drifted = (state_of(JiT(draws=2, freeze_statistics=asked)(problem).model) for asked in (True, False))
    before = state_of(trained)
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        assert torch.equal(kept[name], before[name])
        assert not torch.equal(drifted[name], before[name])
    assert not torch.equal(kept["1.weight"], before["1.weight"])


def single_values(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], 8), nn.BatchNorm1d(8), nn.Linear(8, 5))


def test_one_sample_in_a_network_that_normalises_single_values():
    data = noise_data(60)
    problem = problem_of(data, [17], model=single_values(data.image_shape, 5))
    first, second = (state_of(JiT(draws=2, freeze_statistics=frozen)(problem).model) for frozen in (False, True))
    assert same_state(first, second)
    assert torch.isfinite(first["1.weight"]).all()


@pytest.mark.parametrize(
    "changed", [{"sigma": 0.1}, {"draws": 3}, {"both": True}, {"freeze_statistics": True}, {"momentum": 0.9}]
)
def test_every_setting_has_an_effect(trained, digits, changed):
    problem = problem_of(digits, FORGET, model=trained, batch_size=4)
    base = {"draws": 2, "lr": 1e-3}
    one, two = (state_of(JiT(**(base | more))(problem).model) for more in ({}, changed))
    assert not same_state(one, two)


def test_an_epoch_moves_the_weights_about_as_far_whatever_the_batch_size(trained, digits):
    moves = []
    for size in (5, 15):
        problem = problem_of(digits, FORGET, model=trained, batch_size=size)
        after = JiT(lr=1e-4, sigma=0.05, freeze_statistics=True, draws=40, both=True)(problem).model
        moves.append(after[5].weight.detach() - trained[5].weight.detach())
    assert moves[0].norm().item() == pytest.approx(moves[1].norm().item(), rel=0.1)


def test_differences_are_taken_in_full_precision(monkeypatch):
    caught, batch, student = caught_loss(monkeypatch, draws=4, sigma=1e-3)
    losses = []
    for precision in ("fp32", "bf16"):
        torch.manual_seed(3)
        with Compute.choose("cpu", precision).autocast():
            losses.append(caught.loss(student, batch))
    assert losses[0].dtype == losses[1].dtype == torch.float32
    assert losses[0].item() == losses[1].item()
