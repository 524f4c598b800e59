"""Heads on frozen features: extracted once, fitted, and made to forget as if they had never seen a sample."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from natmu.data.own import ArraySamples, OwnParts
from natmu.engine.compute import Compute
from natmu.engine.store import Store
from natmu.errors import ModelError, NatmuError, RunError
from natmu.heads import RidgeHead, load_head
from natmu.heads.logistic import LogisticHead, residual_of
from natmu.heads.rows import rows_of
from natmu.lineage import Workspace, features, finishing, obtain, outcome_of, sources
from natmu.lineage.fitting import import_backbone
from natmu.lineage.heads import HeadData, head_of_run
from natmu.lineage.remaining import Remaining
from natmu.methods import method_named
from natmu.methods.exact import Downdate
from natmu.models import SmallCNN, features_before, network_of, unit_head_of
from natmu.models.initial import seeded
from natmu.records.derived import original, retrained
from natmu.records.forgetting import parse_forget
from natmu.records.heads import FEATURES, HEAD, read_features, read_head
from natmu.records.lineage import AllBut, Backbone, HalfOfPool
from natmu.records.settings import DataSettings, LogisticTraining, RidgeTraining

from . import fakes

RIDGE = RidgeTraining()
LOGISTIC = LogisticTraining(l2=5.0, epsilon=5.0, noise=2.0)
COUNT = 150


def opened(out, data=fakes.DATA, model="small_cnn"):
    return Workspace.open(data, out, model, Compute.choose("cpu", "fp32"), Store(out), unit_head=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A workspace and a backbone with random weights, as one from elsewhere."""
    place = opened(tmp_path_factory.mktemp("whole"), DataSettings(source="digits", train_size=COUNT, holdout=True))
    return place, import_backbone(place, place.build(77), "elsewhere")


@pytest.fixture
def place(whole, tmp_path):
    """The same with a store that knows the backbone alone."""
    store = Store(tmp_path / "runs")
    store.adopt(whole[0].require(whole[1]))
    return replace(whole[0], store=store, known={}, pools={}, features={})


def head_on(place, backbone, recipe=RIDGE, seed=5):
    return original(place.data, place.architecture, backbone.arithmetic, recipe, seed, backbone)


def downdated(place, source, text, seed=0):
    forget = place.forget(parse_forget(text), 0, source)
    return outcome_of(method_named("downdate")(), source, forget, seed=seed, batch_size=None, at=source.arithmetic)


def fitted_without(place, root, model):
    """The model that was fitted without all that another has forgotten."""
    return obtain(retrained(root, model.forget, root.arithmetic, root.seed, fresh=False), place)


def same(run, other):
    """Whether two runs have the same weights, head and predictions to the bit."""
    ours, theirs = run.weights(), other.weights()
    heads = [read_head(one.path / HEAD) for one in (run, other)]
    predicted = [one.outputs().train.logits for one in (run, other)]
    return (
        all(torch.equal(ours[name], theirs[name]) for name in ours)
        and all(np.array_equal(heads[0][name], heads[1][name]) for name in heads[0])
        and np.array_equal(*predicted)
    )


def test_features_are_those_before_the_last_layer_and_images_are_read_once(place, whole, monkeypatch, tmp_path):
    seen = []
    forward = SmallCNN.forward
    monkeypatch.setattr(SmallCNN, "forward", lambda self, images: seen.append(len(images)) or forward(self, images))
    fresh = replace(place, store=Store(tmp_path / "fresh"))
    network = whole[0].load(whole[0].require(whole[1]))
    backbone = import_backbone(fresh, network, "elsewhere")
    assert backbone == whole[1]
    extracted = [count for count in seen if count > 4]  # on so many a head is looked for
    splits = place.splits
    assert sum(extracted) == len(splits.train) + len(splits.test) + len(splits.holdout)
    seen.clear()
    root = head_on(fresh, backbone)
    models = [root, downdated(fresh, root, "random:10%"), import_backbone(fresh, network, "elsewhere")]
    models.append(retrained(root, models[1].forget, root.arithmetic, 5, fresh=False))
    runs = [obtain(model, fresh) for model in models]
    assert max(seen) <= 4
    stored = read_features(fresh.require(backbone).path / FEATURES)
    layer, images = unit_head_of(network)[1], splits.train.take(torch.arange(COUNT)).float() / 255
    with torch.no_grad():
        plain = features_before(layer, lambda: network.eval()(images)).numpy()
    assert np.array_equal(stored.train, rows_of(plain))
    # The network gives what the rows give, but for their rounding.
    with torch.no_grad():
        logits = fresh.load(runs[0]).eval()(images).numpy()
    assert np.abs(logits - runs[0].outputs().train.logits).max() < 1e-3
    assert runs[0].outputs().holdout.logits.shape == (len(splits.holdout), 10)
    assert backbone.arithmetic.precision == "fp32"


