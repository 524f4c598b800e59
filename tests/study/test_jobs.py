"""Single jobs: models trained elsewhere, and what determines a run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from natmu.study.jobs import Bench, import_original, load_data, sample_losses, train_original, unlearn_from

from natmu.data import resolve_forget
from natmu.engine.checkpoint import save_weights
from natmu.engine.compute import Compute
from natmu.engine.predict import part_of
from natmu.engine.store import Store
from natmu.errors import ModelError, NatmuError, RunError, SettingError
from natmu.methods import Retrain, method_named

from . import fakes


@pytest.fixture
def bench(tmp_path):
    recipe = fakes.recipe()
    splits = load_data(recipe.data, tmp_path)
    return Bench(
        recipe.data, splits, recipe.model, recipe.training, Compute.choose("cpu", "fp32"), Store(tmp_path / "runs")
    )


@pytest.fixture
def foreign(bench, tmp_path):
    """A model that was trained elsewhere, and its weights in a file."""
    model = bench.build(seed=77)
    path = tmp_path / "elsewhere.pt"
    torch.save(model.state_dict(), path)
    return model, path


def test_a_state_dict_from_elsewhere_becomes_a_run(bench, foreign):
    model, path = foreign
    original = import_original(bench, path)
    expected = part_of(model, bench.splits.train, bench.compute)
    assert np.array_equal(original.outputs.train.logits, expected.logits)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in original.model().state_dict().items())
    assert import_original(bench, path).run.path == original.run.path
    assert not original.trained_here
    assert original.run.confidence() is None
    assert original.difficulty().keys() == {"loss"}
    assert str(path) not in (original.run.path / "spec.json").read_text()


def test_an_imported_model_can_be_unlearned_from_but_not_retrained_from_its_start(bench, foreign):
    original = import_original(bench, foreign[1])
    forget = resolve_forget("random:10%", bench.splits.train, seed=0)
    run = unlearn_from(original, forget, method_named("amnesiac")(epochs=1, lr=1e-3), seed=0)
    assert run.record.scores.keys() >= {"test_acc", "retain_acc", "forget_acc", "mia_entropy"}
    with pytest.raises(SettingError, match="init=fresh"):
        unlearn_from(original, forget, Retrain(), seed=0)
    assert unlearn_from(original, forget, Retrain(init="fresh"), seed=0).record.spec["settings"] == {"init": "fresh"}


@pytest.mark.parametrize("name", ["absent.pt", "text.pt", "other.pt"])
def test_weights_that_do_not_fit_leave_no_run(bench, tmp_path, name):
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=name):
        import_original(bench, tmp_path / name)
    assert list((tmp_path / "runs").glob("*/record.json")) == []


def test_methods_are_told_how_hard_each_sample_was_to_learn_where_that_is_known(bench, foreign, monkeypatch):
    told = []
    monkeypatch.setattr(Retrain, "run", lambda self, problem: told.append(problem.difficulty) or problem.model)
    forget = resolve_forget("random:10%", bench.splits.train, seed=0)
    trained = train_original(bench, 0)
    for original in (trained, import_original(bench, foreign[1])):
        unlearn_from(original, forget, Retrain(init="fresh"), seed=0)
    assert np.array_equal(told[0], -trained.run.confidence())
    assert told[1] is None


def test_an_original_is_trained_once_and_differs_by_seed(bench):
    first = train_original(bench, 0)
    stamp = (first.run.path / "record.json").stat().st_mtime_ns
    assert train_original(bench, 0).run.path == first.run.path
    assert (first.run.path / "record.json").stat().st_mtime_ns == stamp
    assert train_original(bench, 1).run.path != first.run.path
    assert first.run.confidence().shape == (150,)
    assert first.difficulty().keys() == {"loss", "confidence"}
    assert np.array_equal(first.difficulty()["confidence"], -first.run.confidence())
    assert first.trained_here


def test_the_initial_model_is_where_the_original_started(bench):
    original = train_original(bench, 0)
    start, again = original.initial_model().state_dict(), bench.build(0).state_dict()
    assert all(torch.equal(start[name], again[name]) for name in start)
    trained = original.model().state_dict()
    assert not torch.equal(start["classifier.weight"], trained["classifier.weight"])


@pytest.mark.parametrize(
    "change", ["seed", "batch_size", "settings", "forget", "original"], ids=lambda change: f"another {change}"
)
def test_whatever_determines_a_run_makes_another_run(bench, change):
    train = bench.splits.train

    def run(seed=0, batch_size=None, lr=1e-3, text="random:10%", training_seed=0):
        forget = resolve_forget(text, train, seed=0)
        method = method_named("amnesiac")(epochs=1, lr=lr)
        return unlearn_from(train_original(bench, training_seed), forget, method, seed=seed, batch_size=batch_size)

    other = {
        "seed": {"seed": 1},
        "batch_size": {"batch_size": 16},
        "settings": {"lr": 2e-3},
        "forget": {"text": "random:20%"},
        "original": {"training_seed": 1},
    }[change]
    first = run()
    assert run().path == first.path
    assert run(**other).path != first.path


def test_a_retrained_model_never_saw_the_forget_set(bench):
    """Whatever the forget images are replaced by, the retrained weights are the same."""
    forget = resolve_forget("random:10%", bench.splits.train, seed=0)
    images = bench.splits.train.images.clone()
    images[torch.from_numpy(forget.indices)] = 255
    changed = replace(bench.splits, train=replace(bench.splits.train, images=images))
    other = replace(bench, splits=changed, store=Store(bench.store.root.with_name("other")))
    first, second = (
        unlearn_from(train_original(one, 0), forget, Retrain(), seed=0).weights() for one in (bench, other)
    )
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_sample_losses_are_minus_log_probabilities():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 4)).astype(np.float32), rng.integers(0, 4, 7)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(sample_losses(logits, labels), -np.log(probabilities[np.arange(7), labels]), atol=1e-5)


def test_weights_of_another_architecture_in_a_run_folder_are_named(bench):
    original = train_original(bench, 0)
    save_weights(torch.nn.Linear(2, 2), original.run.path / "model.safetensors")
    with pytest.raises(RunError, match="do not fit small_cnn"):
        original.model()


def test_every_failure_is_one_of_ours(bench, tmp_path):
    folder = tmp_path / "folder.pt"
    folder.mkdir()
    with pytest.raises(NatmuError):
        import_original(bench, folder)
