"""The user's own function trains: what it gets to see, what it may return, and how its models are known again."""

from __future__ import annotations

import random
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from natmu.audits.models import AuditModels
from natmu.data import load, own_parts
from natmu.errors import ModelError, NatmuError, SettingError, TrainingError
from natmu.lineage import import_model, obtain, outcome_of, problem_of
from natmu.lineage.costs import head_line, retraining_seconds
from natmu.lineage.given_trainer import recipe_of
from natmu.lineage.own_training import resolved, seeded
from natmu.lineage.refusal import refuse
from natmu.methods import FineTune, Retrain, method_named
from natmu.records.derived import original_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import HalfOfPool, Trained
from natmu.records.settings import OwnTraining, TrainSettings, batch_size_of, training_of

from . import fakes

TEXT = """
import json
import os
import random

import numpy as np
import torch

from natmu.models import build_model

CALLS = []


def train(samples, seed, lr=0.05, fault=None):
    CALLS.append((samples, seed, torch.rand(1).item(), np.random.rand(), random.random()))
    print("of no concern to who reads results")
    if fault == "raises":
        raise KeyError("no such layer")
    if fault == "leaves":
        raise SystemExit(0)
    if fault == "returns":
        return [samples]
    model = build_model("small_cnn", num_classes=10, image_shape=(1, 8, 8), mean=[0.3], std=[0.3], seed=seed)
    if fault == "shape":
        return torch.nn.Sequential(model)
    if fault == "nothing":
        return model.to("meta")
    if fault == "wrapped":
        return torch.nn.DataParallel(torch.optim.swa_utils.AveragedModel(model))
    if fault == "settings":
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
        torch.set_grad_enabled(False)
        os.chdir("/")
    if fault == "infinite":
        next(model.parameters()).data[0] = torch.inf
    return model


number = 7
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's in the current directory."""
    monkeypatch.chdir(tmp_path)
    name = f"own_{tmp_path.name.replace('-', '_')}"
    Path(f"{name}.py").write_text(TEXT)
    yield name
    sys.modules.pop(name, None)


def recipe(module, **arguments):
    return resolved(OwnTraining(trainer=f"{module}:train", arguments=arguments))


def calls(module):
    return sys.modules[module].CALLS


def pairs(samples):
    """Samples as a sorted list of bytes and labels."""
    return sorted((image.mul(255).round().byte().numpy().tobytes(), label) for image, label in samples)


def kept_of(data, rows):
    return sorted((data.images[row].numpy().tobytes(), int(data.labels[row])) for row in rows)


def test_it_sees_what_each_kind_of_model_may_see_and_nothing_else(tmp_path, module, capsys):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module), 3)
    forget = fakes.forget(place, source=source)
    gone = set(place.forget_set(forget).indices.tolist())
    run = obtain(source, place)
    assert run.confidence() is None
    assert capsys.readouterr().out == ""
    obtain(outcome_of(Retrain(init="original"), source, forget, seed=5, batch_size=None, at=place.arithmetic), place)
    shadow = source.but(on=HalfOfPool(forget=forget, number=1), seed=2**40 + 11)
    obtain(shadow, place)
    (all_, first, *_), (rest, second, *_), (half, third, *_) = calls(module)
    assert (first, second, third) == (3, 5, (2**40 + 11) % 2**31)
    train, pool = place.splits.train, place.pool(forget)
    assert pairs(all_) == kept_of(train, range(len(train)))
    retained = [row for row in range(len(train)) if row not in gone]
    assert pairs(rest) == kept_of(train, retained)
    members = [row for row in pool.trained_on(1) if row < len(train)]
    strangers = [pool.rows[row - len(train)] for row in pool.trained_on(1) if row >= len(train)]
    assert members
    assert strangers
    wanted = kept_of(train, [*retained, *members]) + kept_of(place.splits.test, strangers)
    assert pairs(half) == sorted(wanted)


def test_the_weights_are_those_that_it_returned_and_a_second_model_is_not_trained_twice(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module), 4)
    run = obtain(source, place)
    again = obtain(source, fakes.elsewhere(place, tmp_path / "runs"))
    assert (again.path, len(calls(module))) == (run.path, 1)
    returned = sys.modules[module].train([], 4)
    assert all(torch.equal(value, run.weights()[name]) for name, value in returned.state_dict().items())
    assert place.original(recipe(module, lr=0.1), 4).digest != source.digest


