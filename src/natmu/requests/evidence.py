"""Evidence of a request: put together from entries of the ledger alone, and written beside its page and signature."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from natmu.errors import UsageError
from natmu.records.evidence import (
    Attempt,
    DeployedNow,
    Evidence,
    EvidenceRequest,
    EvidenceSample,
    EvidenceService,
    LaterRelease,
    Made,
    PurgeNoted,
    Rollback,
    Thresholds,
)
from natmu.records.files import write_atomically
from natmu.records.ledger import (
    Entry,
    NotMade,
    Opening,
    PolicyChanged,
    ProcessStarted,
    Purged,
    Rejected,
    Released,
    Requested,
    Retrained,
    RolledBack,
    Tried,
)
from natmu.records.service import EVIDENCE, PUBLIC_KEY, SIGNING_KEY
from natmu.requests.checks import EVIDENCE_FILE, SIGNATURE
from natmu.requests.evidence_limits import UNSIGNED, not_shown, shown
from natmu.requests.keys import fingerprint, sign
from natmu.requests.replacing import replacing
from natmu.requests.state import State

COMPARABLE = 10.0
"""Seconds of retraining from which on a fraction of it is told: the first model of a process takes some to start up."""

EVIDENCE_PAGE = "evidence.html"
"""The page, beside ``evidence.json``."""


def evidence_of(
    entries: Sequence[Entry], state: State, request: int, *, samples: Sequence[EvidenceSample] | None = None
) -> Evidence:
    """The evidence of a request; it is not signed yet.

    Args:
        entries: All entries of the ledger.
        state: What they say together.
        request: Number of the request.
        samples: Its samples, where they are to be named.

    Raises:
        UsageError: There is no such request.
    """
    if request not in state.requests:
        raise UsageError(f"There is no request {request}; natmu requests list shows those that there are.")
    evidence = Evidence(
        as_of=entries[-1].time,
        service=_service(entries[0], state.opening),
        request=_request(entries, state, request),
        attempts=tuple(_attempts(entries, request)),
        later=tuple(_later(state, request)),
        rollbacks=tuple(_rollbacks(entries, state, request)),
        deployed=_deployed(entries, state, request),
        purges=tuple(_purges(entries, request)),
        shown=(),
        not_shown=(),
        samples=None if samples is None else tuple(samples),
        entries=_about(entries, state, request),
        head_number=state.entries,
        head_hash=state.head,
    )
    return evidence.model_copy(update={"shown": shown(evidence), "not_shown": not_shown(evidence)})


def write_evidence(folder: Path, evidence: Evidence) -> Path:
    """Write evidence, sign it, and put it in the place of what was written for the request before.

    Args:
        folder: Of the service.
        evidence: As ``evidence_of`` gives it.

    Returns:
        The folder with ``evidence.json``, ``evidence.html`` and, where the service has a key, ``evidence.sig`` and
        ``signing.pub``.

    Raises:
        RunError: It cannot be written, or the key is damaged.
        UsageError: There is a key, and cryptography is missing.
    """
    target = folder / EVIDENCE / f"{evidence.request.request:04d}"
    if (folder / SIGNING_KEY).exists():
        told = tuple(sentence for sentence in evidence.not_shown if sentence != UNSIGNED)
        signed_by = fingerprint(folder / PUBLIC_KEY)
        evidence = evidence.model_copy(update={"not_shown": told, "signed_by": signed_by})
    with replacing(target, folder) as new:
        _fill(new, folder, evidence)
    return target


def _fill(partial: Path, folder: Path, evidence: Evidence) -> None:
    """Write all files of evidence into a new folder."""
    from natmu.report.evidence_page import evidence_page  # loads what draws, which those who only read do without

    path = partial / EVIDENCE_FILE
    evidence.write(path)
    write_atomically(partial / EVIDENCE_PAGE, evidence_page(evidence).encode())
    signature = sign(folder, path.read_bytes())
    if signature is not None:
        write_atomically(partial / SIGNATURE, f"{signature}\n".encode())
        shutil.copyfile(folder / PUBLIC_KEY, partial / PUBLIC_KEY)


def _service(first: Entry, opening: Opening) -> EvidenceService:
    """The service, and the original that it began with."""
    return EvidenceService(
        architecture=opening.architecture,
        training=opening.training,
        trained_here=opening.trained_here,
        samples=opening.samples,
        original=opening.original,
        accuracies=opening.accuracies,
        began=first.time,
    )


def _request(entries: Sequence[Entry], state: State, request: int) -> EvidenceRequest:
    """What was asked, and what has become of it."""
    now = state.requests[request]
    asked = now.entry
    answered = next(
        (time for time, release in _deployments(entries) if request in state.releases[release].honours), None
    )
    late = _moment(answered or entries[-1].time) > _moment(asked.due)
    return EvidenceRequest(
        request=request,
        ticket=asked.ticket,
        asked=asked.asked,
        classes=asked.classes,
        samples=len(asked.samples),
        copies=asked.copies,
        unseen=len(asked.unseen),
        received=asked.received,
        due=asked.due,
        status=now.status,
        answered=answered,
        in_time=None if answered is None and not late else not late,
        release=now.release,
        since=now.answered,
    )


def _attempts(entries: Sequence[Entry], request: int) -> Iterator[Attempt]:
    """Models that were to answer a request."""
    policy, fixed = entries[0], None
    for entry in entries:
        body = entry.body
        if isinstance(body, PolicyChanged):
            policy = entry
        elif isinstance(body, ProcessStarted):
            fixed = _thresholds(entry, policy)
        elif isinstance(body, Tried | NotMade) and request in body.requests:
            yield Attempt(
                entry=entry.number,
                time=entry.time,
                outcome=_outcome(body),
                release=body.release if isinstance(body, Released | Retrained) else None,
                process=body.process,
                requests=body.requests,
                method=body.method,
                reasons=body.reasons if isinstance(body, Rejected | NotMade) else (),
                made=_made(body) if isinstance(body, Tried) else None,
                thresholds=None if body.process is None else fixed,
            )


def _outcome(body: Tried | NotMade) -> Literal["deployed", "refused", "not made"]:
    """What became of a model."""
    if isinstance(body, NotMade):
        return "not made"
    return "refused" if isinstance(body, Rejected) else "deployed"


def _thresholds(started: Entry, stated: Entry) -> Thresholds:
    """What was fixed when a process began, by the entry that states the policy."""
    assert isinstance(stated.body, Opening | PolicyChanged), "no other entry states a policy"
    policy = stated.body.policy
    return Thresholds(
        entry=started.number,
        time=started.time,
        policy=policy.digest,
        policy_entry=stated.number,
        guarantee=policy.guarantee,
        level=policy.audit.level,
        references=started.body.references if isinstance(started.body, ProcessStarted) else 0,
        guardrails=policy.guardrails,
    )


def _made(body: Tried) -> Made:
    """How a model was made."""
    known = body.retraining_seconds
    return Made(
        settings=body.settings,
        guarantee=body.guarantee,
        promise=body.promise,
        assumptions=body.assumptions,
        seed=body.seed,
        source=body.source,
        result=body.result,
        seconds=body.seconds,
        retraining_seconds=known,
        retrain_fraction=body.seconds / known if known and known >= COMPARABLE else None,
        audit_seconds=body.audit_seconds,
        forgotten=body.forgotten,
        measured=body.measured,
        guardrails=body.guardrails,
        head=body.head,
        decisions=body.decisions,
        versions=body.versions,
        hardware=body.hardware,
    )


def _later(state: State, request: int) -> Iterator[LaterRelease]:
    """Releases that honour a request which an earlier one answered."""
    for release in state.releases.values():
        tried = release.tried
        if tried is not None and request in release.honours and request not in tried.requests:
            yield LaterRelease(
                entry=release.at,
                time=release.time,
                release=release.release,
                method=release.method,
                guarantee=release.guarantee,
                measured=next((one for one in tried.remeasured if one.request == request), None),
            )


def _rollbacks(entries: Sequence[Entry], state: State, request: int) -> Iterator[Rollback]:
    """Earlier models that were deployed again since a request came in."""
    for entry in entries[state.requests[request].at :]:
        if isinstance(entry.body, RolledBack):
            yield Rollback(
                entry=entry.number,
                time=entry.time,
                release=entry.body.release,
                reopened=request in entry.body.reopened,
            )


def _deployed(entries: Sequence[Entry], state: State, request: int) -> DeployedNow:
    """What is deployed after the last entry."""
    now = state.deployed
    since, _ = [*_deployments(entries)][-1]
    return DeployedNow(
        release=now.release,
        model=now.model,
        method=now.method,
        guarantee=None if now.tried is None else now.guarantee,
        since=since,
        honours=request in now.honours,
        trained_without=now.trained if request in state.releases[now.trained].honours else None,
    )


def _purges(entries: Sequence[Entry], request: int) -> Iterator[PurgeNoted]:
    """Every time that the samples of a request were found to be gone."""
    for entry in entries:
        if isinstance(entry.body, Purged) and entry.body.request == request:
            yield PurgeNoted(
                entry=entry.number,
                time=entry.time,
                files=entry.body.files,
                caches=entry.body.caches,
                features=entry.body.features,
                weights=len(entry.body.weights),
                heads=len(entry.body.heads),
            )


def _about(entries: Sequence[Entry], state: State, request: int) -> tuple[Entry, ...]:
    """The entries that evidence of a request rests on: those about it, the policies they follow, and what is deployed.

    Of other requests it holds numbers and measurements, but neither their tickets nor the digests of their samples.
    """
    came, deployed = state.requests[request].at, {0, state.current, state.deployed.trained}
    wanted = {state.releases[release].at for release in deployed}
    policy = entries[0].number
    for entry in entries:
        body = entry.body
        if isinstance(body, PolicyChanged):
            policy = entry.number
        if isinstance(body, ProcessStarted) and request in body.requests:
            wanted |= {policy, entry.number}
        elif (
            (isinstance(body, Requested | Purged) and body.request == request)
            or (isinstance(body, Tried | NotMade) and request in body.requests)
            or (isinstance(body, Tried) and any(one.request == request for one in body.remeasured))
            or (isinstance(body, RolledBack) and entry.number > came)
        ):
            wanted.add(entry.number)
    wanted |= {one.entry for one in _later(state, request)}
    return tuple(entry for entry in entries if entry.number in wanted)


def _deployments(entries: Sequence[Entry]) -> Iterator[tuple[str, int]]:
    """When which release was deployed, in order."""
    for entry in entries:
        if isinstance(entry.body, Opening):
            yield entry.time, 0
        elif isinstance(entry.body, Released | Retrained | RolledBack):
            yield entry.time, entry.body.release


def _moment(text: str) -> datetime:
    """A time, in UTC where it names no zone."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
