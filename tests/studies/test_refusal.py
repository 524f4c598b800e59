"""A study refuses what cannot be done before the first model is trained, and does not run what is not served."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from pydantic import Field

from natmu import methods
from natmu.errors import ForgetSetError, ScenarioError, SettingError, UsageError
from natmu.methods import Method
from natmu.records.study import StudyFolder
from natmu.studies import run_recipe
from natmu.types import Settings

from . import fakes


class LastLayers(Method):
    """Stands for methods that touch the last k layers."""

    name = "last_layers"
    seen: ClassVar[list] = []
    ran: ClassVar[list] = []

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
        self.ran.append(problem.forget.request)
        return problem.model


class WholeClasses(LastLayers):
    """Stands for methods that forget whole classes only."""

    name = "whole_classes"
    scenarios = ("class", "subclass")


@pytest.fixture(autouse=True)
def _more_methods(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, LastLayers, WholeClasses))
    monkeypatch.setattr(LastLayers, "seen", [])
    monkeypatch.setattr(LastLayers, "ran", [])


def study_of(entries, tmp_path, **changed):
    recipe = fakes.recipe(methods=entries, **{"seeds": {"training": [0]}} | changed)
    return run_recipe(recipe, data_dir=tmp_path / "data", out=tmp_path / "runs", device="cpu", progress=False)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"method": "last_layers", "settings": {"k": 99}}, "k must be at most"),
        ({"method": "last_layers", "grid": {"k": [1, 99]}}, "not 99"),
    ],
)
def test_a_setting_that_does_not_fit_the_model_is_refused_before_any_training(tmp_path, entry, said):
    with pytest.raises(UsageError, match=said):
        study_of([{"method": "amnesiac"}, entry], tmp_path)
    assert not list(tmp_path.rglob("*"))


def test_a_method_that_serves_no_forget_set_of_the_recipe_is_refused_before_any_training(tmp_path):
    with pytest.raises(ScenarioError, match="whole_classes serves class, subclass forget sets, not random"):
        study_of([{"method": "whole_classes"}], tmp_path, forget=["random:10%", "hardest:5%"])
    assert not list(tmp_path.rglob("*"))


def test_a_forget_set_that_the_data_does_not_have_is_refused_before_any_training(tmp_path):
    with pytest.raises(ForgetSetError, match="seventeen"):
        study_of([], tmp_path, forget=["random:10%", "class:seventeen"])
    assert not list(tmp_path.rglob("*"))


def test_a_forget_set_that_a_method_does_not_serve_has_a_row_that_says_so_and_no_run(tmp_path):
    folder = study_of([{"method": "whole_classes"}], tmp_path, forget=["random:10%", "class:3"])
    rows = {(row.scenario, row.method): row for row in StudyFolder(folder).table.rows}
    refused, served = rows["random:10%", "whole_classes"], rows["class:3", "whole_classes"]
    assert (refused.n, served.n, served.failed) == (0, 1, None)
    assert refused.failed == "whole_classes serves class, subclass forget sets, not random."
    assert refused.log is None
    assert LastLayers.ran == ["class:3"]
    assert {problem.forget.scenario for problem in LastLayers.seen} == {"class"}
    assert rows["random:10%", "retrained"].n == 2
    assert not list(tmp_path.glob("runs/.work/*/run")), "a run was begun and not finished"


def test_methods_check_problems_like_those_of_the_recipe(tmp_path):
    data = {"source": "digits", "train_size": 150, "holdout": True}
    entries = [{"method": "last_layers"}, {"method": "last_layers", "label": "deep", "settings": {"k": 99}}]
    with pytest.raises(SettingError):
        study_of(entries, tmp_path, data=data, forget=["random:10%", "class:3"], batch_size=17)
    problems = LastLayers.seen[:2]
    assert [problem.forget.scenario for problem in problems] == ["random", "class"]
    for problem in problems:
        assert (len(problem.data), problem.batch_size, problem.training.epochs) == (150, 17, 2)
        assert problem.holdout is not None
        assert problem.initial_model is not None
    assert not list(tmp_path.rglob("*"))
