"""Checkpoints of the research code of NatMU, built here from its definitions and computed layer by layer.

Names and shapes are those of NatMU, sample-wise/models/vgg.py, lines 6-42, sample-wise/models/resnet.py, lines 17-40
and 73-131, and of the wrapper in sample-wise/utils/util.py, lines 30-65 and 158-165. Files are saved as in
sample-wise/train_origin.py, lines 69-73, 123-127 and 171, and class-wise/train_origin.py, lines 171-175.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch.nn import functional

from natmu.errors import ModelError
from natmu.models import load_weights

CIFAR10 = {"mean": (0.4914, 0.4822, 0.4465), "std": (0.2470, 0.2435, 0.2616)}
TINY_IMAGENET = {"mean": (0.4802, 0.4481, 0.3975), "std": (0.2764, 0.2689, 0.2816)}


class Net:
    """Makes the weights that a network asks for, or hands out those there are, each once."""

    def __init__(self, seed, state=None):
        self.generator = torch.Generator().manual_seed(seed)
        self.making, self.state = state is None, OrderedDict() if state is None else OrderedDict(state)

    def weight(self, name, shape, *, low=-1.0, high=1.0):
        if not self.making:
            assert self.state[name].shape == shape, name
            return self.state.pop(name)
        self.state[name] = low + (high - low) * torch.rand(shape, generator=self.generator)
        return self.state[name]

    def convolution(self, name, images, width, *, size=3, stride=1, bias=False):
        bound = (6 / images.shape[1] / size**2) ** 0.5
        kernel = self.weight(f"{name}.weight", (width, images.shape[1], size, size), low=-bound, high=bound)
        offset = self.weight(f"{name}.bias", (width,)) if bias else None
        return functional.conv2d(images, kernel, offset, stride=stride, padding=size // 2)

    def norm(self, name, images):
        width = (images.shape[1],)
        scale, offset = self.weight(f"{name}.weight", width, low=0.5), self.weight(f"{name}.bias", width)
        mean, variance = (
            self.weight(f"{name}.running_mean", width),
            self.weight(f"{name}.running_var", width, low=0.5),
        )
        if self.making:
            self.state[f"{name}.num_batches_tracked"] = torch.tensor(39_100)
        else:
            assert self.state.pop(f"{name}.num_batches_tracked") == 39_100
        return functional.batch_norm(images, mean, variance, scale, offset)

    def linear(self, name, features, classes):
        bound = (6 / features.shape[1]) ** 0.5
        weight = self.weight(f"{name}.weight", (classes, features.shape[1]), low=-bound, high=bound)
        return functional.linear(features, weight, self.weight(f"{name}.bias", (classes,)))


def vgg16(net, images, classes):
    place = 0
    for stage in ([64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3):
        for width in stage:
            images = net.convolution(f"net.features.{place}", images, width, bias=True)
            images = net.norm(f"net.features.{place + 1}", images).relu()
            place += 3
        images = functional.max_pool2d(images, 2)
        place += 1
    return net.linear("net.classifier", images.flatten(1), classes)


def resnet(net, images, classes, blocks):
    images = net.norm("net.bn1", net.convolution("net.conv1", images, 64)).relu()
    for stage, (width, count) in enumerate(zip((64, 128, 256, 512), blocks, strict=True), start=1):
        for number in range(count):
            name, stride = f"net.layer{stage}.{number}", 2 if stage > 1 and number == 0 else 1
            hidden = net.convolution(f"{name}.conv1", images, width, stride=stride)
            hidden = net.convolution(f"{name}.conv2", net.norm(f"{name}.bn1", hidden).relu(), width)
            hidden = net.norm(f"{name}.bn2", hidden)
            if stride > 1:
                images = net.convolution(f"{name}.shortcut.0", images, width, size=1, stride=stride)
                images = net.norm(f"{name}.shortcut.1", images)
            images = (hidden + images).relu()
    return net.linear("net.linear", images.mean((2, 3)), classes)


NETWORKS = {
    "vgg16": (vgg16, 10, 32, CIFAR10, {"acc": 93.41, "epoch": 99}),
    "resnet18": (partial(resnet, blocks=(2, 2, 2, 2)), 20, 32, CIFAR10, {"epoch": 99}),
    "resnet34": (partial(resnet, blocks=(3, 4, 6, 3)), 200, 64, TINY_IMAGENET, {}),
}


def checkpoint(network, classes, size, constants):
    """A state dict of the research code, normalisation included."""
    net = Net(1)
    with torch.no_grad():
        network(net, torch.zeros(1, 3, size, size), classes)
    for name, values in constants.items():
        net.state[f"data_normalize.{name}"] = torch.tensor(values)
    net.state._metadata = OrderedDict({"": {"version": 1}})  # as Module.state_dict() leaves it
    return net.state


@pytest.mark.parametrize("name", NETWORKS)
def test_a_checkpoint_of_the_research_code_loads_as_it_is(name, build, tmp_path):
    network, classes, size, constants, beside = NETWORKS[name]
    state = checkpoint(network, classes, size, constants)
    torch.save({"net": state, **beside}, tmp_path / "model-last.pth")
    model = build(name, (3, size, size), classes)  # its own normalisation is another one
    load_weights(model, tmp_path / "model-last.pth")
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    net = Net(0, state)
    mean, std = (net.state.pop(f"data_normalize.{constant}")[:, None, None] for constant in ("mean", "std"))
    with torch.no_grad():
        expected = network(net, (images - mean) / std, classes)
        found = model.eval()(images)
    assert not net.state  # every tensor was used, and once
    assert expected.std() > 0.1
    assert torch.allclose(found, expected, rtol=0, atol=1e-4 * float(expected.abs().max()))


@pytest.fixture
def small(build):
    """A quick model, and another one's weights under the names of the research code."""
    state = build("small_cnn", (3, 8, 8), seed=2).state_dict()
    named = {f"net.{name}": value for name, value in state.items() if not name.startswith("normalize.")}
    constants = {f"data_normalize.{name}": torch.tensor(values) for name, values in CIFAR10.items()}
    return build("small_cnn", (3, 8, 8), seed=1), named | constants


