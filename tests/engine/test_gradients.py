"""Gradients per sample: equal to one backward pass after another, in bounded memory, and without a trace."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from natmu.data import ImageData
from natmu.data.batches import plain
from natmu.engine import gradients as module
from natmu.engine.compute import Compute
from natmu.engine.gradients import chunk_size, mean_over_samples, per_sample_gradients, trainable
from natmu.engine.products import Unserved
from natmu.models import build_model
from natmu.progress import shown_on

CPU = Compute.choose("cpu", "fp32")


def data_of(count, shape=(3, 8, 8), classes=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=draw)
    labels = torch.randint(classes, (count,), generator=draw)
    return ImageData(images, labels, tuple(f"c{number}" for number in range(classes)))


def rows_of(data):
    return plain(torch.arange(len(data)), data.labels, augment=False)


def slow(model, data, function=functional.cross_entropy):
    """One backward pass per sample, in eval mode; ``(N, *shape)`` per parameter."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    found = []
    for image, label in zip(data.images, data.labels, strict=True):
        loss = function(model(image[None].float() / 255)[0], label)
        found.append(torch.autograd.grad(loss, trainable(model), materialize_grads=True))
    for part, training in modes:
        part.training = training
    return [torch.stack(column) for column in zip(*found, strict=True)]


def fast(model, data, function=functional.cross_entropy):
    chunks = list(per_sample_gradients(model, data, rows_of(data), CPU, function))
    return [torch.cat(column) for column in zip(*chunks, strict=True)]


def assert_close(found, expected, tolerance=1e-5):
    """Each weight's gradient for each sample, up to rounding in what all of the sample's gradients are made of.

    That of a sample which the model is nearly sure of is a small difference of numbers as large as others' gradients.
    """
    assert [part.shape for part in found] == [part.shape for part in expected]
    whole = torch.stack([part.reshape(len(part), -1).norm(dim=1) for part in expected]).norm(dim=0)
    for part, other in zip(found, expected, strict=True):
        errors, sizes = ((each.reshape(len(each), -1).norm(dim=1)) for each in (part - other, other))
        assert (errors <= tolerance * (sizes + 0.1 * whole + 0.1 * whole.max())).all()


def settled(model, shape=(3, 8, 8)):
    """The model with running statistics that are not the initial ones, in train mode."""
    model.train()
    with torch.no_grad():
        for seed in range(3):
            model(data_of(16, shape, seed=seed).images.float() / 255)
    return model


def ours(name, shape=(3, 8, 8)):
    mean = [0.5] * shape[0]
    return build_model(name, num_classes=5, image_shape=shape, mean=mean, std=mean, seed=0)


class WaysTaken:
    """Which ways gave the gradients."""

    def __init__(self, monkeypatch):
        self.names = []
        for name in ("_by_layers", "_by_vmap", "_in_turn"):
            monkeypatch.setattr(module, name, self._noting(name, getattr(module, name)))

    def _noting(self, name, way):
        def noted(*args):
            found = way(*args)
            self.names.append(name)
            return found

        return noted


