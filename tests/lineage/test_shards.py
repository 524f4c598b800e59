"""Models in shards: what sisa makes is to the bit what a training makes that never had the samples."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from PIL import Image

from natmu.data import load
from natmu.engine.checkpoint import Checkpoint
from natmu.engine.predict import outputs_of
from natmu.errors import ForgetSetError, RunError, SettingError
from natmu.lineage import obtain, outcome_of
from natmu.lineage.division import Division, divide
from natmu.lineage.executors.local import make_here
from natmu.lineage.remaining import Remaining
from natmu.lineage.shard_training import divided, shards_of, shards_of_pool
from natmu.lineage.shards import original_chains
from natmu.lineage.sisa import StoredShards, Untrained
from natmu.methods import Problem, Retrain, method_named
from natmu.models import Ensemble
from natmu.records.derived import stages_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, HalfOfPool, Referenced, Stage
from natmu.records.settings import DataSettings, Sharding
from natmu.types import ForgetSet, positions_digest

from . import tiny_shards as tiny

COUNT = 40


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A workspace and its original."""
    place = tiny.workspace(tmp_path_factory.mktemp("shards"), tiny.images(COUNT))
    model = place.original(tiny.RECIPE, 0)
    obtain(model, place)
    return place, model


def apart(trained, out):
    """The same, with a store of its own that holds no more than the original and its stages."""
    place, model = trained
    other = replace(place, store=type(place.store)(out), known={}, pools={})
    for chain in original_chains(model):
        for stage in chain:
            other.store.adopt(place.require(stage))
    other.store.adopt(place.require(model))
    return other, model


def same(first, second):
    """Whether two state dicts are equal to the bit."""
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def never_had(place, model, rows, out):
    """The weights of a training on data that never had some samples, by number of the shard."""
    other = tiny.without(place, rows, out)
    shards = shards_of(other, model, divided(other, model.recipe.sharding, model.seed))
    models, _, _ = shards.in_memory(Checkpoint(out / "unfinished", np.inf), out, "anew")
    return {shard: {name: value.clone() for name, value in one.state_dict().items()} for shard, one in models.items()}


def test_200_sequences_of_deletions_give_the_weights_of_data_that_never_had_the_samples(trained, tmp_path):
    """Ten samples of three shards are deleted in random batches and orders; what is trained is kept in the store."""
    place, model = apart(trained, tmp_path / "runs")
    whole = Division.of_array(place.require(model).division())
    candidates = np.sort(np.concatenate([np.flatnonzero(whole.shards == shard)[:4] for shard in range(3)]))[:10]
    random, checked = np.random.default_rng(0), 0

    @cache
    def expected(shard, gone):
        """Of one shard, whose training depends on no sample of another: the test shows it, as others go too."""
        return never_had(place, model, np.array(gone, np.int64), tmp_path / f"{shard}-{'-'.join(map(str, gone))}")[
            shard
        ]

    stamps = {run.path: run.path.stat().st_mtime_ns for run in place.store.all()}
    for _ in range(200):
        order = random.permutation(candidates)[: random.integers(1, 6)]
        batches = np.split(
            order,
            np.sort(random.choice(np.arange(1, len(order)), random.integers(0, 2) % len(order)))
            if len(order) > 1
            else [],
        )
        before = np.zeros(0, np.int64)
        for batch in batches:
            left_out = np.union1d(before, batch)
            problem = StoredShards(place, model, whole, ForgetSet(np.sort(batch), "", "indices", before=before), before)
            made, history = problem.retrained(left_out)
            again = {int(row["shard"]) for row in history}
            assert again == {int(whole.shards[row]) for row in batch}
            before = left_out
        for shard, member in made.by_shard().items():
            gone = tuple(row for row in before.tolist() if whole.shards[row] == shard)
            assert same(member.state_dict(), expected(shard, gone))
            checked += len(gone) > 0
    assert checked > 200
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    some = np.sort(candidates[:5])
    for shard, state in never_had(place, model, some, tmp_path / "some").items():
        assert same(state, expected(shard, tuple(row for row in some.tolist() if whole.shards[row] == shard)))


