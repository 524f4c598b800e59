"""Faults of the machine are no results of a search; code that is not ours cannot end it."""

from __future__ import annotations

import errno
import sys
from functools import partial

import pytest

from natmu.errors import ResourceError
from natmu.methods import method_named
from natmu.records.recipe import Range
from natmu.studies.search import search
from natmu.studies.search.storage import JOURNAL, Storage
from natmu.studies.search.trials import Trials

from .test_search import found_by, recipe, trials_in

ONE = {"trials": 2, "objective": "no-retrain"}


def named(name, **search):
    """A small search; of any name it tries the same settings, whose models are in the store by then."""
    first = recipe().model_dump(mode="json", exclude_unset=True)["methods"][:1]
    return recipe(name=name, methods=first, search={"trials": 2, "objective": "no-retrain"} | search)


def failing_once(monkeypatch, error):
    """The search whose work fails with an error the first time, and then no more."""
    real, left = search.outcome_of, [1]

    def outcome_of(*given, **words):
        if left[0]:
            left[0] -= 1
            raise error
        return real(*given, **words)

    monkeypatch.setattr(search, "outcome_of", outcome_of)


@pytest.fixture(scope="module")
def out(tmp_path_factory):
    """Runs of a search in which nothing happened."""
    folder = tmp_path_factory.mktemp("runs")
    found_by(named("whole"), folder)
    return folder


def values(out, name):
    return [(row["state"], row["settings"], row["value"]) for row in trials_in(out, name)]


def test_memory_that_ran_out_puts_a_trial_off_and_others_go_on(out, monkeypatch):
    failing_once(monkeypatch, RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    with pytest.raises(ResourceError, match="1 of 2 trials could not be run"):
        found_by(named("memory"), out)
    assert [row["state"] for row in trials_in(out, "memory")] == ["complete"]
    found = found_by(named("memory"), out)
    assert [(method.trials, method.failed) for method in found.methods] == [(2, 0)]
    assert values(out, "memory")[0] == values(out, "whole")[0]


def test_a_trial_that_memory_never_holds_fails_at_the_third_attempt_and_says_why(out, monkeypatch):
    def too_large(*given, **words):
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(search, "outcome_of", too_large)
    for _ in range(2):
        with pytest.raises(ResourceError, match="2 of 2 trials could not be run"):
            found_by(named("large"), out)
    assert [(method.trials, method.failed) for method in found_by(named("large"), out).methods] == [(2, 2)]
    assert {row["reason"] for row in trials_in(out, "large")} == {
        "Memory ran out in 3 attempts, so it may never hold this trial. Out of memory; use a smaller --batch-size or "
        "another --device, or end other programs, and run the same command again."
    }


def test_a_full_disk_ends_the_search_and_leaves_no_result(out, monkeypatch):
    failing_once(monkeypatch, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(ResourceError, match="run the same command again"):
        found_by(named("disk"), out)
    assert not (out / "disk" / "trials.csv").exists()
    found_by(named("disk"), out)
    assert values(out, "disk") == values(out, "whole")


def test_a_trial_that_was_given_back_does_not_count_its_workers(tmp_path):
    made = partial(Trials, name="made up/method/0", ranges={"lr": (Range(low=0, high=1), False)}, budget=1, seed=0)
    settings = set()
    for _ in range(12):
        trials = made(Storage(tmp_path, None))
        claim = trials.claim()
        settings.add(claim.settings["lr"])
        claim.give_back()
        assert trials.claim() is None
        assert trials.left() == 0
    claim = made(Storage(tmp_path, None)).claim()
    assert (claim.workers, len(settings)) == (1, 1)
    claim.finish(1.0, [], None)


def test_a_journal_that_could_be_written_in_part_only_is_cut_back(tmp_path, monkeypatch):
    from optuna.storages.journal import JournalFileBackend

    made = partial(Trials, name="made up/method/0", ranges={"lr": (Range(low=0, high=1), False)}, budget=2, seed=0)
    trials = made(Storage(tmp_path, None))
    claim = trials.claim()
    before = (tmp_path / JOURNAL).read_bytes()

    def half(self, logs):
        with (tmp_path / JOURNAL).open("ab") as file:
            file.write(b'{"op_code": 8, "wor')
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(JournalFileBackend, "append_logs", half)
        with pytest.raises(ResourceError, match=rf"No room is left for .*{JOURNAL}"):
            claim.finish(1.0, [], None)
    assert (tmp_path / JOURNAL).read_bytes() == before
    claim.lock.release()
    again = made(Storage(tmp_path, None)).claim()
    assert (again.trial.number, again.settings) == (0, claim.settings)


def test_code_that_ends_the_program_fails_its_trial_and_no_more(out, monkeypatch):
    monkeypatch.setattr(method_named("amnesiac"), "run", lambda self, problem: sys.exit(0))
    found = found_by(named("exit", seed=1), out)
    assert [(method.trials, method.failed) for method in found.methods] == [(2, 2)]
    assert all("ended the program with sys.exit(0)" in row["reason"] for row in trials_in(out, "exit"))
