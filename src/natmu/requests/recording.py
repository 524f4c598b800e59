"""Recording a request: what it names is looked up in the census, so that neither the data nor PyTorch is needed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from natmu.errors import ForgetSetError, UsageError
from natmu.progress import say
from natmu.records.census import Census
from natmu.records.forgetting import parse_forget
from natmu.records.ledger import KeyedDigest, Requested
from natmu.records.policy import Policy
from natmu.requests.adding import resolve
from natmu.requests.ledger import Ledger
from natmu.requests.state import State, fold

SHOWN = 6
"""Requests that an error names."""


def record(
    ledger: Ledger, census: Census, policy: Policy, forget: str, ticket: str, received: str | None = None
) -> Requested:
    """Record a pending request.

    Args:
        ledger: Where.
        census: All samples.
        policy: Says how long an answer may take.
        forget: The request as text, with its table.
        ticket: The caller's own name for it.
        received: When it came in, ISO 8601; now if None.

    Returns:
        The request as the ledger has it, which may have been recorded before.

    Raises:
        UsageError: It names no training sample, another request has its ticket or all of its samples, or the time is
            none or lies in the future.
    """
    came, name = _time(received), ticket.strip()
    if not 0 < len(name) <= 200:
        raise UsageError("A ticket has 1 to 200 characters; give your own name for the request.")
    try:
        found = resolve(parse_forget(forget), census)
    except ForgetSetError:
        taken = fold(ledger.entries()).ticket(name)
        if taken is None or taken.purged is None:
            raise
        say(f"ticket {name} is request {taken.entry.request}, whose samples were purged and have no names any more")
        return taken.entry
    samples = census.pixel_digests(found.rows)
    known: list[Requested] = []

    def decide(state: State) -> Requested | None:
        taken = state.ticket(name)
        if taken is not None:
            known.append(_same(taken.entry, samples))
            return None
        _require_new(state, samples)
        _require_something_left(state, samples, census)
        return Requested(
            request=len(state.requests) + 1,
            ticket=name,
            asked=found.asked,
            classes=found.classes,
            samples=samples,
            files=census.file_digests(found.rows),
            copies=found.copies,
            unseen=tuple(one for part, rows in found.unseen.items() for one in census.pixel_digests(rows, part)),
            unseen_files=tuple(one for part, rows in found.unseen.items() for one in census.file_digests(rows, part)),
            received=came.isoformat(timespec="seconds"),
            due=(came + timedelta(days=policy.deadline_days)).isoformat(timespec="seconds"),
        )

    entry = ledger.append(decide)
    if entry is None:
        return known[-1]
    assert isinstance(entry.body, Requested)
    return entry.body


def _time(text: str | None) -> datetime:
    """A moment in UTC; a date alone is its beginning."""
    now = datetime.now(UTC)
    if text is None:
        return now
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{text!r} is no date; write it as {now:%Y-%m-%d} or {now:%Y-%m-%dT%H:%M}.") from None
    moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    if moment > now:
        raise UsageError(f"{text} lies in the future; give the day on which the request came in.")
    return moment


def _same(known: Requested, samples: tuple[KeyedDigest, ...]) -> Requested:
    """The request that has a ticket already, where it is the same one."""
    if {*known.samples} != {*samples}:
        raise UsageError(
            f"Ticket {known.ticket} is request {known.request} already, of {len(known.samples)} samples, and this one "
            f"names {len({*samples} - {*known.samples})} others; give it a ticket of its own."
        )
    return known


def _require_new(state: State, samples: tuple[KeyedDigest, ...]) -> None:
    """Refuse a request all of whose samples others have named already: nothing would be left to unlearn for it."""
    wanted = {*samples}
    shared = {number: wanted & {*one.entry.samples} for number, one in state.requests.items()}
    whole = [number for number, common in shared.items() if common == wanted][:1]
    if whole or wanted <= {digest for common in shared.values() for digest in common}:
        numbers = whole or [number for number, common in shared.items() if common]
        named = [f"{number} (ticket {state.requests[number].entry.ticket})" for number in numbers]
        which = ", ".join([*named[:SHOWN], *["…"][: len(named) > SHOWN]])
        one = len(numbers) == 1
        raise UsageError(
            f"All {len(wanted)} samples of this request are part of request{'' if one else 's'} {which}, which "
            f"answer{'s' if one else ''} it too; nothing was recorded."
        )


def _require_something_left(state: State, samples: tuple[KeyedDigest, ...], census: Census) -> None:
    """Refuse a request after which nobody would be left to learn from."""
    asked = {*samples}.union(*(one.entry.samples for one in state.requests.values()))
    if len(census.rows([*asked])) >= len(census.train):
        raise UsageError(
            f"With this request all {len(census.train)} training samples would be withdrawn, so no model could be "
            "released any more. Stop using the model, and delete the service."
        )
