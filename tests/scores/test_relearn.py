from __future__ import annotations

import math

import pytest

from natmu.errors import UsageError
from natmu.scores import relearn_time


@pytest.mark.parametrize(
    ("losses", "original", "steps"),
    [
        ([2.0, 1.0, 0.52, 0.4], 0.5, 2),
        ([2.0, 1.0, 0.53, 0.6], 0.5, None),
        ([1.05, 2.0], 1.0, 0),
        ([2.0, 0.9, 3.0], 1.0, 1),
        ([2.0], 1.0, None),
        ([0.4], 0.5, 0),
    ],
)
def test_the_time_is_the_first_step_within_five_percent(losses, original, steps):
    assert relearn_time(losses, original) == steps


def test_an_exponential_decay_has_a_closed_form():
    losses = [0.1 + math.exp(-step / 20) for step in range(200)]
    assert relearn_time(losses, 0.1) == math.ceil(20 * math.log(1 / 0.005))


def test_an_original_that_knows_its_data_by_heart_can_be_reached():
    assert relearn_time([1.0, 1e-2, 9e-4, 0.0], 0.0) == 2
    assert relearn_time([1.0, 1e-2, 9e-4, 0.0], 1e-7) == 2


def test_a_loss_that_is_not_a_number_is_not_back():
    assert relearn_time([math.nan, math.inf, 0.5], 0.5) == 2


@pytest.mark.parametrize(
    ("losses", "original", "within"),
    [([], 1, 0.05), ([1], -1, 0.05), ([1], math.nan, 0.05), ([1], math.inf, 0.05), ([1], 1, -0.1)],
)
def test_what_cannot_be_timed_is_refused(losses, original, within):
    with pytest.raises(UsageError):
        relearn_time(losses, original, within)