def test_requests_after_each_other_give_what_retraining_gives_and_take_only_what_they_must(trained, tmp_path):
    place, model = apart(trained, tmp_path / "runs")
    whole = Division.of_array(place.require(model).division())
    first = np.flatnonzero((whole.shards == 1) & (whole.slices == 1))[:1]
    second = np.flatnonzero((whole.shards == 0) & (whole.slices == 0))[:2]
    made = tiny.by_sisa(place, first, model)
    run = place.require(made)
    assert {(row["shard"], row["slices"]) for row in run.history()} == {(1, 2)}
    stages = [held for held in place.store.all() if isinstance(held.record.lineage, Stage)]
    new = [held for held in stages if held.record.lineage.left_out is not None]
    assert len(stages) == 6 + 1
    assert run.record.seconds == pytest.approx(sum(held.record.seconds for held in new))
    assert not new[0].has("confidence.npy")

    stamps = {held.path: (held.path / "record.json").stat().st_mtime_ns for held in stages}
    again = tiny.by_sisa(place, second, made)
    run = place.require(again)
    assert {(row["shard"], row["slices"]) for row in run.history()} == {(0, 1), (0, 2)}
    assert [row["epoch"] for row in run.history()] == [*range(1, len(run.history()) + 1)]
    assert {path: (path / "record.json").stat().st_mtime_ns for path in stamps} == stamps
    anew = never_had(place, model, np.union1d(first, second), tmp_path / "anew")
    expected = {f"members.{shard}.{name}": value for shard, state in anew.items() for name, value in state.items()}
    assert same(run.weights(), expected)
    assert np.array_equal(run.division(), whole.array)

    retrained = outcome_of(Retrain(), made, again.forget, seed=0, batch_size=None, at=place.arithmetic)
    other = obtain(retrained, place)
    assert same(other.weights(), expected)
    assert np.array_equal(other.division(), whole.array)
    fresh = outputs_of(place.load(run), place.on_device, place.compute)
    for held in (run, other):
        assert np.allclose(held.outputs().train.logits, fresh.train.logits, atol=1e-5)
        assert np.allclose(held.outputs().test.logits, fresh.test.logits, atol=1e-5)
    assert run.record.scores.keys() == other.record.scores.keys() >= {"forget_acc", "before_acc"}


def test_what_a_request_would_take_is_what_it_takes(trained, tmp_path):
    place, model = apart(trained, tmp_path)
    whole, none = Division.of_array(place.require(model).division()), np.zeros(0, np.int64)
    random = np.random.default_rng(1)
    for count in (1, 3, 30):
        gone = np.sort(random.choice(COUNT, count, replace=False))
        problem = StoredShards(place, model, whole, ForgetSet(gone, "", "indices"), none)
        _, history = problem.retrained(gone)
        kept, taken = set(range(COUNT)) - set(gone.tolist()), 0
        for row in history:  # one for each epoch
            seen = zip(whole.shards, whole.slices, strict=True)
            taken += sum(
                at in kept and shard == row["shard"] and part < row["slices"] for at, (shard, part) in enumerate(seen)
            )
        assert problem.work(gone) == Untrained(place, model).work(gone) == taken > 0


def test_sisa_goes_on_from_a_model_that_was_retrained(trained, tmp_path):
    """Its stages were not kept, so that all are trained, and told; what follows goes back to them."""
    place, model = apart(trained, tmp_path / "runs")
    forget = tiny.forgotten(place, np.array([1, 2]), model)
    fresh = outcome_of(Retrain(init="fresh"), model, forget, seed=4, batch_size=None, at=place.arithmetic)
    obtain(fresh, place)
    made = tiny.by_sisa(place, np.array([3]), fresh)
    run = place.require(made)
    assert {(row["shard"], row["slices"]) for row in run.history()} == {(s, p) for s in range(3) for p in (1, 2)}
    again = outcome_of(Retrain(init="fresh"), fresh, made.forget, seed=4, batch_size=None, at=place.arithmetic)
    assert same(run.weights(), obtain(again, place).weights())
    later = place.require(tiny.by_sisa(place, np.array([4]), made))
    shard = Division.of_array(run.division()).shards[4]
    assert {row["shard"] for row in later.history()} == {shard}


def test_one_model_in_memory_is_not_trained_where_there_were_several(trained):
    place, model = trained
    problem = Problem(
        place.build(0), place.splits.train, ForgetSet(np.array([1]), "", "indices"), model.recipe, place.compute
    )
    with pytest.raises(SettingError, match="this model was trained in shards"):
        Retrain(init="fresh")(problem)


