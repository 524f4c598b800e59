"""What every method owes, whatever its kind."""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from inspect import getdoc
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from natmu.data import ImageData, load
from natmu.errors import ScenarioError, SettingError
from natmu.methods.base import EVERY_SCENARIO, Method
from natmu.methods.problem import Problem
from natmu.testing.exact_problems import equipped
from natmu.testing.problems import problem_for, same_state, second_problem, state_of, usual
from natmu.testing.reachable import images_in, reachable
from natmu.testing.recorder import Gauge, Outcome, SpoiltError, Wire, equal, perform, raised, storages_of
from natmu.testing.row import Row
from natmu.types import Scenario


@cache
def outcome_of(row: Row, scenario: Scenario, seed: int = 0) -> Outcome:
    """One run with the quick settings, shared by the checks that look at its sides."""
    return perform(row.build(), problem_for(scenario, seed=seed), seconds=row.seconds)


def says_what_it_is(row: Row) -> None:
    """Name, summary, settings with descriptions, and kinds of forget sets that exist."""
    method = row.method
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", method.name), f"{method.name!r} is no name to type on a command line"
    summary = (getdoc(method) or "").partition("\n")[0]
    assert method.__dict__.get("__doc__"), f"{method.name}: the class has no docstring of its own"
    assert summary.endswith("."), f"{method.name}: its docstring begins with no sentence on one line: {summary!r}"
    assert method.Config.__doc__, f"{method.name}: Config has no docstring"
    bare = [name for name, field in method.Config.model_fields.items() if not field.description]
    assert not bare, f"{method.name}: settings without a description: {bare}"
    for name, preset in method.presets.items():
        assert preset.source, f"{method.name}: the preset {name} does not say where it was published"
        method.configured({"preset": name})  # refuses what is no setting
    assert method.scenarios, f"{method.name} serves no forget set"
    assert set(method.scenarios) <= set(EVERY_SCENARIO), f"unknown among the scenarios {method.scenarios}"


def refuses_an_unknown_setting(row: Row) -> None:
    """A misspelt setting is an error that names it, and not ignored."""
    error = raised(SettingError, lambda: row.build(no_such_setting=1))
    assert "no_such_setting" in str(error), f"{row.method.name} ignores a setting that it does not have"


def gives_a_model_for_every_scenario_that_it_claims(row: Row, scenario: Scenario) -> None:
    """Finite weights, under the names of the original's."""
    require_sound(row, outcome_of(row, scenario))


def refuses_a_scenario_that_it_does_not_claim(row: Row, scenario: Scenario) -> None:
    """A forget set of another kind is refused by a ScenarioError that names it."""
    error = raised(ScenarioError, lambda: row.build()(problem_for(scenario)))
    assert error is not None, f"{row.method.name} does not claim {scenario} forget sets, and takes one"
    assert scenario in str(error), f"the refusal does not name the scenario {scenario}: {error}"


def leaves_the_world_as_it_was(row: Row, scenario: Scenario) -> None:
    """The original, the data and the global random numbers, to the bit."""
    require_untouched(row, outcome_of(row, scenario))


def shares_no_storage_with_the_original(row: Row, scenario: Scenario) -> None:
    """The returned model is another object, and so is every tensor of it."""
    require_apart(row, outcome_of(row, scenario))


def require_sound(row: Row, outcome: Outcome) -> None:
    """Finite weights, under the names of the original's."""
    original, returned = outcome.before["a parameter or buffer of the original"], outcome.model.state_dict()
    odd = sorted(original.keys() ^ returned.keys())
    assert not odd, f"{row.name} returns a model with other parameters or buffers than the original: {odd}"
    odd = [name for name, value in returned.items() if value.shape != original[name].shape]
    assert not odd, f"{row.name} returns other shapes of {odd}"
    broken = [name for name, value in returned.items() if not bool(torch.isfinite(value).all())]
    assert not broken, f"{row.name} returns values that are not finite in {broken}"


def require_untouched(row: Row, outcome: Outcome) -> None:
    """The original, the data and the global random numbers are as they were."""
    changed = [what for what, value in outcome.before.items() if not equal(value, outcome.after[what])]
    assert not changed, f"{row.name} has changed {'; '.join(changed)}"


def require_apart(row: Row, outcome: Outcome) -> None:
    """No tensor of the returned model shares storage with the original's or with the data."""
    original = outcome.problem.model
    assert outcome.model is not original, f"{row.name} returns the original itself"
    common = storages_of(outcome.model) & storages_of(original)
    assert not common, f"{row.name} returns a model that shares {len(common)} tensors with the original"