def test_a_sequence_of_requests_gives_the_bits_of_a_fit_without_them(place, whole):
    root = head_on(place, whole[1])
    first = downdated(place, root, "random:10%")
    obtain(first, place)
    second = downdated(place, first, "class:3")
    run = obtain(second, place)
    assert len(run.forget().left_out) > len(run.forget())
    other = fitted_without(place, root, second)
    assert same(run, other)
    assert not same(run, place.require(first))
    assert run.record.scores == other.record.scores
    assert run.record.seconds < 1
    before = {path: path.stat().st_mtime_ns for path in place.store.root.rglob("*") if path.is_file()}
    obtain(second, place)
    assert all(path.stat().st_mtime_ns == then for path, then in before.items())


def test_ridge_is_the_closed_form_on_the_rows(place, whole):
    run = obtain(head_on(place, whole[1], RidgeTraining(l2=0.3)), place)
    rows = read_features(place.require(whole[1]).path / FEATURES).train.astype(np.float64)
    wanted = np.linalg.solve(
        rows.T @ rows + 0.3 * np.eye(rows.shape[1]), rows.T @ np.eye(10)[place.splits.train.labels]
    )
    assert np.allclose(run.outputs().train.logits, rows @ wanted, atol=1e-5)
    weights = run.weights()
    name = unit_head_of(place.build(0))[0]
    assert np.allclose(weights[f"{name}.weight"].numpy(), 0.75 * wanted[:-1].T, atol=1e-4)
    assert np.allclose(weights[f"{name}.bias"].numpy(), 0.625 * wanted[-1], atol=1e-4)


def test_a_shadow_model_forgets_its_half_of_the_pool(place, whole):
    root = head_on(place, whole[1])
    forget = place.forget(parse_forget("random:10%"), 0, root)
    shadow = root.but(on=HalfOfPool(forget=forget, number=3))
    method = method_named("downdate")()
    run = obtain(outcome_of(method, shadow, forget, seed=1, batch_size=None, at=root.arithmetic), place)
    reference = obtain(retrained(root, forget, root.arithmetic, 5, fresh=False), place)
    assert all(torch.equal(value, reference.weights()[name]) for name, value in run.weights().items())
    pool = place.pool(forget)
    assert len(run.outputs().train) == len(pool.positions)
    assert np.array_equal(run.outputs().train.logits[: len(forget_of(place, forget))], of(reference, place, forget))
    trained = HeadData(place, whole[1], np.zeros((0, 2), np.int64), pool)
    fitted = RidgeHead.fit(*without(trained, pool.aside(3)), num_classes=10, l2=RIDGE.l2)
    shadowed = read_head(place.require(shadow).path / HEAD)
    assert all(np.array_equal(shadowed[name], value) for name, value in fitted.state().items())


def forget_of(place, forget):
    return place.forget_set(forget).indices


def of(run, place, forget):
    return run.outputs().train.logits[forget_of(place, forget)]


def without(data, left_out):
    kept = np.setdiff1d(np.arange(len(data.rows)), left_out)
    return data.rows[kept], data.labels[kept]


@pytest.mark.parametrize("recipe", [RIDGE, LOGISTIC], ids=["ridge", "logistic"])
def test_the_head_of_a_run_goes_on_in_python(place, whole, recipe):
    root = head_on(place, whole[1], recipe)
    head = load_head(obtain(root, place).path / HEAD)
    data = HeadData(place, whole[1], np.zeros((0, 2), np.int64))
    run = obtain(downdated(place, root, "random:1"), place)
    later = head.remove(data.rows[run.forget().indices], data.labels[run.forget().indices])
    assert np.array_equal(later.weights, load_head(run.path / HEAD).weights)


