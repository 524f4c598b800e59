"""What ``idi``, ``residual_knowledge`` and ``swap_advantage`` say of models whose past is known, on real digits.

The numbers in docstrings were measured on an AMD EPYC CPU in fp32. Other machines train other weights, so models that
must not be distinguishable are asked at a level at which one of a thousand retrained models would be.
"""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import natmu
from natmu.data import ImageData, forget_from_indices
from natmu.engine.predict import part_of
from natmu.scores import Shadows, accuracy, margin
from natmu.scores.pool import half_of_pool
from natmu.scores.swap import swap_scores
from natmu.scores.verdict import judge
from natmu.testing.problems import CPU, digits

from . import small_worlds
from .small_worlds import fit, inputs

RARE = 0.999


@pytest.fixture(scope="module")
def memorised():
    return small_worlds.memorised()


@pytest.fixture(scope="module")
def whole_class():
    return small_worlds.whole_class()


@pytest.fixture(params=["memorised", "whole_class"])
def world(request):
    return request.getfixturevalue(request.param)


def forget_acc(world, model):
    return accuracy(part_of(model, world.data.subset(world.forget.indices), CPU))


def test_the_models_are_what_they_are_called(memorised, whole_class):
    """By the accuracy on the forget set a change of the head alone is as good as retraining."""
    for world in (memorised, whole_class):
        retrained = [forget_acc(world, model) for model in world.retrained]
        assert forget_acc(world, world.models["original"]) == 100
        for name in ("retrained", "head only"):
            assert min(retrained) - 5 <= forget_acc(world, world.models[name]) <= max(retrained) + 5
    over = forget_acc(memorised, memorised.models["over-forgotten"])
    assert over < min(forget_acc(memorised, model) for model in memorised.retrained) - 20


def test_idi_catches_the_original_and_a_change_of_its_head_alone(world):
    """1.00 where one more retrained model lies between -0.26 and 0.26, or -0.29 and 0.29 for a class."""
    for name in ("original", "head only"):
        verdict = world.verdict(name, "idi")
        assert verdict.value == pytest.approx(1, abs=1e-6), "its features are those of the original"
        assert verdict.distinguishable
        assert verdict.sees_original


def test_idi_does_not_catch_a_retrained_model(world):
    """0.01, or -0.08 for a class."""
    verdict = world.verdict("retrained", "idi", RARE)
    assert not verdict.distinguishable
    assert np.mean(world.measured("retrained")["idi"].retrained) == pytest.approx(0, abs=1e-9)


def test_idi_puts_a_model_that_over_forgets_below_retrained_ones(world):
    """-1.2, or -0.7 for a class: less can be read in it than in models that never saw the samples."""
    verdict = world.verdict("over-forgotten", "idi")
    assert verdict.distinguishable
    assert verdict.value < verdict.baseline_low < 0


def test_residual_knowledge_is_above_1_in_the_original_and_below_1_where_too_much_is_forgotten(memorised):
    """1.51 and 0.2 where one more retrained model lies between 0.97 and 1.03."""
    original = memorised.verdict("original", "residual_knowledge")
    assert original.distinguishable
    assert original.value > original.baseline_high > 1
    over = memorised.verdict("over-forgotten", "residual_knowledge")
    assert over.distinguishable
    assert over.value < over.baseline_low < 1
    assert not memorised.verdict("retrained", "residual_knowledge", RARE).distinguishable


def test_residual_knowledge_cannot_catch_a_change_of_the_head_alone(memorised, whole_class):
    """It reads answers: 0.98 next to 0.97 to 1.03, and 1 for a class that nobody predicts."""
    assert not memorised.verdict("head only", "residual_knowledge", RARE).distinguishable
    assert whole_class.measured("head only")["residual_knowledge"].value == pytest.approx(1, abs=0.02)


def test_residual_knowledge_of_a_whole_class_sees_memory_and_nothing_below(whole_class):
    measured = whole_class.measured("over-forgotten")["residual_knowledge"]
    assert measured.original > 100
    assert measured.value == pytest.approx(1, abs=0.1), "retrained models are never right either"


