"""How models are made: what each is, what methods are told, and that models trained elsewhere are as good a start."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.engine.checkpoint import save_weights
from natmu.engine.predict import part_of, sample_losses
from natmu.errors import ModelError, NatmuError, RunError, SettingError
from natmu.lineage import import_model, obtain, outcome_of, training
from natmu.lineage.difficulty import difficulties_of
from natmu.methods import method_named
from natmu.records.derived import retrained
from natmu.records.lineage import AllBut, HalfOfPool, Imported, Initial, Trained, Unlearned

from . import fakes


@pytest.fixture
def place(tmp_path):
    return fakes.workspace(tmp_path / "runs")


@pytest.fixture
def foreign(place, tmp_path):
    """A model that was trained elsewhere, and its weights in a file."""
    model = place.build(seed=77)
    path = tmp_path / "elsewhere.pt"
    torch.save(model.state_dict(), path)
    return model, path


def test_a_state_dict_from_elsewhere_becomes_a_run(place, foreign):
    model, path = foreign
    original = import_model(place, path, fakes.RECIPE, force=True)
    run = place.require(original)
    expected = part_of(model, place.splits.train, place.compute)
    assert np.array_equal(run.outputs().train.logits, expected.logits)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in place.load(run).state_dict().items())
    assert import_model(place, path, fakes.RECIPE, force=True) == original
    assert len(fakes.runs(place.store.root)) == 1
    assert isinstance(run.record.lineage, Imported)
    assert run.confidence() is None
    assert difficulties_of(run).keys() == {"loss"}
    assert str(path) not in (run.path / "record.json").read_text()


def test_an_imported_model_can_be_unlearned_from_but_not_retrained_from_its_start(place, foreign):
    original = import_model(place, foreign[1], fakes.RECIPE, force=True)
    run = obtain(fakes.unlearned(place, source=original), place)
    assert run.record.scores.keys() >= {"test_acc", "retain_acc", "forget_acc", "mia_entropy"}
    with pytest.raises(SettingError, match="init=fresh"):
        fakes.unlearned(place, "retrain", source=original)
    retrained = obtain(fakes.unlearned(place, "retrain", source=original, init="fresh"), place).record.lineage
    assert isinstance(retrained, Trained)
    assert retrained.on == AllBut(forget=run.record.lineage.forget)
    assert retrained.recipe == fakes.RECIPE
    assert retrained.start != place.original(fakes.RECIPE, 0).start


def test_a_model_from_elsewhere_that_is_not_in_the_store_is_asked_for(place):
    absent = Imported(
        data=place.data, architecture=place.architecture, arithmetic=place.arithmetic, weights="ab", recipe=fakes.RECIPE
    )
    for model in (absent, fakes.unlearned(place, source=absent)):
        with pytest.raises(ModelError, match=r"imported model ab is not in .*; name its weights file with --from"):
            obtain(model, place)
    assert fakes.runs(place.store.root) == []


def test_weights_near_chance_are_refused_and_leave_nothing(place, foreign):
    before = sorted(place.store.root.rglob("*"))
    with pytest.raises(ModelError, match="so weights and data do not seem to belong together"):
        import_model(place, foreign[1], fakes.RECIPE)
    assert sorted(place.store.root.rglob("*")) == before


@pytest.mark.parametrize("name", ["absent.pt", "text.pt", "other.pt"])
def test_weights_that_do_not_fit_leave_no_run(place, tmp_path, name):
    (tmp_path / "text.pt").write_text("no weights")
    torch.save({"layer.weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ModelError, match=name):
        import_model(place, tmp_path / name, fakes.RECIPE)
    assert fakes.runs(place.store.root) == []


@pytest.fixture
def problems(monkeypatch):
    """The problems that ``amnesiac`` gets, which gives back the model as it is."""
    found = []
    amnesiac = method_named("amnesiac")
    monkeypatch.setattr(amnesiac, "run", lambda self, problem: found.append(problem) or problem.model)
    return found


def test_methods_are_told_how_hard_each_sample_was_to_learn_where_that_is_known(place, foreign, problems):
    trained = place.original(fakes.RECIPE, 0)
    for original in (trained, import_model(place, foreign[1], fakes.RECIPE, force=True)):
        obtain(fakes.unlearned(place, source=original), place)
    assert np.array_equal(problems[0].difficulty, -place.require(trained).confidence())
    assert problems[1].difficulty is None


def test_an_original_is_trained_once_and_differs_by_seed(place):
    first = obtain(place.original(fakes.RECIPE, 0), place)
    stamp = (first.path / "record.json").stat().st_mtime_ns
    assert obtain(place.original(fakes.RECIPE, 0), place).path == first.path
    assert (first.path / "record.json").stat().st_mtime_ns == stamp
    assert obtain(place.original(fakes.RECIPE, 1), place).path != first.path
    assert first.confidence().shape == (150,)
    assert difficulties_of(first).keys() == {"loss", "confidence"}
    assert np.array_equal(difficulties_of(first)["confidence"], -first.confidence())
    assert isinstance(first.record.lineage, Trained)
    assert first.record.scores.keys() == {"train_acc", "test_acc"}
    assert obtain(place.original(fakes.RECIPE, 2), place, "mine").path.name == "mine"


def same(first: nn.Module, second: nn.Module) -> bool:
    theirs = second.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in first.state_dict().items())


def test_the_initial_model_is_where_the_original_started(place, foreign, problems):
    original = place.original(fakes.RECIPE, 0)
    obtain(fakes.unlearned(place), place)
    start = problems[0].initial_model()
    assert same(start, place.build(original.start.seed))
    assert not torch.equal(start.state_dict()["classifier.weight"], problems[0].model.state_dict()["classifier.weight"])
    assert same(problems[0].model, place.load(place.require(original)))
    assert same(place.load(obtain(original.start, place)), start)
    assert not same(start, place.build(place.original(fakes.RECIPE, 1).start.seed))
    obtain(fakes.unlearned(place, source=import_model(place, foreign[1], fakes.RECIPE, force=True)), place)
    assert problems[1].initial_model is None


def test_retraining_starts_where_it_is_told_to(place):
    original = place.original(fakes.RECIPE, 0)
    same_start, fresh = (fakes.unlearned(place, "retrain", init=init, seed=3) for init in ("original", "fresh"))
    assert (same_start.start, same_start.seed) == (original.start, 3)
    assert fresh.start not in (original.start, place.original(fakes.RECIPE, 3).start)
    assert fresh.but(start=original.start) == same_start


@pytest.mark.parametrize(
    "change", ["seed", "batch_size", "settings", "forget", "original"], ids=lambda change: f"another {change}"
)
def test_whatever_determines_a_run_makes_another_run(place, change):
    def run(training_seed=0, **changed):
        source = place.original(fakes.RECIPE, training_seed)
        return obtain(fakes.unlearned(place, source=source, **changed), place)

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


def test_the_batch_size_of_a_method_is_the_original_s_unless_another_is_given(place):
    assert isinstance(fakes.unlearned(place), Unlearned)
    assert fakes.unlearned(place) == fakes.unlearned(place, batch_size=32)
    assert fakes.unlearned(place, batch_size=16).batch_size == 16
    assert fakes.unlearned(place, "retrain", batch_size=16) == fakes.unlearned(place, "retrain")


def test_a_retrained_model_never_saw_the_forget_set(place, tmp_path):
    """Whatever the forget images are replaced by, the retrained weights are the same."""
    train = place.splits.train
    forget = place.forget_set(fakes.forget(place))
    images = train.images.clone()
    images[torch.from_numpy(forget.indices)] = 255
    changed = replace(place.splits, train=replace(train, images=images))
    other = replace(fakes.elsewhere(place, tmp_path / "other"), splits=changed)
    models = [fakes.unlearned(one, "retrain") for one in (place, other)]
    assert models[0].digest != models[1].digest
    first, second = (obtain(model, one).weights() for model, one in zip(models, (place, other), strict=True))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_model_is_made_after_those_that_it_starts_from(place):
    other = place.original(fakes.RECIPE, 1)
    hardest = fakes.forget(place, "hardest:5%", other)
    method = method_named("amnesiac")(epochs=1)
    first = place.original(fakes.RECIPE, 0)
    obtain(outcome_of(method, first, hardest, seed=0, batch_size=None, at=place.arithmetic), place)
    assert len(fakes.runs(place.store.root)) == 3
    assert place.has(first)
    assert place.has(other)
    confidence = place.require(other).confidence()
    expected = sorted(sorted(range(150), key=lambda row: (confidence[row], row))[:8])
    assert place.forget_set(hardest).indices.tolist() == expected


def test_an_untrained_model_has_predictions_and_no_scores(place):
    model = Initial(data=place.data, architecture=place.architecture, arithmetic=place.arithmetic, seed=4)
    run = obtain(model, place)
    assert same(place.load(run), place.build(4))
    assert run.record.scores == {}
    assert len(run.outputs().train) == 150
    assert run.history() == []


def test_a_shadow_model_is_trained_on_its_half_and_a_method_that_works_on_it_forgets_that_half(
    place, problems, monkeypatch
):
    trained_on = []
    train = training.train_classifier

    def noted(network, data, positions, *rest, **names):
        trained_on.append((data, positions))
        return train(network, data, positions, *rest, **names)

    monkeypatch.setattr(training, "train_classifier", noted)
    original, forget = place.original(fakes.RECIPE, 0), fakes.forget(place, "random:20")
    for number in (2, 3):
        shadow = original.but(on=HalfOfPool(forget=forget, number=number))
        obtain(fakes.unlearned(place, text="random:20").but(source=shadow), place)
    indices = {*place.forget_set(forget).indices.tolist()}
    halves = []
    for (data, positions), problem in zip(trained_on, problems, strict=True):
        assert len(data) == len(problem.data) == 150 + 20
        assert problem.data.digest == data.digest
        pool = {*indices, *range(150, 170)}
        half = {*positions.tolist()} & pool
        assert {*positions.tolist()} == ({*range(170)} - pool) | half
        assert {*problem.forget.indices.tolist()} == half
        assert {*problem.aside.tolist()} == pool - half
        halves.append(half)
    assert halves[0] | halves[1] == pool
    assert halves[0].isdisjoint(halves[1])
    logits = [run.outputs() for run in fakes.runs(place.store.root) if run.record.scores == {}]
    assert {(len(one.train), len(one.test)) for one in logits} == {(40, 0)}


def test_sample_losses_are_minus_log_probabilities():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(7, 4)).astype(np.float32), rng.integers(0, 4, 7)
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(sample_losses(logits, labels), -np.log(probabilities[np.arange(7), labels]), atol=1e-5)


def test_weights_of_another_architecture_are_named(place, tmp_path):
    run = obtain(place.original(fakes.RECIPE, 0), place)
    with pytest.raises(RunError, match="do not fit resnet18"):
        fakes.workspace(tmp_path / "runs", model="resnet18").load(run)
    save_weights(torch.nn.Linear(2, 2), run.path / "model.safetensors")
    with pytest.raises(RunError, match=r"model\.safetensors is not what this run wrote"):
        place.load(run)


def test_every_failure_is_one_of_ours(place, tmp_path):
    folder = tmp_path / "folder.pt"
    folder.mkdir()
    with pytest.raises(NatmuError):
        import_model(place, folder, fakes.RECIPE)


def test_a_fresh_start_keeps_no_weights_that_a_factory_loads(tmp_path, monkeypatch):
    """They may have seen the forget set; a retrained model that starts as the original did has them, as asked."""
    (tmp_path / "loading.py").write_text(
        "from torch import nn\n\n\ndef loaded():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
        "    nn.init.constant_(net[1].weight, 0.25)\n    return net\n"
    )
    monkeypatch.chdir(tmp_path)
    place = replace(fakes.workspace(tmp_path / "runs"), model="loading:loaded")
    source = place.original(fakes.RECIPE, 0)
    fresh, same = (
        retrained(source, fakes.forget(place), place.arithmetic, 1, fresh=fresh).start for fresh in (True, False)
    )
    loaded = torch.full((10, 64), 0.25)
    assert torch.equal(place.start(source.start)[1].weight, loaded)
    assert torch.equal(place.start(same)[1].weight, loaded)
    drawn = place.start(fresh)[1].weight
    assert not torch.isclose(drawn, loaded).any()
    assert torch.equal(drawn, place.start(fresh)[1].weight)
    ours = fakes.workspace(tmp_path / "ours")
    start = ours.original(fakes.RECIPE, 0).start
    for first, second in zip(
        ours.start(start).parameters(), ours.start(start.but(reset=True)).parameters(), strict=True
    ):
        assert torch.equal(first, second)
