import math

import numpy as np
import pytest
from scipy.stats import linregress
from tests.deletion_requests.fakes import (
    chained,
    model,
    opening,
    rejected,
    requested,
    retrained,
    rolled_back,
    started,
    story,
)
from tests.deletion_requests.services import answered, measurement, service

from natmu.records.ledger import RolledBack
from natmu.records.policy import Policy
from natmu.requests.advice import RETAIN, TEST, costs_of, retraining_advice, since_training, slope_of
from natmu.requests.state import fold

NONE = {"samples": None, "fraction": None, "requests": None, "drift": None}


def policy(**limits):
    return Policy.parse({"retraining": NONE | limits})


def advice(counts, measured=None, **limits):
    return retraining_advice(fold(service(policy(**limits), counts, measured)))


def test_the_slope_is_that_of_least_squares():
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, y = np.cumsum(rng.integers(1, 4, 9)), rng.normal(size=9)
        assert slope_of(list(x), list(y)) == pytest.approx(linregress(x, y).slope, rel=1e-9)
    assert slope_of([2.0], [3.0]) == 0 == slope_of([2.0, 2.0], [3.0, 9.0])


def test_a_limit_of_samples():
    due = advice([100, 200, 312], samples=312)
    assert due.due
    assert due.in_requests == 0
    assert due.reasons == ("Retraining is due: 312 of 312 samples since the last training.",)
    later = advice([10, 20, 30], samples=45)
    assert not later.due
    assert later.in_requests == pytest.approx(1.5)
    assert later.reasons == ("30 of 45 samples since the last training; the limit is reached in about 2 requests.",)
    assert advice([10, 20, 30], samples=40).reasons[0].endswith("in about 1 request.")


def test_the_forecast_goes_on_from_the_last_release_with_the_slope_of_all():
    counts = [5, 25, 30, 70]
    slope = linregress(range(5), [0, *counts]).slope
    assert advice(counts, samples=100).in_requests == pytest.approx((100 - 70) / slope)


def test_a_limit_of_the_share():
    later = advice([10, 20], fraction=0.05)
    assert later.in_requests == pytest.approx(3)
    assert later.reasons[0].startswith("2 % of the training data (20 of 1000 samples) of at most 5 % since")
    assert advice([10, 50], fraction=0.05).due
    assert not advice([10, 49], fraction=0.05).due


def test_a_share_that_no_float_has_is_reached_exactly():
    entries = service(policy(fraction=0.07), [7], samples=100)
    assert retraining_advice(fold(entries)).due


def test_a_limit_of_requests():
    later = advice([1, 2, 3], requests=5)
    assert later.in_requests == pytest.approx(2)
    assert later.reasons == ("3 of 5 requests since the last training; the limit is reached in about 2 requests.",)
    assert advice([1, 2, 3], requests=3).due


def drifting(*retain, name=RETAIN):
    return [measurement(**{name: value}) for value in retain]


def test_a_limit_of_drift():
    later = advice([1, 2], drifting(99.8, 99.6), drift=1)
    assert later.in_requests == pytest.approx(0.6 / 0.2)
    assert later.reasons == (
        "0.40 of 1 points of retain accuracy lost since the last training; the limit is reached in about 3 requests.",
    )
    assert advice([1, 2], drifting(99.5, 99.0), drift=1).due


def test_drift_without_growth_has_no_forecast():
    gained = advice([1, 2], drifting(100.2, 100.4), drift=1)
    assert gained.in_requests is None
    assert gained.reasons == (
        "0.00 of 1 points of retain accuracy lost since the last training, and no growth towards that limit.",
    )


def test_drift_is_of_the_holdout_and_of_the_test_set_without_one():
    both = [measurement(retain_acc=100.0, holdout_acc=99.0, test_acc=50.0)]
    due = advice([1], both, drift=1)
    assert [one.partition(" lost")[0] for one in due.reasons] == [
        "Retraining is due: 1.00 of 1 points of holdout accuracy",
        "0.00 of 1 points of retain accuracy",
    ]
    assert due.due
    assert "test accuracy" in advice([1], drifting(99.0, name=TEST), drift=1).reasons[0]


def test_a_release_that_was_not_measured_is_left_out_of_the_drift():
    measured = [*drifting(99.9), None, *drifting(99.7)]
    slope = linregress([0, 1, 3], [0, 0.1, 0.3]).slope
    assert advice([1, 2, 3], measured, drift=1).in_requests == pytest.approx(0.7 / slope)
    unknown = "No accuracy was measured since the last training, so nothing is known of drift."
    assert advice([1], [None], drift=1).reasons == (unknown,)


