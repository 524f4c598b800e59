"""What a ledger says: which requests there are, what honours them, and which model is deployed. A pure fold."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from natmu.errors import RunError
from natmu.records.guarantees import Guarantee
from natmu.records.ledger import (
    FIRST,
    DeployedModel,
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
    Verified,
)
from natmu.records.policy import Policy


@dataclass(frozen=True)
class RequestState:
    """A request, and what has become of it.

    Attributes:
        entry: What was asked.
        at: Number of its entry in the ledger.
        status: ``pending``; ``in process`` while a process works on it; ``honoured`` by the deployed model.
        release: The release that answered it, of those that the deployed model rests on; None if it is not honoured.
        answered: Time of the entry since which it is honoured; None if it is not.
        purged: Time of the last entry that found its samples gone; None if there is none.
    """

    entry: Requested
    at: int
    status: Literal["pending", "in process", "honoured"] = "pending"
    release: int | None = None
    answered: str | None = None
    purged: str | None = None


@dataclass(frozen=True)
class ReleaseState:
    """A model that was deployed once.

    Attributes:
        release: Its number; 0 is the original.
        at: Number of its entry in the ledger.
        time: Of that entry.
        model: The model.
        method: Name of the method that made it; ``original`` of the original.
        guarantee: What the method promises; ``exact`` of the original, which honours nothing.
        honours: Requests that it honours, sorted.
        trained: The last release that it rests on whose errors do not add up: 0, or one that is, exactly or certified,
            as if it had been trained without what it honours.
        tried: How it was made and measured; None of the original.
    """

    release: int
    at: int
    time: str
    model: DeployedModel
    method: str
    guarantee: Guarantee
    honours: tuple[int, ...]
    trained: int
    tried: Released | Retrained | None


@dataclass(frozen=True)
class State:
    """What a ledger says after its last entry.

    Attributes:
        opening: The first entry.
        policy: The policy that holds now.
        requests: All requests by number.
        releases: All releases by number.
        current: Number of the release that is deployed.
        unfinished: The process that has begun and not ended; None if there is none.
        processes: How many processes have begun.
        deleted_weights: Runs whose weights were deleted.
        deleted_heads: Runs of heads whose weights stay, and whose state was deleted.
        census: Digest of the list of samples, as the last entry that changed it says.
        entries: How many entries there are.
        head: Hash of the last one.
    """

    opening: Opening
    policy: Policy
    requests: Mapping[int, RequestState]
    releases: Mapping[int, ReleaseState]
    current: int
    unfinished: ProcessStarted | None
    processes: int
    deleted_weights: frozenset[str]
    deleted_heads: frozenset[str]
    census: str
    entries: int
    head: str

    @property
    def deployed(self) -> ReleaseState:
        """The release that is deployed."""
        return self.releases[self.current]

    @property
    def pending(self) -> tuple[int, ...]:
        """Requests that wait, without those that a process works on."""
        return self._with("pending")

    @property
    def honoured(self) -> tuple[int, ...]:
        """Requests that the deployed model honours."""
        return self._with("honoured")

    @property
    def unanswered(self) -> tuple[int, ...]:
        """Requests that the deployed model does not honour, whether a process works on them or not."""
        return self._with("pending", "in process")

    def guarantee_of(self, request: int) -> Guarantee | None:
        """What the deployed model promises of the samples of a request; None where it does not honour it.

        What rests on a model that is exact or certified without them never saw them since.

        Args:
            request: Its number.
        """
        if self.requests[request].status != "honoured":
            return None
        trained = self.releases[self.deployed.trained]
        return trained.guarantee if request in trained.honours else "approximate"

    def ticket(self, text: str) -> RequestState | None:
        """The request with a ticket, if there is one."""
        return next((request for request in self.requests.values() if request.entry.ticket == text), None)

    def _with(self, *statuses: str) -> tuple[int, ...]:
        """Numbers of the requests that are in one of these states, ascending."""
        return tuple(number for number, request in self.requests.items() if request.status in statuses)


def fold(entries: Iterable[Entry]) -> State:
    """What entries say together.

    Args:
        entries: The entries of a ledger in order, from the first on. Their hashes and seals are not looked at.

    Raises:
        RunError: There are none, or one contradicts those before it.
    """
    folding = _Folding()
    for entry in entries:
        folding.add(entry)
    return folding.state()


class _Contradiction(Exception):  # noqa: N818 - it never leaves this module
    """What is wrong with an entry."""


class _Folding:
    """The state between two entries."""

    def __init__(self) -> None:
        self._opening: Opening | None = None
        self._requests: dict[int, RequestState] = {}
        self._tickets: set[str] = set()
        self._releases: dict[int, ReleaseState] = {}
        self._answers: dict[int, dict[int, int]] = {}  # by release: which earlier one answered each request it honours
        self._current = 0
        self._unfinished: ProcessStarted | None = None
        self._processes = 0
        self._deleted: set[str] = set()
        self._headless: set[str] = set()
        self._count = 0
        self._head = FIRST

    def add(self, entry: Entry) -> None:
        """Go on by one entry."""
        try:
            self._require(entry.number == self._count + 1, f"the entry before it has number {self._count}")
            self._require(
                (self._opening is None) == isinstance(entry.body, Opening),
                "the first entry, and no other, must open the service",
            )
            _STEPS[type(entry.body)](self, entry, entry.body)
        except _Contradiction as error:
            raise RunError(
                f"Entry {entry.number} of the ledger ({entry.body.kind}) contradicts those before it: {error}; restore "
                "the service from a backup."
            ) from None
        self._count, self._head = entry.number, entry.hash

    def state(self) -> State:
        """What all entries say."""
        if self._opening is None:
            raise RunError("The ledger has no entry; restore the service from a backup.")
        return State(
            self._opening,
            self._policy,
            self._requests,
            self._releases,
            self._current,
            self._unfinished,
            self._processes,
            frozenset(self._deleted),
            frozenset(self._headless),
            self._census,
            self._count,
            self._head,
        )

    def opened(self, entry: Entry, body: Opening) -> None:
        """The original is release 0."""
        self._opening, self._policy, self._census = body, body.policy, body.census
        self._releases[0] = ReleaseState(
            0, entry.number, entry.time, body.original, "original", "exact", honours=(), trained=0, tried=None
        )
        self._answers[0] = {}

    def policy_changed(self, _: Entry, body: PolicyChanged) -> None:
        """Another policy holds from here on."""
        self._require(body.before == self._policy.digest, "it replaces a policy that did not hold")
        self._policy = body.policy

    def requested(self, entry: Entry, body: Requested) -> None:
        """A request is pending."""
        self._require(body.request == len(self._requests) + 1, f"there are {len(self._requests)} requests before it")
        self._require(body.ticket not in self._tickets, f"an earlier request has the ticket {body.ticket!r}")
        self._requests[body.request] = RequestState(body, entry.number)
        self._tickets.add(body.ticket)

    def started(self, _: Entry, body: ProcessStarted) -> None:
        """A process works on pending requests."""
        self._require(self._unfinished is None, "a process before it has not ended")
        self._require(body.process == self._processes + 1, f"there are {self._processes} processes before it")
        self._require(body.source == self._releases[self._current].model, "it starts from a model that is not deployed")
        self._require(body.policy == self._policy.digest, "it follows a policy that does not hold")
        self._require_known(body.requests, "pending")
        self._unfinished, self._processes = body, body.process
        for number in body.requests:
            self._requests[number] = replace(self._requests[number], status="in process")

    def released(self, entry: Entry, body: Released) -> None:
        """The candidate of a process is deployed."""
        self._require_running(body)
        self._deploy_new(entry, body)

    def retrained(self, entry: Entry, body: Retrained) -> None:
        """A retrained model is deployed; a process that has not ended ends here."""
        self._require_known(body.requests, "pending", "in process")
        self._deploy_new(entry, body)

    def refused(self, entry: Entry, body: Rejected | NotMade) -> None:
        """A candidate is not deployed; after the last one its requests are pending again."""
        if body.process is None:  # a retraining that was asked for
            self._require_known(body.requests, "pending", "in process", "honoured")
            return
        self._require_running(body)
        if body.final:
            self._settle(entry)

    def rolled_back(self, entry: Entry, body: RolledBack) -> None:
        """An earlier release is deployed again."""
        release = self._releases.get(body.release)
        if release is None:
            raise _Contradiction(f"there is no release {body.release}")
        self._require(release.model == body.result, f"release {body.release} is another model")
        self._require(release.model.run not in self._deleted, f"the weights of release {body.release} were deleted")
        reopened = sorted(set(self._releases[self._current].honours) - set(release.honours))
        self._require(sorted(body.reopened) == reopened, f"it reopens other requests than {_listed(reopened)}")
        self._current = body.release
        self._settle(entry)

    def purged(self, entry: Entry, body: Purged) -> None:
        """The samples of a request are gone."""
        self._require_known((body.request,), "pending", "in process", "honoured")
        deployed = self._releases[self._current].model.run
        self._require(deployed not in body.weights, "it deletes the weights of the model that is deployed")
        self._requests[body.request] = replace(self._requests[body.request], purged=entry.time)
        self._deleted |= set(body.weights)
        self._headless |= set(body.heads)
        self._census = body.census

    def verified(self, entry: Entry, body: Verified) -> None:
        """Nothing changes."""

    def _deploy_new(self, entry: Entry, body: Released | Retrained) -> None:
        """Deploy a model that was not there before."""
        number, before = len(self._releases), self._releases[self._current]
        self._require(body.release == number, f"the release before it has number {number - 1}")
        self._require(body.source in (None, before.model), "it was made from a model that was not deployed")
        self._answers[number] = self._answers[self._current] | dict.fromkeys(body.requests, number)
        anew = body.guarantee != "approximate"
        self._releases[number] = ReleaseState(
            number,
            entry.number,
            entry.time,
            body.result,
            body.method,
            body.guarantee,
            honours=tuple(sorted(self._answers[number])),
            trained=number if anew else before.trained,
            tried=body,
        )
        self._current = number
        self._settle(entry)

    def _settle(self, entry: Entry) -> None:
        """End what is in process, and let requests be honoured by what is deployed, or pending."""
        self._unfinished = None
        answers = self._answers[self._current]
        for number, request in self._requests.items():
            release = answers.get(number)
            if release is None and request.status != "pending":
                self._requests[number] = replace(request, status="pending", release=None, answered=None)
            elif release is not None and request.release != release:
                since = request.answered or entry.time
                self._requests[number] = replace(request, status="honoured", release=release, answered=since)

    def _require_running(self, body: Released | Rejected | NotMade) -> None:
        """The process of a candidate must have begun, with these requests, and not ended."""
        running = self._unfinished
        if running is None or running.process != body.process:
            raise _Contradiction(f"process {body.process} does not run")
        self._require(sorted(body.requests) == sorted(running.requests), "its process answers other requests")

    def _require_known(self, requests: Iterable[int], *statuses: str) -> None:
        """Requests must be there, each once, and in one of these states."""
        listed = list(requests)
        self._require(len(set(listed)) == len(listed), "it names a request twice")
        for number in listed:
            request = self._requests.get(number)
            if request is None:
                raise _Contradiction(f"there is no request {number}")
            self._require(request.status in statuses, f"request {number} is {request.status}")

    @staticmethod
    def _require(holds: bool, otherwise: str) -> None:
        """An entry must fit those before it."""
        if not holds:
            raise _Contradiction(otherwise)


_STEPS: dict[type, Callable[[_Folding, Entry, Any], None]] = {
    Opening: _Folding.opened,
    PolicyChanged: _Folding.policy_changed,
    Requested: _Folding.requested,
    ProcessStarted: _Folding.started,
    Released: _Folding.released,
    Retrained: _Folding.retrained,
    Rejected: _Folding.refused,
    NotMade: _Folding.refused,
    RolledBack: _Folding.rolled_back,
    Purged: _Folding.purged,
    Verified: _Folding.verified,
}


def _listed(requests: Iterable[int]) -> str:
    """Requests in words."""
    return ", ".join(map(str, requests)) or "none"