def test_an_audit_sees_in_a_change_of_the_head_what_scores_of_the_forget_set_do_not(memorised):
    found = natmu.audit(
        memorised.models["head only"],
        memorised.data,
        digits(400, 300),
        memorised.forget,
        retrained=memorised.retrained,
        original=memorised.models["original"],
        level="standard",
        device="cpu",
        precision="fp32",
        progress=False,
    )
    assert found.scores["idi"] == pytest.approx(1, abs=1e-6)
    assert found.original["idi"] == pytest.approx(1, abs=1e-6)
    assert found.verdicts["idi"].distinguishable
    assert found.scores["residual_knowledge"] == pytest.approx(
        memorised.measured("head only")["residual_knowledge"].value, abs=1e-6
    )
    blind = ("forget_acc", "mia_entropy", "agreement_forget", "activation_distance", "auc_forget_test_margin")
    assert not any(found.verdicts[name].distinguishable for name in blind)


def test_without_an_original_there_is_no_index_and_it_says_why(memorised):
    found = natmu.audit(
        memorised.models["retrained"],
        memorised.data,
        digits(400, 60),
        memorised.forget,
        retrained=memorised.retrained[:2],
        level="standard",
        device="cpu",
        precision="fp32",
        progress=False,
    )
    assert "needs the original" in found.missing["idi"]
    assert 0.8 < found.scores["residual_knowledge"] < 1.2


PAIRS = 8
"""Of shadow models; with four, one exchange in eight is as good as the truth."""


def plain_network(seed):
    """Two layers, which learn a few hundred digits by heart in no time."""
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))


@pytest.fixture(scope="module")
def pool():
    """Pairs of shadow models on the house's pool, and what became of them, as margins on the pool."""
    data = digits(0, 240)
    positions, retain = np.arange(120, 240), np.arange(120)
    labels = data.labels.clone()
    labels[positions[::3]] = (labels[positions[::3]] + 3) % 10
    data = ImageData(data.images, labels, data.class_names)
    forget = forget_from_indices(positions[:60].tolist(), data)
    halves = np.stack([half_of_pool(forget, len(positions), number) for number in range(2 * PAIRS)])

    def trained(samples, seed):
        model, images, labels = plain_network(seed), inputs(data, samples), data.labels[samples]
        return fit(model, model.parameters(), lambda: cross_entropy(model(images), labels))

    def over_forgotten(shadow, gone):
        """Every forgotten sample gets a wrong label."""
        model, kept, images = copy.deepcopy(shadow), inputs(data, retain), inputs(data, gone)
        wrong = (data.labels[gone] + 1) % 10

        def loss():
            return cross_entropy(model(kept), data.labels[retain]) + cross_entropy(model(images), wrong)

        return fit(model, model.parameters(), loss, steps=40)

    def margins(models):
        return np.array([margin(part_of(model, data.subset(positions), CPU)) for model in models], np.float64)

    shadows = [trained(np.union1d(retain, positions[half]), at) for at, half in enumerate(halves)]
    before = margins(shadows)
    return (
        halves,
        before,
        {
            "nothing done": before,
            "retrained": margins([trained(retain, 50 + at) for at in range(len(halves))]),
            "over-forgotten": margins(
                [over_forgotten(shadow, positions[half]) for shadow, half in zip(shadows, halves, strict=True)]
            ),
        },
    )


@pytest.mark.parametrize("name", ["nothing done", "over-forgotten", "retrained"])
def test_an_attacker_has_an_advantage_over_memory_and_over_forgetting_and_none_over_retraining(pool, name):
    """0.52 and 0.33, and 0.02 over retraining, where one exchange more would give up to 0.47, 0.19 and 0.09."""
    halves, before, after = pool
    value, exchanged, original = swap_scores(Shadows(before, after[name], halves, np.arange(60)), 39, seed=0)
    level = RARE if name == "retrained" else 0.95
    verdict = judge("swap_advantage", value, None, exchanged, original, side="above", level=level)
    assert verdict.distinguishable == (name != "retrained"), verdict.sentence
    assert original > 0.3
    assert (value > 0.2) == (name != "retrained")