def test_a_logistic_head_stays_within_its_bound_and_is_fitted_again_once_that_is_spent(place, whole):
    root = head_on(place, whole[1], LOGISTIC)
    first = downdated(place, root, "random:1")
    run = obtain(first, place)
    head = LogisticHead.from_state(read_head(run.path / HEAD))
    assert head.removed == 1
    spent = f"(epsilon, delta) = (5, 1e-05); {head.spent:.3g} of {head.budget:.3g} of the budget are spent by 1 removal"
    assert any(sentence.startswith(spent) for sentence in run.record.decisions)
    data = HeadData(place, whole[1], np.zeros((0, 2), np.int64))
    assert residual_of(head, *without(data, run.forget().indices)) <= head.spent <= head.budget
    assert not same(run, fitted_without(place, root, first))
    assert not any("fitted again" in sentence for sentence in run.record.decisions)
    second = downdated(place, first, "class:3")
    again = obtain(second, place)
    assert ["fitted again" in sentence for sentence in again.record.decisions[-2:]] == [True, False]
    assert "are spent by 0 removals since the last fit" in again.record.decisions[-1]
    assert LogisticHead.from_state(read_head(again.path / HEAD)).removed == 0
    assert same(again, fitted_without(place, root, second))
    # Each fit has noise of its own, or the difference of two would show what was forgotten.
    noises = [read_head(one.path / HEAD)["perturbation"] for one in (place.require(root), again)]
    assert np.abs(noises[0] - noises[1]).mean() > 1
    assert np.array_equal(noises[0], read_head(run.path / HEAD)["perturbation"])


@pytest.mark.parametrize("recipe", [RIDGE, LOGISTIC], ids=["ridge", "logistic"])
def test_corrected_labels_are_put_in_the_place_of_wrong_ones(place, whole, recipe, tmp_path):
    root = head_on(place, whole[1], recipe)
    labels = place.splits.train.labels.numpy()
    table = tmp_path / "right.csv"
    table.write_text("index,label\n" + "".join(f"{at},{(labels[row] + 1) % 10}\n" for row, at in named(place, [4, 9])))
    first = downdated(place, root, f"relabel:{table}")
    run = obtain(first, place)
    assert same(run, fitted_without(place, root, first))
    # A class that is forgotten takes with it what was corrected to be of it.
    second = downdated(place, first, f"class:{(labels[4] + 1) % 10}")
    obtain(second, place)
    if recipe == RIDGE:
        assert same(place.require(second), fitted_without(place, root, second))
    assert len(place.require(second).forget().corrections) == (1 if labels[4] != labels[9] else 0)


def named(place, rows):
    return [(row, place.splits.train.names[row]) for row in rows]


def test_samples_that_are_gone_are_taken_out_by_their_rows(place, whole, tmp_path):
    root = head_on(place, whole[1])
    obtain(root, place)
    model = downdated(place, root, "random:10%")
    expected = obtain(model, place)
    gone = expected.forget().indices
    left = np.setdiff1d(np.arange(COUNT), gone)
    splits = place.splits
    own = OwnParts(ArraySamples(splits.train.subset(left)), ArraySamples(splits.test))
    store = Store(tmp_path / "gaps")
    for known in (whole[1], root):
        store.adopt(place.require(known))
    gaps = replace(
        place,
        splits=replace(splits, train=splits.train.subset(left), own=own),
        store=store,
        known={},
        pools={},
        features={},
        remaining=Remaining(place.data, left, np.arange(len(splits.test)), np.arange(len(splits.holdout)), COUNT),
    )
    gaps.remember(model.forget, expected.forget())
    run = obtain(model, gaps)
    assert all(torch.equal(value, expected.weights()[name]) for name, value in run.weights().items())
    assert np.array_equal(run.outputs().train.logits, expected.outputs().train.logits[left])
    assert same(run, fitted_without(gaps, root, model))
    with pytest.raises(ModelError, match="while all of it is there"):
        import_backbone(gaps, gaps.build(77), "elsewhere")


def test_what_was_interrupted_leaves_nothing_and_is_made_to_the_same_bits(place, whole, tmp_path, monkeypatch):
    fresh = replace(place, store=Store(tmp_path / "fresh"))
    network = whole[0].load(whole[0].require(whole[1]))

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(features, "write_features", killed)
        with pytest.raises(KeyboardInterrupt):
            import_backbone(fresh, network, "elsewhere")
    assert fakes.runs(fresh.store.root) == []
    backbone = import_backbone(fresh, network, "elsewhere")
    model = downdated(fresh, head_on(fresh, backbone), "random:10%")
    with monkeypatch.context() as patched:
        patched.setattr(finishing, "scores_of", killed)
        with pytest.raises(KeyboardInterrupt):
            obtain(model, fresh)
    assert {type(run.record.lineage) for run in fakes.runs(fresh.store.root)} == {Backbone}
    assert same(obtain(model, fresh), obtain(model, place))