def test_the_generators_begin_with_the_seed_and_are_as_before_afterwards(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    torch.manual_seed(1)
    np.random.seed(2)  # noqa: NPY002 - a user's code may draw from it
    random.seed(3)
    before = torch.get_rng_state().clone(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    obtain(place.original(recipe(module), 9), place)
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]
    drawn = torch.Generator().manual_seed(9)
    expected = torch.rand(1, generator=drawn).item(), np.random.RandomState(9).rand(), random.Random(9).random()
    assert calls(module)[0][2:] == expected
    with pytest.raises(ZeroDivisionError), seeded(0):
        _ = 1 / 0
    assert random.getstate() == before[2]


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        ("raises", TrainingError, "failed (KeyError: 'no such layer'); the traceback is in "),
        ("leaves", TrainingError, "failed (SystemExit: 0); the traceback is in "),
        ("nothing", ModelError, "returned a model on the meta device, which has no weights"),
        ("returns", ModelError, "returned list; it must return the trained torch.nn.Module"),
        ("shape", ModelError, "returned a Sequential that is not of the architecture of the original"),
        ("infinite", TrainingError, "returned weights that are not finite, such as "),
    ],
)
def test_what_goes_wrong_in_it_is_one_sentence(tmp_path, module, fault, kind, words):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module, fault=fault), 0)
    with pytest.raises(kind) as raised:
        obtain(source, place)
    assert str(raised.value).startswith(f"{module}:train ")
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)
    assert not place.has(source)
    if fault == "raises":
        log = Path(str(raised.value).split(" is in ")[1].removesuffix("."))
        assert "in train\n    raise KeyError" in log.read_text()


def test_wrappers_are_taken_off_and_settings_of_the_process_put_back(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    plain, wrapped, settings = (
        obtain(place.original(recipe(module, fault=fault), 3), place) for fault in (None, "wrapped", "settings")
    )
    for run in (wrapped, settings):
        assert all(torch.equal(value, run.weights()[name]) for name, value in plain.weights().items())
    assert (Path.cwd(), torch.get_default_dtype(), torch.is_grad_enabled()) == (tmp_path, torch.float32, True)
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.deterministic


def test_a_function_that_cannot_be_called_is_refused_before_anything(module):
    faults = {
        "nowhere:train": "cannot be imported",
        f"{module}:number": "is a int; name a function",
        f"{module}:absent": "cannot be imported",
        f"{module}.py:train": f"write {module}:train, with",
        f"./deep/{module}.py:train": rf"write deep\.{module}:train, with",
    }
    for name, words in faults.items():
        with pytest.raises(SettingError, match=words):
            resolved(OwnTraining(trainer=name))
    with pytest.raises(SettingError, match=r"cannot be called as train\(samples, seed, depth=…\)"):
        recipe(module, depth=3)
    with pytest.raises(SettingError, match="training: trainer: "):
        training_of({"trainer": "no colon"})
    with pytest.raises(SettingError, match=r"training: argumens is not a setting"):
        training_of({"trainer": "a:b", "argumens": {}})


def test_a_changed_file_is_another_recipe_and_trains_no_reference_of_the_old_one(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module), 0)
    obtain(source, place)
    Path(f"{module}.py").write_text(TEXT + "# mended\n")
    assert place.original(recipe(module), 0).digest != source.digest
    reference = fakes.unlearned(place, "retrain", source=source)
    with pytest.raises(SettingError, match="has changed since the original was trained by it; restore that file"):
        obtain(reference, place)
    obtain(fakes.unlearned(place, source=source), place)  # needs the original alone
    assert len(calls(module)) == 1


def test_wherever_it_is_asked_to_start_there_is_one_retrained_model_of_each_seed(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module), 0)
    wanted = {
        init: fakes.unlearned(place, "retrain", source=source, seed=2, init=init) for init in ("original", "fresh")
    }
    assert wanted["original"] == wanted["fresh"]
    assert original_of(wanted["fresh"]) == place.original(recipe(module), 2)
    methods = [("retrain", Retrain()), ("amnesiac", method_named("amnesiac")())]
    request = parse_forget("random:10%")
    assert refuse(place, source.recipe, [request], methods, seed=0) == {}
    with pytest.raises(NatmuError, match="hardest:5%:loss"):
        refuse(place, source.recipe, [parse_forget("hardest:5%")], methods, seed=0)


