"""Boundary unlearning: which class a step reaches, and a head that is wider only while it is trained."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn
from torch.nn import functional

from engine.recorder import TapeRecorder
from natmu.data import ImageData, parse_forget, resolve_forget
from natmu.engine import step
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.predict import logits_of
from natmu.errors import ModelError, ScenarioError, SettingError, TrainingError
from natmu.methods import base
from natmu.methods.boundary import BoundaryExpand, BoundaryShrink, adversarial, nearest_wrong, reached_classes, widened
from natmu.models import Ensemble
from natmu.testing.problems import EARLIER, second_problem, trained

from .problems import UNIT, intercept, noise_data, problem_of, same_state, small_net, state_of, unnormed_net

FORGET = list(range(3, 60, 4))
BOTH = [BoundaryShrink, BoundaryExpand]


def accuracy(model, data, positions):
    with torch.no_grad():
        answers = copy.deepcopy(model).eval()(data.images[positions].float() / 255).argmax(1)
    return (answers == data.labels[positions]).float().mean().item()


def slow_step(model, image, label, bound):
    """The step for one image alone, in double precision, and where its direction is beyond doubt."""
    model = copy.deepcopy(model).double().eval()
    image = image.double().clone().requires_grad_()
    loss = -model(image[None])[0].log_softmax(0)[label]
    (gradient,) = torch.autograd.grad(loss, image)
    sure = gradient.abs() > 1e-5 * gradient.abs().max()
    return (image + bound * gradient.sign()).clamp(0, 1).detach(), sure


def slow_class(model, image, label, bound, gone=()):
    moved, _ = slow_step(model, image, label, bound)
    logits = copy.deepcopy(model).double().eval()(moved[None])[0].tolist()
    return max((value, c) for c, value in enumerate(logits) if c != label and c not in gone)[1]


def with_images(data, positions, value):
    images = data.images.clone()
    images[positions] = value
    return replace(data, images=images)


def test_the_step_follows_the_sign_of_each_samples_own_gradient(trained, digits):
    model = copy.deepcopy(trained).eval()
    images, labels = digits.images[:20].float() / 255, digits.labels[:20]
    before = images.clone()
    moved = adversarial(model, images, labels, 0.1, UNIT)
    for row in range(20):
        expected, sure = slow_step(model, images[row], int(labels[row]), 0.1)
        assert sure.float().mean() > 0.5
        assert torch.allclose(moved[row][sure].double(), expected[sure], atol=1e-6)
    assert torch.equal(images, before)
    assert not moved.requires_grad
    assert moved.min() >= 0
    assert moved.max() <= 1
    inside = (images > 0.1) & (images < 0.9)
    assert torch.allclose((moved - images)[inside].abs(), torch.tensor(0.1), atol=1e-6)
    assert inside.any()


def test_the_step_climbs_the_loss(trained, digits):
    model = copy.deepcopy(trained).eval()
    images, labels = digits.images[:100].float() / 255, digits.labels[:100]
    with torch.no_grad():
        losses = [
            functional.cross_entropy(model(shown), labels)
            for shown in (
                images,
                adversarial(model, images, labels, 0.01, UNIT),
                adversarial(model, images, labels, 0.1, UNIT),
            )
        ]
    assert losses[0] < losses[1] < losses[2]


def test_no_weight_collects_a_gradient_from_the_step(trained, digits):
    model = copy.deepcopy(trained).eval()
    adversarial(model, digits.images[:4].float() / 255, digits.labels[:4], 0.1, UNIT)
    assert all(parameter.grad is None for parameter in model.parameters())


@given(
    rows=st.integers(1, 6),
    classes=st.integers(3, 7),
    gone=st.sets(st.integers(0, 2), max_size=1),
    seed=st.integers(0, 10_000),
)
def test_the_nearest_wrong_class_is_that_of_a_slow_loop(rows, classes, gone, seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, classes, generator=generator) * 10
    labels = torch.randint(0, classes, (rows,), generator=generator)
    expected = [
        max((value, c) for c, value in enumerate(row) if c != label and c not in gone)[1]
        for row, label in zip(logits.tolist(), labels.tolist(), strict=True)
    ]
    assert nearest_wrong(logits, labels, tuple(gone)).tolist() == expected


@pytest.mark.parametrize("bound", [0.01, 0.1, 0.5])
def test_reached_classes_are_those_of_a_slow_loop(trained, digits, bound):
    model = copy.deepcopy(trained).train()
    problem = problem_of(digits, FORGET, model=model)
    before = state_of(model)
    expected = [slow_class(model, digits.images[i] / 255, int(digits.labels[i]), bound) for i in FORGET]
    reached = reached_classes(problem, bound)
    assert reached.dtype == torch.int64
    assert (reached == torch.tensor(expected)).float().mean() > 0.9  # pixels without a gradient may go either way
    assert (reached != digits.labels[FORGET]).all()
    assert same_state(state_of(model), before)
    assert model.training


def test_reached_classes_do_not_depend_on_the_batch(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    whole = reached_classes(problem, 0.1)
    monkeypatch.setattr("natmu.engine.predict.EVALUATION_BATCH", 4)
    assert torch.equal(reached_classes(problem, 0.1), whole)


def test_a_step_that_stays_in_the_class_gives_the_second_best_one(trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    with torch.no_grad():
        logits = copy.deepcopy(trained).eval()(digits.images[FORGET].float() / 255)
    right = logits.argmax(1) == digits.labels[FORGET]
    assert right.float().mean() > 0.8
    reached = reached_classes(problem, 1e-6)
    assert torch.equal(reached[right], logits.topk(2).indices[right, 1])
    assert not torch.equal(reached, reached_classes(problem, 0.5))


def test_it_trains_on_the_forget_set_alone_under_the_reached_classes(monkeypatch, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    rows = intercept(monkeypatch, BoundaryShrink(bound=0.2), problem).epoch()
    assert rows.positions.tolist() == FORGET
    assert torch.equal(rows.labels, reached_classes(problem, 0.2))
    assert torch.equal(rows.images, digits.images[FORGET].float() / 255)


def test_classes_that_are_forgotten_together_do_not_change_places(trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3,5,9"), digits, seed=0), model=trained)
    reached = reached_classes(problem, 0.1)
    assert not torch.isin(reached, torch.tensor([3, 5, 9])).any()
    alone = reached_classes(problem_of(digits, problem.forget.indices, model=trained), 0.1)
    assert torch.isin(alone, torch.tensor([3, 5, 9])).any()
    free = ~torch.isin(alone, torch.tensor([3, 5, 9]))
    assert torch.equal(reached[free], alone[free])


def test_data_with_one_class_have_no_wrong_one():
    data = noise_data(20, classes=1)
    with pytest.raises(ScenarioError, match="boundary_shrink needs at least two classes"):
        BoundaryShrink()(problem_of(data, [1, 2]))


@pytest.mark.parametrize("bound", [0, 1.01, float("nan")])
def test_a_bound_out_of_its_range_is_refused(bound):
    with pytest.raises(SettingError, match="boundary_shrink: bound"):
        BoundaryShrink(bound=bound)


def test_a_damaged_original_is_an_error_before_training(monkeypatch, digits):
    model = small_net(digits.image_shape, 10)
    with torch.no_grad():
        model[5].weight[0] = 3e38  # finite, and its products are not
    monkeypatch.setattr(base, "fit", lambda *_: pytest.fail("it trained"))
    with pytest.raises(TrainingError, match=r"^boundary_shrink: the original's logits are not finite"):
        BoundaryShrink()(problem_of(digits, FORGET, model=model))


@pytest.mark.parametrize("method", BOTH)
def test_the_published_settings_are_the_defaults(method):
    expected = {
        "optimizer": "sgd",
        "lr": 1e-5,
        "epochs": 10,
        "momentum": 0.9,
        "weight_decay": 0,
        "schedule": "constant",
        "batch_size": 64,
    }
    assert expected.items() <= method().config.model_dump().items()


def test_the_default_bound_is_the_step_that_the_official_code_takes():
    """Boundary-Unlearning-Code: utils.py, line 35, brings images to [-1, 1] by 0.5 and 0.5; adv_generator.py, lines
    14-15, 37-44 and 102-104, takes them for images normalised by other numbers, and steps by 0.1.
    """
    steps = []
    for mean, std in zip((0.4914, 0.4822, 0.2265), (0.2023, 0.1994, 0.2010), strict=True):
        for pixel in (0.2, 0.5, 0.8):
            shown = (pixel - 0.5) / 0.5
            natural = shown * std + mean
            moved = min(max(natural + min(max(0.1, -0.1), 0.1), 0.0), 1.0)
            moved = round(moved * 255) / 255
            steps.append(((moved - mean) / std) * 0.5 + 0.5 - pixel)
    assert sum(steps) / len(steps) == pytest.approx(BoundaryShrink().config.bound, abs=0.005)
    assert max(abs(step - 0.25) for step in steps) < 0.01


def test_the_published_batch_size_is_used_whatever_the_originals(monkeypatch):
    data = noise_data(200)
    problem = problem_of(data, list(range(150)), batch_size=7)
    for method in BOTH:
        sizes = [len(batch.labels) for batch in intercept(monkeypatch, method(), problem).batches.epoch(0)]
        assert sizes == [64, 64, 22]


@pytest.mark.parametrize("method", BOTH)
def test_no_retain_image_is_read(method, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    other = replace(problem, data=with_images(digits, problem.retain_positions, 77))
    first, second = (state_of(method(lr=1e-2, epochs=2)(p).model) for p in (problem, other))
    assert same_state(first, second)
    shown = replace(problem, data=with_images(digits, problem.forget_positions, 77))
    assert not same_state(first, state_of(method(lr=1e-2, epochs=2)(shown).model))


@pytest.mark.parametrize(("method", "reads"), [(BoundaryShrink, True), (BoundaryExpand, False)])
def test_labels_are_read_where_it_says_so(method, reads, trained, digits):
    problem = problem_of(digits, FORGET, model=trained)
    other = replace(problem, data=replace(digits, labels=(digits.labels + 1) % 10))
    first, second = (state_of(method(lr=1e-2, epochs=2)(p).model) for p in (problem, other))
    assert same_state(first, second) == (not reads)
    assert method.needs_labels == reads


@pytest.mark.parametrize("method", BOTH)
def test_a_class_is_forgotten_and_the_others_are_not(method, trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    result = method(lr=3e-3)(problem).model
    assert accuracy(trained, digits, problem.forget_positions) > 0.8
    assert accuracy(result, digits, problem.forget_positions) < 0.1
    assert accuracy(result, digits, problem.retain_positions) > 0.9


@pytest.mark.parametrize("method", BOTH)
def test_a_foreign_model_without_batch_norm_on_odd_images(method):
    data = noise_data(30, (2, 9, 5), 6)
    model = unnormed_net(data.image_shape, 6)
    for forget in ([4], list(range(29))):
        result = method(lr=1e-2, epochs=2)(problem_of(data, forget, model=model)).model
        assert not same_state(state_of(result), state_of(model))
        assert all(value.isfinite().all() for value in state_of(result).values())


@pytest.mark.parametrize("bias", [True, False])
def test_a_widened_head_keeps_its_rows_and_gets_back_what_they_became(bias):
    head = nn.Linear(40, 3, bias=bias)
    head.weight.requires_grad_(False)
    own, own_bias, before = head.weight, head.bias, head.weight.detach().clone()
    images = torch.randn(5, 40)
    answers = head(images)
    with widened(head, 7):
        assert head.out_features == 4
        assert head.weight.shape == (4, 40)
        assert torch.allclose(head(images)[:, :3], answers, atol=1e-6)
        assert not head.weight.requires_grad
        assert head.weight is not own
        if bias:
            assert head.bias.requires_grad
            assert head.bias[3] == 0
        with torch.no_grad():
            head.weight.mul_(2)
    assert head.weight is own
    assert head.bias is own_bias
    assert head.out_features == 3
    assert torch.equal(own, 2 * before)
    assert not own.requires_grad


def test_the_extra_row_is_xavier_normal_of_the_widened_head_and_follows_the_seed():
    head, rows = nn.Linear(5000, 9), []
    for seed in (1, 1, 2):
        with widened(head, seed):
            rows.append(head.weight[9].detach().clone())
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])
    assert rows[0].std().item() == pytest.approx(math.sqrt(2 / (5000 + 10)), rel=0.05)
    assert abs(rows[0].mean().item()) < 0.002


def test_a_head_is_narrow_again_after_an_error():
    head = nn.Linear(4, 3)
    before = state_of(head)
    with pytest.raises(KeyboardInterrupt), widened(head, 0):
        raise KeyboardInterrupt
    assert same_state(state_of(head), before)


def test_one_step_is_that_of_a_hand_widened_network(digits):
    """Plain gradient descent on the cross-entropy of the extra class, by hand."""
    model = unnormed_net(digits.image_shape, 10)
    problem = problem_of(digits, FORGET, model=model, batch_size=len(FORGET), seed=5)
    method = BoundaryExpand(lr=0.5, epochs=1, momentum=0)
    caught = []

    def watching(network, batches, *rest):
        caught.append(state_of(network))
        return fit(network, batches, *rest)

    fit = base.fit
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "fit", watching)
        result = method(problem).model
    assert caught[0]["3.weight"].shape == (11, 24)
    wide = {name: value.clone().requires_grad_() for name, value in caught[0].items()}
    assert torch.equal(wide["3.weight"][:10], model[3].weight)
    flat = digits.images[FORGET].float().flatten(1) / 255
    hidden = torch.tanh(flat @ wide["1.weight"].T + wide["1.bias"])
    logits = hidden @ wide["3.weight"].T + wide["3.bias"]
    (-logits.log_softmax(1)[:, 10].mean()).backward()
    for name, value in state_of(result).items():
        expected = (wide[name] - 0.5 * wide[name].grad).detach()
        expected = expected[:10] if name.startswith("3.") else expected
        assert torch.allclose(value, expected, atol=1e-6)
        assert not torch.equal(value, dict(model.named_parameters())[name])


def test_it_trains_all_forget_samples_towards_the_extra_class(monkeypatch, digits):
    rows = intercept(monkeypatch, BoundaryExpand(), problem_of(digits, FORGET)).epoch()
    assert rows.positions.tolist() == FORGET
    assert rows.labels.tolist() == [10] * len(FORGET)
    assert torch.equal(rows.images, digits.images[FORGET].float() / 255)


def test_the_extra_class_is_never_in_the_result(trained, digits):
    result = BoundaryExpand(lr=1e-2)(problem_of(digits, FORGET, model=trained)).model
    assert {n: v.shape for n, v in result.state_dict().items()} == {n: v.shape for n, v in trained.state_dict().items()}
    assert list(result.state_dict()) == list(trained.state_dict())
    assert result[5].out_features == 10
    assert all(type(a) is type(b) for a, b in zip(result.modules(), trained.modules(), strict=True))
    assert result(digits.images[:2].float() / 255).shape == (2, 10)


@pytest.mark.parametrize("frozen", ["head", "body"])
def test_frozen_parts_stay_to_the_bit_under_momentum_and_decay(frozen, trained, digits):
    model = copy.deepcopy(trained)
    parts = {"head": [model[5]], "body": [model[0], model[1]]}
    for module in parts[frozen]:
        module.requires_grad_(False)
    result = BoundaryExpand(lr=1e-2, weight_decay=0.1)(problem_of(digits, FORGET, model=model)).model
    moved = {name for name, value in result.named_parameters() if not torch.equal(value, model.get_parameter(name))}
    in_head = {name for name, _ in model.named_parameters() if name.startswith("5.")}
    assert moved == (set(dict(model.named_parameters())) - in_head if frozen == "head" else in_head)
    assert [p.requires_grad for p in result.parameters()] == [p.requires_grad for p in model.parameters()]


@pytest.mark.parametrize("saves", [1, 2])
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_a_run_interrupted_with_a_wide_head_continues_to_the_same_weights(
    monkeypatch, tmp_path, digits, saves, optimizer
):
    problem = problem_of(digits, FORGET, batch_size=8)
    method = BoundaryExpand(lr=1e-2, epochs=3, optimizer=optimizer)
    whole = state_of(method(problem).model)
    path = tmp_path / "state.safetensors"
    resumable = replace(problem, checkpoint=Checkpoint(path, every_seconds=0), history=[])
    save, done = Checkpoint.save, []

    def save_and_stop(*arguments):
        save(*arguments)
        done.append(1)
        if len(done) == saves:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            method(resumable)
    with safe_open(path, "pt") as file:
        assert file.get_tensor("model/5.weight").shape == (11, 128)
        assert file.metadata()["epochs"] == str(saves)
    again = replace(resumable, history=[])
    assert same_state(state_of(method(again).model), whole)
    assert [row["epoch"] for row in again.history] == [1, 2, 3]


class Tied(nn.Module):
    """Two layers that share their weight."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(192, 192), nn.Linear(192, 5)
        self.aside = nn.Linear(192, 5)
        self.head.weight = self.aside.weight

    def forward(self, images):
        hidden = self.first(images.flatten(1))
        return self.head(hidden) + self.aside(hidden)


