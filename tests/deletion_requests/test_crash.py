"""kill -9 of the verbs of a service, a few times, and two processes on one: benchmarks/requests_crash.py in small."""

import sys
from pathlib import Path

import pytest
from tests.deletion_requests import fakes

from natmu.records.run import WEIGHTS
from natmu.requests import Service

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import requests_crash as crash

KILLS, SEED = 3, 5
VERBS = ("add", "process", "rollback", "confirm-purge", "evidence", "verify", "export")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return crash.World(tmp_path_factory.mktemp("crash"))


def test_killed_verbs_lose_nothing_and_do_nothing_twice(world):
    rows = crash.kill_often(world, KILLS, SEED, VERBS)
    assert len(rows) == KILLS
    assert [row["faults"] for row in rows if row["faults"]] == []
    assert sum(row["ended"] == "killed" for row in rows) > KILLS // 2
    assert any(row["verb"] == "process" for row in rows)


def test_of_two_processes_one_waits_and_requests_are_recorded_meanwhile(world):
    assert crash.at_once(world) == []


def test_a_swapped_weight_file_is_no_complete_model(world):
    service = world.begin("swapped")
    assert crash.incomplete(service) == []
    weights = Service.open(service).files.current.path / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    assert "not what this run wrote" in crash.incomplete(service)[0]


def test_what_is_honoured_or_recorded_twice_is_found():
    first = [fakes.opening(), fakes.requested(1), fakes.released(1, 1, 1)]
    assert crash.twice(fakes.chained(*first)) == []
    assert "honours requests [1] again" in crash.twice(fakes.chained(*first, fakes.released(2, 2, 1)))[0]
    back = [*first, fakes.rolled_back(0, 1), fakes.released(2, 2, 1)]
    assert crash.twice(fakes.chained(*back)) == []
    again = [fakes.opening(), fakes.requested(1), fakes.requested(2, ticket="T-1")]
    assert "ticket T-1 is there 2 times" in crash.twice(fakes.chained(*again))[0]
