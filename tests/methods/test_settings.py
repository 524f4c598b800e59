"""Settings that several methods share: their ranges, their defaults, and that each does what it says."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from natmu.data import parse_forget, resolve_forget
from natmu.errors import SettingError
from natmu.methods import METHODS, method_named
from natmu.testing import perform

from .problems import CPU, FINE_TUNING, QUICK, intercept, noise_data, problem_of, same_state, state_of

NAMES = [method.name for method in METHODS]
FORGET = list(range(0, 60, 4))


def having(*settings):
    """Names of the methods that have these settings."""
    return [name for name in NAMES if set(settings) <= set(method_named(name).Config.model_fields)]


every_fine_tuning = pytest.mark.parametrize("name", FINE_TUNING)
every_retaining = pytest.mark.parametrize("name", having("retain_fraction", "augment_retain"))


def quick(name, **settings):
    return method_named(name)(**(QUICK[name] | settings))


@pytest.fixture(scope="module")
def data():
    return noise_data(60)


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
        ("schedule", "triangular", "'cosine'"),
        ("augment_retain", "perhaps", "true or false"),
    ],
)
def test_a_wrong_setting_is_named_with_its_range_by_every_method_that_has_it(setting, value, limit):
    names = having(setting)
    assert len(names) > 5
    for name in names:
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
        ("salun", "relabel", "never", "'fixed', 'each_epoch' or 'any'"),
        ("salun", "order", "retain_first", "'shuffled' or 'forget_first'"),
        ("bad_teacher", "reduction", "sum", "'batchmean' or 'mean'"),
        ("bad_teacher", "temperature", 0, "greater than 0"),
        ("retrain", "init", "warm", "'original' or 'fresh'"),
    ],
)
def test_a_wrong_setting_of_one_method_is_named_with_its_range(name, setting, value, limit):
    with pytest.raises(SettingError, match=rf"{name}: {setting}: .*{limit}"):
        method_named(name)(**{setting: value})


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_setting_is_refused_with_the_known_ones(name):
    known = next(iter(sorted(method_named(name).Config.model_fields)), "none")
    with pytest.raises(SettingError, match=rf"{name}: learning_rate is not a setting; known here: .*{known}"):
        method_named(name)(learning_rate=1)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("natmu", {"lr": 1e-3, "weight_decay": 2e-3, "delta": -0.19, "n": None, "augment_retain": True}),
        ("amnesiac", {"lr": 1.8e-5, "weight_decay": 4e-4, "augment_retain": False}),
        ("bad_teacher", {"lr": 5e-5, "weight_decay": 9e-4, "temperature": 7.2, "augment_retain": False}),
        ("salun", {"lr": 5e-5, "weight_decay": 3e-4, "threshold": 0.05, "augment_retain": False}),
    ],
)
def test_defaults_are_the_published_ones_for_cifar10_and_vgg16(name, expected):
    shared = {"epochs": 5, "optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 0, "retain_fraction": 1}
    assert (shared | expected).items() <= method_named(name)().config.model_dump().items()


class Shown:
    """The rows that a run has trained on: those that show a retain image alone, and those that show a forget image."""

    def __init__(self, method, problem, count):
        batches = [seen.batch for seen in perform(method, problem, seconds=60).recording.seen]
        batches += [batch.paired for batch in batches if batch.paired is not None]
        images, positions, rows = (
            torch.cat([getattr(batch, name) for batch in batches]) for name in ("images", "positions", "rows")
        )
        self.still = (images == problem.data.images[positions].float() / 255).flatten(1).all(1)
        self.positions = positions
        self.forgotten = torch.isin(positions, problem.forget_positions)
        self.retained = ~self.forgotten & (rows < count if method.name == "natmu" else True)  # others are hybrids

    @property
    def share(self):
        return set(self.positions[self.retained].tolist())


@every_retaining
@pytest.mark.parametrize("augment", [False, True])
def test_retain_images_are_augmented_as_asked_by_every_method(name, augment, data):
    still = {"augment_forget": False} if name in having("augment_forget") else {}
    method = quick(name, augment_retain=augment, retain_fraction=1, **still)
    shown = Shown(method, problem_of(data, FORGET, holdout=data), 45)
    assert len(shown.share) == 45
    retained = shown.still[shown.retained]
    assert retained.float().mean() < 0.5 if augment else retained.all()
    assert shown.still[shown.forgotten].all()


@pytest.mark.parametrize("name", ["munba", "sfron"])
def test_forget_images_are_augmented_as_asked_and_by_default_both_are(name, data):
    """MUNBa, Classification/dataset.py, lines 26-29; Unified-Unlearning-w-Remain-Geometry, Classification/dataset/
    cifar10.py, lines 17-18: the forget set is a part of the training set with its crops and flips.
    """
    for asked in ({}, {"augment_retain": False}):
        shown = Shown(quick(name, **asked), problem_of(data, FORGET), 45)
        assert shown.still[shown.forgotten].float().mean() < 0.5
        retained = shown.still[shown.retained]
        assert retained.all() if asked else retained.float().mean() < 0.5


@every_retaining
@pytest.mark.parametrize(("fraction", "count"), [(0.5, 22), (0.1, 4), (0.04, 2)])
def test_a_share_of_the_retain_set_is_used_as_asked_by_every_method(name, fraction, count, data):
    shown = Shown(quick(name, retain_fraction=fraction), problem_of(data, FORGET, holdout=data), count)
    assert len(shown.share) == count


@every_fine_tuning
def test_a_share_of_one_sample_is_the_least(monkeypatch, name, data):
    rows = intercept(monkeypatch, quick(name, retain_fraction=0.001), problem_of(data, FORGET, holdout=data)).epoch()
    assert len(rows) == 1 + len(FORGET) * (2 if name == "natmu" else 1)


@every_retaining
def test_a_share_is_drawn_by_the_seed(name, data):
    method = quick(name, retain_fraction=0.3)
    shares = [Shown(method, problem_of(data, FORGET, seed=seed, holdout=data), 14).share for seed in (0, 0, 1)]
    assert shares[0] == shares[1]
    assert shares[0] != shares[2]


@every_fine_tuning
def test_trap_hard_coding_everything_follows_the_problem(monkeypatch, name):
    """Class count, image size, batch size and device are those of the problem."""
    data = noise_data(42, (2, 6, 10), 3)
    problem = problem_of(data, [0, 1, 2, 3], batch_size=7, holdout=data)
    caught = intercept(monkeypatch, quick(name), problem)
    sizes = [tuple(batch.images.shape) for batch in caught.batches.epoch(0)]
    assert {size[1:] for size in sizes} == {(2, 6, 10)}
    assert sizes[0][0] == 7
    assert caught.batches.device == CPU.device
    assert caught.epoch().labels.max() <= 2
    assert caught.settings.epochs == 2


@every_fine_tuning
def test_training_starts_from_the_originals_weights(monkeypatch, name, trained, digits):
    caught = intercept(monkeypatch, quick(name), problem_of(digits, FORGET, model=trained, holdout=digits))
    assert same_state(state_of(caught.model), state_of(trained))
    assert caught.model is not trained


@every_fine_tuning
def test_history_has_one_row_per_epoch(name, data):
    problem = problem_of(data, FORGET, holdout=data)
    quick(name)(problem)
    assert [row["epoch"] for row in problem.history] == [1, 2]
    assert problem.history[-1]["lr"] == 0  # cosine to zero at the last step
    assert all(np.isfinite(row["loss"]) for row in problem.history)


@pytest.mark.parametrize("name", [name for name in FINE_TUNING if "class" in method_named(name).scenarios])
def test_forgetting_a_class_lowers_its_accuracy_and_keeps_that_of_the_others(name, trained, digits):
    problem = problem_of(digits, resolve_forget(parse_forget("class:3"), digits, seed=0), model=trained)
    settings = {"epochs": 8, "lr": 1e-2} | ({"threshold": 0.5} if name == "salun" else {})
    result = method_named(name)(**settings)(problem)

    def accuracy(model, positions):
        with torch.no_grad():
            answers = copy.deepcopy(model).eval()(digits.images[positions].float() / 255).argmax(1)
        return (answers == digits.labels[positions]).float().mean().item()

    assert accuracy(trained, problem.forget_positions) > 0.8
    assert accuracy(result.model, problem.forget_positions) < accuracy(trained, problem.forget_positions) - 0.3
    assert accuracy(result.model, problem.retain_positions) > 0.8
