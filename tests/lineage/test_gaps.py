"""Data with gaps: what is made of it is to the bit what is made of the whole data without the same samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from natmu.data.own import ArraySamples, OwnParts
from natmu.engine.store import Store
from natmu.errors import RunError, UsageError
from natmu.lineage import obtain, outcome_of
from natmu.lineage.remaining import Remaining
from natmu.methods import method_named
from natmu.opening import refuse_part_of_service
from natmu.records.derived import retrained
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Forget, Referenced
from natmu.records.run import CONFIDENCE
from natmu.records.settings import DataSettings
from natmu.types import ForgetSet, positions_digest

from . import fakes

EARLIER, LATER = np.arange(0, 40, 4), np.array([1, 6, 77, 78, 149])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A workspace with all of the data, its original, and two forget sets, the later one after the earlier one."""
    place = fakes.workspace(
        tmp_path_factory.mktemp("whole"), DataSettings(source="digits", train_size=150, holdout=True)
    )
    original = place.original(fakes.RECIPE, 0)
    obtain(original, place)
    return place, original


def asked(place):
    """Both forget sets, as lineages tell of them; the workspace knows them."""
    earlier = ForgetSet(EARLIER, f"indices:{positions_digest(EARLIER)}", "indices")
    later = ForgetSet(LATER, f"indices:{positions_digest(LATER)}", "indices").after(earlier)
    values = []
    for found in (earlier, later):
        after = values[-1] if values else None
        values.append(Forget(request=parse_forget(found.request), positions=found.digest, after=after))
        place.remember(values[-1], found)
    return values


def with_gaps(place, out, gone=EARLIER, test_gone=(3,)):
    """The same workspace, in which some samples do not exist any more, and a store that has the original alone."""
    splits, rows = place.splits, [np.setdiff1d(np.arange(150), gone)]
    rows.append(np.setdiff1d(np.arange(len(splits.test)), test_gone))
    held = np.arange(len(splits.holdout))
    own = OwnParts(ArraySamples(splits.train.subset(rows[0])), ArraySamples(splits.test.subset(rows[1])))
    left = replace(splits, train=splits.train.subset(rows[0]), test=splits.test.subset(rows[1]), own=own)
    store = Store(out)
    store.adopt(place.require(place.original(fakes.RECIPE, 0)))
    remaining = Remaining(place.data, rows[0], rows[1], held, 150)
    return replace(place, splits=left, store=store, known={}, pools={}, remaining=remaining)


def same(run, other):
    """Whether two runs have the same weights to the bit."""
    ours, theirs = run.weights(), other.weights()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def made(place, original, method, **settings):
    """What a method makes of the original when the later samples are forgotten after the earlier ones."""
    later = asked(place)[1]
    return outcome_of(method_named(method)(**settings), original, later, seed=3, batch_size=None, at=place.arithmetic)


@pytest.mark.parametrize("method", ["retrain", "finetune", "natmu", "salun", "rurk", "scrub"])
def test_a_model_is_the_same_whether_what_was_forgotten_before_is_there_or_not(whole, tmp_path, method):
    place, original = whole
    place = replace(place, store=Store(tmp_path / "whole"), known={})
    place.store.adopt(whole[0].require(original))
    gaps = with_gaps(whole[0], tmp_path / "gaps")
    settings = {} if method == "retrain" else {"epochs": 1}
    run, other = (obtain(made(one, original, method, **settings), one) for one in (place, gaps))
    assert run.record.digest == other.record.digest
    assert same(run, other)
    assert not same(run, place.require(original))
    # Forget sets on disk, and what is measured on samples that both have, are the same too.
    assert run.record.forgotten == other.record.forgotten
    assert np.array_equal(other.forget().before, EARLIER)
    for name in ("retain_acc", "forget_acc", "holdout_acc"):
        assert run.record.scores[name] == other.record.scores[name]
    rows = other.outputs().rows
    assert np.array_equal(rows.train, np.setdiff1d(np.arange(150), EARLIER))
    both = run.outputs().at(rows.train, rows.test, rows.holdout)
    split, expected = other.outputs().split(other.forget()), both.split(run.forget())
    assert np.array_equal(split.forget.labels, place.splits.train.labels[LATER].numpy())
    assert np.allclose(split.forget.logits, expected.forget.logits, atol=1e-4)  # batches of other sizes
    assert split.before is None
    assert not other.has(CONFIDENCE)
    with pytest.raises(UsageError, match="natmu requests"):
        refuse_part_of_service(other)
    with pytest.raises(RunError, match="no prediction on the training sample 0"):
        other.outputs().at(np.arange(2), rows.test)


def test_what_is_gone_must_be_left_out(whole, tmp_path):
    place, original = whole
    gaps = with_gaps(place, tmp_path, gone=np.array([*EARLIER, 100]))
    later = asked(gaps)[1]
    with pytest.raises(RunError, match=r"1 training samples that this model must see are gone, such as .* 100"):
        obtain(retrained(original, later, gaps.arithmetic, 0, fresh=True), gaps)
    with pytest.raises(RunError, match="11 training samples that this model must see are gone"):
        obtain(gaps.original(fakes.RECIPE, 9), gaps)


def test_a_method_needs_what_it_is_to_forget_and_retraining_does_not(whole, tmp_path):
    place, original = whole
    gaps = with_gaps(place, tmp_path, gone=np.array([*EARLIER, LATER[2]]))
    with pytest.raises(RunError, match="1 of 5 samples that are to be forgotten are gone"):
        obtain(made(gaps, original, "finetune", epochs=1), gaps)
    run = obtain(retrained(original, asked(gaps)[1], gaps.arithmetic, 0, fresh=True), gaps)
    assert np.array_equal(run.forget().indices, LATER)
    assert len(run.outputs().split(run.forget()).forget) == 4


def test_compact_positions_are_refused_where_those_of_the_whole_data_are_meant(whole, tmp_path):
    gaps = with_gaps(whole[0], tmp_path)
    later = asked(gaps)[1]
    assert gaps.forget_set(later).indices.tolist() == [0, 4, 67, 68, 139]
    with pytest.raises(ValueError, match="positions"):
        gaps.remember(later, gaps.forget_set(later))
    with pytest.raises(ValueError, match="gaps"):
        gaps.forget(parse_forget("class:3"), 0, whole[1])


def test_a_long_sequence_of_references_has_records_of_one_size(whole, tmp_path):
    place, original = whole
    place = replace(place, store=Store(tmp_path), known={})
    later = asked(place)[1]
    source, sizes = original, []
    for _ in range(300):
        method = method_named("finetune")(epochs=1)
        model = outcome_of(method, source, later, seed=0, batch_size=None, at=place.arithmetic)
        assert type(model).model_validate_json(model.model_dump_json()) == model
        sizes.append(len(model.model_dump_json()))
        source = Referenced(root=original, run=model.digest, arithmetic=place.arithmetic, forgotten=later)
    assert max(sizes[1:]) == min(sizes[1:]) < 20_000
    with pytest.raises(RunError, match=f"no longer holds the model {source.run}; "):
        obtain(outcome_of(method, source, later, seed=0, batch_size=None, at=place.arithmetic), place)