def brings_modes_and_gradient_flags_back(row: Row, mode: str) -> None:
    """Each module in the mode, each parameter with the flag that the original has; frozen parameters stay."""
    problem = problem_for(usual(row.method))
    model = problem.model.train(mode == "train")
    if mode == "train":
        layers = list(model.children())
        layers[1].eval()
        layers[0].get_parameter("bias").requires_grad_(False)
    outcome = perform(row.build(), with_model(problem, model), seconds=row.seconds)
    require_untouched(row, outcome)
    model = outcome.problem.model
    wanted = {name: module.training for name, module in model.named_modules()}
    found = {name: module.training for name, module in outcome.model.named_modules()}
    assert found == wanted, f"{row.name} leaves modules in another mode: {_unlike(found, wanted)}"
    flags = {name: parameter.requires_grad for name, parameter in model.named_parameters()}
    found = {name: parameter.requires_grad for name, parameter in outcome.model.named_parameters()}
    assert found == flags, f"{row.name} changes requires_grad of {_unlike(found, flags)}"
    left = [name for name, parameter in outcome.model.named_parameters() if parameter.grad is not None]
    assert not left, f"{row.name} leaves gradients on {left}"
    held = {name: value for name, value in state_of(model).items() if not flags.get(name, True)}
    moved = [name for name, value in held.items() if not torch.equal(value, outcome.model.state_dict()[name])]
    assert not moved, f"{row.name} moves parameters that require no gradient: {moved}"


def _unlike(found: dict[str, bool], wanted: dict[str, bool]) -> list[str]:
    return sorted(name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name))


def gives_the_same_weights_for_the_same_seed(row: Row) -> None:
    """Whatever state the global generators are in."""
    first = state_of(outcome_of(row, usual(row.method)).model)
    with _stirred():
        again = perform(row.build(), problem_for(usual(row.method)), seconds=row.seconds)
    assert same_state(first, state_of(again.model)), f"{row.name} gives other weights when run again with the same seed"


@contextmanager
def _stirred() -> Iterator[None]:
    """Global generators in another state inside, and as they were afterwards."""
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()  # noqa: NPY002
    torch.manual_seed(31)
    np.random.seed(31)  # noqa: NPY002
    random.seed(31)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        random.setstate(states[2])


def follows_the_seed_as_declared(row: Row) -> None:
    """Another seed gives other weights if the method says that it is stochastic, and the same if not."""
    scenario = usual(row.method)
    same = same_state(state_of(outcome_of(row, scenario).model), state_of(outcome_of(row, scenario, seed=1).model))
    if row.method.stochastic:
        assert not same, f"{row.name} ignores the seed: declare stochastic = False, or draw from problem.rng"
    else:
        assert same, f"{row.name} declares stochastic = False, and another seed gives other weights"


def reads_labels_as_declared(row: Row) -> None:
    """Other labels change nothing if the method says that it needs none, and something if it says that it does."""

    def relabelled(problem: Problem) -> Tensor:
        return (problem.data.labels + 1) % problem.data.num_classes

    same = [
        _same_with(row, scenario, lambda problem: replace(problem.data, labels=relabelled(problem)))
        for scenario in _telling(row.method)
    ]
    if row.method.needs_labels:
        assert not all(same), f"{row.name} gives the same weights for other labels: declare needs_labels = False"
    else:
        assert all(same), f"{row.name} declares needs_labels = False, and gives other weights for other labels"


def reads_retain_samples_as_declared(row: Row) -> None:
    """Other retain samples change nothing if the method says that it needs none, and something if it says it does."""

    def altered(problem: Problem) -> ImageData:
        data, rows = problem.data, problem.retain_positions
        images, labels = torch.as_tensor(data.images).clone(), data.labels.clone()
        images[rows] = 255 - images[rows]
        labels[rows] = (labels[rows] + 1) % data.num_classes
        return replace(data, images=images, labels=labels)

    same = [_same_with(row, scenario, altered) for scenario in _telling(row.method)]
    if row.method.needs_retain:
        assert not all(same), (
            f"{row.name} gives the same weights for other retain samples: declare needs_retain = False"
        )
    else:
        assert all(same), f"{row.name} declares needs_retain = False, and gives other weights for other retain samples"


