"""Networks whose last layer is a head on features of length 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.heads.rows import linear_of, rows_of
from natmu.models import (
    UnitLinear,
    adapted,
    build_model,
    features_before,
    set_unit_head,
    unit_head_of,
    with_unit_head,
)
from natmu.models.initial import seeded

SHAPE = (1, 8, 8)


class Net(nn.Module):
    """Two layers, with something done to the logits."""

    def __init__(self, after=None, bias=True):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.BatchNorm1d(6))
        self.fc = nn.Linear(6, 3, bias=bias)
        self.after = after or nn.Identity()

    def forward(self, images):
        return self.after(self.fc(self.body(images)))


def net(**options):
    with seeded(0):
        return Net(**options)


def headed(model):
    return with_unit_head(model, num_classes=3, image_shape=SHAPE)


@pytest.mark.parametrize("name", ["small_cnn", "small_vit"])
def test_the_head_of_our_models_is_found_and_all_else_is_frozen(name):
    shape = (3, 32, 32)
    plain = build_model(name, num_classes=3, image_shape=shape, mean=[0.5] * 3, std=[0.5] * 3, seed=0)
    model = build_model(name, num_classes=3, image_shape=shape, mean=[0.5] * 3, std=[0.5] * 3, seed=0)
    assert with_unit_head(model, num_classes=3, image_shape=shape) is model
    head_name, head = unit_head_of(model)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    trainable = {key for key, value in model.named_parameters() if value.requires_grad}
    assert trainable == {f"{head_name}.weight", f"{head_name}.bias"}
    with torch.no_grad():
        images, layer = (
            torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)),
            plain.get_submodule(head_name),
        )
        features = features_before(layer, lambda: plain.eval()(images))
        lengths = features.norm(dim=1, keepdim=True)
        expected = (features / lengths) @ head.weight.T + head.bias
        assert torch.allclose(model.eval()(images), expected, atol=1e-5)


def test_logits_are_those_of_rows_and_the_length_of_features_does_not_matter():
    rng = np.random.default_rng(0)
    features, weights = rng.normal(size=(20, 6)), rng.normal(size=(3, 7))
    features[3] = 0
    model = headed(net())
    set_unit_head(model, *linear_of(weights))
    expected = rows_of(features).astype(np.float64) @ weights.T
    for scale in (1.0, 37.0):
        logits = model.fc(torch.from_numpy(features * scale).float()).detach().numpy()
        assert np.abs(logits - expected).max() < 1e-4  # rows are rounded to multiples of 2 ** -16


def test_a_layer_without_bias_gets_one():
    model = headed(net(bias=False))
    assert isinstance(model.fc, UnitLinear)
    assert model.fc.bias.tolist() == [0, 0, 0]


class Convolved(nn.Module):
    """Ends in a 1x1 convolution, as SqueezeNet does."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 3, 1)

    def forward(self, images):
        return self.head(self.body(images)).mean((2, 3))


class PerToken(nn.Module):
    """Averages the logits of several tokens."""

    def __init__(self):
        super().__init__()
        self.body, self.head = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, images):
        return self.head(self.body(images[:, 0]).relu()).mean(1)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Convolved, "a convolution"),
        (PerToken, "one row of features per image"),
        (lambda: Net(after=nn.Softplus()), "changes the logits"),
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.Tanh(), nn.Linear(4, 4)), "not the rows of one"),
    ],
)
def test_networks_that_cannot_carry_a_head_are_refused(make, why):
    with seeded(0):
        model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=why):
        headed(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_models_that_return_no_logits_are_refused():
    softmax = adapted(net(after=nn.Softmax(1)), num_classes=3, image_shape=SHAPE, outputs="probabilities")
    with pytest.raises(ModelError, match="something else than the logits"):
        headed(softmax)


def test_modes_are_left_as_they_were():
    model = net().train()
    model.body[3].eval()
    statistics = model.body[3].running_mean.clone()
    headed(model)
    assert model.training
    assert not model.body[3].training
    assert torch.equal(model.body[3].running_mean, statistics)
