"""The methods of the challenge: which weights start anew, how their neighbours move, and kernels transposed."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import settings as running
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from natmu.errors import ModelError, SettingError
from natmu.methods import MSG, ConvTranspose, FineTune
from natmu.methods.competition import kernels, smallest, transpose_kernels

from .problems import intercept, noise_data, problem_of, same_state, state_of, unnormed_net

FORGET = list(range(0, 60, 4))


def conv_net(shape, classes, seed=0):
    """Convolutions with square, oblong and 1 x 1 kernels, with and without bias."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(shape[0], 6, 3, padding=1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 5, (3, 1)),
            nn.Tanh(),
            nn.Conv2d(5, 7, 1),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(28, classes),
        )


CONVS = (0, 3, 5)


def gradient_of(model, data, positions):
    """The gradient of the mean loss in eval mode, per parameter."""
    model.eval()
    loss = functional.cross_entropy(model(data.images[positions].float() / 255), data.labels[positions])
    return torch.autograd.grad(loss, list(model.parameters()))


def start(monkeypatch, model, data, forget=FORGET, seed=0, **settings):
    """The model with which the fine-tuning of MSG begins."""
    return intercept(monkeypatch, MSG(**settings), problem_of(data, forget, model=model, seed=seed)).model


@running(deadline=None)
@given(st.integers(1, 60), st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.7, 1]), st.integers(0, 1000))
def test_exactly_the_share_of_smallest_values_is_chosen(size, share, seed):
    values = torch.randint(0, 9, (size, 2), generator=torch.Generator().manual_seed(seed)).float()  # many ties
    chosen = smallest(values, share)
    assert chosen.shape == values.shape
    assert chosen.sum() == math.ceil(round(share * 2 * size, 6))
    if not chosen.all():
        assert values[chosen].max() <= values[~chosen].min()


def test_the_share_with_the_smallest_difference_of_gradients_starts_anew_in_each_convolution(monkeypatch, digits):
    """With as many retain as forget samples there is nothing to draw, and the slow way gives the gradient."""
    forget = list(range(125))
    model = conv_net(digits.image_shape, 10, 3)
    before = state_of(model)
    began = state_of(start(monkeypatch, model, digits, forget))
    retain, drop = (gradient_of(model, digits, part) for part in (list(range(125, 250)), forget))
    difference = dict(
        zip(dict(model.named_parameters()), (r - f for r, f in zip(retain, drop, strict=True)), strict=True)
    )
    for name, value in before.items():
        changed = began[name] != value
        if name not in {f"{number}.weight" for number in CONVS}:
            assert not changed.any(), name
            continue
        size, ranks = value.numel(), difference[name].abs().flatten().argsort().argsort().view(value.shape)
        assert changed.sum() == math.ceil(0.3 * size), name
        assert ranks[changed].max() < math.ceil(0.3 * size) + 1, name  # one rank for rounding
        assert began[name][changed].abs().max() <= value[0].numel() ** -0.5  # the bound of PyTorch's own draw


@pytest.mark.parametrize("share", [0.05, 0.5, 1])
def test_the_share_is_as_asked(share, monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3)
    began = state_of(start(monkeypatch, model, digits, reset_share=share))
    for number in CONVS:
        weight = model[number].weight
        assert (began[f"{number}.weight"] != weight).sum() == math.ceil(share * weight.numel())


def test_the_new_weights_and_the_compared_samples_follow_the_seed(monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3)
    first, again, other = (start(monkeypatch, model, digits, seed=seed) for seed in (0, 0, 1))
    assert same_state(state_of(first), state_of(again))
    changed = [(m[0].weight != model[0].weight) for m in (first, other)]
    assert not torch.equal(*changed)  # other retain samples
    common = changed[0] & changed[1]
    assert (first[0].weight[common] != other[0].weight[common]).all()


def test_the_gradient_is_taken_of_the_original_in_eval_mode_and_leaves_no_trace(monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3).train()
    model.insert(2, nn.Dropout(0.5))
    before = state_of(model)
    began = [start(monkeypatch, model, digits, reset_share=1e-9) for _ in range(2)]
    assert same_state(*map(state_of, began))
    assert all(parameter.grad is None for m in (model, *began) for parameter in m.parameters())
    assert torch.equal(state_of(began[0])["1.running_mean"], before["1.running_mean"])


def test_the_other_convolution_weights_follow_a_tenth_of_their_gradient(monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3)
    problem = problem_of(digits, FORGET, model=model, batch_size=250)
    settings = {"epochs": 1, "momentum": 0, "weight_decay": 0, "lr": 0.1, "schedule": "constant", "warmup_epochs": 0}
    began = intercept(monkeypatch, MSG(**settings), problem).model
    after = MSG(**settings)(problem).model
    began.train()
    images = digits.images[problem.retain_positions].float() / 255
    functional.cross_entropy(began(images), digits.labels[problem.retain_positions]).backward()
    for (name, one), first, new in zip(began.named_parameters(), model.parameters(), after.parameters(), strict=True):
        factor = torch.ones_like(one)
        if one.dim() == 4:
            factor[one == first] = 0.1
            assert 0.6 < (factor < 1).float().mean() < 0.8
        torch.testing.assert_close(new, one - 0.1 * factor * one.grad, rtol=1e-3, atol=1e-6, msg=name)


def test_with_a_factor_of_zero_only_decay_moves_the_other_weights(monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3)
    problem = problem_of(digits, FORGET, model=model)
    began = start(monkeypatch, model, digits)
    after = MSG(kept_scale=0, weight_decay=0, epochs=2, lr=0.05)(problem).model
    kept = began[0].weight == model[0].weight
    assert torch.equal(after[0].weight[kept], model[0].weight[kept])
    assert (after[0].weight[~kept] != began[0].weight[~kept]).all()
    assert not torch.equal(after[1].weight, model[1].weight)
    assert not torch.equal(after[8].weight, model[8].weight)


