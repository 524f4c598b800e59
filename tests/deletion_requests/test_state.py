import pytest
from tests.deletion_requests.fakes import (
    CENSUS,
    POLICY,
    chained,
    model,
    not_made,
    opening,
    policy_changed,
    purged,
    rejected,
    released,
    requested,
    retrained,
    rolled_back,
    started,
    story,
    time_of,
)

from natmu.errors import RunError
from natmu.records.ledger import Verified
from natmu.records.policy import Policy
from natmu.requests.state import fold

TWO = (opening(), requested(1), requested(2))
RUNNING = (*TWO, started(1, 1))
RELEASED = (*RUNNING, released(1, 1, 1))

# name -> entries, status of each request with the release that honours it, deployed release, whether a process runs
SEQUENCES = {
    "opened": ((opening(),), "", 0, False),
    "requested": (TWO, "pending, pending", 0, False),
    "in process": (RUNNING, "in process, pending", 0, True),
    "released": (RELEASED, "1, pending", 1, False),
    "a refusal that is not the last": ((*RUNNING, rejected(1, 1, final=False)), "in process, pending", 0, True),
    "a last refusal": ((*RUNNING, rejected(1, 1, final=True)), "pending, pending", 0, False),
    "not made": ((*RUNNING, not_made(1, 1, final=False)), "in process, pending", 0, True),
    "the last was not made": ((*RUNNING, not_made(1, 1, final=True)), "pending, pending", 0, False),
    "again after a refusal": (
        (*RUNNING, rejected(1, 1, final=True), started(2, 1, 2), released(1, 2, 1, 2)),
        "1, 1",
        1,
        False,
    ),
    "requests that come while a process runs are not in it": (
        (*RUNNING, requested(3), released(1, 1, 1)),
        "1, pending, pending",
        1,
        False,
    ),
    "one after the other": (
        (*RELEASED, started(2, 2, source=1), released(2, 2, 2, source=1)),
        "1, 2",
        2,
        False,
    ),
    "back to the original": ((*RELEASED, rolled_back(0, 1)), "pending, pending", 0, False),
    "back and answered anew": (
        (*RELEASED, rolled_back(0, 1), started(2, 1, 2), released(2, 2, 1, 2)),
        "2, 2",
        2,
        False,
    ),
    "back and forth": ((*RELEASED, rolled_back(0, 1), rolled_back(1)), "1, pending", 1, False),
    "back while a process runs": (
        (*RELEASED, started(2, 2, source=1), rolled_back(0, 1)),
        "pending, pending",
        0,
        False,
    ),
    "retrained": ((*RELEASED, retrained(2, 2)), "1, 2", 2, False),
    "retrained while a process runs": ((*RUNNING, retrained(1, 1, 2)), "1, 1", 1, False),
    "retrained without what a process works on": ((*RUNNING, retrained(1, 2)), "pending, 1", 1, False),
    "retrained before a request came": ((*RUNNING, requested(3), retrained(1, 1, 2)), "1, 1, pending", 1, False),
    "a retraining that was asked for is refused": (
        (*RELEASED, rejected(None, 2, source=None, final=True)),
        "1, pending",
        1,
        False,
    ),
    "purged before it is answered": ((*TWO, purged(1)), "pending, pending", 0, False),
    "verified": ((*RELEASED, Verified(entries=5, models=2, files=0, evidence=0)), "1, pending", 1, False),
    "a whole ledger": (story(), "1, 3, 3", 3, False),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_entries_give_the_state(name):
    entries, statuses, current, running = SEQUENCES[name]
    state = fold(chained(*entries))
    shown = [str(one.release) if one.status == "honoured" else one.status for one in state.requests.values()]
    assert ", ".join(shown) == statuses
    assert state.current == current
    assert (state.unfinished is not None) == running
    assert state.deployed.honours == state.honoured
    assert set(state.pending) | set(state.honoured) | ({1} if "in process" in statuses else set()) == {*state.requests}
    assert state.unanswered == tuple(sorted({*state.requests} - {*state.honoured}))
    assert all((one.answered is None) == (one.release is None) for one in state.requests.values())
    assert (state.entries, state.head) == (len(entries), chained(*entries)[-1].hash)


def test_a_whole_ledger_tells_who_answered_what_and_when():
    state = fold(chained(*story()))
    first, second = state.requests[1], state.requests[2]
    assert (first.at, first.answered, first.purged) == (2, time_of(5), time_of(14))
    assert (second.at, second.answered, second.purged) == (3, time_of(13), None)
    assert [one.trained for one in state.releases.values()] == [0, 0, 0, 3]
    assert [one.method for one in state.releases.values()] == ["original", "natmu", "finetune", "retrain"]
    assert [one.honours for one in state.releases.values()] == [(), (1,), (1, 2), (1, 2, 3)]
    assert state.releases[2].at == 8
    assert state.deleted_weights == {model(0).run}
    assert state.processes == 3


def test_a_request_that_is_honoured_again_is_so_since_then():
    state = fold(chained(*RELEASED, rolled_back(0, 1), rolled_back(1)))
    assert (state.requests[1].release, state.requests[1].answered) == (1, time_of(7))


def test_a_request_stays_honoured_where_another_release_takes_over():
    entries = (*RELEASED, rolled_back(0, 1), started(2, 1), released(2, 2, 1), rolled_back(1))
    request = fold(chained(*entries)).requests[1]
    assert (request.status, request.release, request.answered) == ("honoured", 1, time_of(8))


def test_retraining_within_a_process_counts_as_a_training():
    again = released(1, 1, 1, source=None, method="retrain", guarantee="exact")
    state = fold(chained(*RUNNING, again, started(2, 2, source=1), released(2, 2, 2, source=1)))
    assert [one.trained for one in state.releases.values()] == [0, 1, 1]


def test_the_list_of_samples_is_that_of_the_last_purge():
    assert fold(chained(*TWO)).census == CENSUS
    assert fold(chained(*TWO, purged(1, census="ab"), requested(3))).census == "ab"


def test_a_ticket_finds_its_request():
    state = fold(chained(*TWO))
    assert state.ticket("T-2") is state.requests[2]
    assert state.ticket("T-3") is None


def test_a_changed_policy_holds_from_there_on():
    other = Policy(method="finetune")
    entries = (*TWO, policy_changed(other), started(1, 1, policy=other))
    assert fold(chained(*entries)).policy == other


CONTRADICTIONS = {
    "two openings": ((opening(), opening()), "the first entry, and no other, must open"),
    "no opening": ((requested(1),), "the first entry, and no other, must open"),
    "a request's number": ((opening(), requested(2)), "there are 0 requests before it"),
    "a ticket twice": ((*TWO, requested(3, ticket="T-1")), "an earlier request has the ticket 'T-1'"),
    "a policy that did not hold": ((*TWO, policy_changed(POLICY, Policy(method="x"))), "policy that did not hold"),
    "a process of an unknown request": ((*TWO, started(1, 3)), "there is no request 3"),
    "a process of a request twice": ((*TWO, started(1, 1, 1)), "names a request twice"),
    "a process of an honoured request": ((*RELEASED, started(2, 1, source=1)), "request 1 is honoured"),
    "a process's number": ((*TWO, started(2, 1)), "there are 0 processes before it"),
    "two processes": ((*RUNNING, started(2, 2)), "a process before it has not ended"),
    "a process from an old model": ((*RELEASED, started(2, 2, source=0)), "a model that is not deployed"),
    "a process by another policy": ((*TWO, started(1, 1, policy=Policy(method="x"))), "a policy that does not hold"),
    "a release of an unknown request": ((*RUNNING, released(1, 1, 3)), "its process answers other requests"),
    "a release of no process": ((*TWO, released(1, 1, 1)), "process 1 does not run"),
    "a release's number": ((*RUNNING, released(2, 1, 1)), "the release before it has number 0"),
    "a release from an old model": (
        (*RELEASED, started(2, 2, source=1), released(2, 2, 2, source=0)),
        "a model that was not deployed",
    ),
    "a refusal of no process": ((*TWO, rejected(1, 1, final=True)), "process 1 does not run"),
    "retraining for a request that nobody made": ((*TWO, retrained(1, 1, 2, 3)), "there is no request 3"),
    "retraining for an honoured request": ((*RELEASED, retrained(2, 1, 2)), "request 1 is honoured"),
    "a rollback to an unknown release": ((*RELEASED, rolled_back(2)), "there is no release 2"),
    "a rollback to another model": (
        (*RELEASED, rolled_back(0, 1).model_copy(update={"result": model(7)})),
        "release 0 is another model",
    ),
    "a rollback that reopens nothing": ((*RELEASED, rolled_back(0)), "it reopens other requests than 1"),
    "a rollback to deleted weights": (
        (*RELEASED, purged(1, runs=(model(0).run,)), rolled_back(0, 1)),
        "the weights of release 0 were deleted",
    ),
    "a purge of an unknown request": ((*TWO, purged(3)), "there is no request 3"),
    "a purge of what is deployed": ((*RELEASED, purged(1, runs=(model(1).run,))), "the model that is deployed"),
}


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_an_entry_that_contradicts_is_named(name):
    entries, reason = CONTRADICTIONS[name]
    with pytest.raises(RunError, match=rf"Entry {len(entries)} of the ledger .*{reason}"):
        fold(chained(*entries))
    if len(entries) > 1:
        fold(chained(*entries[:-1]))


def test_a_gap_in_the_numbers_is_named():
    first, _, third = chained(*TWO)
    with pytest.raises(RunError, match=r"Entry 3 .*the entry before it has number 1"):
        fold([first, third])


def test_a_ledger_without_entries_is_refused():
    with pytest.raises(RunError, match="no entry"):
        fold([])
