"""CF-k and EU-k: what the last layers are, that all else stays to the bit, and that they start anew in EU-k."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from natmu.errors import ModelError, SettingError
from natmu.methods import CFk, EUk, FineTune, Problem
from natmu.methods.layers import body, last_layers, layers
from natmu.models import build_model

from .problems import intercept, noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(0, 60, 4))
HARD = {"epochs": 2, "lr": 0.05, "weight_decay": 0.1}
both = pytest.mark.parametrize("method", [CFk, EUk])


def deep_net(shape, classes, seed=0):
    """Two convolutions, each with normalisation, one of them without parameters, and dropout on either side."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(shape[0], 6, 3, padding=1),
            nn.BatchNorm2d(6, affine=False),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(24, classes),
        )
        nn.init.uniform_(model[5].weight, 0.5, 1.5)
        nn.init.uniform_(model[5].bias, -0.1, 0.1)
        model(torch.rand(16, *shape))  # statistics that are not those of a new model
    return model


OWN = {1: ["10"], 2: ["10", "4", "5"], 3: ["10", "4", "5", "0", "1"]}
"""The modules of the last k layers."""


def inside(name, k):
    return name.split(".")[0] in OWN[k]


@both
@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
def test_trap_the_body_stays_bit_identical_with_its_statistics_under_decay_and_momentum(method, k, optimizer, digits):
    model = deep_net(digits.image_shape, 10)
    before = state_of(model)
    after = state_of(method(k=k, optimizer=optimizer, **HARD)(problem_of(digits, FORGET, model=model)).model)
    assert before.keys() == after.keys()
    assert {name for name in before if name.endswith("num_batches_tracked")}  # else the test says too little
    for name, value in before.items():
        assert torch.equal(after[name], value) != inside(name, k), name


@both
def test_all_layers_may_be_trained_and_then_nothing_is_frozen(method, digits):
    model = deep_net(digits.image_shape, 10)
    before = state_of(model)
    after = state_of(method(k=3, **HARD)(problem_of(digits, FORGET, model=model)).model)
    assert not any(torch.equal(after[name], value) for name, value in before.items())


def test_with_all_layers_cf_k_is_fine_tuning(digits):
    problem = problem_of(digits, FORGET, model=deep_net(digits.image_shape, 10))
    assert same_state(
        *(state_of(method(problem).model) for method in (CFk(k=3, epochs=2), FineTune(epochs=2, augment_retain=True)))
    )


def test_the_body_normalises_with_its_statistics_and_drops_nothing_while_the_layers_train(monkeypatch, digits):
    problem = problem_of(digits, FORGET, model=deep_net(digits.image_shape, 10).train())
    for k, first in {1: 6, 2: 2, 3: 0}.items():  # dropout before the first trained layer acts on it
        modes = {}

        def note(model, batch, modes=modes):
            modes.update({name: module.training for name, module in model.named_modules()})
            return functional.cross_entropy(model(batch.images), batch.labels)

        method = CFk(k=k, epochs=1)
        with monkeypatch.context() as patch:
            patch.setattr("natmu.engine.meter.Meter.cross_entropy", lambda self, model, batch: note(model, batch))
            method(problem)
        assert modes.pop("")  # the whole model, whose forward pass may look
        assert {name for name, training in modes.items() if training} == {str(number) for number in range(first, 11)}


@pytest.mark.parametrize("k", [1, 2])
def test_one_step_is_the_slow_one_on_the_features_of_a_model_in_eval_mode(k, digits):
    model = deep_net(digits.image_shape, 10)
    for number in (3, 9):
        model[number].p = 0.0
    problem = problem_of(digits, FORGET, model=model, batch_size=250)
    result = CFk(k=k, epochs=1, momentum=0, weight_decay=0, lr=0.1, augment_retain=False)(problem).model
    slow = copy.deepcopy(model)
    cut = {1: 10, 2: 4}[k]
    images = digits.images[problem.retain_positions].float() / 255
    with torch.no_grad():
        features = slow[:cut].eval()(images)
    head = slow[cut:].train()
    functional.cross_entropy(head(features), digits.labels[problem.retain_positions]).backward()
    for one, other in zip(result[cut:].parameters(), head.parameters(), strict=True):
        torch.testing.assert_close(one, other - 0.1 * other.grad, rtol=1e-4, atol=1e-5)