def test_frozen_convolutions_are_left_alone(digits):
    for method in (MSG, ConvTranspose):
        model = conv_net(digits.image_shape, 10, 3)
        model.append(nn.Unflatten(1, (10, 1, 1))).append(nn.Conv2d(10, 10, 3, padding=1)).append(nn.Flatten())
        model[0].weight.requires_grad_(False)
        result = method(epochs=1, weight_decay=0.1, lr=0.05)(problem_of(digits, FORGET, model=model)).model
        assert torch.equal(result[0].weight, model[0].weight)
        assert not torch.equal(result[10].weight, model[10].weight)


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_scale_that_the_optimiser_would_undo_is_refused(optimizer):
    data = noise_data(60)
    problem = problem_of(data, FORGET)
    with pytest.raises(SettingError, match=f"kept_scale=0.1 does nothing with optimizer={optimizer}"):
        MSG(optimizer=optimizer)(problem)
    assert MSG(optimizer=optimizer, kept_scale=1, epochs=1)(problem)


@pytest.mark.parametrize("method", [MSG, ConvTranspose])
def test_a_model_without_convolutions_is_refused_before_anything_is_done(method):
    data = noise_data(60)
    problem = problem_of(data, FORGET, model=unnormed_net(data.image_shape, 5))
    with pytest.raises(ModelError, match=f"{method.name} needs a model with a 2-d convolution"):
        method().check(problem)
    with pytest.raises(ModelError, match=f"{method.name} needs"):
        method()(problem)


def test_kernels_that_transposing_does_not_change_are_refused():
    data = noise_data(60)
    for kernel in ((3, 1), 1):
        model = nn.Sequential(nn.Conv2d(3, 4, kernel), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
        with pytest.raises(ModelError, match="square, larger than 1 x 1"):
            ConvTranspose()(problem_of(data, FORGET, model=model))
        assert MSG(epochs=1)(problem_of(data, FORGET, model=model))


def test_transposing_swaps_the_axes_of_square_kernels_alone_and_twice_is_as_if_never():
    model = conv_net((2, 8, 8), 3)
    before = state_of(model)
    transpose_kernels(model)
    after = state_of(model)
    slow = before["0.weight"].clone()
    for row in range(3):
        for column in range(3):
            slow[:, :, row, column] = before["0.weight"][:, :, column, row]
    assert torch.equal(after.pop("0.weight"), slow)
    assert not torch.equal(slow, before["0.weight"])
    assert all(torch.equal(value, before[name]) for name, value in after.items())
    transpose_kernels(model)
    assert same_state(state_of(model), before)


def test_a_transposed_convolution_sees_the_mirrored_image():
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1)).to(memory_format=torch.channels_last)
    images = torch.rand(4, 2, 7, 7)
    expected = model(images.transpose(2, 3)).transpose(2, 3)
    transpose_kernels(model)
    torch.testing.assert_close(model(images), expected)
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_a_kernel_shared_by_two_layers_counts_once():
    model = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.Conv2d(3, 3, 3, padding=1, bias=False))
    model[1].weight = model[0].weight
    assert list(kernels(model)) == ["0.weight"]
    before = model[0].weight.detach().clone()
    transpose_kernels(model)
    assert torch.equal(model[1].weight, before.transpose(2, 3))


def test_fine_tuning_begins_with_the_transposed_kernels_on_the_retain_set(monkeypatch, digits):
    model = conv_net(digits.image_shape, 10, 3)
    problem = problem_of(digits, FORGET, model=model)
    caught = intercept(monkeypatch, ConvTranspose(), problem)
    transpose_kernels(model)
    assert same_state(state_of(caught.model), state_of(model))
    assert torch.equal(caught.epoch().positions, problem.retain_positions)
    settings = {"epochs": 2, "lr": 1e-3, "schedule": "cosine"}
    transpose_kernels(problem.model)  # back
    done = ConvTranspose(**settings)(problem).model
    transpose_kernels(problem.model)
    assert same_state(state_of(done), state_of(FineTune(**settings)(problem).model))


@pytest.mark.parametrize("method", [MSG, ConvTranspose])
def test_the_damage_is_repaired_on_the_retain_set(method, trained, monkeypatch, digits):
    problem = problem_of(digits, FORGET, model=trained)

    def loss(model):
        model.eval()
        with torch.no_grad():
            answers = model(digits.images[problem.retain_positions].float() / 255)
        return functional.cross_entropy(answers, digits.labels[problem.retain_positions]).item()

    damaged = loss(intercept(monkeypatch, method(), problem).model)
    assert damaged > loss(problem.frozen_copy()) + 0.1
    assert loss(method(lr=0.02, epochs=5)(problem).model) < damaged - 0.1


def test_the_defaults_are_those_of_the_challenge():
    msg, transposed = MSG().config, ConvTranspose().config
    assert (msg.reset_share, msg.kept_scale, msg.epochs) == (0.3, 0.1, 5)
    assert transposed.epochs == 3
    for config in (msg, transposed):
        assert (config.optimizer, config.lr, config.momentum, config.weight_decay) == ("sgd", 1e-3, 0.9, 5e-4)


@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("reset_share", 0, "greater than 0"),
        ("reset_share", 1.1, "less than or equal to 1"),
        ("kept_scale", -0.1, "greater than or equal to 0"),
        ("kept_scale", 1.1, "less than or equal to 1"),
    ],
)
def test_settings_out_of_range_are_refused(setting, value, limit):
    with pytest.raises(SettingError, match=rf"msg: {setting}: .*{limit}"):
        MSG(**{setting: value})
