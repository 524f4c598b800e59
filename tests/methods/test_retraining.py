"""Retraining: from which weights, on which samples."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from natmu.data import ImageData
from natmu.engine.training import train_classifier
from natmu.errors import SettingError
from natmu.methods import Retrain

from .problems import CPU, TRAINING, noise_data, problem_of, same_state, small_net, state_of

FORGET = list(range(5, 60, 4))
STILL = TRAINING.model_copy(update={"lr": 1e-30, "weight_decay": 0.0, "epochs": 1})


def weights_of(model):
    return {name: value.detach() for name, value in model.named_parameters()}


class Recorder(nn.Module):
    """Notes the largest value of every image that passes through, in any copy of it."""

    seen: list[float] = []  # noqa: RUF012 - shared on purpose

    def forward(self, images):
        self.seen.extend(images.flatten(1).max(1).values.tolist())
        return images


def test_it_starts_from_the_originals_initial_weights():
    problem = replace(problem_of(noise_data(80), FORGET), training=STILL)
    weights = weights_of(Retrain()(problem).model)
    initial = weights_of(small_net((3, 8, 8), 5, 0))
    assert all(torch.allclose(weights[name], initial[name], rtol=0, atol=1e-25) for name in initial)
    assert not torch.equal(weights["0.weight"], problem.model[0].weight)


def test_fresh_weights_are_neither_the_initial_nor_the_originals_and_follow_the_seed():
    problem = replace(problem_of(noise_data(80), FORGET), training=STILL)
    fresh = [weights_of(Retrain(init="fresh")(replace(problem, seed=seed)).model)["0.weight"] for seed in (0, 0, 1)]
    assert torch.equal(fresh[0], fresh[1])
    assert not torch.equal(fresh[0], fresh[2])
    assert not torch.equal(fresh[0], small_net((3, 8, 8), 5, 0)[0].weight)
    assert not torch.equal(fresh[0], problem.model[0].weight)


def test_fresh_weights_differ_from_a_model_that_was_built_from_the_same_seed():
    """The user seeds, builds and trains, then unlearns with that very seed: fresh must be fresh all the same."""
    problem = replace(
        problem_of(noise_data(80), FORGET, model=small_net((3, 8, 8), 5, seed=11), seed=11), training=STILL
    )
    fresh = weights_of(Retrain(init="fresh")(problem).model)
    assert not torch.equal(fresh["0.weight"], problem.model[0].weight)


def test_fresh_needs_no_initial_weights_and_original_says_what_to_do_without_them():
    problem = replace(problem_of(noise_data(80), FORGET), initial_model=None)
    assert Retrain(init="fresh")(problem).seconds > 0
    with pytest.raises(SettingError, match="init=fresh"):
        Retrain()(problem)


def test_no_forget_sample_is_ever_seen():
    data = noise_data(80, top=100)
    images = data.images.clone()
    images[FORGET] = 255  # a marker that no other image bears
    poisoned = ImageData(images, data.labels, data.class_names)
    net = nn.Sequential(Recorder(), small_net((3, 8, 8), 5))
    Recorder.seen.clear()
    Retrain()(problem_of(poisoned, FORGET, model=net, initial_model=lambda: net))
    pictures = [value for value in Recorder.seen if value != 0.5]  # grey ones try whether the model can learn
    assert len(pictures) == TRAINING.epochs * (80 - len(FORGET))
    assert max(pictures) < 100 / 255


def test_it_equals_training_on_data_that_never_held_the_forget_set():
    data = noise_data(80)
    problem = problem_of(data, FORGET, seed=3)
    unlearned = Retrain()(problem).model
    kept = data.subset([i for i in range(80) if i not in FORGET])
    model = small_net((3, 8, 8), 5, 0)
    with torch.random.fork_rng([]):
        train_classifier(model, kept, torch.arange(len(kept)), TRAINING, CPU, seed=3)
    assert same_state(state_of(unlearned), state_of(model))


def test_the_users_initial_model_is_left_alone():
    kept = small_net((3, 8, 8), 5, 0)
    before = state_of(kept)
    unlearned = Retrain()(problem_of(noise_data(80), FORGET, initial_model=lambda: kept)).model
    assert unlearned is not kept
    assert same_state(state_of(kept), before)


def test_history_has_one_row_per_epoch_with_the_retain_accuracy():
    problem = problem_of(noise_data(80), FORGET)
    Retrain()(problem)
    assert [row["epoch"] for row in problem.history] == [1, 2]
    assert all(0 <= row["accuracy"] <= 100 for row in problem.history)