def test_no_gradient_is_computed_for_the_body(monkeypatch, digits):
    moving = []
    run = CFk.run

    def spy(self, problem):
        model = run(self, problem)
        moving.extend(name for name, parameter in model.named_parameters() if parameter.requires_grad)
        return model

    monkeypatch.setattr(CFk, "run", spy)
    result = CFk(epochs=1)(problem_of(digits, FORGET, model=deep_net(digits.image_shape, 10))).model
    assert moving == ["10.weight", "10.bias"]
    assert all(parameter.requires_grad for parameter in result.parameters())


@both
def test_parameters_that_were_frozen_stay_so_in_the_last_layers_too(method, digits):
    model = deep_net(digits.image_shape, 10)
    model[10].bias.requires_grad_(False)
    model[5].requires_grad_(False)
    result = method(k=2, **HARD)(problem_of(digits, FORGET, model=model)).model
    assert torch.equal(result[10].bias, model[10].bias)
    assert torch.equal(result[5].weight, model[5].weight)
    assert not torch.equal(result[4].weight, model[4].weight)
    assert [p.requires_grad for p in result.parameters()] == [p.requires_grad for p in model.parameters()]


def test_the_new_layers_of_eu_k_do_not_depend_on_the_old_ones_and_the_rest_is_the_originals(monkeypatch, digits):
    first = deep_net(digits.image_shape, 10)
    second = copy.deepcopy(first)
    with torch.no_grad():
        for number in (4, 5, 10):
            for value in second[number].parameters():
                value.mul_(-3).add_(0.1)
        second[5].running_mean.add_(5)
    starts = [intercept(monkeypatch, EUk(k=2), problem_of(digits, FORGET, model=m)).model for m in (first, second)]
    assert same_state(*map(state_of, starts))
    start = starts[0]
    for name, value in state_of(first).items():
        assert torch.equal(state_of(start)[name], value) != inside(name, 2), name
    assert not start[5].running_mean.any()
    assert start[5].num_batches_tracked == 0
    assert (start[5].weight == 1).all()
    bound = (6 * 9) ** -0.5
    assert 0.9 * bound < start[4].weight.abs().max() <= bound  # PyTorch's own way of drawing a convolution
    other = intercept(monkeypatch, EUk(k=2), problem_of(digits, FORGET, model=first, seed=1)).model
    assert not torch.equal(other[4].weight, start[4].weight)


