"""Learning rates, against the numbers of the paper's code."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from natmu.engine.schedule import lr_factor
from natmu.errors import SettingError
from natmu.methods import FineTuneSettings
from natmu.records.settings import FitSettings, TrainSettings


def research_rates(schedule, steps, warmup):
    """The rates of a run of the research code at base rate 1, by its rule: NatMU, sample-wise/utils/lr_scheduler.py,
    lines 39-75. A scheduler hands the rule how many steps were taken, and moves on after each (utils/train.py, lines
    68-69)."""

    def rule(taken):
        if schedule == "cosine":
            number = taken + 1
            if number < warmup:
                return number / warmup
            return math.cos((number - warmup) / (steps - warmup) * math.pi) / 2 + 0.5 if number <= steps else 0.0
        if taken < warmup:
            return taken / warmup
        if schedule == "constant" or taken <= int(steps * 0.6):
            return 1.0
        return 0.1 if taken <= int(steps * 0.8) else 0.01

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rule)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@given(st.integers(1, 300), st.floats(0, 1, exclude_max=True), st.sampled_from(["constant", "cosine", "step"]))
@settings(max_examples=60, deadline=None)
def test_rates_are_those_of_the_research_code(steps, share, schedule):
    for warmup in (0, share * steps, int(share * steps)):
        rates = [lr_factor(schedule, step, steps, warmup) for step in range(1, steps + 1)]
        assert rates == pytest.approx(research_rates(schedule, steps, warmup), abs=1e-12)


def test_a_training_of_the_paper_starts_at_rate_zero():
    """CIFAR-10 in batches of 128 is 391 steps an epoch, 100 epochs, two of them warm-up."""
    steps, warmup = 39_100, 782
    rates = [lr_factor("step", step, steps, warmup) for step in range(1, steps + 1)]
    assert rates == research_rates("step", steps, warmup)
    assert rates[0] == 0
    assert rates[781] == 781 / 782
    places = [place for place in range(1, steps) if rates[place] < rates[place - 1]]
    assert places == [60 * 391 + 1, 80 * 391 + 1]  # one step after 60 % and 80 % of all
    from_one = [
        min(1, s / warmup) * (1 if s <= 0.6 * steps else 0.1 if s <= 0.8 * steps else 0.01) for s in range(1, steps + 1)
    ]
    assert sum(rate != other for rate, other in zip(rates, from_one, strict=True)) == 784


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1955])
def test_cosine_ends_at_exactly_zero_and_starts_below_one(steps):
    assert lr_factor("cosine", steps, steps) == 0.0
    if steps > 1:
        assert 0 < lr_factor("cosine", 1, steps) < 1


def test_cosine_at_round_places():
    assert [lr_factor("cosine", step, 4) for step in (1, 2, 3, 4)] == pytest.approx(
        [0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2, 0.0]
    )
    assert [lr_factor("cosine", step, 6, 2) for step in range(1, 7)] == pytest.approx(
        [0.5, 1, 0.5 + math.sqrt(0.5) / 2, 0.5, 0.5 - math.sqrt(0.5) / 2, 0]
    )


@given(st.integers(1, 50), st.floats(0, 3), st.sampled_from(["constant", "cosine", "linear", "step"]))
def test_a_warm_up_as_long_as_the_run_or_longer_only_rises(steps, extra, schedule):
    rates = [lr_factor(schedule, step, steps, steps + extra) for step in range(1, steps + 1)]
    assert all(earlier < later for earlier, later in pairwise(rates))
    assert 0 <= rates[0] <= rates[-1] <= 1


def test_linear_with_a_warm_up_is_a_triangle():
    assert [lr_factor("linear", step, 4) for step in (1, 2, 3, 4)] == pytest.approx([1, 0.75, 0.5, 0.25])
    assert [lr_factor("linear", step, 10, 2) for step in range(1, 11)] == pytest.approx(
        [0, 0.5, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125]
    )


@pytest.mark.parametrize(("steps", "warmup"), [(10, 1), (10, 4), (97, 30), (200, 199)])
def test_linear_is_that_of_the_schedulers_of_pytorch(steps, warmup):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    linear = torch.optim.lr_scheduler.LinearLR
    up = linear(optimizer, start_factor=1e-9, end_factor=1.0, total_iters=warmup)
    down = linear(optimizer, start_factor=1.0, end_factor=0.0, total_iters=steps - warmup)
    both = torch.optim.lr_scheduler.SequentialLR(optimizer, [up, down], milestones=[warmup])
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        both.step()
    assert [lr_factor("linear", step, steps, warmup) for step in range(1, steps + 1)] == pytest.approx(rates, abs=1e-8)


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
        "sharding": None,
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
        {"schedule": "triangular"},
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
