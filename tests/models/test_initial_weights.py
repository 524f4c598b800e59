"""Weights drawn anew: all of them, or the last layer's."""

import copy
import math

import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.models import Normalize, last_linear, reinitialised, reset_head


def trained(model):
    """The model with every parameter and running statistic moved far from where it began."""
    generator = torch.Generator().manual_seed(99)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if value.is_floating_point() and "normalize" not in name and "whitening" not in name:  # constants
                value.copy_(torch.randn(value.shape, generator=generator) + 50)
            elif not value.is_floating_point():
                value.fill_(50)
    return model


def snapshot(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def quiet(make):
    """Build a module without moving the global generator."""
    with torch.random.fork_rng(devices=[]):
        return make()


@pytest.mark.parametrize("name", ["small_cnn", "small_resnet", "small_vit", "fast_cnn"])
class TestReinitialised:
    def test_nothing_of_the_training_is_left_and_the_model_given_is_not_touched(self, name, build):
        model = trained(build(name))
        before = snapshot(model)
        fresh = reinitialised(model, seed=1)
        assert equal(snapshot(model), before)
        assert type(fresh) is type(model)
        for key, value in fresh.state_dict().items():
            if "normalize" in key or "whitening" in key:  # constants
                assert torch.equal(value, before[key])
            else:
                assert value.abs().max() < 10, key

    def test_weights_depend_on_the_seed_alone(self, name, build):
        model = build(name)
        first = snapshot(reinitialised(model, seed=1))
        assert equal(first, snapshot(reinitialised(trained(model), seed=1)))
        assert not equal(first, snapshot(reinitialised(model, seed=2)))

    def test_weights_have_the_distribution_of_a_newly_built_model(self, name, build):
        """Equal spread and range per tensor; constants are equal to the bit."""
        built, fresh = build(name, seed=5), reinitialised(trained(build(name, seed=6)), seed=7)
        for (key, ours), theirs in zip(built.state_dict().items(), fresh.state_dict().values(), strict=True):
            if ours.unique().numel() == 1:
                assert torch.equal(ours, theirs), key
            elif ours.numel() >= 400:
                assert theirs.std().item() == pytest.approx(ours.std().item(), rel=0.15), key
                assert abs(theirs.mean() - ours.mean()) < 6 * ours.std() * math.sqrt(2 / ours.numel()), key


def test_mode_memory_format_and_ties_stay():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3).to(memory_format=torch.channels_last)
            self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
            self.second.weight = self.first.weight

    model = quiet(Tied).eval()
    fresh = reinitialised(model, seed=0)
    assert not fresh.training
    assert not fresh.conv.training
    assert fresh.conv.weight.is_contiguous(memory_format=torch.channels_last)
    assert fresh.first.weight is fresh.second.weight


def test_attention_of_pytorch_is_drawn_anew():
    attention = trained(quiet(lambda: nn.MultiheadAttention(8, 2)))
    fresh = reinitialised(attention, seed=0)
    bound = math.sqrt(6 / (8 + 24))  # Xavier uniform over the stacked projections
    assert 0.8 * bound < fresh.in_proj_weight.abs().max() <= bound
    assert not fresh.in_proj_bias.any()
    assert not fresh.out_proj.bias.any()


def test_a_parent_has_the_last_word_over_its_children():
    class ZeroHead(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, 2)

        def reset_parameters(self):
            nn.init.zeros_(self.head.weight)

    assert not reinitialised(quiet(ZeroHead), seed=0).head.weight.any()


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear, self.scale = nn.Linear(4, 2), nn.Parameter(torch.ones(2))


class Forgetful(Scaled):
    def reset_parameters(self):
        """Resets nothing."""


class Failing(Scaled):
    def reset_parameters(self, gain):
        """Cannot be called without an argument."""