def test_cf_k_starts_from_the_original_and_eu_k_forgets_its_answers(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    assert same_state(state_of(intercept(monkeypatch, CFk(), problem).model), state_of(trained))
    image = digits.images.float() / 255
    start = intercept(monkeypatch, EUk(), problem).model.eval()
    assert (start(image).argmax(1) == digits.labels).float().mean() < 0.4
    learnt = EUk()(problem).model.eval()
    assert (learnt(image).argmax(1) == digits.labels).float().mean() > 0.7


def test_a_model_that_cannot_be_drawn_anew_in_its_body_serves_and_in_its_last_layers_needs_a_fresh_one(digits):
    class Scale(nn.Module):
        def __init__(self, size):
            super().__init__()
            self.weight = nn.Parameter(torch.full((size, size), 0.5))

        def forward(self, features):
            return features @ self.weight

    def built(seed, last):
        model = small_net(digits.image_shape, 10, seed)
        return nn.Sequential(*model, Scale(10)) if last else nn.Sequential(*model[:5], Scale(128), model[5])

    early = built(1, last=False)
    after = EUk(**HARD)(problem_of(digits, FORGET, model=early)).model
    assert torch.equal(after[5].weight, early[5].weight)
    problem = problem_of(digits, FORGET, model=built(1, last=True))
    with pytest.raises(ModelError, match=r"6 \(Scale\) cannot be drawn anew"):
        EUk()(problem)
    known = Problem(**(vars_of(problem) | {"fresh_model": lambda seed: built(seed % 97, last=True)}))
    assert not torch.equal(EUk(epochs=1)(known).model[6].weight, problem.model[6].weight)


def vars_of(problem):
    return {name: getattr(problem, name) for name in Problem.__dataclass_fields__}


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("resnet18", ["conv1", "bn1"], ["linear"]),
        ("vgg16", None, None),
        ("small_cnn", None, None),
    ],
)
def test_layers_of_our_models_cover_every_parameter_and_statistic_once(name, first, last):
    model = build_model(name, num_classes=4, image_shape=(3, 32, 32), seed=0, mean=(0.5,) * 3, std=(0.2,) * 3)
    found = layers(model)
    names = [module for layer in found for module in layer]
    assert len(names) == len(set(names))
    parameters = [p for module in names for p in model.get_submodule(module).parameters(recurse=False)]
    assert {id(p) for p in parameters} == {id(p) for p in model.parameters()}
    assert len(found) == sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules())
    assert isinstance(model.get_submodule(found[-1][0]), nn.Linear)
    assert all(isinstance(model.get_submodule(module), nn.BatchNorm2d) for layer in found for module in layer[1:])
    if first is not None:
        assert found[0] == first
        assert found[-1] == last
        assert found[-2] == ["layer4.1.conv2", "layer4.1.bn2"]


def test_normalisation_before_the_first_layer_and_vectors_after_a_layer_belong_to_it():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.PReLU(4), nn.LayerNorm([4, 2, 2]), nn.Flatten())
    assert layers(model) == [["0", "1", "2", "3"]]
    assert layers(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())) == [["0"]]
    attention = nn.Sequential(nn.MultiheadAttention(4, 2), nn.LayerNorm(4), nn.Linear(4, 2))
    assert layers(attention) == [["0"], ["0.out_proj", "1"], ["2"]]
    assert last_layers(attention, 2) == ["0.out_proj", "1", "2"]
    assert [type(m) for m in body(attention, last_layers(attention, 1))] == [
        nn.MultiheadAttention,
        type(attention[0].out_proj),
        nn.LayerNorm,
    ]


@both
def test_more_layers_than_there_are_are_refused_with_their_number(method):
    data = noise_data(60)
    for model, count in ((small_net(data.image_shape, 5), 2), (deep_net(data.image_shape, 5), 3)):
        method(k=count).check(problem_of(data, FORGET, model=model))
        with pytest.raises(SettingError, match=f"{method.name}: k={count + 1} is more than the {count} layers"):
            method(k=count + 1)(problem_of(data, FORGET, model=model))
    with pytest.raises(SettingError, match=f"{method.name}: k: .*greater than or equal to 1"):
        method(k=0)


@both
def test_frozen_last_layers_are_refused(method):
    data = noise_data(60)
    model = unnormed_net(data.image_shape, 5)
    model[3].requires_grad_(False)
    with pytest.raises(ModelError, match=f"{method.name}: .*last 1 layers are frozen"):
        method()(problem_of(data, FORGET, model=model))
    assert method(k=2, epochs=1)(problem_of(data, FORGET, model=model))


@both
def test_a_single_retain_sample_can_train_a_head_on_a_frozen_body(method):
    data = noise_data(30)
    result = method(epochs=1)(problem_of(data, list(range(29))))
    assert all(bool(torch.isfinite(value).all()) for value in state_of(result.model).values())


@both
def test_retain_images_are_augmented_by_default_as_in_the_published_code(monkeypatch, method):
    """Evaluating-Inexact-Unlearning, src/load_datasets.py, lines 32-37: all training data are cropped and flipped."""
    data = noise_data(60)
    rows = intercept(monkeypatch, method(), problem_of(data, FORGET)).epoch()
    still = (rows.images == data.images[rows.positions].float() / 255).flatten(1).all(1)
    assert still.float().mean() < 0.5