def test_an_original_is_its_shards_and_knows_how_hard_each_sample_was(trained):
    place, model = trained
    run = place.require(model)
    assert run.record.scores.keys() == {"train_acc", "test_acc"}
    stages = [place.require(stage) for chain in original_chains(model) for stage in chain]
    assert run.record.seconds == pytest.approx(sum(stage.record.seconds for stage in stages), abs=1e-3)
    assert [stage.has("predictions.safetensors") for stage in stages] == [False, True] * 3
    # Each of the two stages has one epoch, so the mean over visits is that of the stages that saw a sample.
    division = Division.of_array(run.division())
    for row, confidence in enumerate(run.confidence()):
        seen = [stages[2 * division.shards[row] + stage].confidence()[row] for stage in range(division.slices[row], 2)]
        assert confidence == pytest.approx(np.mean(seen), abs=1e-6)


def test_how_shards_are_combined_trains_nothing_again(trained, tmp_path):
    place, model = apart(trained, tmp_path)
    count = len(place.store.all())
    recipe = model.recipe.model_copy(update={"sharding": model.recipe.sharding.model_copy(update={"combine": "votes"})})
    run = obtain(place.original(recipe, 0), place)
    assert len(place.store.all()) == count + 1
    assert same(run.weights(), place.require(model).weights())
    votes = np.exp(run.outputs().test.logits) * 4 - 1 / 3
    assert np.allclose(votes, votes.round(), atol=1e-5)


def test_photographs_that_are_deleted_change_nothing_for_other_shards(tmp_path):
    random = np.random.default_rng(0)
    files = []
    for part, count in (("train", 12), ("test", 2)):
        for name in ("cat", "dog"):
            for row in range(count):
                path = tmp_path / "photos" / part / name / f"{row:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(random.integers(0, 256, (4, 4), np.uint8)).save(path)
                files += [path] if part == "train" else []

    def opened(out):
        settings = DataSettings(source=str(tmp_path / "photos"), channels=1, mean=tiny.MEAN, std=tiny.STD)
        splits = load(settings.source, tmp_path / "data", **settings.model_dump(exclude={"source", "mean", "std"}))
        return replace(tiny.workspace(tmp_path / out, splits.train), splits=splits, settings=settings)

    before = opened("before")
    model = before.original(tiny.RECIPE, 0)
    division = divided(before, tiny.RECIPE.sharding, 0)
    names = [path.relative_to(tmp_path / "photos").as_posix() for path in files]
    assert [*before.splits.train.names] == names
    assert np.array_equal(division.array, divide(names, tiny.RECIPE.sharding, 0).array)
    obtain(model, before)
    gone = np.flatnonzero((division.shards == 2) & (division.slices == 1))[:2]
    made = before.require(tiny.by_sisa(before, gone, model))
    for row in gone:
        files[row].unlink()
    after = opened("after")
    assert len(after.splits.train) == 22
    anew = obtain(after.original(tiny.RECIPE, 0), after)
    assert same(made.weights(), anew.weights())
    old = before.require(model).weights()
    changed = {name.split(".")[1] for name in old if not torch.equal(old[name], anew.weights()[name])}
    assert changed == {"2"}


def test_a_shard_that_loses_all_but_one_of_its_samples_is_left_out(trained, tmp_path):
    place, model = apart(trained, tmp_path / "runs")
    division = Division.of_array(place.require(model).division())
    gone = np.flatnonzero(division.shards == 1)[1:]
    run = place.require(tiny.by_sisa(place, gone, model))
    assert {name.split(".")[1] for name in run.weights()} == {"0", "2"}
    assert set(place.load(run).by_shard()) == {0, 2}
    fresh = outputs_of(place.load(run), place.on_device, place.compute)
    assert np.allclose(run.outputs().test.logits, fresh.test.logits, atol=1e-5)
    assert [row["shard"] for row in run.history()] == []
    source = run.record.lineage
    rest = np.setdiff1d(np.arange(COUNT), gone)
    with pytest.raises(ForgetSetError, match="fewer than two samples are left in every shard"):
        tiny.by_sisa(place, rest[:-1], source)
    forget = tiny.forgotten(place, rest[:-1], source)
    retrain = outcome_of(Retrain(), source, forget, seed=0, batch_size=None, at=place.arithmetic)
    with pytest.raises(ForgetSetError, match="All of the training data is forgotten"):
        obtain(retrain, place)


def test_more_slices_than_epochs_leave_stages_without_any(tmp_path):
    place = tiny.workspace(tmp_path / "runs", tiny.images(24))
    recipe = tiny.RECIPE.model_copy(update={"epochs": 1, "sharding": Sharding(shards=2, slices=3)})
    model = place.original(recipe, 0)
    run = obtain(model, place)
    assert {(row["shard"], row["slices"]) for row in run.history()} == {(0, 3), (1, 3)}
    first, second, last = (place.require(stage).weights() for stage in stages_of(model, 0))
    assert same(first, second)
    assert not same(second, last)
    gone = np.flatnonzero(Division.of_array(run.division()).shards == 0)[:1]
    made = place.require(tiny.by_sisa(place, gone, model)).weights()
    for shard, state in never_had(place, model, gone, tmp_path / "anew").items():
        assert same(state, {name: made[f"members.{shard}.{name}"] for name in state})


