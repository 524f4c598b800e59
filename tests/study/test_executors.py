"""The order in which one process does the jobs of a study while others are at work on some of them."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from natmu.study.bench import bench_of
from natmu.study.executors import run_here

from natmu.engine.store import Run
from natmu.errors import RunError

from . import fakes


@dataclass(frozen=True, eq=False)
class Fake:
    """A job that says when it is done; ``busy`` counts the looks that find another process at work on it."""

    name: str
    told: list
    busy: dict
    needs: tuple = ()
    after: tuple = ()
    fault: Exception | None = None

    def digest(self, bench):
        if self.fault is not None:
            raise self.fault
        return self.name

    def run(self, bench):
        if self.fault is not None:
            raise self.fault
        self.told.append(self.name)
        return Run(bench.store.root / self.name)


@pytest.fixture
def bench(tmp_path):
    return bench_of(fakes.recipe(), tmp_path, tmp_path, "cpu")


def order(bench, tmp_path, monkeypatch, busy, **faults):
    """Names in the order in which jobs are done: an audit comes after both models, one of which needs the original."""

    def is_busy(store, digest):
        busy[digest] = busy.get(digest, 0) - 1
        return busy[digest] >= 0

    monkeypatch.setattr("natmu.engine.store.Store.busy", is_busy)
    told = []
    original = Fake("original", told, busy)
    one = Fake("one", told, busy, needs=(original,), fault=faults.get("one"))
    two = Fake("two", told, busy, needs=(original,))
    elsewhere = Fake("a model that the audit makes itself", told, busy)
    audit = Fake("audit", told, busy, after=(one, two, elsewhere))
    outcomes = dict(run_here([original, one, two, audit], bench, tmp_path / "logs"))
    assert len(outcomes) == 4
    return told, {job.name: outcome.failed for job, outcome in outcomes.items()}


@pytest.mark.parametrize(
    ("busy", "expected"),
    [
        ({}, ["original", "one", "two", "audit"]),
        ({"one": 1}, ["original", "two", "one", "audit"]),
        ({"two": 2}, ["original", "one", "two", "audit"]),
        ({"one": 5, "two": 5}, ["original", "one", "two", "audit"]),
        ({"original": 5}, ["original", "one", "two", "audit"]),
    ],
)
def test_what_others_are_at_work_on_comes_later_and_what_hangs_on_it_after_it(
    bench, tmp_path, monkeypatch, busy, expected
):
    told, failed = order(bench, tmp_path, monkeypatch, dict(busy))
    assert told == expected
    assert not any(failed.values())


def test_a_job_whose_digest_cannot_be_known_fails_alone(bench, tmp_path, monkeypatch):
    damaged = RunError("The predictions cannot be read; delete that run.")
    told, failed = order(bench, tmp_path, monkeypatch, {}, one=damaged)
    assert told == ["original", "two", "audit"]
    assert failed == {"original": None, "one": str(damaged), "two": None, "audit": None}
