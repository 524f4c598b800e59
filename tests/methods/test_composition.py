"""Forget sets divided by difficulty, each part unlearned by a method of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field
from torch.nn import functional

from natmu import methods
from natmu.data import parse_forget, resolve_forget
from natmu.errors import ModelError, ScenarioError, SettingError
from natmu.methods import RUM, Amnesiac, Method, method_named
from natmu.methods.composition import thirds
from natmu.studies.recipe import MethodEntry
from natmu.types import Settings

from .problems import noise_data, problem_of, same_state, state_of

FORGET = [0, 3, 7, 11, 24, 30, 31, 40, 55]


class Noting(Method):
    """Notes what it is handed, and moves every weight by a step."""

    name = "noting"
    seen: ClassVar[list] = []

    class Config(Settings):
        """Settings of ``noting``."""

        step: float = Field(0.25, gt=0, description="added to each weight")
        tag: str = Field("", description="tells one from another")

    def run(self, problem):
        self.seen.append((self.config.tag, problem, state_of(problem.model)))
        with torch.no_grad():
            for weight in problem.model.parameters():
                weight += self.config.step
        return problem.model


class Fussy(Noting):
    """Serves little."""

    name = "fussy"
    scenarios = ("random",)

    def check(self, problem):
        super().check(problem)
        if self.config.step > 1:
            raise ModelError("fussy: step must be at most 1 for this model.")


@pytest.fixture(autouse=True)
def _more_methods(monkeypatch):
    monkeypatch.setattr(methods, "METHODS", (*methods.METHODS, Noting, Fussy))
    monkeypatch.setattr(Noting, "seen", [])


@pytest.fixture
def data():
    return noise_data(60)


def noting(*parts):
    """RUM with a noting method for each of these parts, and none for the others."""
    settings = {part: "noting" if part in parts else "none" for part in ("low", "medium", "high")}
    return RUM(**settings, **{f"{part}_settings": {"tag": part} for part in parts})


def with_difficulty(problem, ranked):
    """The problem with difficulties that rise along these positions; the retain set is between all of them."""
    difficulty = np.zeros(len(problem.data), np.float32)
    difficulty[ranked] = np.linspace(-1, 1, len(ranked))
    return replace(problem, difficulty=difficulty)


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=20))
def test_thirds_are_those_of_a_slow_sort(values):
    left = list(range(len(values)))
    ranked = []
    while left:
        easiest = left[0]
        for row in left:
            if values[row] < values[easiest]:
                easiest = row
        ranked.append(easiest)
        left.remove(easiest)
    sizes = {0: (0, 0, 0), 1: (0, 0, 1), 2: (0, 1, 1)}[len(values) % 3]
    expected, start = [], 0
    for extra in sizes:
        stop = start + len(values) // 3 + extra
        expected.append(sorted(ranked[start:stop]))
        start = stop
    assert [part.tolist() for part in thirds(np.array(values, np.float32))] == expected


def test_parts_are_unlearned_from_the_easiest_to_the_hardest_on_one_model(data):
    ranked = [30, 0, 55, 3, 40, 7, 11, 31, 24]
    problem = with_difficulty(problem_of(data, FORGET), ranked)
    result = noting("low", "medium", "high")(problem)
    assert [tag for tag, _, _ in Noting.seen] == ["low", "medium", "high"]
    assert [seen.forget.indices.tolist() for _, seen, _ in Noting.seen] == [[0, 30, 55], [3, 7, 40], [11, 24, 31]]
    start = {name: value.detach() for name, value in problem.model.named_parameters()}
    for number, state in enumerate([*(before for _, _, before in Noting.seen), state_of(result.model)]):
        for name, value in start.items():
            torch.testing.assert_close(state[name], value + 0.25 * number)
    assert len({seen.seed for _, seen, _ in Noting.seen} | {problem.seed}) == 4


def test_parts_that_are_still_to_come_are_retained_and_those_done_are_in_neither(data):
    problem = with_difficulty(problem_of(data, FORGET), FORGET)
    problem = replace(problem, aside=np.array([1, 2]))
    noting("low", "medium", "high")(problem)
    others = [row for row in range(60) if row not in (1, 2, *FORGET)]
    kept = [seen.retain_positions.tolist() for _, seen, _ in Noting.seen]
    assert kept == [sorted(others + FORGET[3:]), sorted(others + FORGET[6:]), others]


def test_a_part_with_none_is_left_alone_and_no_longer_retained(data):
    problem = with_difficulty(problem_of(data, FORGET), FORGET)
    noting("medium", "high")(problem)
    assert [tag for tag, _, _ in Noting.seen] == ["medium", "high"]
    assert same_state(Noting.seen[0][2], state_of(problem.model))
    assert not set(FORGET[:3]) & set(Noting.seen[0][1].retain_positions.tolist())
    assert set(FORGET[6:]) <= set(Noting.seen[0][1].retain_positions.tolist())


def test_nothing_of_a_forgotten_class_is_ever_retained(data):
    forget = resolve_forget(parse_forget("class:2"), data, seed=0)
    noting("low", "medium", "high")(problem_of(data, forget))
    assert len(Noting.seen) == 3
    for _, seen, _ in Noting.seen:
        assert 2 not in data.labels[seen.retain_positions]
        assert len(seen.retain_positions) == 48
        assert (seen.forget.scenario, seen.forget.classes) == ("class", (2,))


@pytest.mark.parametrize(("forget", "expected"), [([17], ["high"]), ([17, 4], ["medium", "high"])])
def test_parts_without_samples_are_skipped(data, forget, expected):
    noting("low", "medium", "high")(problem_of(data, forget))
    assert [tag for tag, _, _ in Noting.seen] == expected


def test_none_leaves_the_weights_as_they_are(data):
    problem = problem_of(data, [17])
    result = noting("low")(problem)
    assert Noting.seen == []
    assert same_state(state_of(result.model), state_of(problem.model))


def test_without_a_known_difficulty_it_is_the_originals_own_loss(digits, trained):
    problem = problem_of(digits, FORGET, model=trained)
    noting("low", "medium", "high")(problem)
    trained.eval()
    losses = [
        functional.cross_entropy(trained(digits.images[row : row + 1].float() / 255), digits.labels[row : row + 1])
        for row in FORGET
    ]
    ranked = [row for _, row in sorted(zip([loss.item() for loss in losses], FORGET, strict=True))]
    found = [seen.forget.indices.tolist() for _, seen, _ in Noting.seen]
    assert found == [sorted(ranked[:3]), sorted(ranked[3:6]), sorted(ranked[6:])]


def test_one_part_is_unlearned_as_its_method_would_by_itself(data):
    problem = with_difficulty(problem_of(data, FORGET), FORGET)
    rum = RUM(low="none", medium="none", high="amnesiac", high_settings={"epochs": 2, "lr": 1e-3})
    alone = replace(problem.stage("high"), forget=replace(problem.forget, indices=np.array(FORGET[6:])))
    alone = replace(alone, aside=np.array(FORGET[:6]), history=[])
    expected = Amnesiac(epochs=2, lr=1e-3)(alone).model
    assert same_state(state_of(rum(problem).model), state_of(expected))
    assert [row["epoch"] for row in problem.history] == [1, 2]


def test_methods_after_one_that_freezes_find_the_model_as_it_was(data):
    """``cf_k`` freezes all but the last layers while it works."""
    quick = {"epochs": 1, "lr": 0.01}
    rum = RUM(low="cf_k", low_settings=quick, medium="none", high="finetune", high_settings=quick)
    problem = problem_of(data, FORGET)
    moved, before = state_of(rum(problem).model), state_of(problem.model)
    assert not torch.equal(moved["0.weight"], before["0.weight"])


def test_the_seed_alone_decides_and_every_setting_has_an_effect(data):
    problem = problem_of(data, FORGET)
    quick = {"medium_settings": {"epochs": 1}, "high_settings": {"epochs": 1, "lr": 1e-3}}

    def weights(problem=problem, **changed):
        return state_of(RUM(**quick | changed)(replace(problem, history=[])).model)

    first = weights()
    assert same_state(first, weights())
    assert not same_state(first, weights(replace(problem, seed=1)))
    for changed in (
        {"low": "amnesiac"},
        {"medium": "l1_sparse"},
        {"medium_settings": {"epochs": 2}},
        {"high": "random_label"},
        {"high_settings": {"epochs": 1, "lr": 1e-3, "threshold": 0.5}},
    ):
        assert not same_state(first, weights(**changed)), changed
    amnesiac = {"low": "amnesiac"}
    assert not same_state(weights(**amnesiac), weights(**amnesiac, low_settings={"lr": 0.01}))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"low": "amnesiak"}, "low: there is no method 'amnesiak' (did you mean amnesiac?)"),
        ({"medium": "rum"}, "medium: rum cannot be the method of a part"),
        ({"high": "retrain"}, "high: retrain cannot be the method of a part"),
        ({"high_settings": {"threshold": 2}}, "high_settings: salun: threshold"),
        ({"high_settings": {"speed": 2}}, "high_settings: salun: speed is not a setting"),
        ({"low_settings": {"lr": 1}}, "low_settings: there is no method"),
        ({"medium": "none", "high": "none"}, "low, medium and high are all none"),
        ({"low": 3}, "low:"),
    ],
)
def test_wrong_settings_are_refused_with_their_path_when_they_are_given(settings, said):
    with pytest.raises(SettingError) as error:
        RUM(**settings)
    assert str(error.value).startswith("rum: ")
    assert said in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(SettingError, match="rum: "):
        MethodEntry.parse({"method": "rum", "settings": settings})


def test_what_a_method_refuses_is_refused_before_anything_runs(data):
    problem = problem_of(data, FORGET)
    with pytest.raises(ScenarioError, match="fussy serves random"):
        RUM(low="noting", high="fussy").check(problem)
    problem = replace(problem, forget=replace(problem.forget, scenario="random"))
    with pytest.raises(ModelError, match="step must be at most 1"):
        RUM(low="noting", high="fussy", high_settings={"step": 2})(problem)
    assert Noting.seen == []
    RUM(low="noting", high="fussy").check(problem)


def test_rum_is_a_method_like_the_others():
    assert method_named("rum") is RUM