def test_too_many_shards_are_refused_before_anything_is_trained(tmp_path):
    place = tiny.workspace(tmp_path / "runs", tiny.images(12))
    recipe = tiny.RECIPE.model_copy(update={"sharding": Sharding(shards=11)})
    with pytest.raises(SettingError, match=r"Shard \d+ of 11 has [01] samples? of 12, and needs 2; lower --shards"):
        obtain(place.original(recipe, 0), place)
    assert place.store.all() == []


def test_shards_side_by_side_are_those_trained_one_after_another(trained, tmp_path, monkeypatch):
    """Workers have as many threads as they like: the recipe says with how many each shard is trained."""
    place, model = trained
    asked = []

    def together(function, arguments, processes, label):
        asked.append((len(arguments), processes, label))
        for one in arguments:
            function(*one)

    monkeypatch.setattr("natmu.lineage.shards.run_together", together)
    monkeypatch.setattr("natmu.lineage.shards.WORTH_STARTING", 0)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        other = replace(place, store=type(place.store)(tmp_path))
        outcomes = dict(make_here([model], other))
    finally:
        torch.set_num_threads(threads)
    assert asked == [(3, 3, "shards side by side")]
    assert {outcome.failed for outcome in outcomes.values()} == {None}
    assert model.recipe.sharding.threads == 1
    assert same(other.require(model).weights(), place.require(model).weights())
    assert np.array_equal(other.require(model).outputs().test.logits, place.require(model).outputs().test.logits)


def test_samples_that_were_renamed_meanwhile_are_noticed(trained, tmp_path):
    place, model = apart(trained, tmp_path / "runs")
    renamed = replace(place.splits.train, names=[f"new/{row}" for row in range(COUNT)])
    other = replace(place, splits=replace(place.splits, train=renamed))
    assert other.data == place.data
    recipe = model.recipe.model_copy(update={"sharding": model.recipe.sharding.model_copy(update={"combine": "votes"})})
    with pytest.raises(RunError, match="because samples had other names when it was trained"):
        obtain(other.original(recipe, 0), other)
    # The original says where its samples belong, so that sisa does not ask what they are called now.
    gone = np.array([5])
    run, wanted = (one.require(tiny.by_sisa(one, gone, model)) for one in (other, place))
    assert same(run.weights(), wanted.weights())


def test_a_shadow_model_forgets_by_its_shards(trained, tmp_path):
    place, model = apart(trained, tmp_path / "runs")
    forget = tiny.forgotten(place, np.array([0, 1, 2]), model)
    shadow = model.but(on=HalfOfPool(forget=forget, number=0))
    run = obtain(shadow, place)
    made = outcome_of(method_named("sisa")(), shadow, forget, seed=0, batch_size=None, at=place.arithmetic)
    result, pool = obtain(made, place), place.pool(forget)
    had = pool.trained_on(0)
    names = [*place.splits.train.names, *(f"test/{place.splits.test.names[row]}" for row in pool.rows)]
    affected = {str(shard) for shard in divide(names, tiny.RECIPE.sharding, 0).shards[had]}
    old, new = run.weights(), result.weights()
    assert {name.split(".")[1] for name in old if not torch.equal(old[name], new[name])} == affected != set()
    # What is left has nothing of the pool at all.
    left = shards_of_pool(place, model, pool, pool.positions).in_memory(
        Checkpoint(tmp_path / "x", np.inf), tmp_path, ""
    )
    assert same(new, Ensemble(left[0]).state_dict())


def test_samples_of_floats_are_cropped_without_a_look_at_others(tmp_path):
    """What a crop adds is the lowest value of the data, which the forgotten sample may have."""
    data = tiny.images(30)
    pixels = data.images.float() / 255
    pixels[4] -= 9
    place = tiny.workspace(tmp_path / "runs", replace(data, images=pixels))
    model = place.original(tiny.RECIPE, 0)
    assert model.recipe.augment
    obtain(model, place)
    made = place.require(tiny.by_sisa(place, np.array([4]), model)).weights()
    for shard, state in never_had(place, model, np.array([4]), tmp_path / "anew").items():
        assert same(state, {name: made[f"members.{shard}.{name}"] for name in state})