def test_damaged_features_and_another_backbone_are_refused(place, whole):
    root = head_on(place, whole[1])
    run = obtain(root, place)
    data, network = HeadData(place, whole[1], np.zeros((0, 2), np.int64)), place.build(1)
    with pytest.raises(ModelError, match="another backbone than the one whose features"):
        head_of_run(run, network, data, root, None)
    file = place.require(whole[1]).path / FEATURES
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(bytes(content))
    place.features.clear()
    with pytest.raises(RunError, match="is not what this run wrote"):
        obtain(downdated(place, root, "random:10%"), place)


def test_a_model_that_another_method_changed_cannot_be_downdated(place, whole):
    root = head_on(place, whole[1])
    forget = place.forget(parse_forget("random:10%"), 0, root)
    tune = method_named("finetune")(epochs=1)
    tuned = outcome_of(tune, root, forget, seed=0, batch_size=32, at=root.arithmetic)
    run = obtain(tuned, place)
    assert not run.has(HEAD)
    backbone = {name: value for name, value in run.weights().items() if name in place.require(root).weights()}
    name = unit_head_of(place.build(0))[0]
    changed = {key for key, value in backbone.items() if not torch.equal(value, place.require(root).weights()[key])}
    assert changed == {f"{name}.weight", f"{name}.bias"}
    with pytest.raises(ModelError, match="Another method has changed the model since"):
        obtain(downdated(place, tuned, "class:3"), place)
    asked = place.forget(parse_forget("class:3"), 0, tuned)
    again = outcome_of(Downdate(refit=True), tuned, asked, seed=0, batch_size=32, at=root.arithmetic)
    plain = outcome_of(Downdate(), root, forget, seed=0, batch_size=32, at=root.arithmetic)
    after = place.forget(parse_forget("class:3"), 0, plain)
    third = outcome_of(Downdate(), plain, after, seed=0, batch_size=32, at=root.arithmetic)
    obtain(plain, place)
    assert same(obtain(again, place), obtain(third, place)), "a ridge head is the same, fitted again or not"


def test_backbones_with_other_classes_are_taken_from_files(place, tmp_path):
    other = place.plain(3, 7)
    torch.save({"state_dict": other.state_dict()}, tmp_path / "seven.pt")
    backbone = import_backbone(place, tmp_path / "seven.pt")
    assert backbone.origin == "seven.pt"
    network = place.load(place.require(backbone))
    head, layer = unit_head_of(network)
    theirs = other.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in network.state_dict().items() if head not in key)
    assert layer.weight.shape[0] == 10
    assert not layer.weight.any()
    torch.save(nn.Linear(3, 3).state_dict(), tmp_path / "else.pt")
    with pytest.raises(ModelError, match="do not fit"):
        import_backbone(place, tmp_path / "else.pt")
    with pytest.raises(ModelError, match="draws its weights at random"):
        import_backbone(place, None)
    with seeded(0), pytest.raises(ModelError, match="do not fit this architecture"):
        import_backbone(place, nn.Linear(3, 3), "elsewhere")


def test_a_backbone_that_was_trained_on_this_data_is_refused(place, tmp_path):
    plain = replace(fakes.workspace(tmp_path / "plain"), store=place.store)
    run = obtain(plain.original(fakes.RECIPE, 0), plain)
    whole_digits = opened(tmp_path / "digits", DataSettings(source="digits"))
    for here in (replace(opened(tmp_path / "a"), store=place.store), whole_digits):
        with pytest.raises(ModelError, match="was trained on digits, which is this data"):
            import_backbone(here, run.path)
    loose = tmp_path / "loose.pt"
    torch.save(network_of(plain.load(run)).state_dict(), loose)
    with pytest.raises(ModelError, match="holds the weights of"):
        import_backbone(place, loose)


def test_the_backbone_is_made_before_whatever_stands_on_it(place, whole):
    root = head_on(place, whole[1])
    model = downdated(place, root, "random:10%")
    reference = retrained(root, model.forget, root.arithmetic, 5, fresh=False)
    assert sources(root) == (whole[1],)
    assert set(sources(model)) == {whole[1], root}
    assert sources(reference) == (whole[1],)
    assert isinstance(reference.on, AllBut)
    with pytest.raises(NatmuError, match="fit a head with --features-from"):
        obtain(root, replace(place, store=Store(place.store.root / "empty")))
