"""What the base class does for any method, one of a user's own included."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import pytest
import torch

from natmu.engine.checkpoint import Checkpoint
from natmu.errors import ScenarioError, TrainingError
from natmu.methods import Method, method_named
from natmu.progress import showing
from natmu.records.settings import TrainSettings
from natmu.types import Settings

from .problems import QUICK, STEPPING, noise_data, problem_of, same_state, state_of

FORGET = [0, 3, 7, 11, 24, 30]


class Noise(Method):
    """Adds normal noise from the global generator, as a user's method may."""

    name = "noise"
    scenarios = ("random", "indices")

    class Config(Settings):
        """Settings of ``noise``."""

        scale: float = 1.0

    def run(self, problem):
        with torch.no_grad():
            for weight in problem.model.parameters():
                weight += self.config.scale * torch.randn(weight.shape)
        return problem.model


class Unhinged(Noise):
    """Leaves a weight that is not finite."""

    name = "unhinged"
    values: ClassVar[list[float]] = [float("inf")]

    def run(self, problem):
        with torch.no_grad():
            problem.model[5].bias[2] = self.values[0]
        return problem.model


def test_numbers_from_the_global_generator_follow_the_problems_seed_and_the_method():
    data = noise_data(60)
    torch.manual_seed(5)
    first, again = (state_of(Noise()(problem_of(data, FORGET)).model) for _ in range(2))
    other = state_of(Noise()(problem_of(data, FORGET, seed=1)).model)
    assert same_state(first, again)
    assert not same_state(first, other)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_weight_that_is_not_finite_is_an_error_that_names_the_method(monkeypatch, value):
    monkeypatch.setattr(Unhinged, "values", [value])
    with pytest.raises(TrainingError, match=r"^unhinged: "):
        Unhinged()(problem_of(noise_data(60), FORGET))


def test_a_scenario_that_a_method_does_not_serve_is_refused():
    problem = problem_of(noise_data(60), FORGET)
    with pytest.raises(ScenarioError, match="noise serves random, indices forget sets, not class"):
        Noise()(replace(problem, forget=replace(problem.forget, scenario="class")))


@pytest.mark.parametrize("name", STEPPING)
def test_an_interrupted_run_continues_to_the_weights_of_one_never_interrupted(monkeypatch, tmp_path, name):
    problem = problem_of(noise_data(60), FORGET, holdout=noise_data(30, seed=1))
    method = method_named(name)(**QUICK[name])
    whole = method(problem)
    resumable = replace(problem, checkpoint=Checkpoint(tmp_path / "state.safetensors", every_seconds=0), history=[])
    save = Checkpoint.save

    def save_and_stop(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt):
            method(resumable)
    assert list(tmp_path.glob("state.safetensors*")), "each stage of a method has a file of its own"
    finished = method(replace(resumable, history=[]))
    assert same_state(state_of(finished.model), state_of(whole.model))
    assert finished.passes == whole.passes
    assert finished.passes.request.trained > 0


@pytest.mark.parametrize(
    ("augment", "settings", "told"),
    [(False, {}, True), (True, {}, False), ("flip", {}, False), (False, {"augment_retain": True}, False)],
)
def test_a_default_that_augments_is_told_of_where_the_original_saw_plain_images(capsys, augment, settings, told):
    problem = replace(problem_of(noise_data(24), [0, 5]), training=TrainSettings(augment=augment))
    with showing():
        method_named("natmu")(epochs=1, **settings)(problem)
    assert ("set augment_retain=false" in capsys.readouterr().err) == told
