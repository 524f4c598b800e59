"""Ranges of a search: what is wrong is refused by the path of its key, before anything runs."""

from __future__ import annotations

import copy

import pytest

from natmu.errors import SettingError
from natmu.studies.recipe import Recipe
from natmu.studies.search.ranges import Range, is_whole, variations

GOOD = {
    "name": "tiny",
    "data": {"source": "digits", "holdout": True},
    "model": "small_cnn",
    "forget": ["random:10%"],
    "search": {"trials": 4, "objective": "no-retrain"},
    "methods": [
        {"method": "delete"},
        {
            "method": "salun",
            "settings": {"reset_head": True},
            "search": {
                "lr": {"low": 1e-4, "high": 0.1, "log": True},
                "epochs": {"low": 1, "high": 5},
                "optimizer": ["sgd", "adam"],
            },
        },
    ],
}

WRONG = [
    (("search", "trials"), 0, "search.trials"),
    (("search", "trial"), 3, "search.trial is not a setting"),
    (("search", "objective"), "best", "search.objective"),
    (("search",), {"trials": 3}, "search.objective: field required"),
    (("search", "seed"), -1, "search.seed"),
    (("methods", 1, "search", "lrr"), [1], "methods.1.search: lrr is not a setting of salun; known here:"),
    (("methods", 1, "search", "lr"), 0.1, "methods.1.search.lr: "),
    (("methods", 1, "search", "lr"), [], "methods.1.search.lr.choices"),
    (("methods", 1, "search", "lr"), {"low": 1}, "methods.1.search.lr: give low and high"),
    (("methods", 1, "search", "lr"), {"low": 1, "high": 2, "lg": True}, "methods.1.search.lr.lg is not a setting"),
    (("methods", 1, "search", "lr"), {"low": 1, "high": 2, "choices": [1]}, "methods.1.search.lr: give either"),
    (("methods", 1, "search", "lr"), {"low": 0.1, "high": 0.01}, "0.1 is above 0.01"),
    (("methods", 1, "search", "lr"), {"low": 0, "high": 1, "log": True}, "needs low above 0, and it is 0"),
    (("methods", 1, "search", "lr"), {"low": float("nan"), "high": 1}, "methods.1.search.lr.low"),
    (("methods", 1, "search", "lr"), {"low": 1, "high": 1000}, "methods.1.search: lr.high: salun: lr: "),
    (("methods", 1, "search", "lr"), {"low": -1, "high": 1}, "methods.1.search: lr.low: salun: lr: "),
    (("methods", 1, "search", "epochs"), {"low": 1, "high": 2.5}, "methods.1.search: epochs.high: salun: epochs: "),
    (("methods", 1, "search", "optimizer"), ["sgd", "adamx"], "methods.1.search: optimizer.1: salun: optimizer: "),
    (("methods", 1, "search", "optimizer"), {"low": 1, "high": 2}, "methods.1.search: optimizer.low: "),
    (("methods", 1, "grid"), {"threshold": [0.1]}, "methods.1.search: give a method a grid or a search, not both"),
]


@pytest.mark.parametrize(("path", "value", "words"), WRONG, ids=[words for _, _, words in WRONG])
def test_the_wrong_key_is_named(path, value, words):
    recipe = copy.deepcopy(GOOD)
    place = recipe
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(SettingError) as caught:
        Recipe.parse(recipe, where="tiny.yaml")
    assert str(caught.value).startswith("tiny.yaml: ")
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ranges_survive_the_way_through_a_file():
    recipe = Recipe.parse(GOOD)
    assert Recipe.parse(recipe.model_dump(mode="json")) == recipe
    assert recipe.methods[0].search == {}
    assert recipe.methods[1].search["optimizer"] == Range(choices=("sgd", "adam"))


def test_a_range_of_one_value_is_a_range():
    assert Range.parse({"low": 1, "high": 1}).low == 1


def test_whole_numbers_are_known_by_the_setting():
    assert is_whole("salun", "epochs")
    assert not is_whole("salun", "lr")
    assert not is_whole("salun", "reset_head")


def test_each_end_and_each_choice_is_tried_once():
    entry = Recipe.parse(GOOD).methods[1]
    found = list(variations("salun", entry.settings, entry.search))
    first = {"reset_head": True, "lr": 1e-4, "epochs": 1, "optimizer": "sgd"}
    assert found == [
        first,
        first | {"lr": 0.1},
        first,
        first | {"epochs": 5},
        first,
        first | {"optimizer": "adam"},
    ]
    assert all(isinstance(one["epochs"], int) for one in found)