def test_corrected_samples_stay_in_their_shard_with_the_right_label(trained, tmp_path):
    place, model = apart(trained, tmp_path / "runs")
    whole = Division.of_array(place.require(model).division())
    rows = np.array([3, 8, 20])
    right = np.stack([rows, (place.splits.train.labels[rows].numpy() + 1) % 3], axis=1)
    found = ForgetSet(rows, f"indices:{positions_digest(rows)}", "indices", corrections=right)
    forget = Forget(request=parse_forget(found.request), positions=found.digest)
    place.remember(forget, found)
    made = outcome_of(method_named("sisa")(), model, forget, seed=0, batch_size=None, at=place.arithmetic)
    run = obtain(made, place)
    other = obtain(outcome_of(Retrain(), model, forget, seed=0, batch_size=None, at=place.arithmetic), place)
    assert same(run.weights(), other.weights())
    # Corrected samples come after the others, so this is how the data would look.
    train = place.splits.train
    order = [*np.setdiff1d(np.arange(COUNT), rows), *rows]
    labels = train.labels.clone()
    labels[rows] = torch.from_numpy(right[:, 1])
    corrected = replace(train, labels=labels).subset(order)
    anew = tiny.workspace(tmp_path / "anew", replace(corrected, names=[train.names[row] for row in order]))
    assert same(run.weights(), prefixed(never_had(anew, model, np.zeros(0, np.int64), tmp_path / "x")))
    affected = {whole.shards[row] for row in rows}
    assert {row["shard"] for row in run.history()} == affected
    without = tiny.by_sisa(place, rows, model)
    assert not same(place.require(without).weights(), run.weights())


def prefixed(members):
    """Weights of members by the names of an ensemble."""
    return {f"members.{shard}.{name}": value for shard, state in members.items() for name, value in state.items()}


@pytest.mark.parametrize("names", [True, False])
def test_samples_that_are_gone_are_left_out_by_the_division_that_was_kept(tmp_path, names):
    """A service forgets some samples, they are deleted, and it forgets more: of data with names and of data without."""
    whole = tiny.workspace(tmp_path / "whole", tiny.images(COUNT, names=names))
    model = whole.original(tiny.RECIPE, 0)
    division = Division.of_array(obtain(model, whole).division())
    earlier, later = np.flatnonzero(division.shards == 0)[:2], np.flatnonzero(division.shards == 2)[-2:]
    first = tiny.by_sisa(whole, earlier, model)
    rows = np.setdiff1d(np.arange(COUNT), earlier)
    remaining = Remaining(whole.data, rows, np.arange(len(whole.splits.test))[1:], None, COUNT)
    test = whole.splits.test.subset(remaining.test)
    left = replace(whole.splits, train=whole.splits.train.subset(rows), test=test)
    gaps = replace(whole, splits=left, remaining=remaining, known=dict(whole.known))
    forget = tiny.forgotten(whole, later, first)
    gaps.remember(forget, whole.whole(forget))
    run = gaps.require(first)
    source = Referenced(root=model, run=run.record.digest, arithmetic=model.arithmetic, forgotten=first.forget)
    count = len([*gaps.store.root.glob("*/record.json")])
    made = outcome_of(method_named("sisa")(), source, forget, seed=0, batch_size=None, at=gaps.arithmetic)
    result = obtain(made, gaps)
    assert {row["shard"] for row in result.history()} == {2}
    assert len([*gaps.store.root.glob("*/record.json")]) <= count + 3
    expected = tiny.by_sisa(whole, later, first)
    assert same(result.weights(), whole.require(expected).weights())
    assert np.array_equal(result.division(), division.array)
    rows_left = result.outputs().rows
    assert np.array_equal(rows_left.train, rows)
    at = whole.require(expected).outputs().at(rows_left.train, rows_left.test)
    assert np.allclose(result.outputs().train.logits, at.train.logits, atol=1e-6)
    # Retrained there: what is gone belongs to no shard any more, and nothing else changes.
    retrained = outcome_of(Retrain(), source, forget, seed=0, batch_size=None, at=gaps.arithmetic)
    other = obtain(retrained, gaps)
    assert same(other.weights(), result.weights())
    assert (other.division()[earlier] == -1).all()
    assert np.array_equal(other.division()[rows], division.array[rows])
    with pytest.raises(RunError, match="2 training samples that this model must see are gone"):
        obtain(gaps.original(tiny.RECIPE, 1), gaps)
