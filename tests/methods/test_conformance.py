"""What every method owes: one table-driven suite over all of them."""

from __future__ import annotations

import copy
import json
import random
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import Splits, resolve_forget
from natmu.errors import ForgetSetError, ModelError, NatmuError, SettingError, TrainingError
from natmu.methods import METHODS, FineTuneSettings, Problem, catalogue, method_named
from natmu.types import ForgetSet

from .problems import (
    CPU,
    FINE_TUNING,
    QUICK,
    intercept,
    noise_data,
    problem_of,
    same_state,
    small_net,
    state_of,
    superclass_data,
    unnormed_net,
)

NAMES = [method.name for method in METHODS]
FORGET = list(range(0, 60, 4))
every_method = pytest.mark.parametrize("name", NAMES)
every_fine_tuning = pytest.mark.parametrize("name", FINE_TUNING)


def quick(name, **settings):
    return method_named(name)(**QUICK[name], **settings)


def storages(model):
    return {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}


def finite(model):
    return all(bool(torch.isfinite(value).all()) for value in state_of(model).values())


@pytest.fixture(scope="module")
def data():
    return noise_data(60)


def test_the_table_covers_every_method_and_names_are_unique():
    assert set(NAMES) == set(QUICK)
    assert len(set(NAMES)) == len(NAMES)
    assert {m.name for m in METHODS if issubclass(m.Config, FineTuneSettings)} == set(FINE_TUNING)


@every_method
def test_a_method_says_what_it_is(name):
    method = method_named(name)
    assert method.__doc__
    assert method.Config.__doc__
    assert method.scenarios
    assert (method.paper is None) == (name == "retrain")
    assert all(field.description for field in method.Config.model_fields.values())


def test_the_catalogue_is_plain_values_with_every_setting_and_default():
    rows = json.loads(json.dumps(catalogue()))
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert row["summary"].endswith(".")
        assert (row["paper"] is None) == (row["name"] == "retrain")
        defaults = method_named(row["name"])().config.model_dump()
        assert {setting["name"]: setting["default"] for setting in row["settings"]} == defaults


@pytest.mark.parametrize(("wrong", "hint"), [("natmuu", "natmu"), ("qqq", "choose one of")])
def test_an_unknown_method_is_an_error_with_a_hint(wrong, hint):
    with pytest.raises(SettingError, match=hint):
        method_named(wrong)


@every_method
def test_the_original_is_untouched_and_nothing_is_shared(name, trained, digits):
    original = copy.deepcopy(trained)
    before, modes = state_of(original), [module.training for module in original.modules()]
    images, labels = digits.images.clone(), digits.labels.clone()
    result = quick(name)(problem_of(digits, FORGET, model=original))
    assert same_state(state_of(original), before)
    assert [module.training for module in original.modules()] == modes
    assert all(parameter.grad is None for parameter in original.parameters())
    assert result.model is not original
    assert storages(result.model).isdisjoint(storages(original))
    assert not same_state(state_of(result.model), before)
    assert finite(result.model)
    assert result.seconds > 0
    assert torch.equal(digits.images, images)
    assert torch.equal(digits.labels, labels)


@every_method
def test_modes_and_gradient_flags_come_back_as_they_were(name, data):
    def frozen_batch_norm(seed):
        model = small_net(data.image_shape, 5, seed).train()
        model[1].eval()
        model[0].bias.requires_grad_(False)
        return model

    model = frozen_batch_norm(1)
    bias = model[0].bias.clone()
    result = quick(name)(problem_of(data, FORGET, model=model, initial_model=lambda: frozen_batch_norm(0)))
    unlearned = result.model
    assert unlearned.training
    assert not unlearned[1].training
    assert unlearned[2].training
    assert [p.requires_grad for p in unlearned.parameters()] == [p.requires_grad for p in model.parameters()]
    assert all(parameter.grad is None for parameter in unlearned.parameters())
    assert model.training
    assert not model[1].training
    if name != "retrain":
        assert torch.equal(unlearned[0].bias, bias)


@every_method
def test_an_eval_original_gives_an_eval_model(name, data):
    result = quick(name)(problem_of(data, FORGET, model=small_net(data.image_shape, 5, 1).eval()))
    assert not any(module.training for module in result.model.modules())


@every_method
def test_the_seed_alone_decides_the_weights(name, data):
    torch.manual_seed(1)
    first = state_of(quick(name)(problem_of(data, FORGET)).model)
    torch.manual_seed(2)
    again = state_of(quick(name)(problem_of(data, FORGET)).model)
    other = state_of(quick(name)(problem_of(data, FORGET, seed=1)).model)
    assert same_state(first, again)
    assert not same_state(first, other)