def test_the_soonest_limit_counts_and_stands_first():
    all_of_them = advice([10, 20], drifting(99.9, 99.8), samples=50, fraction=0.06, requests=7, drift=1)
    assert all_of_them.in_requests == pytest.approx(3)
    assert [one.split(" ")[0] for one in all_of_them.reasons] == ["20", "2", "2", "0.20"]
    due = advice([10, 20], drifting(99.9, 99.8), samples=50, fraction=0.02, requests=7, drift=1)
    assert due.due
    assert due.reasons[0].startswith("Retraining is due: 2 % of the training data")


def test_without_limits_nothing_is_advised():
    none = advice([10, 20])
    assert (none.due, none.in_requests) == (False, None)
    assert none.reasons == ("The policy sets no limit, so retraining is never advised.",)


def test_a_new_service_has_nothing_to_forecast():
    new = retraining_advice(fold(service(policy(samples=5, fraction=0.1, requests=3, drift=1), [])))
    assert (new.due, new.in_requests) == (False, None)
    assert len(new.reasons) == 4
    assert new.reasons[3] == "No accuracy was measured since the last training, so nothing is known of drift."
    assert new.reasons[0] == "0 of 5 samples since the last training, and no growth towards that limit."


def test_counting_begins_again_with_a_retraining():
    own = policy(samples=40, requests=4, drift=1)
    entries = chained(
        opening(policy=own),
        *answered(1, 30, own, measured=measurement(retain_acc=99.0)),
        requested(2),
        retrained(2, 2).model_copy(update={"forgotten": 33, "measured": measurement(retain_acc=98.0)}),
        *answered(3, 38, own, source=2, process=2, measured=measurement(retain_acc=97.8)),
    )
    state = fold(entries)
    assert [one.release for one in since_training(state)] == [2, 3]
    told = retraining_advice(state)
    assert {one.partition(" since")[0] for one in told.reasons} == {
        "5 of 40 samples",
        "1 of 4 requests",
        "0.20 of 1 points of retain accuracy lost",
    }
    assert told.in_requests == pytest.approx(3)


def test_a_rollback_leaves_out_what_is_not_deployed():
    own = policy(samples=40)
    entries = [one.body for one in service(own, [10, 35])]
    entries += [rolled_back(1, 2), started(3, 2, source=1, policy=own)]
    entries += [answered(3, 14, own, source=1)[2].model_copy(update={"requests": (2,)})]
    state = fold(chained(*entries))
    assert [one.release for one in since_training(state)] == [0, 1, 3]
    assert retraining_advice(state).in_requests == pytest.approx((40 - 14) / linregress([0, 1, 2], [0, 10, 14]).slope)


def test_a_model_that_was_released_twice_is_followed_from_the_last_time():
    """Releases 1, 2 and 4 are one model, made again after rollbacks; release 3 was made from release 2."""
    own = policy(samples=40)

    def again(release, process):
        made = answered(1, 10, own, source=0, process=process)[1:]
        return (made[0], made[1].model_copy(update={"release": release, "result": model(1)}))

    entries = [
        *(opening(policy=own), *answered(1, 10, own)),
        *(rolled_back(0, 1), *again(2, 2)),
        *answered(2, 20, own, source=1, process=3),
    ]
    entries[-1] = entries[-1].model_copy(update={"release": 3, "result": model(3)})
    assert [one.release for one in since_training(fold(chained(*entries)))] == [0, 2, 3]
    entries += [rolled_back(0, 1, 2), *again(4, 4), RolledBack(release=3, result=model(3), reopened=())]
    assert [one.release for one in since_training(fold(chained(*entries)))] == [0, 2, 3]


def test_costs_count_what_was_refused():
    entries = chained(*story())
    costs = costs_of(entries, entries[0].body)
    tried = [one.body for one in entries if one.body.kind in ("release", "reject", "retrain")]
    assert costs.unlearning_seconds == sum(one.seconds for one in tried if one.method != "retrain") == 10
    assert costs.training_seconds == 2.5
    assert (costs.refused, costs.answered) == (2, 3)
    assert costs.retraining_seconds == 60
    assert costs.retraining_each_seconds == 180


def test_costs_follow_what_was_measured_of_retraining():
    own = policy()
    bodies = [opening(policy=own, retraining_seconds=None)]
    bodies += answered(1, 1, own, retraining_seconds=None, audit_seconds=4.0)
    entries = chained(*bodies)
    unknown = costs_of(entries, entries[0].body)
    assert unknown.retraining_seconds is None
    assert unknown.retraining_each_seconds is None
    assert unknown.audit_seconds == 4
    bodies += answered(2, 2, own, retraining_seconds=30.0, audit_seconds=0.5)
    bodies += [requested(3), started(3, 3, source=2, policy=own)]
    bodies += [rejected(3, 3, final=True, source=2, audit_seconds=1.0, retraining_seconds=50.0)]
    entries = chained(*bodies)
    costs = costs_of(entries, entries[0].body)
    assert costs.retraining_seconds == 50
    assert costs.retraining_each_seconds == 50 + 30  # the first was not measured
    assert math.isclose(costs.audit_seconds, 5.5)
