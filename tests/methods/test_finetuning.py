"""Fine-tuning on the retain set: which rows, which loss, and how the L1 penalty fades."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from natmu.errors import SettingError
from natmu.methods import FineTune, L1Sparse
from natmu.methods.finetuning import l1_norm, penalty_weight

from .problems import intercept, noise_data, problem_of, same_state, small_net, state_of

FORGET = list(range(0, 60, 4))
NEAR = {"epochs": 3, "lr": 1e-3}


def length(model):
    return sum(float(parameter.detach().abs().sum()) for parameter in model.parameters())


def loss_on(model, data, positions):
    model.eval()
    with torch.no_grad():
        return functional.cross_entropy(model(data.images[positions].float() / 255), data.labels[positions]).item()


@pytest.mark.parametrize("method", [FineTune, L1Sparse])
def test_every_retain_sample_comes_once_an_epoch_with_its_true_label_and_no_other(method, monkeypatch, digits):
    problem = problem_of(digits, FORGET)
    rows = intercept(monkeypatch, method(), problem).epoch(1)
    assert torch.equal(rows.positions, problem.retain_positions)
    assert torch.equal(rows.labels, digits.labels[problem.retain_positions])
    assert torch.equal(rows.images, digits.images[rows.positions].float() / 255)


@pytest.mark.parametrize("method", [FineTune, L1Sparse])
def test_the_retain_loss_falls_and_forget_images_have_no_say(method, digits):
    model = small_net(digits.image_shape, 10, 3)
    problem = problem_of(digits, FORGET, model=model)
    result = method(epochs=3).run(problem_of(digits, FORGET, model=small_net(digits.image_shape, 10, 3)))
    assert loss_on(result, digits, problem.retain_positions) < loss_on(model, digits, problem.retain_positions) - 0.5
    images = digits.images.clone()
    images[FORGET] = 255 - images[FORGET]
    other = type(digits)(images, digits.labels, digits.class_names)
    unlearned = [method(epochs=1)(problem_of(data, FORGET)).model for data in (digits, other)]
    assert same_state(*map(state_of, unlearned))


@pytest.mark.parametrize("method", [FineTune, L1Sparse])
def test_the_defaults_are_sgd_at_a_hundredth_for_ten_epochs(method):
    settings = method().config
    assert (settings.optimizer, settings.lr, settings.momentum, settings.weight_decay) == ("sgd", 0.01, 0.9, 5e-4)
    assert (settings.epochs, settings.schedule, settings.augment_retain) == (10, "constant", False)


def test_the_penalty_falls_linearly_to_zero_after_the_last_epoch():
    assert [penalty_weight(0.5, epoch, 5) for epoch in range(6)] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1, 0])
    assert penalty_weight(3e-4, 0, 1) == 3e-4


def test_the_norm_is_the_sum_of_absolute_values_and_its_gradient_the_sign():
    weights = [torch.tensor([[1.5, -2.0], [0.0, 3.0]], requires_grad=True), torch.tensor([-0.25], requires_grad=True)]
    norm = l1_norm(weights)
    norm.backward()
    assert norm.item() == 6.75
    assert weights[0].grad.tolist() == [[1, -1], [0, 1]]  # 0 at 0
    assert weights[1].grad.tolist() == [-1]


@pytest.mark.parametrize("epoch", [0, 2])
def test_the_loss_is_cross_entropy_and_the_penalty_of_its_epoch(epoch, monkeypatch):
    data = noise_data(60)
    model = small_net(data.image_shape, 5, 3)
    model[5].weight.requires_grad_(False)
    caught = intercept(monkeypatch, L1Sparse(l1=0.01, epochs=4), problem_of(data, FORGET, model=model))
    batch = next(iter(caught.batches.epoch(epoch)))
    student = caught.model
    value = caught.loss(student, batch)
    value.backward()
    moving = [parameter for parameter in student.parameters() if parameter.requires_grad]
    found = [parameter.grad.clone() for parameter in moving]
    plain = functional.cross_entropy(student(batch.images), batch.labels)
    rate = {0: 0.01, 2: 0.005}[epoch]
    assert value.item() == pytest.approx(plain.item() + rate * sum(p.abs().sum().item() for p in moving), rel=1e-5)
    slow = torch.autograd.grad(plain, moving)
    for gradient, without, parameter in zip(found, slow, moving, strict=True):
        torch.testing.assert_close(gradient, without + rate * parameter.detach().sign(), rtol=1e-4, atol=1e-6)


def test_a_penalty_shrinks_the_weights_the_more_the_larger_it_is(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    plain = FineTune(**NEAR)(problem).model
    small, large = (L1Sparse(l1=l1, **NEAR)(problem).model for l1 in (1e-2, 5e-2))
    assert length(large) < length(small) < length(plain)
    near_zero = [torch.cat([p.detach().flatten() for p in m.parameters()]).abs().lt(1e-2).sum() for m in (plain, large)]
    assert near_zero[1] > 1.3 * near_zero[0]


def test_without_the_penalty_it_would_be_fine_tuning(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    models = [FineTune(**NEAR)(problem).model, L1Sparse(l1=1e-12, **NEAR)(problem).model]
    for first, second in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_frozen_weights_feel_no_penalty(optimizer, digits):
    model = small_net(digits.image_shape, 10, 3)
    model[0].weight.requires_grad_(False)
    settings = {"optimizer": optimizer, "epochs": 2, "weight_decay": 0.1, "l1": 0.1}
    result = L1Sparse(**settings)(problem_of(digits, FORGET, model=model)).model
    assert torch.equal(result[0].weight, model[0].weight)
    assert not torch.equal(result[5].weight, model[5].weight)


@pytest.mark.parametrize(("value", "limit"), [(0, "greater than 0"), (1.5, "less than or equal to 1")])
def test_a_penalty_out_of_range_is_refused(value, limit):
    with pytest.raises(SettingError, match=rf"l1_sparse: l1: .*{limit}"):
        L1Sparse(l1=value)