class Twice(nn.Module):
    """One head under two names, which is its own all the same."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 5)
        self.alias = nn.ModuleList([self.head])

    def forward(self, images):
        return self.head(images.flatten(1))


def headless(name):
    if name == "convolution":
        return nn.Sequential(nn.Conv2d(3, 5, 8), nn.Flatten())
    if name == "not last":
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 5), nn.Unflatten(1, (5, 1)), nn.Flatten(), nn.BatchNorm1d(5))
    if name == "summed":
        return nn.Sequential(
            nn.Flatten(), nn.Linear(192, 5), nn.Unflatten(1, (1, -1)), nn.AdaptiveAvgPool1d(5), nn.Flatten()
        )
    if name == "parametrised":
        return nn.Sequential(nn.Flatten(), nn.utils.parametrizations.weight_norm(nn.Linear(192, 5)))
    if name == "shards":
        return Ensemble({shard: nn.Sequential(nn.Flatten(), nn.Linear(192, 5)) for shard in range(2)})
    return Tied()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("convolution", r"with 5 outputs, and Sequential has none"),
        ("not last", r"Sequential fails with one more \("),
        ("summed", r"the last one of Sequential does not give its logits"),
        ("parametrised", r"those of Sequential are shared with another layer or computed"),
        ("shards", r"a model in shards has one for each shard; choose another method"),
        ("tied", r"those of Tied are shared with another layer or computed"),
    ],
)
def test_a_model_without_a_linear_head_of_its_own_is_refused_before_training(monkeypatch, name, reason):
    monkeypatch.setattr(base, "fit", lambda *_: pytest.fail("it trained"))
    problem = problem_of(noise_data(30), [1, 2, 3], model=headless(name))
    with pytest.raises(ModelError, match=rf"^boundary_expand needs .*{reason}[^.]*.*\.$"):
        BoundaryExpand()(problem)


def test_a_head_under_two_names_is_its_own():
    model = Twice()
    result = BoundaryExpand(lr=1e-2, epochs=2)(problem_of(noise_data(30), [1, 2, 3], model=model)).model
    assert result.alias[0] is result.head
    assert not same_state(state_of(result), state_of(model))


def test_the_check_changes_nothing(trained, digits):
    model = copy.deepcopy(trained).train()
    before, random = state_of(model), torch.get_rng_state()
    parameters = list(model.parameters())
    BoundaryExpand().check(problem_of(digits, FORGET, model=model))
    assert same_state(state_of(model), before)
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(parameter.grad is None and parameter.requires_grad for parameter in parameters)
    assert all(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("method", BOTH)
def test_a_subclass_can_be_forgotten_and_data_may_be_mapped(method, tmp_path):
    data = noise_data(40)
    np.save(tmp_path / "images.npy", data.images.numpy())
    mapped = ImageData(np.load(tmp_path / "images.npy", mmap_mode="r"), data.labels, data.class_names)
    first, second = (state_of(method(lr=1e-2, epochs=2)(problem_of(d, [1, 7, 9])).model) for d in (data, mapped))
    assert same_state(first, second)


@pytest.mark.parametrize("method", BOTH)
def test_replayed_steps_give_the_model_of_steps_as_written(monkeypatch, method):
    """As for every method in ``test_replay``, on a forget set of enough steps."""
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    data = noise_data(120)
    problem = problem_of(data, list(range(60)), batch_size=8)
    answers = []
    for records in (True, False):
        monkeypatch.setattr(Compute, "records", records)
        model = method(lr=1e-2, epochs=2, batch_size=8)(problem).model
        answers.append(logits_of(model, data, torch.arange(len(data)), problem.compute))
    assert recorder.replayed > 0, "its step waits for the device"
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-3)


def test_no_class_that_was_forgotten_before_is_taught():
    """The model knows it here, so that some step leads there; the suite's own has never seen it."""
    problem = replace(second_problem("random"), model=trained())
    nothing = replace(problem.forget, before=problem.forget.before[:0], classes_before=())
    reached, unaware = (reached_classes(one, 1.0) for one in (problem, replace(problem, forget=nothing)))
    assert EARLIER in unaware
    assert EARLIER not in reached
    assert torch.equal(reached[unaware != EARLIER], unaware[unaware != EARLIER])
