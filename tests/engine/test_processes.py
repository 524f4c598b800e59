"""Two real processes against one with the same global batch, started as torchrun does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import warm

SCRIPT = Path(__file__).with_name("work_of_one_or_two.py")
TOLERANCE = {"rtol": 2e-5, "atol": 2e-6}
"""Sums over rows are made in another order: 1e-7 a step, a few dozen steps, each a little larger than the last."""

SYNCED = ["without batch norm", "synced", "twice", "resumed", "branching"]
TRAINED = ["without batch norm", "synced", "apart", "resumed"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where each process wrote."""
    folder = tmp_path_factory.mktemp("processes")
    code = "import runpy, sys; sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    for count in (1, 2):
        done = warm.start_together(count, code, SCRIPT, folder, cwd=folder)
        assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def found(folder):
    """What each process ended with, by number of processes and rank."""
    return {key: torch.load(folder / f"{key[0]}-{key[1]}.pt") for key in [(1, 0), (2, 0), (2, 1)]}


def assert_close(first, second, **tolerance):
    assert first.keys() == second.keys()
    for name in first:
        torch.testing.assert_close(
            first[name], second[name], **(tolerance or TOLERANCE), msg=lambda text, n=name: f"{n}: {text}"
        )


@pytest.mark.parametrize("work", SYNCED)
def test_two_processes_give_the_model_of_one(found, work):
    one, two = found[1, 0][work], found[2, 0][work]
    assert_close(two["state"], one["state"])
    torch.testing.assert_close(two["answers"], one["answers"], **TOLERANCE)


@pytest.mark.parametrize("work", [*SYNCED, "apart", "different weights"])
def test_all_processes_hold_the_same_model_and_answers(found, work):
    first, second = found[2, 0][work], found[2, 1][work]
    assert_close(first["state"], second["state"], rtol=0, atol=0)
    assert torch.equal(first["answers"], second["answers"])


def test_batch_statistics_are_of_each_process_unless_they_are_synced(found):
    one, two = found[1, 0]["apart"]["state"], found[2, 0]["apart"]["state"]
    assert not torch.allclose(one["1.running_var"], two["1.running_var"], **TOLERANCE)
    torch.testing.assert_close(one["1.running_mean"], two["1.running_mean"], rtol=0.05, atol=0.02)


@pytest.mark.parametrize("work", TRAINED)
def test_every_row_is_seen_once_an_epoch_in_shares_that_differ_by_one(found, work):
    first, second = found[2, 0][work]["rows"], found[2, 1][work]["rows"]
    assert [len(rows) for _, rows in first][-3:] == [16, 16, 14]
    assert [len(rows) for _, rows in second][-3:] == [16, 16, 13]
    for epoch in {epoch for epoch, _ in first}:
        seen = [row for number, rows in first + second for row in rows if number == epoch]
        assert sorted(seen) == list(range(91))
    steps = [sorted(a + b) for (_, a), (_, b) in zip(first, second, strict=True)]
    assert steps == [sorted(rows) for _, rows in found[1, 0][work]["rows"]]


@pytest.mark.parametrize("work", ["without batch norm", "synced", "resumed"])
def test_history_and_difficulty_are_of_all_rows(found, work):
    one, two, other = (found[key][work] for key in [(1, 0), (2, 0), (2, 1)])
    for name in ("history", "confidence", "visits"):
        torch.testing.assert_close(two[name], one[name], **TOLERANCE)
        assert torch.equal(two[name], other[name])
    assert torch.equal(one["visits"], torch.full((91,), 3.0))


def test_an_interrupted_run_of_two_continues_to_the_same_model(found):
    assert_close(found[2, 0]["resumed"]["state"], found[2, 0]["synced"]["state"], rtol=0, atol=0)
    assert {epoch for epoch, _ in found[2, 0]["resumed"]["rows"]} == {2}


def test_the_model_keeps_its_own_kinds_of_layers(found):
    assert found[2, 0]["synced"]["kinds"] == ["Conv2d", "BatchNorm2d", "SiLU", "Flatten", "Linear"]


def test_weights_that_differ_at_first_are_those_of_the_first_process(found):
    assert_close(found[2, 0]["different weights"]["state"], found[2, 0]["without batch norm"]["state"], rtol=0, atol=0)


def test_a_weight_that_no_process_reaches_stays_and_other_buffers_are_those_of_the_first(found):
    states = [found[key]["branching"]["state"] for key in [(1, 0), (2, 0), (2, 1)]]
    assert all(torch.equal(state["never.weight"], states[0]["never.weight"]) for state in states)
    assert [float(state["kept"]) for state in states] == [0, 0, 0]


def test_synced_batch_norm_is_that_of_one_process_with_all_rows(found):
    one, first, second = (found[key]["normalised"] for key in [(1, 0), (2, 0), (2, 1)])
    for name in ("answers", "gradient"):
        both = torch.stack([first[name][0], second[name][0], first[name][1]])
        torch.testing.assert_close(both, one[name], rtol=1e-5, atol=1e-6)
    for name in ("weights", "running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(first[name], one[name], rtol=2e-5, atol=1e-6)
        assert torch.equal(first[name], second[name])


def test_each_process_draws_its_own_dropout(found):
    assert torch.equal(found[1, 0]["dropout"][0], found[2, 0]["dropout"][0])
    same = (found[2, 0]["dropout"] == found[2, 1]["dropout"]).float().mean()
    assert 0.4 < same < 0.6


def test_fewer_images_than_processes_are_answered_to(found):
    assert found[2, 0]["one image"].shape == (1, 4)
    assert all(torch.equal(found[key]["one image"], found[1, 0]["one image"]) for key in found)


def test_answers_that_are_not_finite_in_one_process_are_refused_by_all(found):
    assert all("not finite" in found[key]["diverged"] for key in found)


def test_the_salient_weights_are_those_of_the_first_process(found):
    one, first, second = (found[key]["saliency"] for key in [(1, 0), (2, 0), (2, 1)])
    assert_close(first, one, rtol=0, atol=0)
    assert_close(second, one, rtol=0, atol=0)


def test_a_batch_too_small_for_its_processes_is_refused(found):
    assert found[1, 0]["refused"] == ""
    assert "2 processes need at least 4 rows in each step, not 3" in found[2, 1]["refused"]


@pytest.mark.parametrize("place", ["2-0", "2-1"])
def test_a_group_that_has_ended_is_gone_with_its_threads(folder, place):
    """One that still frees the tensor of the last message when Python shuts down aborts the process."""
    assert (folder / f"{place}.left").read_text() == "None"
