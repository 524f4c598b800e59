"""What a request to forget means in a place, and what of a place is part of a lineage."""

from __future__ import annotations

import pytest

from natmu.data import resolve_forget
from natmu.errors import DataError, ForgetSetError, RunError
from natmu.lineage import obtain
from natmu.lineage.difficulty import difficulties_of
from natmu.records.forgetting import parse_forget
from natmu.records.lineage import Arithmetic

from . import fakes


@pytest.fixture
def place(tmp_path):
    return fakes.workspace(tmp_path / "runs")


def test_the_data_is_told_by_its_content_and_by_what_was_asked_for(place, tmp_path):
    splits = place.splits
    assert (place.data.source, place.data.train_size, place.data.holdout) == ("digits", 150, False)
    assert place.data.digests.train == splits.train.digest
    assert place.data.digests.test == splits.test.digest
    assert place.data.digests.holdout is None
    apart = fakes.workspace(tmp_path, fakes.DATA.model_copy(update={"holdout": True}))
    assert apart.data.digests.holdout == apart.splits.holdout.digest
    assert apart.data.digests.test != place.data.digests.test
    assert place.arithmetic == Arithmetic(precision="fp32")
    assert place.architecture.name == "small_cnn"
    assert place.architecture.source is None


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("random:10%", {"seed": 7}),
        ("class:3", {}),
        ("hardest:5%", {"by": "original"}),
        ("hardest:5:loss", {"by": "original"}),
    ],
)
def test_a_request_names_what_decides_it_and_nothing_else(place, text, known):
    original = place.original(fakes.RECIPE, 0)
    forget = place.forget(parse_forget(text), 7, original)
    assert forget.seed == known.get("seed")
    assert forget.by == (original if "by" in known else None)
    assert forget.positions is None
    assert forget.request.text == text


def test_random_forget_sets_follow_from_their_seed(place):
    original, request = place.original(fakes.RECIPE, 0), parse_forget("random:10%")
    sets = [place.forget_set(place.forget(request, seed, original)) for seed in (0, 1)]
    assert sets[0].digest != sets[1].digest
    assert sets[1].digest == resolve_forget(request, place.splits.train, seed=1).digest


@pytest.mark.parametrize("criterion", ["confidence", "loss"])
def test_the_hardest_samples_are_those_of_the_original_that_decides(place, criterion):
    sets = []
    for seed in (0, 1):
        original = place.original(fakes.RECIPE, seed)
        run = obtain(original, place)
        forget = place.forget(parse_forget(f"hardest:8:{criterion}"), 0, original)
        hardness = difficulties_of(run)[criterion]
        found = place.forget_set(forget).indices.tolist()
        assert found == sorted(sorted(range(150), key=lambda row: (-hardness[row], row))[:8])
        sets.append(found)
    assert sets[0] != sets[1]


def test_the_hardest_are_not_known_before_the_model_that_decides(place):
    forget = fakes.forget(place, "hardest:5%")
    with pytest.raises(RunError, match=r"no longer holds the original, seed 0 .*; make it again"):
        place.forget_set(forget)


def test_listed_positions_are_part_of_the_lineage_and_may_not_change(place, tmp_path):
    listed = tmp_path / "listed.txt"
    names = place.splits.train.names
    listed.write_text(f"{names[3]}\n{names[5]}\n")
    forget = fakes.forget(place, f"indices:{listed}")
    assert place.forget_set(forget).indices.tolist() == [3, 5]
    assert forget.positions == place.forget_set(forget).digest
    listed.write_text(f"{names[3]}\n{names[6]}\n")
    other = fakes.forget(place, f"indices:{listed}")
    assert other.positions != forget.positions
    assert place.forget_set(forget).indices.tolist() == [3, 5], "it is known already"
    with pytest.raises(DataError, match="lists other samples than before; restore that file"):
        fakes.elsewhere(place, tmp_path / "other").forget_set(forget)
    listed.write_text("1438\n")
    with pytest.raises(ForgetSetError):
        fakes.forget(place, f"indices:{listed}")


def test_a_place_knows_which_models_have_been_made(place):
    original = place.original(fakes.RECIPE, 0)
    assert not place.has(original)
    with pytest.raises(RunError, match=f"run {original.digest}"):
        place.require(original)
    run = obtain(original, place)
    assert place.has(original)
    assert place.require(original).path == run.path
    assert not place.has(place.original(fakes.RECIPE, 1))
