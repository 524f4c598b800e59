import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from tests.deletion_requests.fakes import (
    chained,
    model,
    opening,
    purged,
    requested,
    retrained,
    rolled_back,
    started,
    story,
    time_of,
)
from tests.deletion_requests.services import answered, measurement, service

from natmu.records.policy import Policy
from natmu.requests.state import fold
from natmu.requests.status import Status, status_of

NOW = datetime(2026, 1, 12, tzinfo=UTC)


def status(*bodies, now=NOW):
    entries = chained(*bodies)
    return status_of(entries, fold(entries), now)


def test_a_new_service():
    new = status(opening())
    assert (new.requests, new.pending, new.overdue, new.unfinished, new.not_purged) == (0, (), 0, None, ())
    assert (new.deployed.release, new.deployed.method, new.deployed.since) == (0, "original", time_of(1))
    assert (new.forgotten, new.fraction) == (0, 0.0)
    assert [(one.score, one.original, one.now, one.lost) for one in new.drift] == [
        ("retain_acc", 100.0, 100.0, 0.0),
        ("test_acc", 97.5, 97.5, 0.0),
    ]
    assert new.policy == Policy().digest
    assert new.deadline_days == 30


def test_a_whole_story():
    told = status(*story())
    assert told.deployed.release == 3
    assert told.deployed.guarantee == "exact"
    assert told.deployed.honours == (1, 2, 3)
    assert (told.deployed.trained, told.deployed.requests_since) == (3, 0)
    assert told.deployed.model == model(3)
    assert told.not_purged == (2, 3)
    assert (told.requests, told.entries) == (3, len(story()))
    assert told.head == chained(*story())[-1].hash
    assert told.costs.refused == 2


@pytest.mark.parametrize(
    ("due", "days", "overdue"),
    [
        (NOW + timedelta(days=3), 3, False),
        (NOW + timedelta(days=3, seconds=-1), 2, False),
        (NOW + timedelta(seconds=1), 0, False),
        (NOW, 0, False),
        (NOW - timedelta(seconds=1), -1, True),
        (NOW - timedelta(days=1, seconds=1), -2, True),
        ((NOW + timedelta(days=1)).astimezone(timezone(timedelta(hours=9))), 1, False),
        ((NOW + timedelta(days=1)).replace(tzinfo=None), 1, False),
    ],
)
def test_days_until_a_request_is_due(due, days, overdue):
    told = status(opening(), requested(1, due=due.isoformat()))
    assert (told.pending[0].days_left, told.pending[0].overdue, told.overdue) == (days, overdue, int(overdue))


def test_now_may_be_of_any_zone_or_of_none():
    bodies = (opening(), requested(1))
    assert status(*bodies) == status(*bodies, now=NOW.replace(tzinfo=None))
    assert status(*bodies) == status(*bodies, now=NOW.astimezone(timezone(timedelta(hours=-5))))


def test_what_is_due_first_stands_first():
    dues = {1: "2026-02-03T00:00:00+00:00", 2: "2026-02-01T00:00:00+00:00", 3: "2026-02-02T23:30:00-05:00"}
    told = status(opening(), *(requested(number, due=due) for number, due in dues.items()))
    assert [one.request for one in told.pending] == [2, 1, 3]
    assert told.pending[0].ticket == "T-2"
    assert told.pending[0].samples == 3


def test_an_unfinished_process_and_its_requests():
    told = status(opening(), requested(1), requested(2), started(1, 2))
    assert (told.unfinished.process, told.unfinished.requests) == (1, (2,))
    assert {one.request: one.in_process for one in told.pending} == {1: False, 2: True}


def test_a_rollback_is_when_the_model_was_deployed_last():
    own = Policy()
    bodies = [one.body for one in service(own, [10, 20])]
    assert status(*bodies).deployed.since == status(*bodies).deployed.made == time_of(len(bodies))
    back = status(*bodies, rolled_back(1, 2))
    assert back.deployed.release == 1
    assert back.deployed.since == time_of(len(bodies) + 1)
    assert back.deployed.made == time_of(4)
    assert [one.request for one in back.pending] == [2]
    assert back.not_purged == (1,)
    assert (back.forgotten, back.fraction) == (10, 0.01)


def test_a_purge_does_not_change_since_when_a_model_is_deployed():
    own = Policy()
    bodies = [one.body for one in service(own, [10])]
    told = status(*bodies, purged(1))
    assert told.deployed.since == time_of(len(bodies))
    assert told.not_purged == ()


def test_accuracies_stand_beside_those_of_the_original_on_the_same_samples():
    own = Policy()
    measured = measurement({"retain_acc": 99.5, "holdout_acc": 96.0}, retain_acc=99.0, holdout_acc=96.5)
    told = status(opening(policy=own), *answered(1, 5, own, measured=measured))
    assert [(one.score, one.original, one.now, one.lost) for one in told.drift] == [
        ("retain_acc", 99.5, 99.0, 0.5),
        ("holdout_acc", 96.0, 96.5, -0.5),
        ("test_acc", 97.5, None, None),
    ]


def test_a_release_that_was_not_measured_has_no_accuracies():
    told = status(opening(), requested(1), retrained(1, 1))
    assert [(one.score, one.now, one.lost) for one in told.drift] == [
        ("retain_acc", None, None),
        ("test_acc", None, None),
    ]


def test_the_policy_is_the_one_that_holds_now():
    from tests.deletion_requests.fakes import policy_changed

    changed = Policy.parse({"deadline_days": 10})
    told = status(opening(), policy_changed(changed))
    assert (told.policy, told.deadline_days) == (changed.digest, 10)


def test_json_gives_the_status_back():
    told = status(*story())
    assert Status.model_validate_json(told.model_dump_json()) == told
    assert told.plain()["deployed"]["honours"] == [1, 2, 3]


def test_a_thousand_requests_take_less_than_50_ms():
    own = Policy()
    measured = [measurement(retain_acc=100 - number / 500, test_acc=97.0) for number in range(500)]
    bodies = [one.body for one in service(own, range(1, 501), measured, samples=10_000)]
    bodies += [requested(number) for number in range(501, 1001)]
    entries = chained(*bodies)
    state = fold(entries)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        told = status_of(entries, state, NOW)
        seconds.append(time.perf_counter() - start)
    assert len(told.pending) == 500
    assert told.deployed.requests_since == 500
    assert min(seconds) < 0.05


def test_status_loads_neither_pytorch_nor_scipy():
    code = "import sys, natmu.requests.status; print(*({'torch', 'scipy', 'sklearn'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
