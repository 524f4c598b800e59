"""What each block of a network is given, in networks that are made in different ways."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.features import MOST, features_of
from natmu.engine.predict import EVALUATION_BATCH
from natmu.models import build_model
from natmu.testing.problems import CPU, digits, small_net

POSITIONS = torch.arange(3, 15)


def images(positions=POSITIONS):
    return digits().take(positions).float() / 255


def found(model, positions=POSITIONS):
    return features_of(model, digits(), positions, CPU)


def agrees(features, expected):
    assert [one.shape for one in features] == [tuple(one.shape) for one in expected]
    for one, other in zip(features, expected, strict=True):
        np.testing.assert_allclose(one, other.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_of_a_plain_network_it_is_what_each_layer_with_weights_is_given_but_the_first():
    """Maps are averaged over their pixels; batch normalisation is no block of its own."""
    torch.manual_seed(0)
    stem = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True))
    body = nn.Sequential(nn.Conv2d(6, 5, 3), nn.ReLU(inplace=True), nn.Flatten())
    neck, head = nn.Sequential(nn.Linear(80, 7), nn.Tanh()), nn.Linear(7, 10)
    model = nn.Sequential(*stem, *body, *neck, head).eval()
    first = stem(images())
    second = body(first.clone())
    agrees(found(model), [first.mean((2, 3)), second, neck(second)])


def test_a_network_inside_others_is_opened_until_there_are_enough_blocks():
    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.scale, self.inner = nn.Dropout(0.5), inner

        def forward(self, images):
            return self.inner(self.scale(images))

    inner = small_net((1, 8, 8), 10)
    expected = [inner.eval()[:-1](images())]
    agrees(found(inner), expected)
    agrees(found(Wrapped(Wrapped(inner))), expected)


def test_of_a_residual_network_it_is_what_each_stage_and_the_classifier_are_given():
    data = digits()
    model = build_model(
        "resnet18", num_classes=10, image_shape=data.image_shape, mean=(0.3,), std=(0.3,), seed=0
    ).eval()
    given = torch.relu(model.bn1(model.conv1(model.normalize(images()))))
    expected = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        expected.append(given.mean((2, 3)))
        given = stage(given)
    agrees(found(model), [*expected, given.mean((2, 3))])


def test_of_many_blocks_some_are_taken_evenly_and_the_last_is_one_of_them():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64) for _ in range(20)]
    model = nn.Sequential(nn.Flatten(), *layers)
    given, every = images().flatten(1), []
    for layer in layers:
        every.append(given)
        given = layer(given)
    chosen = np.linspace(0, 18, MOST).round().astype(int)
    agrees(found(model), [every[1:][place] for place in chosen])


def test_tokens_are_averaged_and_attention_is_left_whole():
    class Small(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.mix = nn.Linear(8, 12), nn.MultiheadAttention(12, 2, batch_first=True)
            self.norm, self.head = nn.LayerNorm(12), nn.Linear(12, 10)

        def tokens(self, images):
            return self.embed(images.squeeze(1))

        def mixed(self, tokens):
            return self.norm(self.mix(tokens, tokens, tokens, need_weights=False)[0]).mean(1)

        def forward(self, images):
            return self.head(self.mixed(self.tokens(images)))

    torch.manual_seed(0)
    model = Small().eval()
    tokens = model.tokens(images())
    agrees(found(model), [tokens.mean(1), model.mixed(tokens)])


def test_blocks_that_are_not_called_or_are_given_something_else_are_left_out():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.never, self.few = nn.Linear(64, 9), nn.Linear(9, 9), nn.Linear(1, 1)
            self.named, self.twice, self.head = nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 10)

        def forward(self, images):
            given = self.first(images.flatten(1)) + self.few(torch.zeros(1, 1))
            return self.head(self.twice(self.twice(self.named(input=given))))

    torch.manual_seed(0)
    model = Odd()
    given = model.twice(model.named(model.first(images().flatten(1)) + model.few(torch.zeros(1, 1))))
    agrees(found(model), [given, model.twice(given)])


def test_features_are_those_that_a_block_was_given_whatever_it_makes_of_them():
    class Careless(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(9, 9)

        def forward(self, given):
            return self.layer(given.mul_(3))

    torch.manual_seed(0)
    first, careless, head = nn.Linear(64, 9), Careless(), nn.Linear(9, 10)
    model = nn.Sequential(nn.Flatten(), first, careless, head, nn.Linear(10, 10))
    given = first(images().flatten(1))
    after = careless(given.clone())
    agrees(found(model), [given, after, head(after)])


def test_one_layer_alone_has_nothing_within():
    assert found(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))) == []


def test_images_in_several_batches_give_what_one_batch_gives():
    data = digits()
    many = torch.arange(EVALUATION_BATCH + 9) % len(data)
    model = small_net((1, 8, 8), 10)
    (whole,) = found(model, many)
    assert whole.shape == (len(many), 128)
    (few,) = found(model, many[:60])
    np.testing.assert_allclose(whole[:60], few, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        whole[-9:], few[(EVALUATION_BATCH % 60) : (EVALUATION_BATCH % 60) + 9], rtol=1e-5, atol=1e-6
    )


def test_the_model_is_left_as_it_was():
    model = small_net((1, 8, 8), 10).train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found(model)
    assert [module.training for module in model.children()] == [True, False, True, True, True, True]
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_it_is_left_as_it_was_by_a_failure_too():
    class Failing(nn.Sequential):
        def forward(self, images):
            raise ValueError("not this time")

    model = Failing(*small_net((1, 8, 8), 10)).train()
    with pytest.raises(ValueError, match="not this time"):
        features_of(model, ImageData(digits().images, digits().labels, digits().class_names), POSITIONS, CPU)
    assert model.training
    assert not any(module._forward_pre_hooks for module in model.modules())
