"""UNSIR: what noise it learns, what its two stages train on, and that it looks at no forget image."""

from __future__ import annotations

import copy
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from engine.recorder import TapeRecorder
from natmu.data import parse_forget, resolve_forget
from natmu.engine import step
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.compute import Compute
from natmu.engine.predict import logits_of
from natmu.errors import ScenarioError, SettingError, TrainingError
from natmu.methods import base
from natmu.methods.settings import RetainSettings
from natmu.methods.unsir import UNSIR, channel_statistics, noise_loss, some_of_each
from natmu.types import seed_for

from .problems import CPU, noise_data, problem_of, same_state, small_net, state_of, superclass_data, unnormed_net

SMALL = {"noise_images": 6, "noise_copies": 3, "noise_steps": 4, "retain_per_class": 5}


def class_problem(data, spec="class:3", **changed):
    return problem_of(data, resolve_forget(parse_forget(spec), data, seed=0), **changed)


@dataclass(frozen=True)
class Stage:
    """One run of the loop as it was asked for."""

    batches: Any
    loss: Any
    settings: Any

    def rows(self, epoch=0):
        """Images, labels and positions in the order of the derived data set."""
        batches = list(self.batches.epoch(epoch))
        order = torch.cat([batch.rows for batch in batches]).argsort()
        return [torch.cat([getattr(b, name) for b in batches])[order] for name in ("images", "labels", "positions")]


def stages(monkeypatch, method, problem):
    """The stages of a run in which nothing is trained."""
    found = []

    def instead(model, batches, loss, settings, *_):
        found.append(Stage(batches, loss, settings))
        return model

    with monkeypatch.context() as patch:
        patch.setattr(base, "fit", instead)
        method(problem)
    impair, repair = found
    return impair, repair


def learned(problem, method):
    """Noise images and their classes."""
    return method._noise(problem, method._retain_sample(problem))


def start_of(problem, label, count):
    """Noise before the first step, standardised."""
    generator = torch.Generator().manual_seed(seed_for(problem.seed, "noise", label))
    return torch.randn(count, *problem.data.image_shape, generator=generator)


def cross_entropy(model, images, label):
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(images)
    return functional.cross_entropy(logits, torch.full((len(images),), label)).item()


def accuracy(model, data, positions):
    with torch.no_grad():
        answers = copy.deepcopy(model).eval()(data.images[positions].float() / 255).argmax(1)
    return (answers == data.labels[positions]).float().mean().item()


@given(count=st.integers(1, 5), penalty=st.floats(0, 2), seed=st.integers(0, 1000))
def test_the_loss_of_noise_is_that_of_a_slow_loop(count, penalty, seed):
    generator = torch.Generator().manual_seed(seed)
    logits, noise = torch.randn(count, 4, generator=generator), torch.randn(count, 2, 3, 3, generator=generator)
    labels = torch.randint(0, 4, (count,), generator=generator)
    slow = 0.0
    for row in range(count):
        slow += logits[row].double().log_softmax(0)[labels[row]].item() / count
        slow += penalty * sum(value**2 for value in noise[row].flatten().tolist()) / count
    assert noise_loss(logits, labels, noise, penalty).item() == pytest.approx(slow, rel=1e-4, abs=1e-4)


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=40), count=st.integers(1, 6), seed=st.integers(0, 100))
def test_some_of_each_class_are_as_many_as_asked_or_all(labels, count, seed):
    drawn = some_of_each(np.array(labels), count, np.random.default_rng(seed))
    assert drawn.tolist() == sorted(set(drawn.tolist()))
    wanted = {label: min(count, number) for label, number in Counter(labels).items()}
    assert Counter(np.array(labels)[drawn].tolist()) == wanted


def test_some_of_each_class_are_random():
    labels = np.arange(200) % 2
    draws = [some_of_each(labels, 20, np.random.default_rng(seed)).tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]
    assert max(draws[0]) > 100


@pytest.mark.parametrize("batch", [512, 7])
def test_statistics_are_those_of_the_samples_channels(monkeypatch, batch):
    monkeypatch.setattr("natmu.engine.predict.EVALUATION_BATCH", batch)
    data = noise_data(40, (3, 6, 5))
    data.images[:, 1] = 51
    samples = class_problem(data).retain_samples(RetainSettings(augment_retain=True))
    mean, std = channel_statistics(class_problem(data), samples)
    pixels = data.images[samples.positions].double().div(255).transpose(0, 1).flatten(1)
    assert mean.shape == std.shape == (1, 3, 1, 1)
    assert torch.allclose(mean.flatten().double(), pixels.mean(1), atol=1e-6)
    expected = pixels.std(1, correction=0)
    assert torch.allclose(std.flatten()[[0, 2]].double(), expected[[0, 2]], atol=1e-6)
    assert std.flatten()[1].item() == pytest.approx(1 / 255, rel=1e-3)


