"""What cannot be done is refused before the first model is trained, by methods that see problems like those to come."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from pydantic import Field

from natmu import methods
from natmu.data import load
from natmu.errors import ForgetSetError, ScenarioError, SettingError
from natmu.lineage.refusal import refuse
from natmu.methods import Method, method_named
from natmu.records.forgetting import parse_forget
from natmu.types import Settings

from . import fakes


class LastLayers(Method):
    """Stands for methods that touch the last k layers."""

    name = "last_layers"
    seen: ClassVar[list] = []

    class Config(Settings):
        """Settings of ``last_layers``."""

        k: int = Field(1, ge=1, description="layers from the end")

    def check(self, problem):
        super().check(problem)
        self.seen.append(problem)
        layers = sum(isinstance(module, torch.nn.Conv2d | torch.nn.Linear) for module in problem.model.modules())
        if self.config.k > layers:
            raise SettingError(f"{self.name}: k must be at most {layers} for this model, not {self.config.k}.")

    def run(self, problem):
        raise AssertionError("nothing is run")


class WholeClasses(LastLayers):
    """Stands for methods that forget whole classes only."""

    name = "whole_classes"
    scenarios = ("class", "subclass")


@pytest.fixture(autouse=True)
def _more_methods(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, LastLayers, WholeClasses))
    monkeypatch.setattr(LastLayers, "seen", [])


def refused(tmp_path, named, texts=("random:10%",), data=fakes.DATA, **words):
    """What ``refuse`` gives back; nothing is written, whatever it does."""
    place = fakes.workspace(tmp_path / "runs", data)
    chosen = [(label, method_named(label.split()[0])(**settings)) for label, settings in named.items()]
    try:
        return refuse(place, fakes.RECIPE, [parse_forget(text) for text in texts], chosen, **{"seed": 0} | words)
    finally:
        assert not list(tmp_path.rglob("*"))


def test_a_setting_that_does_not_fit_the_model_is_refused(tmp_path):
    with pytest.raises(SettingError, match=r"k must be at most .*, not 99"):
        refused(tmp_path, {"amnesiac": {}, "last_layers": {}, "last_layers deep": {"k": 99}})
    assert len(LastLayers.seen) == 2
    assert refused(tmp_path, {"amnesiac": {}, "last_layers": {}}) == {}


def test_a_method_that_serves_no_forget_set_is_refused(tmp_path):
    with pytest.raises(ScenarioError, match="whole_classes serves class, subclass forget sets, not random"):
        refused(tmp_path, {"whole_classes": {}}, ("random:10%", "hardest:5%"))


def test_a_forget_set_that_a_method_does_not_serve_is_told_where_it_serves_another(tmp_path):
    found = refused(tmp_path, {"whole_classes": {}, "last_layers": {}}, ("random:10%", "class:3"))
    assert found == {("random:10%", "whole_classes"): "whole_classes serves class, subclass forget sets, not random."}


def test_a_forget_set_that_the_data_does_not_have_is_refused(tmp_path):
    with pytest.raises(ForgetSetError, match="seventeen"):
        refused(tmp_path, {}, ("random:10%", "class:seventeen"))


def test_methods_check_the_real_data_and_forget_sets_like_those_to_come(tmp_path):
    data = fakes.DATA.model_copy(update={"holdout": True})
    texts = ("random:10%", "hardest:5%", "hardest:7:loss", "class:3")
    refused(tmp_path, {"last_layers": {}}, texts, data, batch_size=17, seed=3)
    problems = LastLayers.seen
    splits = load("digits", tmp_path, train_size=150, holdout=True)
    assert [problem.forget.scenario for problem in problems] == ["random", "hardest", "hardest", "class"]
    assert [len(problem.forget) for problem in problems] == [15, 8, 7, 15]
    assert problems[3].forget.classes == (3,)
    for problem in problems:
        assert torch.equal(problem.data.images, splits.train.images)
        assert torch.equal(problem.holdout.images, splits.holdout.images)
        assert (problem.batch_size, problem.seed) == (17, 3)
        assert problem.initial_model is not None


def test_of_a_model_from_elsewhere_neither_the_start_nor_the_difficulty_is_known(tmp_path):
    refused(tmp_path, {"last_layers": {}}, ("hardest:7:loss",), trained_here=False)
    assert LastLayers.seen[0].initial_model is None
    assert LastLayers.seen[0].batch_size == 32
    with pytest.raises(ForgetSetError, match="confidence"):
        refused(tmp_path, {"last_layers": {}}, ("hardest:7",), trained_here=False)