@every_method
def test_global_random_numbers_are_left_alone(name, data):
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    quick(name)(problem_of(data, FORGET))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_trap_leak_a_problem_holds_no_test_data():
    assert {field.name for field in fields(Problem)} == {
        "model", "data", "forget", "training", "compute", "seed",
        "batch_size", "initial_model", "fresh_model", "holdout", "checkpoint", "history", "aside",
    }  # fmt: skip
    problem = problem_of(noise_data(60), FORGET)
    assert not any(isinstance(getattr(problem, field.name), Splits) for field in fields(Problem))


def test_retain_and_forget_parts_divide_the_training_data(data):
    problem = problem_of(data, FORGET)
    assert problem.forget_positions.tolist() == FORGET
    assert problem.retain_positions.tolist() == [i for i in range(60) if i not in FORGET]


def test_read_only_indices_serve(data):
    indices = np.array(FORGET)
    indices.flags.writeable = False
    assert problem_of(data, ForgetSet(indices, "x", "indices")).forget_positions.tolist() == FORGET


@every_method
def test_a_foreign_model_without_batch_norm_on_odd_grey_images(name):
    data = noise_data(48, (1, 9, 5), 6)
    model = unnormed_net(data.image_shape, 6)
    problem = problem_of(data, list(range(5)), model=model, initial_model=lambda: unnormed_net(data.image_shape, 6, 1))
    result = quick(name)(problem)
    assert finite(result.model)
    assert not same_state(state_of(result.model), state_of(model))