def test_learned_noise_raises_the_loss_of_the_class_above_that_of_random_noise(trained, digits):
    problem = class_problem(digits, model=trained)
    method = UNSIR(noise_images=32)
    noise, labels = learned(problem, method)
    mean, std = channel_statistics(problem, method._retain_sample(problem))
    assert labels.tolist() == [3] * 32
    start = mean + std * start_of(problem, 3, 32)
    small = mean + 0.1 * std * start_of(problem, 3, 32)
    loss = cross_entropy(trained, noise, 3)
    assert loss > cross_entropy(trained, start, 3) + 1
    assert loss > cross_entropy(trained, small, 3) + 1


def test_a_larger_penalty_gives_smaller_noise(trained, digits):
    problem = class_problem(digits, model=trained)
    sizes = []
    for penalty in (0, 0.1, 10):
        method = UNSIR(noise_images=16, noise_penalty=penalty)
        mean, std = channel_statistics(problem, method._retain_sample(problem))
        sizes.append(((learned(problem, method)[0] - mean) / std).square().sum().item())
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_first_step_is_one_of_adam_from_standard_normal_noise(trained, digits):
    problem = class_problem(digits, model=trained)
    method = UNSIR(noise_images=5, noise_steps=1, noise_lr=0.25, noise_penalty=0.3)
    mean, std = channel_statistics(problem, method._retain_sample(problem))
    model = copy.deepcopy(trained).eval().double()
    start = start_of(problem, 3, 5).double().requires_grad_()
    loss = 0.0
    for row in range(5):
        logits = model((mean + std * start[row : row + 1]).to(torch.float64))
        loss = loss + (logits.log_softmax(1)[0, 3] + 0.3 * start[row].square().sum()) / 5
    (gradient,) = torch.autograd.grad(loss, start)
    sure = gradient.abs() > 1e-4
    expected = mean + std * (start - 0.25 * gradient.sign()).detach()
    noise, _ = learned(problem, method)
    assert sure.float().mean() > 0.9
    assert torch.allclose(noise[sure].double(), expected[sure], atol=1e-4)


def test_each_class_has_noise_of_its_own_under_its_own_label(trained, digits):
    problem = class_problem(digits, "class:3,8", model=trained)
    method = UNSIR(noise_images=16, retain_per_class=20)
    noise, labels = learned(problem, method)
    assert labels.tolist() == [3] * 16 + [8] * 16
    assert not torch.equal(noise[:16], noise[16:])
    for own, other, images in ((3, 8, noise[:16]), (8, 3, noise[16:])):
        assert cross_entropy(trained, images, own) > cross_entropy(trained, images, other)


def test_the_original_learns_nothing_from_the_noise(digits):
    model = small_net(digits.image_shape, 10).train()
    before = state_of(model)
    learned(class_problem(digits, model=model), UNSIR(**SMALL))
    assert same_state(state_of(model), before)
    assert model.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("augment", [False, True])
def test_impair_sees_noise_and_retain_sample_and_repair_the_sample_alone(monkeypatch, trained, digits, augment):
    problem = class_problem(digits, "class:3,8", model=trained)
    method = UNSIR(**SMALL, augment_retain=augment, epochs=2, repair_epochs=3)
    impair, repair = stages(monkeypatch, method, problem)
    _, classes = learned(problem, method)
    _, labels, positions = impair.rows()
    shown, repair_labels, repair_positions = repair.rows()
    rows = 2 * 6 * 3
    assert torch.equal(labels[:rows], classes.repeat(3))
    assert torch.equal(positions[rows:], repair_positions)
    assert torch.equal(labels[rows:], repair_labels)
    assert torch.equal(repair_labels, digits.labels[repair_positions])
    assert Counter(repair_labels.tolist()) == {c: 5 for c in range(10) if c not in (3, 8)}
    still = (shown == digits.images[repair_positions].float() / 255).flatten(1).all(1)
    assert still.all() != augment
    assert (impair.settings.lr, impair.settings.epochs) == (0.02, 2)
    assert (repair.settings.lr, repair.settings.epochs) == (0.01, 3)
    assert impair.batches.seed != repair.batches.seed


def test_the_loss_of_impair_is_cross_entropy_on_noise_and_images(monkeypatch, trained, digits):
    problem = class_problem(digits, "class:3,8", model=trained)
    method = UNSIR(**SMALL)
    impair, _ = stages(monkeypatch, method, problem)
    noise, _ = learned(problem, method)
    model = unnormed_net(digits.image_shape, 10)
    kinds = set()
    for batch in impair.batches.epoch(0):
        slow = 0.0
        for image, label, row in zip(batch.images, batch.labels, batch.rows.tolist(), strict=True):
            kinds.add(row < 36)
            shown = noise[row % 12] if row < 36 else image
            slow -= model(shown[None]).detach().double().log_softmax(1)[0, label].item() / len(batch.labels)
        assert impair.loss(model, batch).item() == pytest.approx(slow, rel=1e-5)
    assert kinds == {True, False}


