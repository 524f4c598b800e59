"""Models as users bring them: every method serves them, or says in a sentence why it cannot."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError
from natmu.methods import METHODS, CFk, Retrain, method_named
from natmu.models import Ensemble
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import usual

from .problems import QUICK, noise_data, problem_of, state_of

CLASSES = 5


class Shared(nn.Module):
    """A block and a weight under two names each, in double precision, with dropout."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6), nn.ReLU())
        self.again = self.block
        self.one, self.other = nn.Linear(24, 24), nn.Linear(24, 24)
        self.other.weight = self.one.weight
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Dropout(0.2))
        self.head = nn.Linear(24, CLASSES)
        self.double()

    def forward(self, images):
        features = self.pool(self.again(self.block(self.stem(images.double()))))
        return self.head(torch.tanh(self.other(torch.tanh(self.one(features)))))


class Token(nn.Module):
    """A class token, positions and a layer scale that no layer draws, and a head that is not used, registered last."""

    def __init__(self):
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, 4)
        self.token, self.scale = nn.Parameter(torch.randn(1, 1, 12)), nn.Parameter(torch.full((12,), 0.1))
        self.positions = nn.Parameter(0.02 * torch.randn(1, 5, 12))
        self.norm, self.mix = nn.LayerNorm(12), nn.Linear(5, 5)
        self.head, self.left_over = nn.Linear(12, CLASSES), nn.Linear(12, CLASSES)

    def forward(self, images):
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(images), -1, -1), patches], 1) + self.positions
        tokens = tokens + self.scale * self.mix(self.norm(tokens).transpose(1, 2)).transpose(1, 2)
        return self.head(tokens[:, 0])


