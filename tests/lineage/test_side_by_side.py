"""Originals and retrained models that are trained together are those that are trained in turn."""

from __future__ import annotations

from functools import partial

import pytest

import warm
from natmu.engine import together
from natmu.errors import SharedMemoryError, TrainingError
from natmu.lineage import training
from natmu.lineage.executors import side_by_side
from natmu.lineage.executors.local import make_here
from natmu.lineage.executors.side_by_side import groups_of
from natmu.progress import showing
from natmu.records.lineage import AllBut

from . import fakes


@pytest.fixture
def asked(monkeypatch):
    """Train together all that can be; what was asked for: number of models, processes."""
    found = []

    def run(function, arguments, processes, label):
        found.append((len(arguments), processes))
        together.run_together(function, arguments, processes, label)

    monkeypatch.setattr(side_by_side, "processes_for", lambda *_, count: min(2, count))
    monkeypatch.setattr(side_by_side, "run_together", run)
    warm.start_workers(monkeypatch)
    return found


@pytest.fixture
def in_this_process(monkeypatch):
    """Let this process make the calls that workers would make; the models of those calls."""
    found = []

    def run(function, arguments, processes, label):
        for one in arguments:
            found.extend(one)
            function(*one)

    monkeypatch.setattr(together, "run_together", run)
    return found


def originals(place, count):
    return [place.original(fakes.RECIPE, seed) for seed in range(count)]


def references(place, seeds, text="class:3", source=None):
    make = partial(fakes.unlearned, place, "retrain", text, source=source, init="fresh")
    return [make(seed=seed) for seed in seeds]


def weights(out):
    return {run.path.name: (run.path / "model.safetensors").read_bytes() for run in fakes.runs(out)}


def test_models_trained_together_are_those_trained_in_turn(tmp_path, asked):
    """To the bit, because workers have one thread here, as this process has."""

    def make(out, **names):
        place = fakes.workspace(tmp_path / out)
        models = originals(place, 3)
        for source in models[:3]:
            models = [*models, *references(place, (0, 1), "hardest:5%", source)]
        found = list(make_here(models, place, **names))
        assert [model for model, _ in found] == models
        assert {outcome.failed for _, outcome in found} == {None}
        return weights(tmp_path / out)

    found = make("together")
    assert asked == [(2, 2), (4, 2)]
    assert make("together") == found
    assert make("in turn", side_by_side=False) == found
    assert len(found) == 9
    assert len(asked) == 2


def test_models_that_are_not_faster_together_are_trained_in_turn(tmp_path, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(side_by_side, "processes_for", lambda *_, count: 1)
    monkeypatch.setattr(side_by_side, "run_together", refuse)
    place = fakes.workspace(tmp_path)
    models = [*originals(place, 2), *references(place, range(3))]
    assert groups_of(models, place) == []
    assert list(tmp_path.iterdir()) == []
    assert len(list(make_here(models, place))) == len(fakes.runs(tmp_path)) == 5


def test_where_memory_cannot_be_shared_models_are_trained_in_turn(tmp_path, asked, monkeypatch, capsys):
    def refuse(*_):
        raise SharedMemoryError("It is full.")

    monkeypatch.setattr(together, "run_together", refuse)
    place = fakes.workspace(tmp_path)
    with showing():
        outcomes = list(make_here(originals(place, 2), place))
    assert asked == [(2, 2)]
    assert "It is full. The models are trained one after another.\n" in capsys.readouterr().err
    assert len(fakes.runs(tmp_path)) == len(outcomes) == 2


def test_the_first_reference_of_each_request_and_what_repeats_it_are_trained_alone(tmp_path, asked, in_this_process):
    place = fakes.workspace(tmp_path)
    first, second = references(place, (0, 1, 0, 1, 2)), references(place, (4, 3, 5), "random:10%")
    outcomes = list(make_here([*first, *second], place))
    assert asked == [(4, 2)]
    assert [(model.on.forget.request.text, model.seed) for model in in_this_process] == [
        ("class:3", 1),
        ("class:3", 2),
        ("random:10%", 3),
        ("random:10%", 5),
    ]
    assert len(fakes.runs(tmp_path)) == len(outcomes) == 6


def test_who_is_trained_together_does_not_hang_on_what_is_in_the_store(tmp_path, asked, in_this_process):
    place = fakes.workspace(tmp_path)
    models = [*originals(place, 3), *references(place, range(4))]
    groups = groups_of(models, place)
    assert [(count, [model.seed for model in group]) for count, group in groups] == [(2, [0, 1]), (2, [1, 2])]
    list(make_here([models[1], models[4]], place))
    assert groups_of(models, place) == groups


def test_a_reference_that_cannot_be_trained_fails_where_it_is_asked_for(tmp_path, asked, in_this_process, monkeypatch):
    train = training.train_classifier

    def diverging(network, data, positions, *rest, **names):
        if names["seed"] == 2:
            raise TrainingError("The loss is not finite; lower lr.")
        return train(network, data, positions, *rest, **names)

    monkeypatch.setattr(training, "train_classifier", diverging)
    place = fakes.workspace(tmp_path)
    outcomes = dict(make_here(references(place, range(3)), place))
    assert asked == [(2, 2)]
    assert [model.seed for model in in_this_process] == [1, 2]
    assert {model.seed: outcome.failed for model, outcome in outcomes.items()} == {
        0: None,
        1: None,
        2: "The loss is not finite; lower lr.",
    }
    assert all(isinstance(run.record.lineage.on, AllBut) for run in fakes.runs(tmp_path))
    assert len(fakes.runs(tmp_path)) == 2
