"""Numbers in recipes, policies and settings: truth values are none, and none is larger than what takes it."""

from __future__ import annotations

from typing import Any

import pytest

from natmu.errors import SettingError
from natmu.methods import METHODS
from natmu.records.policy import Policy
from natmu.records.recipe import ExecutorSettings, Range, SearchSettings, Seeds
from natmu.records.settings import DataSettings, Sharding, TrainSettings
from natmu.types import Settings

HUGE = 10**30


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (TrainSettings, {"epochs": True}),
        (TrainSettings, {"lr": True}),
        (TrainSettings, {"sharding": {"shards": True}}),
        (Seeds, {"training": [0, True]}),
        (Sharding, {"shards": 2, "threads": True}),
        (DataSettings, {"source": "digits", "channels": True}),
        (DataSettings, {"source": "digits", "test_fraction": True}),
        (DataSettings, {"source": "digits", "mean": [True], "std": [1]}),
        (ExecutorSettings, {"cpus": True}),
        (SearchSettings, {"trials": True, "objective": "retrained"}),
        (Range, {"low": False, "high": True}),
        (Policy, {"batch_size": True}),
    ],
)
def test_true_is_no_number(settings: type[Settings], values: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"write a (whole )?number \(got '.*(True|False)"):
        settings.parse(values)


@pytest.mark.parametrize(
    ("settings", "values"),
    [
        (TrainSettings, {"batch_size": "1_0"}),
        (TrainSettings, {"lr": "1_0.5"}),
        (Seeds, {"training": [0, "1_0"]}),
        (Range, {"low": "1_0", "high": 20}),
    ],
)
def test_underscores_make_a_text_of_a_number(settings: type[Settings], values: dict[str, Any]) -> None:
    """YAML 1.2 reads 1_0 as a text, which Python would take for 10."""
    with pytest.raises(SettingError, match=r"write a (whole )?number \(got .*1_0"):
        settings.parse(values)


@pytest.mark.parametrize("value", [1, 0, 1.0, "1", "0"])
def test_a_number_is_no_truth_value(value: object) -> None:
    with pytest.raises(SettingError, match=rf"holdout: write true or false \(got '{value}'\)"):
        DataSettings.parse({"source": "digits", "holdout": value})
    assert Range.parse({"choices": [value, True]}).choices == (value, True)


def test_true_is_still_a_truth_value() -> None:
    assert TrainSettings.parse({"augment": True}).augment is True
    assert Range.parse({"choices": [True, 1]}).choices == (True, 1)
    assert DataSettings.parse({"source": "digits", "holdout": "yes"}).holdout is True


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_settings_of_methods_take_no_truth_value_for_a_number(method: Any) -> None:
    numbers = [
        name for name, field in method.Config.model_fields.items() if field.annotation in (int, float, int | None)
    ]
    for name in numbers:
        with pytest.raises(SettingError, match=f"{name}: write a (whole )?number"):
            method.Config.parse({name: True})


@pytest.mark.parametrize(
    ("settings", "values", "path"),
    [
        (Seeds, {"training": [-1]}, "training.0"),
        (Seeds, {"split": [2**63]}, "split.0"),
        (ExecutorSettings, {"cpus": 2147483648}, "cpus"),
        (ExecutorSettings, {"kind": "ray", "retries": HUGE}, "retries"),
        (Sharding, {"shards": 2, "threads": 2147483648}, "threads"),
        (TrainSettings, {"batch_size": HUGE}, "batch_size"),
        (DataSettings, {"source": "digits", "train_size": HUGE}, "train_size"),
        (SearchSettings, {"trials": 1, "objective": "retrained", "seed": HUGE}, "seed"),
        (Policy, {"batch_size": HUGE}, "batch_size"),
    ],
)
def test_numbers_that_are_too_large(settings: type[Settings], values: dict[str, Any], path: str) -> None:
    with pytest.raises(SettingError, match=rf"{path}: (input|value|unable)"):
        settings.parse(values)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_whole_number_of_a_method_has_a_largest_value(method: Any) -> None:
    for name, field in method.Config.model_fields.items():
        if field.annotation in (int, int | None):
            with pytest.raises(SettingError):
                method.Config.parse({name: HUGE})