def test_no_forget_image_is_read(trained, digits):
    problem = class_problem(digits, model=trained)
    images = digits.images.clone()
    images[problem.forget_positions] = 99
    other = replace(problem, data=replace(digits, images=images))
    first, second = (state_of(UNSIR(**SMALL)(p).model) for p in (problem, other))
    assert same_state(first, second)
    images = digits.images.clone()
    images[problem.retain_positions] = 99
    other = replace(problem, data=replace(digits, images=images))
    assert not same_state(first, state_of(UNSIR(**SMALL)(other).model))


@pytest.mark.parametrize("spec", ["random:10%", "indices"])
def test_single_samples_are_refused_before_anything_is_trained(monkeypatch, digits, spec):
    monkeypatch.setattr(base, "fit", lambda *_: pytest.fail("it trained"))
    monkeypatch.setattr(torch.optim, "Adam", lambda *_: pytest.fail("it learned noise"))
    problem = problem_of(digits, [1, 2, 3]) if spec == "indices" else class_problem(digits, spec)
    with pytest.raises(ScenarioError, match=r"^unsir serves class, subclass forget sets, not "):
        UNSIR()(problem)


def test_a_subclass_is_overwritten_as_the_class_it_belongs_to(monkeypatch):
    data = superclass_data()
    problem = class_problem(data, "subclass:c5")
    impair, repair = stages(monkeypatch, UNSIR(**SMALL), problem)
    _, labels, _ = impair.rows()
    assert labels[:18].tolist() == [2] * 18
    _, kept, positions = repair.rows()
    assert 2 in kept
    assert not torch.isin(positions, problem.forget_positions).any()
    assert all(value.isfinite().all() for value in state_of(UNSIR(**SMALL)(problem).model).values())


def test_a_class_is_forgotten_and_the_others_are_not(trained, digits):
    problem = class_problem(digits, model=trained)
    method = UNSIR(noise_images=64, noise_copies=4, lr=0.02, repair_lr=0.005, repair_epochs=4)
    result = method(problem).model
    assert accuracy(trained, digits, problem.forget_positions) > 0.8
    assert accuracy(result, digits, problem.forget_positions) < 0.3
    assert accuracy(result, digits, problem.retain_positions) > 0.8


def test_the_seed_alone_decides(trained, digits):
    problem = class_problem(digits, model=trained)
    states = [state_of(UNSIR(**SMALL)(replace(problem, seed=seed)).model) for seed in (0, 0, 1)]
    assert same_state(states[0], states[1])
    assert not same_state(states[0], states[2])


@pytest.mark.parametrize(
    "changed",
    [
        {"epochs": 2},
        {"repair_epochs": 2},
        {"lr": 0.01},
        {"repair_lr": 0.02},
        {"optimizer": "adamw", "weight_decay": 0.1},
        {"schedule": "cosine"},
        {"retain_per_class": 6},
        {"augment_retain": True},
        {"noise_images": 7},
        {"noise_copies": 4},
        {"noise_steps": 5},
        {"noise_lr": 0.2},
        {"noise_penalty": 0.5},
    ],
    ids=str,
)
def test_every_setting_has_an_effect(trained, digits, changed):
    problem = class_problem(digits, model=trained)
    first, second = (state_of(UNSIR(**settings)(problem).model) for settings in (SMALL, SMALL | changed))
    assert not same_state(first, second)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("noise_images", 0), ("noise_copies", 0), ("noise_steps", 0), ("noise_lr", 0), ("noise_penalty", -1),
     ("repair_lr", 0), ("repair_epochs", 0), ("retain_per_class", 0), ("lr", 101)],
)  # fmt: skip
def test_a_setting_out_of_its_range_is_named(setting, value):
    with pytest.raises(SettingError, match=rf"^unsir: {setting}: "):
        UNSIR(**{setting: value})


def test_the_published_settings_are_the_defaults():
    expected = {
        "optimizer": "adam", "lr": 0.02, "repair_lr": 0.01, "epochs": 1, "repair_epochs": 1, "weight_decay": 0,
        "schedule": "constant", "noise_images": 3, "noise_copies": 20, "noise_steps": 40, "noise_lr": 0.1,
        "noise_penalty": 0.1, "retain_per_class": 1000, "augment_retain": False,
    }  # fmt: skip
    assert expected.items() <= UNSIR().config.model_dump().items()