@given(
    count=st.integers(1, 9),
    channels=st.integers(2, 4),  # with one, oneDNN's answers to unusual kernels and strides are wrong at times
    width=st.integers(1, 6),
    size=st.tuples(st.integers(5, 9), st.integers(5, 9)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    bias=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_layers_give_what_a_backward_pass_per_sample_gives(
    count, channels, width, size, kernel, stride, padding, bias, seed
):
    torch.manual_seed(seed)
    shape = (channels, *size)
    model = nn.Sequential(
        nn.Conv2d(channels, width, kernel, stride, padding, bias=bias),
        nn.BatchNorm2d(width),
        nn.Tanh(),
        nn.Conv2d(width, 3, 1, bias=not bias),
        nn.Sigmoid(),
        nn.Flatten(2),
        nn.LazyLinear(4, bias=bias),
        nn.LayerNorm(4),
        nn.Flatten(),
        nn.Linear(12, 5),
    )
    settled(model, shape)
    data = data_of(count, shape, seed=seed)
    assert_close(fast(model, data), slow(model, data))


NETWORKS = [
    ("small_cnn", (3, 8, 8), "_by_layers"),
    ("small_cnn", (1, 9, 11), "_by_layers"),
    ("small_resnet", (3, 8, 8), "_by_layers"),
    ("resnet50", (3, 8, 8), "_by_layers"),
    ("vgg11", (3, 32, 32), "_by_layers"),
    ("small_vit", (3, 8, 8), "_by_vmap"),
]


@pytest.mark.parametrize(("name", "shape", "way"), NETWORKS)
def test_our_networks(monkeypatch, name, shape, way):
    model = settled(ours(name, shape), shape)
    data = data_of(3, shape, seed=2)  # in which no rectifier's input is within rounding of 0
    expected = slow(model, data)
    taken = WaysTaken(monkeypatch)
    assert_close(fast(model, data), expected)
    assert taken.names[-1] in (way, "_in_turn")
    assert way in taken.names
    assert ("_by_vmap" in taken.names) == (way == "_by_vmap")


class Twice(nn.Module):
    """A layer that is used twice, and a weight that is in no layer."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 192)
        self.scale = nn.Parameter(torch.tensor(0.7))
        self.head = nn.Linear(192, 5)

    def forward(self, images):
        return self.head(self.scale * torch.tanh(self.layer(torch.tanh(self.layer(images.flatten(1))))))


class Crosswise(nn.Module):
    """Answers that depend on the other images of the batch."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 5)

    def forward(self, images):
        values = self.layer(images.flatten(1))
        return values - 0.5 * values.mean(0)


class Undecided(nn.Module):
    """Control flow that depends on the image, which vmap refuses."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 5)
        self.scale = nn.Parameter(torch.tensor([2.0]))

    def forward(self, images):
        values = self.layer(images.flatten(1))
        return values * self.scale if float(values.detach().sum()) > 0 else values


class TwoNames(nn.Module):
    """A block with statistics that goes by two names and is used under both, and two layers that share a weight."""

    def __init__(self):
        super().__init__()
        self.block = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.Flatten())
        self.again, self.images = self.block, nn.Unflatten(1, (3, 8, 8))
        self.first, self.second, self.head = nn.Linear(192, 192), nn.Linear(192, 192), nn.Linear(192, 5)
        self.second.weight = self.first.weight

    def forward(self, images):
        values = self.again(self.images(torch.tanh(self.block(images))))
        return self.head(self.second(torch.tanh(self.first(values))))


ODD = {
    "under two names": (TwoNames, "_by_vmap"),
    "used twice": (Twice, "_by_vmap"),
    "grouped": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, groups=3), nn.Flatten(), nn.Linear(216, 5)), "_by_vmap"),
    "dilated": (lambda: nn.Sequential(nn.Conv2d(3, 6, 3, dilation=2), nn.Flatten(), nn.Linear(96, 5)), "_by_vmap"),
    "same padding": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding="same"), nn.Flatten(), nn.Linear(384, 5)),
        "_by_vmap",
    ),
    "circular padding": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3, padding=1, padding_mode="circular"), nn.Flatten(), nn.Linear(384, 5)),
        "_by_layers",
    ),
    "in place": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.SiLU(inplace=True), nn.Flatten(), nn.Linear(216, 5)),
        "_by_layers",
    ),
    "dropout": (lambda: nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 5)), "_by_layers"),
    "batch statistics": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False), nn.Flatten(), nn.Linear(216, 5)
        ),
        "_by_vmap",
    ),
    "group norm": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.GroupNorm(2, 6), nn.Flatten(), nn.Linear(216, 5)),
        "_by_vmap",
    ),
    "weight norm": (
        lambda: nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(192, 5))),
        "_by_vmap",
    ),
    "crosswise": (Crosswise, "_by_vmap"),
    "rows of all samples": (
        lambda: nn.Sequential(
            nn.Flatten(0, 2), nn.Linear(8, 8), nn.Unflatten(0, (-1, 24)), nn.Flatten(), nn.Linear(192, 5)
        ),
        "_by_vmap",
    ),
    "undecided": (Undecided, "_in_turn"),
}


@pytest.mark.parametrize("case", list(ODD))
def test_odd_models_get_right_gradients_by_the_fastest_way_that_serves_them(monkeypatch, case):
    build, way = ODD[case]
    torch.manual_seed(0)
    model = build()
    data = data_of(6)
    expected, weights = slow(model, data), list(model.parameters())
    taken = WaysTaken(monkeypatch)
    assert_close(fast(model, data), expected)
    assert [name for name in taken.names if name != "_in_turn" or way == name][-1] == way
    assert all(after is before for after, before in zip(model.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    "case", ["used twice", "grouped", "dilated", "batch statistics", "group norm", "weight norm", "undecided"]
)
def test_what_no_rule_knows_is_refused_without_any_trial(case):
    torch.manual_seed(0)
    model = ODD[case][0]().eval()
    images = data_of(6).images.float() / 255
    with pytest.raises(Unserved):
        module._by_layers(model, images, data_of(6).labels, functional.cross_entropy)


class Shared(nn.Module):
    """Two layers that share one weight."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(192, 192), nn.Linear(192, 192)
        self.second.weight = self.first.weight

    def forward(self, images):
        return self.second(torch.tanh(self.first(images.flatten(1))))


def test_weights_shared_by_layers_are_refused_without_any_trial():
    data = data_of(6)
    with pytest.raises(Unserved):
        module._by_layers(Shared(), data.images.float() / 255, data.labels, functional.cross_entropy)


def test_a_model_that_goes_sample_by_sample_is_told_of_once(monkeypatch):
    lines = []

    class Display:
        def bar(self, label, total, done, unit):
            from contextlib import nullcontext

            return nullcontext(lambda: None)

        def say(self, line):
            lines.append(line)

    monkeypatch.setattr(module, "EVALUATION_BATCH", 2)
    with shown_on(Display()):
        fast(Undecided(), data_of(6))
    assert len(lines) == 1
    assert "one by one" in lines[0]


def test_an_error_of_the_model_itself_is_raised():
    model = nn.Sequential(nn.Flatten(), nn.Linear(7, 5))
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        fast(model, data_of(3))


def test_any_loss_of_a_sample(monkeypatch):
    model, data = settled(ours("small_cnn")), data_of(5)

    def function(logits, label):
        return logits.square().sum() + label * logits[0]

    assert_close(fast(model, data, function), slow(model, data, function))


def test_frozen_weights_and_those_that_nothing_reaches():
    model = settled(ours("small_cnn"))
    model.extra = nn.Linear(3, 2)
    model.features[0].weight.requires_grad_(False)
    model.features[1].bias.requires_grad_(False)
    data = data_of(4)
    found = fast(model, data)
    assert len(found) == len(list(model.parameters())) - 2
    assert_close(found, slow(model, data))
    assert all(not part.any() for part in found[-2:])


@pytest.mark.parametrize("build", [lambda: ours("small_cnn"), Twice, Undecided])
def test_the_model_is_left_as_it_was_between_chunks_and_after(monkeypatch, build):
    monkeypatch.setattr(module, "EVALUATION_BATCH", 2)
    model = build()
    model.train()
    list(model.children())[-1].eval()
    modes = [part.training for part in model.modules()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for number, _ in enumerate(
        per_sample_gradients(model, data := data_of(7), rows_of(data), CPU, functional.cross_entropy)
    ):
        assert [part.training for part in model.modules()] == modes
        if number == 2:
            break
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None and not parameter._backward_hooks for parameter in model.parameters())


def test_gradients_are_in_full_precision_whatever_training_uses():
    model, data = settled(ours("small_cnn")), data_of(4)
    mixed = Compute.choose("cpu", "bf16")
    with mixed.autocast(), torch.no_grad():
        chunks = list(per_sample_gradients(model, data, rows_of(data), mixed, functional.cross_entropy))
    assert_close([torch.cat(column) for column in zip(*chunks, strict=True)], slow(model, data))


@pytest.mark.parametrize("transform", [torch.square, torch.abs])
@pytest.mark.parametrize("batch", [1, 3, 512])
def test_the_mean_is_over_samples_however_they_are_divided(monkeypatch, transform, batch):
    monkeypatch.setattr(module, "EVALUATION_BATCH", batch)
    model, data = settled(ours("small_cnn")), data_of(7)
    found = mean_over_samples(model, data, rows_of(data), CPU, functional.cross_entropy, transform)
    expected = [transform(part.double()).mean(0) for part in slow(model, data)]
    for mean, other in zip(found, expected, strict=True):
        assert mean.dtype == torch.float32
        assert not mean.requires_grad
        assert (mean - other).norm() <= 1e-5 * other.norm()


def test_rows_come_in_their_order_with_their_own_labels():
    model, data = settled(ours("small_cnn")), data_of(8)
    positions = torch.tensor([5, 2, 2, 7])
    labels = torch.tensor([0, 1, 2, 3])
    samples = plain(positions, labels, augment=False)
    (found,) = per_sample_gradients(model, data, samples, CPU, functional.cross_entropy)
    shown = ImageData(data.images[positions], labels, data.class_names)
    assert_close(found, slow(model, shown))


@given(sample_bytes=st.integers(0, 2**40))
def test_a_chunk_stays_within_its_memory_or_is_a_single_sample(sample_bytes):
    size = chunk_size(sample_bytes)
    assert 1 <= size <= module.EVALUATION_BATCH
    assert size == 1 or size * sample_bytes <= module.CHUNK_BYTES
    assert size == module.EVALUATION_BATCH or (size + 1) * sample_bytes > module.CHUNK_BYTES


def test_chunks_hold_no_more_than_their_memory_whatever_the_size_of_the_set(monkeypatch):
    model = ours("small_cnn")
    weights = 4 * sum(parameter.numel() for parameter in trainable(model))
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 2**20)
    for count in (20, 50):
        data = data_of(count)
        sizes = [
            sum(part.numel() * part.element_size() for part in chunk)
            for chunk in per_sample_gradients(model, data, rows_of(data), CPU, functional.cross_entropy)
        ]
        assert sum(sizes) == count * weights
        assert max(sizes) <= 4 * 2**20
        assert len(sizes) > 1


def test_activations_are_those_of_one_sample_without_weights():
    model = ours("small_cnn").eval()
    small, large = (module._activation_bytes(model, torch.zeros(1, 3, size, size)) for size in (8, 16))
    outputs = 4 * (2 * 3 * 64 + 2 * 32 * 64 + 2 * 64 * 16 + 2 * 128 * 4)  # of normalisations and convolutions, at least
    assert outputs < small < 2 * outputs
    assert large == pytest.approx(4 * small, rel=0.1)


def test_sums_over_many_pieces_and_of_weights_that_nothing_reaches(monkeypatch):
    monkeypatch.setattr(module, "EVALUATION_BATCH", 5)
    monkeypatch.setattr(module, "PIECE_BYTES", 2 * 4 * 64 * 32 * 9)  # two samples of one layer, one of another
    model, data = settled(ours("small_cnn")), data_of(14)
    model.extra = nn.Linear(3, 2)
    model.features[1].weight.requires_grad_(False)
    found = mean_over_samples(model, data, rows_of(data), CPU, functional.cross_entropy, torch.cos)
    expected = [part.double().cos().mean(0) for part in slow(model, data)]
    for mean, other in zip(found, expected, strict=True):
        assert torch.allclose(mean.double(), other, rtol=1e-6)
    found = mean_over_samples(model, data, rows_of(data), CPU, functional.cross_entropy, lambda gradient: gradient)
    for mean, other in zip(found, slow(model, data), strict=True):
        assert torch.allclose(mean, other.mean(0), atol=1e-6)


def test_the_mean_holds_no_gradients_of_all_rows_once_a_chunk_has_been_checked(monkeypatch):
    monkeypatch.setattr(module, "CHUNK_BYTES", 4 * 2**20)
    taken = []
    by_layers = module._by_layers

    def noting(*args):
        found = by_layers(*args)
        taken.append((len(args[1]), max(part.numel() for part in found)))
        return found

    monkeypatch.setattr(module, "_by_layers", noting)
    model, data = ours("small_cnn"), data_of(150)
    mean_over_samples(model, data, rows_of(data), CPU, functional.cross_entropy, torch.square)
    largest = max(part.numel() for part in model.parameters())
    (first, held), *others = taken
    assert 2 <= first <= 11
    assert held == first * largest
    assert {part for _, part in others} == {largest}
    assert max(rows for rows, _ in others) > 3 * first


def test_no_rows_give_nothing():
    data = data_of(3)
    empty = plain(torch.arange(0), data.labels[:0], augment=False)
    assert list(per_sample_gradients(ours("small_cnn"), data, empty, CPU, functional.cross_entropy)) == []
