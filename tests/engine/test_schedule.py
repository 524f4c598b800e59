"""Learning rates, against the numbers of the paper's code."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from natmu.engine.schedule import lr_factor
from natmu.errors import SettingError
from natmu.methods import FineTuneSettings
from natmu.records.settings import FitSettings, TrainSettings


@given(st.integers(1, 10_000), st.data())
def test_cosine_is_the_formula_counted_from_one(steps, data):
    step = data.draw(st.integers(1, steps))
    assert lr_factor("cosine", step, steps) == pytest.approx((math.cos(math.pi * step / steps) + 1) / 2, abs=1e-15)


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1955])
def test_cosine_ends_at_exactly_zero_and_starts_below_one(steps):
    assert lr_factor("cosine", steps, steps) == 0.0
    if steps > 1:
        assert 0 < lr_factor("cosine", 1, steps) < 1


def test_cosine_at_round_places():
    assert [lr_factor("cosine", step, 4) for step in (1, 2, 3, 4)] == pytest.approx(
        [0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2, 0.0]
    )


def test_step_schedule_of_a_paper_run_with_its_warm_up():
    """CIFAR-10 in batches of 128 is 391 steps an epoch, 100 epochs, two of them warm-up."""
    epoch, steps, warmup = 391, 39_100, 782
    factors = [lr_factor("step", step, steps, warmup) for step in range(1, steps + 1)]
    for step in (1, 2, 391, 781, 782):
        assert factors[step - 1] == pytest.approx(step / warmup)
    assert set(factors[warmup - 1 : 60 * epoch]) == {1.0}
    assert set(factors[60 * epoch : 80 * epoch]) == {0.1}
    assert set(factors[80 * epoch :]) == {0.01}


@given(st.integers(1, 2000))
def test_boundaries_fall_on_the_right_step_for_any_length(tens):
    steps = 10 * tens
    expected = [1.0] * (6 * tens) + [0.1] * (2 * tens) + [0.01] * (2 * tens)
    at = [1, 6 * tens, 6 * tens + 1, 8 * tens, 8 * tens + 1, steps]
    assert [lr_factor("step", step, steps) for step in at] == [expected[step - 1] for step in at]


@given(st.integers(1, 500), st.integers(0, 700), st.sampled_from(["constant", "cosine", "step"]))
def test_warm_up_scales_and_then_leaves_the_curve_alone(steps, warmup, schedule):
    for step in {1, min(warmup, steps) or 1, steps}:
        plain = lr_factor(schedule, step, steps)
        scale = step / warmup if step < warmup else 1.0
        assert lr_factor(schedule, step, steps, warmup) == pytest.approx(plain * scale)
        assert 0.0 <= lr_factor(schedule, step, steps, warmup) <= 1.0


def test_constant_is_constant():
    assert {lr_factor("constant", step, 9) for step in range(1, 10)} == {1.0}


def test_defaults_are_those_of_the_paper():
    found = TrainSettings().model_dump()
    assert found == {
        "epochs": 100,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "schedule": "step",
        "warmup_epochs": 2.0,
        "batch_size": 128,
        "augment": True,
    }
    fields = FineTuneSettings.model_fields
    defaults = {name: fields[name].default for name in ("epochs", "optimizer", "schedule", "warmup_epochs")}
    assert defaults == {"epochs": 5, "optimizer": "adamw", "schedule": "cosine", "warmup_epochs": 0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lr": 0},
        {"lr": float("nan")},
        {"lr": float("inf")},
        {"epochs": 0},
        {"momentum": 1},
        {"weight_decay": -1},
        {"schedule": "linear"},
        {"optimizer": "lion"},
        {"warmup_epochs": -1},
        {"warmup_epochs": 1e308},
        {"batch_size": 0},
        {"nesterov": True},
    ],
)
def test_settings_out_of_range_are_refused_by_name(wrong):
    with pytest.raises(SettingError, match=next(iter(wrong))):
        TrainSettings.parse(wrong)


def test_settings_are_frozen():
    with pytest.raises(ValidationError):
        FitSettings(epochs=1, optimizer="sgd", lr=0.1, weight_decay=0, schedule="cosine").lr = 1.0