class Viewing(nn.Module):
    """Flattens with ``view``, as much code of the field does; it cannot take an empty batch."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 5)

    def forward(self, images):
        assert len(images)
        return self.head(images.contiguous().view(images.size(0), -1))


@every_fine_tuning
@pytest.mark.parametrize("augment", [False, True])
def test_no_model_is_ever_shown_an_empty_batch(name, augment, data):
    assert finite(quick(name, augment_retain=augment)(problem_of(data, FORGET, model=Viewing())).model)


@every_method
@pytest.mark.parametrize("kind", ["random:10%", "class:3", "class:0,1", "indices"])
def test_every_scenario_gives_a_model(name, kind, digits, trained):
    forget = FORGET if kind == "indices" else resolve_forget(kind, digits, seed=0)
    problem = problem_of(digits, forget, model=trained)
    assert finite(quick(name)(problem).model)


@every_method
def test_a_subclass_can_be_forgotten(name):
    data = superclass_data()
    assert finite(quick(name)(problem_of(data, resolve_forget("subclass:c5", data, seed=0))).model)


@every_method
def test_a_single_forget_sample(name, data):
    assert finite(quick(name)(problem_of(data, [17])).model)


@every_method
def test_a_whole_class_among_random_indices(name, data):
    whole = np.flatnonzero(data.labels.numpy() == 2)
    problem = problem_of(data, np.union1d(whole, [0, 1, 8, 13]))
    assert finite(quick(name)(problem).model)


@every_method
def test_a_class_with_one_retain_sample(name, data):
    most = np.flatnonzero(data.labels.numpy() == 2)[1:]
    assert finite(quick(name)(problem_of(data, most)).model)


@every_method
def test_all_but_one_sample_is_a_result_or_a_clear_error(name, data):
    problem = problem_of(data, list(range(59)))
    if name == "natmu":
        with pytest.raises(SettingError, match="retain images"):
            quick(name)(problem)
    else:
        assert finite(quick(name)(problem).model)


@every_method
@pytest.mark.parametrize("count", [0, 60])
def test_empty_and_full_forget_sets_are_errors(name, count, data):
    with pytest.raises(ForgetSetError):
        quick(name)(problem_of(data, ForgetSet(np.arange(count), "x", "indices")))


@every_method
def test_trap_no_source_a_model_without_weights_is_an_error(name, data):
    with pytest.raises(ModelError, match="trained model"):
        quick(name)(problem_of(data, FORGET, model=nn.Flatten()))


@every_fine_tuning
def test_a_diverging_run_stops_with_an_error_that_names_method_step_and_settings(name, data):
    model = unnormed_net(data.image_shape, 5)
    with torch.no_grad():
        model[1].weight *= 1e3
    method = quick(name, lr=100, optimizer="sgd", weight_decay=1, momentum=0.99, schedule="constant")
    slow = {"epochs": 60} | ({"n": 2} if name == "natmu" else {})
    method = method_named(name)(**(method.config.model_dump() | slow))
    with pytest.raises(TrainingError, match=rf"^{name}: .*step \d+.*lr=100") as caught:
        method(problem_of(data, FORGET, model=model))
    assert "epochs=60" in str(caught.value)


def test_a_diverging_retraining_stops_with_an_error(data):
    problem = problem_of(
        data,
        FORGET,
        model=unnormed_net(data.image_shape, 5),
        initial_model=lambda: unnormed_net(data.image_shape, 5, 1),
    )
    wild = problem.training.model_copy(update={"lr": 100.0, "weight_decay": 1.0, "epochs": 100, "schedule": "constant"})
    with pytest.raises(TrainingError, match=r"^retrain: .*step \d+.*lr=100"):
        quick("retrain")(replace(problem, training=wild))


@every_method
def test_a_damaged_original_never_gives_a_model(name, data):
    model = small_net(data.image_shape, 5)
    with torch.no_grad():
        model[5].weight[0, 0] = float("nan")
    with pytest.raises(NatmuError):
        quick(name)(problem_of(data, FORGET, model=model, initial_model=lambda: model))


@every_fine_tuning
@pytest.mark.parametrize(
    ("setting", "value", "limit"),
    [
        ("lr", 0, "greater than 0"),
        ("lr", -1.0, "greater than 0"),
        ("lr", 101, "less than or equal to 100"),
        ("lr", float("nan"), "finite"),
        ("epochs", 0, "greater than or equal to 1"),
        ("epochs", 1.5, "integer"),
        ("weight_decay", -0.1, "greater than or equal to 0"),
        ("retain_fraction", 0, "greater than 0"),
        ("retain_fraction", 1.01, "less than or equal to 1"),
        ("optimizer", "lion", "'sgd', 'adam' or 'adamw'"),
        ("schedule", "linear", "'cosine'"),
        ("augment_retain", "perhaps", "boolean"),
    ],
)
def test_a_wrong_setting_is_named_with_its_range(name, setting, value, limit):
    with pytest.raises(SettingError, match=rf"{name}: {setting}: .*{limit}"):
        method_named(name)(**{setting: value})


@pytest.mark.parametrize(
    ("name", "setting", "value", "limit"),
    [
        ("natmu", "n", 5, "less than or equal to 4"),
        ("natmu", "n", 0, "greater than or equal to 1"),
        ("natmu", "delta", 1.5, "less than or equal to 1"),
        ("natmu", "delta", -1.5, "greater than or equal to -1"),
        ("salun", "threshold", 0, "greater than 0"),
        ("salun", "threshold", 1.1, "less than or equal to 1"),
        ("salun", "relabel", "never", "'fixed' or 'each_epoch'"),
        ("bad_teacher", "temperature", 0, "greater than 0"),
        ("retrain", "init", "warm", "'original' or 'fresh'"),
    ],
)
def test_a_wrong_setting_of_one_method_is_named_with_its_range(name, setting, value, limit):
    with pytest.raises(SettingError, match=rf"{name}: {setting}: .*{limit}"):
        method_named(name)(**{setting: value})


@every_method
def test_an_unknown_setting_is_refused_with_the_known_ones(name):
    known = sorted(method_named(name).Config.model_fields)[0]
    with pytest.raises(SettingError, match=rf"{name}: learning_rate is not a setting; known here: .*{known}"):
        method_named(name)(learning_rate=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("natmu", {"lr": 1e-3, "weight_decay": 2e-3, "delta": -0.19, "n": 4, "augment_retain": True}),
        ("amnesiac", {"lr": 1.8e-5, "weight_decay": 4e-4, "augment_retain": False}),
        ("bad_teacher", {"lr": 5e-5, "weight_decay": 9e-4, "temperature": 7.2, "augment_retain": False}),
        ("salun", {"lr": 5e-5, "weight_decay": 3e-4, "threshold": 0.05, "augment_retain": False}),
    ],
)
def test_defaults_are_the_published_ones_for_cifar10_and_vgg16(name, expected):
    shared = {"epochs": 5, "optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 0, "retain_fraction": 1}
    assert (shared | expected).items() <= method_named(name)().config.model_dump().items()


@every_fine_tuning
@pytest.mark.parametrize("augment", [False, True])
def test_retain_images_are_augmented_as_asked_by_every_method(monkeypatch, name, augment, data):
    problem = problem_of(data, FORGET)
    rows = intercept(monkeypatch, quick(name, augment_retain=augment), problem).epoch()
    sources = data.images[rows.positions].float() / 255
    still = (rows.images == sources).flatten(1).all(1)
    forgotten = torch.isin(rows.positions, problem.forget_positions)
    retained = ~forgotten if name != "natmu" else torch.arange(len(rows)) < 45
    assert retained.sum() == 45
    assert still[retained].float().mean() < 0.5 if augment else still[retained].all()
    assert still[forgotten].all()


@every_fine_tuning
@pytest.mark.parametrize(("fraction", "count"), [(1, 45), (0.5, 22), (0.1, 4), (0.001, 1)])
def test_a_share_of_the_retain_set_is_used_as_asked_by_every_method(monkeypatch, name, fraction, count, data):
    problem = problem_of(data, FORGET)
    caught = intercept(monkeypatch, quick(name, retain_fraction=fraction), problem)
    rows = caught.epoch()
    extra = len(FORGET) * (2 if name == "natmu" else 1)
    assert len(rows) == count + extra
    first = (
        rows.positions[:count] if name == "natmu" else rows.positions[~torch.isin(rows.positions, torch.tensor(FORGET))]
    )
    assert len(set(first.tolist())) == count
    assert set(first.tolist()).isdisjoint(FORGET)
    assert torch.equal(caught.epoch(1).positions, rows.positions)  # the same share in every epoch


@every_fine_tuning
def test_a_share_is_drawn_by_the_seed(monkeypatch, name, data):
    shares = [
        set(
            intercept(monkeypatch, quick(name, retain_fraction=0.3), problem_of(data, FORGET, seed=s))
            .epoch()
            .positions.tolist()
        )
        for s in (0, 0, 1)
    ]
    assert shares[0] == shares[1]
    assert shares[0] != shares[2]


@every_fine_tuning
def test_trap_hard_coding_everything_follows_the_problem(monkeypatch, name):
    """Class count, image size, batch size and device are those of the problem."""
    data = noise_data(42, (2, 6, 10), 3)
    problem = problem_of(data, [0, 1, 2, 3], batch_size=7)
    caught = intercept(monkeypatch, quick(name), problem)
    sizes = [tuple(batch.images.shape) for batch in caught.batches.epoch(0)]
    assert {size[1:] for size in sizes} == {(2, 6, 10)}
    assert sizes[0][0] == 7
    assert caught.batches.device == CPU.device
    assert caught.epoch().labels.max() <= 2
    assert caught.settings.epochs == 2


@every_fine_tuning
def test_training_starts_from_the_originals_weights(monkeypatch, name, trained, digits):
    caught = intercept(monkeypatch, quick(name), problem_of(digits, FORGET, model=trained))
    assert same_state(state_of(caught.model), state_of(trained))
    assert caught.model is not trained


@pytest.mark.parametrize("name", ["natmu", "amnesiac", "salun"])
def test_the_loss_of_relabelling_and_blending_is_cross_entropy(monkeypatch, name, data):
    caught = intercept(monkeypatch, quick(name), problem_of(data, FORGET))
    model = unnormed_net(data.image_shape, 5)
    for batch in caught.batches.epoch(0):
        logits = model(batch.images).detach().double()
        slow = -sum(logits[row].log_softmax(0)[label].item() for row, label in enumerate(batch.labels)) / len(logits)
        assert caught.loss(model, batch).item() == pytest.approx(slow, rel=1e-5)


@every_fine_tuning
def test_history_has_one_row_per_epoch(name, data):
    problem = problem_of(data, FORGET)
    quick(name)(problem)
    assert [row["epoch"] for row in problem.history] == [1, 2]
    assert problem.history[-1]["lr"] == 0  # cosine to zero at the last step
    assert all(np.isfinite(row["loss"]) for row in problem.history)


@pytest.mark.parametrize("name", ["natmu", "amnesiac", "salun", "bad_teacher"])
def test_forgetting_raises_the_loss_of_the_forget_set_and_keeps_the_retain_set(name, trained, digits):
    forget = resolve_forget("class:3", digits, seed=0)
    problem = problem_of(digits, forget, model=trained)
    settings = {"epochs": 8, "lr": 1e-2} | ({"threshold": 0.5} if name == "salun" else {})
    result = method_named(name)(**settings)(problem)

    def accuracy(model, positions):
        with torch.no_grad():
            answers = copy.deepcopy(model).eval()(digits.images[positions].float() / 255).argmax(1)
        return (answers == digits.labels[positions]).float().mean().item()

    assert accuracy(trained, problem.forget_positions) > 0.8
    assert accuracy(result.model, problem.forget_positions) < accuracy(trained, problem.forget_positions) - 0.3
    assert accuracy(result.model, problem.retain_positions) > 0.8