def test_the_impair_stage_shows_as_much_noise_as_the_official_loop(monkeypatch):
    """Fast-Machine-Unlearning, Machine Unlearning.ipynb, cell 26: ``batch[0].size(0)`` is the number of channels."""
    noises, shown = torch.zeros(256, 3, 32, 32), []
    for _ in range(20):
        batch = noises
        shown += [number for number in range(batch[0].size(0))]  # noqa: C416 - as it is written there
    data = noise_data(60)
    impair, _ = stages(monkeypatch, UNSIR(noise_steps=1), class_problem(data, "class:c3"))
    labels = impair.rows()[1]
    assert len(labels) - (labels != 3).sum() == len(shown) == 60
    assert sorted(shown) == sorted(row % 3 for row in range(60))
    impair, _ = stages(monkeypatch, UNSIR(noise_steps=1, noise_images=256), class_problem(data, "class:c3"))
    assert (impair.rows()[1] == 3).sum() == 5120


@pytest.mark.parametrize("damage", ["original", "rate"])
def test_noise_without_a_finite_loss_stops_the_run(monkeypatch, digits, damage):
    monkeypatch.setattr(base, "fit", lambda *_: pytest.fail("it trained"))
    model = small_net(digits.image_shape, 10)
    if damage == "original":
        with torch.no_grad():
            model[5].weight[0] = 3e38  # finite, and its products are not
    settings = SMALL | ({"noise_lr": 100, "noise_penalty": 1e37} if damage == "rate" else {})
    number = 1 if damage == "original" else r"\d"
    with pytest.raises(TrainingError, match=rf"^unsir: .*noise.* at step {number};.*noise_lr=.*\.$"):
        UNSIR(**settings)(class_problem(digits, model=model))


@pytest.mark.parametrize("saves", [1, 2, 3])
def test_a_run_interrupted_in_either_stage_continues_to_the_same_weights(monkeypatch, tmp_path, trained, digits, saves):
    problem = class_problem(digits, model=trained)
    method = UNSIR(**SMALL, epochs=2, repair_epochs=2)
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
    stored = {re.sub(r".*\.", "", file.name) for file in tmp_path.iterdir()}
    assert stored == ({"impair"} if saves < 3 else {"impair", "repair"})
    again = replace(resumable, history=[])
    assert same_state(state_of(method(again).model), whole)
    assert [row["epoch"] for row in again.history] == [1, 2, 3, 4]


def test_a_foreign_model_on_odd_images_with_one_retain_sample_of_a_class():
    data = noise_data(42, (2, 9, 5), 6)
    few = data.subset([i for i in range(42) if data.labels[i] != 1 or i == 1])
    model = unnormed_net(data.image_shape, 6)
    result = UNSIR(**SMALL)(class_problem(few, "class:c3", model=model, batch_size=7)).model
    assert all(value.isfinite().all() for value in state_of(result).values())
    assert not same_state(state_of(result), state_of(model))


def test_a_single_retain_sample_is_a_result():
    data = noise_data(20, classes=2)
    one = data.subset([*range(0, 20, 2), 1])
    result = UNSIR(**SMALL)(class_problem(one, "class:c0", model=small_net(data.image_shape, 2))).model
    assert all(value.isfinite().all() for value in state_of(result).values())


def test_frozen_parts_stay_to_the_bit(trained, digits):
    model = copy.deepcopy(trained)
    model[0].requires_grad_(False)
    result = UNSIR(**SMALL, optimizer="adamw", weight_decay=0.5)(class_problem(digits, model=model)).model
    assert torch.equal(result[0].weight, model[0].weight)
    assert not torch.equal(result[5].weight, model[5].weight)
    assert not result[0].weight.requires_grad


def test_it_runs_in_bf16(trained, digits):
    problem = replace(class_problem(digits, model=trained), compute=replace(CPU, precision="bf16"))
    result = UNSIR(**SMALL)(problem).model
    assert all(value.isfinite().all() for value in state_of(result).values())


def test_replayed_steps_give_the_model_of_steps_as_written(monkeypatch):
    """As for every method in ``test_replay``, on a forget set that this one serves."""
    recorder = TapeRecorder()
    monkeypatch.setattr(step, "CudaGraphs", lambda device: recorder)
    data = noise_data(200)
    problem = class_problem(data, "class:c3", batch_size=8)
    answers = []
    for records in (True, False):
        monkeypatch.setattr(Compute, "records", records)
        settings = SMALL | {"retain_per_class": 20, "noise_images": 20}
        model = UNSIR(**settings, optimizer="sgd")(problem).model  # Adam makes much of the last bit of a small gradient
        answers.append(logits_of(model, data, torch.arange(len(data)), problem.compute))
    assert recorder.replayed > 0, "its step waits for the device"
    torch.testing.assert_close(*answers, rtol=1e-3, atol=1e-3)