def _telling(method: type[Method]) -> list[Scenario]:
    """Forget sets of single samples and of classes, which methods often treat apart."""
    wanted: tuple[Scenario, ...] = (usual(method), "class")
    return [scenario for scenario in dict.fromkeys(wanted) if scenario in method.scenarios]


def _same_with(row: Row, scenario: Scenario, change: Callable[[Problem], ImageData]) -> bool:
    """Whether the weights are the same with other data."""
    problem = equipped(row.method, problem_for(scenario))
    other = perform(row.build(), replace(problem, data=change(problem)), seconds=row.seconds)
    return same_state(state_of(outcome_of(row, scenario).model), state_of(other.model))


def reads_nothing_that_was_forgotten_before(row: Row, scenario: Scenario) -> None:
    """Other samples in the place of those of an earlier request change nothing."""
    problem = equipped(row.method, second_problem(scenario))
    gone, data = torch.from_numpy(problem.forget.before), problem.data
    images, labels = torch.as_tensor(data.images).clone(), data.labels.clone()
    images[gone] = 255 - images[gone]
    labels[gone] = (labels[gone] + 1) % data.num_classes
    other = replace(problem, data=replace(data, images=images, labels=labels))
    found, wanted = (perform(row.build(), which, seconds=row.seconds) for which in (other, problem))
    same = same_state(state_of(found.model), state_of(wanted.model))
    assert same, f"{row.name} gives other weights for other samples that were forgotten before: use retain_positions"


def brings_no_class_back_that_was_forgotten_before(row: Row, scenario: Scenario) -> None:
    """A digit that an earlier request forgot, and that the original never saw, is not recognised afterwards."""
    problem = second_problem(scenario)
    outcome = perform(row.build(**row.known(row.visible)), problem, seconds=row.seconds)
    before, after = (_recognised(model, problem) for model in (outcome.problem.model, outcome.model))
    assert after <= before, f"{row.name} recognises {after:.0%} of a class that was forgotten before, not {before:.0%}"


def _recognised(model: torch.nn.Module, problem: Problem) -> float:
    """How much of what was forgotten before a model labels rightly."""
    gone = torch.from_numpy(problem.forget.before)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(problem.data.take(gone).float() / 255)
    return float((logits.argmax(1) == problem.data.labels[gone]).float().mean())


def cannot_reach_test_data(row: Row) -> None:
    """No test image can be reached from the problem, from the method, or from what its code names."""
    method, problem = row.build(), problem_for(usual(row.method))
    handed: list[object] = []
    run = method.run

    def noting(private: Problem) -> object:
        handed.append(private)
        return run(private)

    vars(method)["run"] = noting
    perform(method, problem, seconds=row.seconds)
    own = [kind for kind in row.method.__mro__ if kind is not Method and issubclass(kind, Method)]
    roots = [*handed, vars(method), *own]
    found = images_in(reachable(roots, owners={kind.__module__ for kind in own}), math.prod(problem.data.image_shape))
    seen = found & _test_images()
    assert not seen, f"{row.name} can reach {len(seen)} test images"


@cache
def _test_images() -> frozenset[bytes]:
    """The test images of the digits that are no training images too."""
    splits = load("digits", Path())
    train, test = ({image.tobytes() for image in np.asarray(part.images)} for part in (splits.train, splits.test))
    return frozenset(test - train)


def lets_errors_through(row: Row) -> None:
    """An error in the first, a middle or the last forward pass ends the run, and is not swallowed."""
    passes = _spoilt(row, Gauge())
    for number in sorted({min(1, passes), (passes + 1) // 2, passes} - {0}):
        gauge = Gauge()
        gauge.fail_at = number
        error = raised(SpoiltError, partial(_spoilt, row, gauge))
        assert error is not None, f"{row.name} goes on after an error in forward pass {number} of {passes}"


def _spoilt(row: Row, gauge: Gauge) -> int:
    """Run on a model with a wire in it; the number of forward passes."""
    problem = problem_for(usual(row.method))
    perform(row.build(), with_model(problem, wired(problem.model, gauge)), seconds=row.seconds)
    return gauge.passes


def with_model(problem: Problem, model: torch.nn.Module) -> Problem:
    """The problem with another original, which is what it started from too."""
    return replace(problem, model=model, initial_model=lambda: model)


def wired(model: torch.nn.Module, gauge: Gauge) -> torch.nn.Sequential:
    """The layers of a sequential model behind a wire."""
    return torch.nn.Sequential(Wire(gauge), *copy.deepcopy(model).children())