def in_our_names(state):
    return {name.removeprefix("net.").replace("data_normalize", "normalize"): value for name, value in state.items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "net", "state_dict"])
def test_its_names_are_known_bare_or_wrapped(prefix, wrapper, small, tmp_path):
    model, state = small
    given = {f"{prefix}{name}": value for name, value in state.items()}
    torch.save(given if wrapper is None else {wrapper: given}, tmp_path / "model-init.pth")
    load_weights(model, tmp_path / "model-init.pth")
    for name, value in in_our_names(state).items():
        assert torch.equal(model.state_dict()[name].flatten(), value.flatten()), name
    assert model.normalize.std.shape == (1, 3, 1, 1)


def test_its_names_without_constants_keep_the_models_own(small, tmp_path):
    model, state = small
    torch.save({name: value for name, value in state.items() if name.startswith("net.")}, tmp_path / "weights.pt")
    mean = model.normalize.mean.clone()
    load_weights(model, tmp_path / "weights.pt")
    assert torch.equal(model.normalize.mean, mean)
    assert torch.equal(model.classifier.weight, state["net.classifier.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"data_normalize.std": torch.tensor([0.2, 0.0, 0.2])},
            r"normalize.std = \[0.2.*must be .* positive\. Correct",
        ),
        ({"data_normalize.std": torch.tensor([0.2, -0.2, 0.2])}, "must be .* positive"),
        ({"data_normalize.mean": torch.tensor([0.5, float("nan"), 0.5])}, r"normalize.mean .* must be finite"),
        ({"data_normalize.mean": torch.zeros(1)}, r"another shape: normalize.mean \(1,\)"),
        ({"data_normalize.mean": None}, "1 missing: normalize.mean"),
        ({"net.classifier.bias": None}, "1 missing: classifier.bias"),
        ({"net.fc.bias": torch.zeros(3)}, "1 unexpected: net.fc.bias"),
        ({"classifier.bias": torch.zeros(10)}, "unexpected: data_normalize.mean"),
        ({"net.data_normalize.mean": torch.zeros(3)}, "unexpected: data_normalize.mean"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(change, words, small, tmp_path):
    model, state = small
    torch.save({name: value for name, value in (state | change).items() if value is not None}, tmp_path / "model.pth")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ModelError, match=words):
        load_weights(model, tmp_path / "model.pth")
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in before.items())