@pytest.mark.parametrize("kind", [Scaled, Forgetful])
def test_weights_that_nothing_draws_anew_are_refused(kind):
    model = nn.Sequential(quiet(kind))
    with pytest.raises(ModelError, match=rf"weights of 0 \({kind.__name__}\).*reset_parameters.*initial model"):
        reinitialised(model, seed=0)


def test_weights_behind_a_parametrisation_are_refused():
    model = quiet(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    with pytest.raises(ModelError, match="initial model"):
        reinitialised(model, seed=0)


def test_a_reset_that_fails_is_explained():
    with pytest.raises(ModelError, match="Failing cannot be drawn anew, because its reset_parameters failed"):
        reinitialised(quiet(Failing), seed=0)


def test_normalisation_alone_has_nothing_to_draw():
    layer = Normalize([0.5], [0.2])
    assert equal(snapshot(reinitialised(layer, seed=0)), snapshot(layer))


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("small_cnn", "classifier"),
        ("small_resnet", "linear"),
        ("small_vit", "head"),
        ("fast_cnn", "head"),
        ("vgg11", "classifier"),
    ],
)
def test_last_linear_finds_the_head_of_ours(name, head, build):
    model = build(name)
    assert last_linear(model) is getattr(model, head)


def test_last_linear_skips_what_cannot_be_a_head():
    model = quiet(lambda: nn.Sequential(nn.Linear(4, 10), nn.Linear(4, 3), nn.Linear(4, 1)))
    assert last_linear(model) is model[1]
    assert last_linear(model, num_classes=10) is model[0]
    with pytest.raises(ModelError, match="no linear layer with 7 outputs"):
        last_linear(model, num_classes=7)


def test_a_model_without_linear_layer_has_no_head_to_reset():
    model = quiet(lambda: nn.Sequential(nn.Conv2d(3, 10, 1), nn.Flatten()))
    with pytest.raises(ModelError, match="no linear layer to reset: leave reset_head off"):
        reset_head(model, seed=0)


def test_reset_head_draws_xavier_normal_with_gain_root_two():
    """By hand: standard deviation √2 · √(2 / (in + out)), over 120,000 draws known to 0.2 %."""
    model = quiet(lambda: nn.Sequential(nn.Linear(5, 400), nn.Linear(400, 300)))
    before = copy.deepcopy(model)
    parameter = model[1].weight
    reset_head(model, seed=0)
    assert model[1].weight is parameter
    std = math.sqrt(2) * math.sqrt(2 / (400 + 300))
    assert parameter.std().item() == pytest.approx(std, rel=0.01)
    assert abs(parameter.mean().item()) < 5 * std / math.sqrt(120_000)
    within_one = (parameter.abs() < std).float().mean().item()
    assert within_one == pytest.approx(0.6827, abs=0.01)  # normal; a uniform of this spread has 0.577
    assert torch.equal(model[1].bias, before[1].bias)
    assert torch.equal(model[0].weight, before[0].weight)
    assert torch.equal(model[0].bias, before[0].bias)


def test_reset_head_depends_on_the_seed_alone():
    model = quiet(lambda: nn.Linear(20, 10))
    draws = []
    for seed in (1, 1, 2):
        reset_head(model, seed=seed)
        draws.append(model.weight.detach().clone())
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_head_behind_a_parametrisation_is_not_silently_left_alone():
    model = quiet(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)))
    with pytest.raises(ModelError, match="parametrisation"):
        reset_head(model, seed=0)


def test_where_only_some_layers_are_needed_others_may_stay_as_they_are():
    model = nn.Sequential(quiet(Forgetful), nn.BatchNorm1d(2), quiet(lambda: nn.Linear(2, 2)))
    fresh = reinitialised(model, seed=0, needed=["2"])
    assert torch.equal(fresh[0].scale, model[0].scale)
    assert not torch.equal(fresh[2].weight, model[2].weight)
    with pytest.raises(ModelError, match="weights of 0 "):
        reinitialised(model, seed=0, needed=["0", "2"])
