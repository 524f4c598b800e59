"""Outputs of classes are taken out of whatever layer gives the logits, and what cannot lose them is refused."""

import copy

import pytest
import torch
from torch import nn

from natmu.errors import ModelError
from natmu.models import (
    adapted,
    build_model,
    head_of,
    moved_outputs,
    network_of,
    require_enough,
    unadapted,
    without_outputs,
)
from natmu.types import NO_OUTPUT

SHAPE = (1, 8, 8)


class Convolutional(nn.Module):
    """The logits are the means of the maps of a 1x1 convolution, as in SqueezeNet; a hidden layer has as many rows."""

    def __init__(self):
        super().__init__()
        self.score = nn.Conv2d(4, 5, 1, bias=False)
        self.hidden = nn.Conv2d(5, 4, 3)
        self.first = nn.Conv2d(1, 5, 1)

    def forward(self, images):
        return {"logits": self.score(self.hidden(self.first(images))).mean((2, 3))}


class Softmax(nn.Sequential):
    def forward(self, images):
        return super().forward(images).softmax(1)


class Scaled(nn.Module):
    """Logits that are no rows of a layer."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 5)
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, images):
        return self.linear(images.flatten(1)) * self.scale


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(64, 64), nn.Linear(64, 64)
        self.last.weight = self.first.weight

    def forward(self, images):
        return self.last(self.first(images.flatten(1)))


def linear():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 5))


@pytest.mark.parametrize(
    ("network", "outputs", "layer"),
    [(linear(), "logits", "3"), (Convolutional(), "logits", "score"), (Softmax(*linear()), "probabilities", "3")],
)
def test_the_rows_go_and_the_other_outputs_stay(network, outputs, layer):
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(0))
    given = copy.deepcopy(network)
    model = adapted(network, num_classes=5, image_shape=SHAPE, outputs=outputs).eval()
    before = model(images).detach()
    assert head_of(model, num_classes=5, image_shape=SHAPE) == layer
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), given.parameters(), strict=True))

    shorter = without_outputs(model, layer, [3, 1])
    after, kept = shorter(images).detach(), [0, 2, 4]
    expected, found = (before[:, kept], after[:, kept])
    if outputs == "probabilities":
        expected, found = expected.softmax(1), found.softmax(1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert (after[:, [1, 3]] == NO_OUTPUT).all()

    back = unadapted(shorter)
    assert type(back) is type(given)
    assert network_of(shorter) is back
    head = back.get_submodule(layer)
    assert head.weight.shape[0] == getattr(head, "out_features", getattr(head, "out_channels", None)) == 3
    assert torch.equal(head.weight, given.get_submodule(layer).weight[kept])
    assert back.state_dict().keys() == given.state_dict().keys()


@pytest.mark.parametrize("name", ["small_cnn", "fast_cnn", "small_resnet", "vgg11", "small_vit"])
def test_ours_have_a_layer_that_can_lose_rows(name):
    size = {"vgg11": (1, 32, 32), "fast_cnn": (1, 9, 9)}.get(name, SHAPE)
    model = build_model(name, num_classes=5, image_shape=size, mean=[0.5], std=[0.5], seed=0)
    assert model.get_submodule(head_of(model, num_classes=5, image_shape=size)).out_features == 5


@pytest.mark.parametrize(("network", "classes"), [(Scaled(), 5), (Tied(), 64)])
def test_what_cannot_lose_rows_is_refused(network, classes):
    with pytest.raises(ModelError, match="do not come from a linear layer"):
        head_of(network, num_classes=classes, image_shape=SHAPE)


def test_two_classes_must_stay():
    require_enough(3, [1])
    with pytest.raises(ModelError, match=r"Without 1 of 2 outputs.*fewer than two classes"):
        require_enough(2, [1])


def test_what_moved_is_told():
    assert moved_outputs(["ant", "bee", "cat", "dog"], [2, 0]) == (
        "The model has no output for ant, cat any more; its outputs are now, in this order: bee, dog."
    )


@pytest.mark.parametrize("precision", [torch.float32, torch.float64, torch.float16])
@pytest.mark.parametrize("classes", [2, 3])
def test_the_head_is_found_of_two_classes_and_in_any_precision(precision, classes):
    with torch.random.fork_rng([]):
        network = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.Tanh(), nn.Linear(16, classes)).to(precision)

    class Cast(nn.Module):
        def __init__(self):
            super().__init__()
            self.network = network

        def forward(self, images):
            return self.network(images.to(precision))

    assert head_of(Cast(), num_classes=classes, image_shape=SHAPE) == "network.3"
