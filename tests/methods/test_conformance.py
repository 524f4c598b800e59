"""What every method owes: the public suite over all of ours, and what else holds for them."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data import Splits, parse_forget, resolve_forget
from natmu.errors import ModelError, SettingError, TrainingError
from natmu.methods import METHODS, Problem, catalogue, method_named
from natmu.testing import conformance, problem_for, usual
from natmu.testing.exact_problems import equipped
from natmu.types import ForgetSet

from .problems import QUICK, noise_data, problem_of, unnormed_net
from .rows import ROWS, SPECIAL

NAMES = [method.name for method in METHODS]
FORGET = list(range(0, 60, 4))
WITHOUT_PAPER = {"retrain", "quantile_match"}
"""The reference, and what is first described here."""

every_method = pytest.mark.parametrize("name", NAMES)

TestConformance = conformance(*ROWS)


def quick(name, **settings):
    return method_named(name)(**QUICK[name], **settings)


@pytest.fixture(scope="module")
def data():
    return noise_data(60)


def test_the_tables_cover_every_method_and_names_are_unique():
    assert set(NAMES) == set(QUICK)
    assert set(SPECIAL) <= set(NAMES)
    assert len(set(NAMES)) == len(NAMES)


@every_method
def test_only_retraining_and_our_own_method_have_no_paper(name):
    assert (method_named(name).paper is None) == (name in WITHOUT_PAPER)


def test_the_catalogue_is_plain_values_with_every_setting_and_default():
    rows = json.loads(json.dumps(catalogue()))
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert row["summary"].endswith(".")
        assert (row["paper"] is None) == (row["name"] in WITHOUT_PAPER)
        assert {setting["name"] for setting in row["settings"]} == method_named(row["name"]).Config.model_fields.keys()


@pytest.mark.parametrize(("wrong", "hint"), [("natmuu", "natmu"), ("qqq", "choose one of")])
def test_an_unknown_method_is_an_error_with_a_hint(wrong, hint):
    with pytest.raises(SettingError, match=hint):
        method_named(wrong)


def test_trap_leak_a_problem_holds_no_test_data():
    assert {field.name for field in fields(Problem)} == {
        "model", "data", "forget", "training", "compute", "seed",
        "batch_size", "initial_model", "fresh_model", "holdout", "checkpoint", "history", "aside", "difficulty",
        "sharded", "fitted", "gone",
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


@pytest.mark.parametrize("name", [name for name in NAMES if "class" in method_named(name).scenarios])
def test_several_classes_can_be_forgotten_at_once(name, digits, trained):
    forget = resolve_forget(parse_forget("class:0,1"), digits, seed=0)
    problem = problem_of(digits, forget, model=trained, holdout=digits.subset(range(50)))
    result = quick(name)(equipped(method_named(name), problem))
    assert all(bool(torch.isfinite(value).all()) for value in result.model.state_dict().values())
    assert result.seconds > 0


def test_a_partner_for_each_hybrid_is_too_much_to_ask_of_one_retain_image(data):
    with pytest.raises(SettingError, match="retain images"):
        quick("natmu")(problem_of(data, list(range(59))))


@every_method
def test_trap_no_source_a_model_without_weights_is_an_error(name):
    with pytest.raises(ModelError, match="trained model"):
        quick(name)(problem_for(usual(method_named(name)), model=nn.Flatten()))


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