class Frozen(nn.Module):
    """A backbone that requires no gradient, with statistics, and a head that normalises values."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Conv2d(6, 6, 3, padding=1),
            nn.BatchNorm2d(6, affine=False),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
        ).requires_grad_(False)
        self.head = nn.Sequential(nn.Linear(24, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, CLASSES))

    def forward(self, images):
        return self.head(self.body(images))


class Half(nn.Module):
    """Weights in half precision."""

    def __init__(self):
        super().__init__()
        layers = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()
        self.layers = nn.Sequential(*layers, nn.Linear(24, CLASSES)).half()

    def forward(self, images):
        return self.layers(images.to(self.layers[0].weight.dtype))


KINDS = {"shared": Shared, "token": Token, "frozen": Frozen, "half": Half}
REFUSED = {("frozen", "msg"): "convolution whose weight may be trained", ("frozen", "conv_transpose"): "convolution"}
every_kind = pytest.mark.parametrize("kind", KINDS)
every_method = pytest.mark.parametrize("name", [method.name for method in METHODS])


@pytest.fixture(scope="module")
def data():
    return noise_data(30)


def network(kind, seed=1):
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return KINDS[kind]()


def problem_with(kind, data, name="finetune", model=None):
    """A model that was trained from another initialisation, on the same frozen part."""
    model = network(kind) if model is None else model
    start = network(kind, seed=0)
    if kind == "frozen":
        start.body.load_state_dict(model.body.state_dict())
    forget = list(range(0, 30, 4))
    if usual(method_named(name)) == "class":
        forget = resolve_forget(parse_forget("class:1"), data, seed=0)
    return problem_of(data, forget, model=model, initial_model=lambda: start, holdout=data.subset(range(20)))


@every_kind
@every_method
def test_every_method_serves_awkward_models_or_says_why_not(name, kind, data):
    if (kind, name) == ("half", "downdate"):
        return  # a head is fitted here, in natmu's own precision
    problem = equipped(method_named(name), problem_with(kind, data, name))
    before, held = state_of(problem.model), [id(one) for one in problem.model.parameters()]
    flags = {key: weight.requires_grad for key, weight in problem.model.named_parameters()}
    if (kind, name) in REFUSED:
        with pytest.raises(ModelError, match=REFUSED[kind, name]):
            method_named(name)(**QUICK[name])(problem)
        return
    model = method_named(name)(**QUICK[name])(problem).model
    after = model.state_dict()
    assert {key: (value.shape, value.dtype) for key, value in after.items()} == {
        key: (value.shape, value.dtype) for key, value in before.items()
    }
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
    assert all(type(weight) is nn.Parameter and weight.is_leaf for weight in model.parameters())
    assert {key: weight.requires_grad for key, weight in model.named_parameters()} == flags
    assert all(torch.equal(after[key], value) for key, value in before.items() if key.startswith("body."))
    assert [id(one) for one in problem.model.parameters()] == held
    assert all(torch.equal(problem.model.state_dict()[key], value) for key, value in before.items())
    if kind == "shared":
        for one in model.by_shard().values() if isinstance(model, Ensemble) else [model]:
            assert one.again is one.block
            assert one.other.weight is one.one.weight
            assert torch.equal(one.state_dict()["again.0.weight"], one.state_dict()["block.0.weight"])


def test_a_reference_that_is_trained_from_fresh_weights_keeps_the_frozen_part(data):
    problem = problem_with("frozen", data)
    model = Retrain(init="fresh")(problem).model
    start = problem.fresh(0)
    for key, value in problem.model.state_dict().items():
        same = key.startswith("body.")
        assert torch.equal(model.state_dict()[key], value) == same, key
        if key.endswith("weight"):
            assert torch.equal(start.state_dict()[key], value) == same or key == "head.1.weight", key


@pytest.mark.parametrize("name", ["retrain", "bad_teacher", "reload"])
def test_weights_that_no_layer_draws_are_those_of_the_initial_model(name, data):
    problem = problem_with("token", data)
    start, fresh = problem.initial_model(), problem.fresh(seed=5)
    for key in ("token", "positions", "scale"):
        assert torch.equal(fresh.get_parameter(key), start.get_parameter(key))
    drawn = "patches.weight", "mix.weight", "head.weight"
    assert not any(torch.equal(fresh.get_parameter(key), start.get_parameter(key)) for key in drawn)
    assert not any(torch.equal(fresh.get_parameter(key), problem.model.get_parameter(key)) for key in drawn)
    unknown = replace(problem, initial_model=None)
    settings = {"init": "fresh"} if name == "retrain" else {}
    with pytest.raises(ModelError, match=r"the model \(Token\).* sets token, scale, positions. .* initial model"):
        method_named(name)(**QUICK[name], **settings)(unknown)


def test_half_precision_is_rounded_at_the_end_and_not_at_every_step(data):
    problem = problem_with("half", data)
    start, double = problem.initial_model(), copy.deepcopy(problem.model).float()
    same = problem_of(data, problem.forget, model=double, initial_model=lambda: start.float(), holdout=problem.holdout)
    for name in ("natmu", "finetune", "retrain"):
        low, high = (method_named(name)(**QUICK[name])(one).model.state_dict() for one in (problem, same))
        assert all(torch.equal(low[key], value.to(low[key].dtype)) for key, value in high.items())


def test_half_precision_that_the_forward_pass_insists_on_is_refused(data):
    class Insisting(Half):
        def forward(self, images):
            return self.layers(images.half())

    with pytest.raises(ModelError, match=r"Insisting are in half precision, .* Give model\.float\(\)"):
        method_named("finetune")()(problem_with("half", data, model=Insisting()))


def test_the_last_layers_are_those_that_take_part_and_that_the_body_does_not_share(data):
    problem = problem_with("token", data)
    after = CFk(epochs=1)(problem).model.state_dict()
    moved = {key for key, value in problem.model.state_dict().items() if not torch.equal(after[key], value)}
    assert moved == {"head.weight", "head.bias"}
    shared = problem_with("shared", data)
    after = CFk(epochs=1, k=2)(shared).model.state_dict()
    moved = {key for key, value in shared.model.state_dict().items() if not torch.equal(after[key], value)}
    assert moved == {"head.weight", "head.bias", "other.bias"}


def test_the_head_that_is_reset_is_the_one_that_answers(data):
    problem = problem_with("token", data)
    before = state_of(problem.model)
    problem.reset_head()
    moved = {key for key, value in problem.model.state_dict().items() if not torch.equal(before[key], value)}
    assert moved == {"head.weight"}


@pytest.mark.parametrize("classes", [2, 3])
@every_method
def test_every_method_serves_few_classes_and_few_retain_samples(name, classes):
    data = noise_data(12, classes=classes)
    method = method_named(name)
    whole = usual(method) == "class" or (classes == 2 and "class" in method.scenarios)
    forget = resolve_forget(parse_forget("class:1"), data, seed=0) if whole else list(range(9))
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.Tanh(),
        nn.Linear(6, classes),
    )  # fmt: skip
    quick = {key: value for key, value in QUICK[name].items() if key not in ("n", "alpha")}
    start = copy.deepcopy(model)
    problem = problem_of(data, forget, model=model, initial_model=lambda: start, holdout=noise_data(9, classes=classes))
    after = method(**quick)(equipped(method, problem)).model.state_dict()
    assert all(bool(torch.isfinite(value).all()) for value in after.values())
