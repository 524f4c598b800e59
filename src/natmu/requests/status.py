"""What the person who answers for a service wants to know: what is due, what is deployed, how far it has drifted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from natmu.records.files import Value
from natmu.records.guarantees import Guarantee
from natmu.records.ledger import DeployedModel, Entry, Opening, Released, Retrained, RolledBack
from natmu.requests.advice import (
    HOLDOUT,
    RETAIN,
    TEST,
    Advice,
    Costs,
    costs_of,
    forgotten_by,
    measurement_of,
    retraining_advice,
)

if TYPE_CHECKING:
    from natmu.requests.state import ReleaseState, RequestState, State

DAY = 24 * 60 * 60

DEPLOYS = (Opening, Released, Retrained, RolledBack)
"""Entries after which another model is deployed."""


class PendingRequest(Value):
    """A request that the deployed model does not honour.

    Attributes:
        request: Its number.
        ticket: The caller's own name for it.
        samples: How many training samples it names, byte-identical copies included.
        received: When it came in, UTC, ISO 8601.
        due: When it must be answered, likewise.
        days_left: Whole days until then; -1 since the first second after it, -2 a day later.
        overdue: Whether that moment has passed.
        in_process: Whether a process works on it.
    """

    request: int
    ticket: str
    samples: int
    received: str
    due: str
    days_left: int
    overdue: bool
    in_process: bool


class Deployed(Value):
    """The release that is deployed.

    Attributes:
        release: Its number; 0 is the original.
        model: Its model.
        since: When it was deployed, by a rollback perhaps, UTC, ISO 8601.
        made: When it was deployed first, likewise.
        method: The method that made it; ``original`` of release 0.
        guarantee: What that method promises.
        honours: Numbers of the requests that it honours.
        trained: Number of the release of the last training that it rests on, or of what is as good as one: exact or
            certified; 0 is the original.
        requests_since: How many of these requests came after that training.
    """

    release: int
    model: DeployedModel
    since: str
    made: str
    method: str
    guarantee: Guarantee
    honours: tuple[int, ...]
    trained: int
    requests_since: int


class Drift(Value):
    """An accuracy of the deployed model beside the original's, on the same samples.

    Attributes:
        score: ``retain_acc``, ``holdout_acc`` or ``test_acc``.
        original: The original's, in percent; None where it is not known.
        now: The deployed model's, in percent; None where it was not measured.
        lost: Points between them; negative of a gain, None where one of them is missing.
    """

    score: str
    original: float | None
    now: float | None
    lost: float | None


class Unfinished(Value):
    """A process that began and has not ended; the next ``process`` goes on with it.

    Attributes:
        process: Its number.
        requests: Numbers of its requests.
    """

    process: int
    requests: tuple[int, ...]


class Status(Value):
    """The state of a service at one moment.

    Attributes:
        now: The moment, UTC, ISO 8601.
        entries: How many entries the ledger has.
        head: Hash of the last of them.
        policy: Digest of the policy.
        deadline_days: Days from receipt until a request must be answered.
        requests: How many requests ever came in.
        pending: Those that the deployed model does not honour, the one that is due first first.
        overdue: How many of these are overdue.
        unfinished: The process that has not ended; None where there is none.
        deployed: The release that is deployed.
        not_purged: Numbers of honoured requests whose samples nobody has confirmed to be gone from the data.
        forgotten: How many training samples the deployed model has forgotten.
        fraction: What fraction of the original's training samples that is, 0 to 1.
        drift: Accuracies beside the original's; no ``holdout_acc`` where there is no holdout.
        costs: What all this has cost.
        advice: Whether to retrain, and when.
    """

    now: str
    entries: int
    head: str
    policy: str
    deadline_days: int
    requests: int
    pending: tuple[PendingRequest, ...]
    overdue: int
    unfinished: Unfinished | None
    deployed: Deployed
    not_purged: tuple[int, ...]
    forgotten: int
    fraction: float
    drift: tuple[Drift, ...]
    costs: Costs
    advice: Advice


def status_of(entries: Sequence[Entry], state: State, now: datetime) -> Status:
    """The status of a service.

    Args:
        entries: All entries of the ledger.
        state: What they say together.
        now: The moment that due dates are compared with; UTC where it names no zone.
    """
    now = _utc(now)
    current = state.releases[state.current]
    pending = [_pending(one, now) for one in state.requests.values() if one.status != "honoured"]
    pending.sort(key=lambda one: (_utc(datetime.fromisoformat(one.due)), one.request))
    honoured = [one for one in state.requests.values() if one.status == "honoured"]
    started = state.unfinished
    since = next(one.time for one in reversed(entries) if isinstance(one.body, DEPLOYS))
    return Status(
        now=now.isoformat(),
        entries=state.entries,
        head=state.head,
        policy=state.policy.digest,
        deadline_days=state.policy.deadline_days,
        requests=len(state.requests),
        pending=tuple(pending),
        overdue=sum(one.overdue for one in pending),
        unfinished=None if started is None else Unfinished(process=started.process, requests=started.requests),
        deployed=_deployed(current, state.releases[current.trained], since),
        not_purged=tuple(one.entry.request for one in honoured if one.purged is None),
        forgotten=forgotten_by(current),
        fraction=forgotten_by(current) / state.opening.samples,
        drift=_drift(current, state.opening.accuracies),
        costs=costs_of(entries, state.opening),
        advice=retraining_advice(state),
    )


def _pending(request: RequestState, now: datetime) -> PendingRequest:
    """A pending request at this moment."""
    left = (_utc(datetime.fromisoformat(request.entry.due)) - now).total_seconds()
    return PendingRequest(
        request=request.entry.request,
        ticket=request.entry.ticket,
        samples=len(request.entry.samples),
        received=request.entry.received,
        due=request.entry.due,
        days_left=math.floor(left / DAY),
        overdue=left < 0,
        in_process=request.status == "in process",
    )


def _deployed(current: ReleaseState, training: ReleaseState, since: str) -> Deployed:
    """The current release, and the last training that it rests on."""
    return Deployed(
        release=current.release,
        model=current.model,
        since=since,
        made=current.time,
        method=current.method,
        guarantee=current.guarantee,
        honours=current.honours,
        trained=current.trained,
        requests_since=len({*current.honours} - {*training.honours}),
    )


def _drift(current: ReleaseState, accuracies: dict[str, float]) -> tuple[Drift, ...]:
    """Accuracies of the current release beside the original's; release 0 is the original itself."""
    measured = measurement_of(current)
    drifts = []
    for name in (RETAIN, HOLDOUT, TEST):
        original = accuracies.get("train_acc" if name == RETAIN else name)
        value = original if current.tried is None else None
        if measured is not None and name in measured.scores:
            score = measured.scores[name]
            value, original = score.value, original if score.original is None else score.original
        if name != HOLDOUT or original is not None:
            lost = None if value is None or original is None else original - value
            drifts.append(Drift(score=name, original=original, now=value, lost=lost))
    return tuple(drifts)


def _utc(moment: datetime) -> datetime:
    """A moment in UTC, which is meant where no zone is named."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