def test_all_parts_of_an_audit_are_trained_by_it(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    source = place.original(recipe(module), 0)
    subject = fakes.unlearned(place, source=source)
    models = AuditModels(subject, source, "full", 2)
    trained = [model for found in models.parts.values() for model in found if isinstance(model, Trained)]
    assert len(trained) == 2 + 1 + 2
    assert all(model.recipe == source.recipe for model in trained)
    assert {model.settings["batch_size"] for model in models.curves} == {batch_size_of(source.recipe)} == {128}


def test_an_original_from_elsewhere_has_the_recipe_that_is_told_or_none(tmp_path, module):
    place = fakes.workspace(tmp_path / "runs")
    file = obtain(place.original(fakes.RECIPE, 0), place).path / "model.safetensors"
    weights = tmp_path / "elsewhere.safetensors"
    weights.write_bytes(file.read_bytes())
    untold = import_model(place, weights, None)
    subject = fakes.unlearned(place, source=untold)
    assert subject.batch_size == TrainSettings().batch_size
    quiet = AuditModels(subject, untold, "full", 2)
    assert {part: len(found) for part, found in quiet.parts.items() if found} == {"initial": 1, "again": 1}
    with pytest.raises(SettingError, match="nobody has said how the original was trained"):
        fakes.unlearned(place, "retrain", source=untold, init="fresh")
    told = replace(quiet, told=fakes.RECIPE)
    assert {len(told.parts[part]) for part in ("retrained", "shadow", "unlearned shadow")} == {2}
    assert all(model.recipe == fakes.RECIPE for model in told.retrained)
    # the curves of the subject, whose original has no recipe, and of its references are of one batch size
    assert {curve.settings["batch_size"] for curve in told.curves} == {fakes.RECIPE.batch_size}
    assert len(told.parts["original"]) == len(told.parts["unlearned"]) == 1


def test_how_long_it_takes_is_known_from_any_model_that_it_trained(tmp_path, module):
    """The mean over runs of their seconds for each sample that they had, whatever the original is."""
    place = fakes.workspace(tmp_path / "runs")
    weights = tmp_path / "elsewhere.safetensors"
    weights.write_bytes((obtain(place.original(fakes.RECIPE, 0), place).path / "model.safetensors").read_bytes())
    source = import_model(place, weights, recipe(module))
    subject = fakes.unlearned(place, source=source)
    problem, original = problem_of(subject, place), place.require(source)
    assert retraining_seconds(problem, 1.0, original, place.store) is None
    assert "not known before it has run once" in head_line(FineTune(), problem, original, place.store)
    rates = []
    for seed, request in enumerate(("random:10%", "random:60%")):
        forget = place.forget(parse_forget(request), 0, source)
        run = obtain(
            outcome_of(Retrain(init="fresh"), source, forget, seed=seed, batch_size=None, at=place.arithmetic), place
        )
        rates.append(run.record.seconds / (len(problem.data) - len(run.forget())))
    obtain(
        outcome_of(
            Retrain(init="fresh"),
            import_model(place, weights, recipe(module, lr=0.1)),
            subject.forget,
            seed=0,
            batch_size=None,
            at=place.arithmetic,
        ),
        place,
    )
    expected = np.mean(rates) * (len(problem.data) - len(problem.forget))
    assert retraining_seconds(problem, 1.0, original, place.store) == pytest.approx(expected)
    assert "; retraining: about " in head_line(FineTune(), problem, original, place.store)


def test_photographs_reach_it_in_full_size_and_in_the_order_of_the_splits(tmp_path):
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), ("test", 10)):
        for name in ("a", "b"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 256, (9, 12 + number % 2, 3), np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    splits = load(str(tmp_path), tmp_path, image_size=4, train_size=8, holdout=True)
    parts = own_parts(splits)
    for own, read in ((parts.train, splits.train), (parts.test, splits.test)):
        assert len(own) == len(read)
        for row in range(len(own)):
            image, label = own[row]
            assert (image.mode, image.height, label) == ("RGB", 9, int(read.labels[row]))
            small = np.asarray(image.resize((4, 4), Image.Resampling.BILINEAR))
            assert np.abs(small.astype(int) - read.images[row].permute(1, 2, 0).numpy().astype(int)).max() <= 1


def test_functions_of_python_are_known_again_or_refused(module):
    named, function = recipe_of(f"{module}:train", kept=True)
    assert function is None
    train = sys.modules[module].train
    handed, function = recipe_of(train, kept=True)
    assert (handed, function) == (named, train)
    inner, _ = recipe_of(lambda samples, seed: nn.Identity(), kept=False)
    assert inner.source is None
    for nameless in (lambda samples, seed: None, nn.Identity()):
        with pytest.raises(SettingError, match="With folder, trainer must be a function of a module"):
            recipe_of(nameless, kept=True)
    with pytest.raises(SettingError, match="trainer must be a function"):
        recipe_of(3, kept=False)
