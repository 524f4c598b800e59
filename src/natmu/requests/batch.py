"""What a process forgets, in positions of the whole data: its own requests, after all that is left out already."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from natmu.errors import UsageError
from natmu.records.census import Census
from natmu.records.forgetting import parse_forget
from natmu.records.ledger import Released, Requested
from natmu.records.lineage import Forget
from natmu.records.policy import Policy
from natmu.requests.state import State
from natmu.types import ForgetSet, IntArray, positions_digest

NOTHING = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Batch:
    """The requests of a process, beside those of all others.

    Attributes:
        requests: Numbers of the requests that it answers.
        rows: By number of every request, positions of its training samples.
        classes: By number of the requests for whole classes, their labels.
        lost: Positions of samples that nobody asked to forget and that are no longer there.
        labels: Of all training samples ``(N,)``.
    """

    requests: tuple[int, ...]
    rows: dict[int, IntArray]
    classes: dict[int, tuple[int, ...]]
    lost: IntArray
    labels: IntArray

    @cached_property
    def everything(self) -> IntArray:
        """All that is left out of training: what anybody asked to forget, and what is lost."""
        return _union([*self.rows.values(), self.lost])

    @cached_property
    def own(self) -> IntArray:
        """What the process forgets, without what requests before it have in common with it."""
        return self.of(self.requests)

    def of(self, requests: Iterable[int]) -> IntArray:
        """Positions of the training samples of some requests."""
        return _union(self.rows[number] for number in requests)

    def groups(self, honoured: Iterable[int]) -> tuple[ForgetSet, ...]:
        """What a method forgets step by step: samples, and after them whole classes.

        Args:
            honoured: Requests whose samples the model has forgotten already.
        """
        own = np.setdiff1d(self.own, self.of(honoured))
        before = self.left_out(np.setdiff1d(self.everything, own), self._without(self.requests))
        return self._chain(own, self._labels_of(self.requests), before[-1] if before else None)

    def left_out(self, rows: IntArray, requests: Iterable[int]) -> tuple[ForgetSet, ...]:
        """Samples that are left out of training, those of whole classes last.

        Args:
            rows: The samples.
            requests: Numbers of requests of which whole classes are among them.
        """
        return self._chain(rows, self._labels_of(requests), None)

    def all_left_out(self) -> tuple[ForgetSet, ...]:
        """Everything that is left out, as a retrained model never sees it."""
        return self.left_out(self.everything, self.rows)

    def view(self, requests: Sequence[int], there: IntArray) -> ForgetSet:
        """Some requests as a forget set to be measured; all other samples that are left out count as forgotten before.

        Args:
            requests: Their numbers.
            there: Positions of the training samples that can be measured.
        """
        rows = np.intersect1d(self.of(requests), there)
        own = self._labels_of(requests)
        class_wise = bool(own) and all(number in self.classes for number in requests)
        others = {*self._labels_of(self.rows)} - ({*own} if class_wise else set())
        return ForgetSet(
            rows,
            _text(rows, own if class_wise else ()),
            "class" if class_wise else "indices",
            own if class_wise else (),
            before=np.setdiff1d(self.everything, rows),
            classes_before=tuple(sorted(others)),
        )

    def _without(self, requests: Sequence[int]) -> list[int]:
        return [number for number in self.rows if number not in requests]

    def _labels_of(self, requests: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted({label for number in requests for label in self.classes.get(number, ())}))

    def _chain(self, rows: IntArray, classes: tuple[int, ...], after: ForgetSet | None) -> tuple[ForgetSet, ...]:
        """Forget sets, each after the one before: samples, and those of whole classes."""
        whole = np.isin(self.labels[rows], classes)
        chain: list[ForgetSet] = []
        for members, labels in ((rows[~whole], ()), (rows[whole], classes)):
            if len(members):
                scenario = "class" if labels else "indices"
                found = ForgetSet(members, _text(members, labels), scenario, labels)  # type: ignore[arg-type]
                after = found.after(after)
                chain.append(after)
        return tuple(chain)


def batch_of(requests: Sequence[int], state: State, census: Census, lost: IntArray) -> Batch:
    """The requests of a process.

    Args:
        requests: Numbers of those that it answers.
        state: Of the ledger.
        census: All samples.
        lost: Positions of samples that nobody asked to forget and that are no longer there.
    """
    entries = {number: one.entry for number, one in state.requests.items()}
    rows = {number: census.rows(entry.samples) for number, entry in entries.items()}
    labels = {number: _labels(entry, census) for number, entry in entries.items() if entry.classes}
    return Batch(tuple(requests), rows, labels, lost, census.train.labels)


def chosen(asked: Sequence[int] | None, state: State, census: Census) -> tuple[int, ...]:
    """The pending requests that a process answers: those that were asked for, and those that lie within them.

    Args:
        asked: Their numbers; all that are pending if None.
        state: Of the ledger.
        census: All samples.

    Raises:
        UsageError: None is pending, or one that was asked for is unknown, there twice or not pending.
    """
    pending = state.pending
    if not pending:
        raise UsageError("No request is pending, so there is nothing to do; natmu requests add records one.")
    if asked is None:
        return pending
    for number in asked:
        if number not in state.requests:
            raise UsageError(f"There is no request {number}; natmu requests list shows those that there are.")
        if number not in pending:
            release = state.requests[number].release
            raise UsageError(f"Request {number} is not pending: release {release} honours it; leave it out.")
    if len({*asked}) < len(asked):
        raise UsageError("A request is named twice; name each once.")
    rows = {number: census.rows(one.entry.samples) for number, one in state.requests.items()}
    covered = _union([rows[number] for number in (*asked, *state.honoured)])
    within = [number for number in pending if number not in asked and np.isin(rows[number], covered).all()]
    return tuple(sorted({*asked, *within}))


def references(state: State, policy: Policy) -> int:
    """How many retrained models the candidates of the process are compared with that runs, or is the next.

    What counts is releases: after a process without one the same candidates would else be compared with none.

    Args:
        state: Of the ledger.
        policy: The policy that holds.
    """
    running = state.unfinished
    if running is not None and running.policy == policy.digest:
        return running.references
    released = sum(isinstance(one.tried, Released) for one in state.releases.values())
    return policy.audit.references if released % policy.audit.every == 0 else 0


def requested(state: State, census: Census) -> dict[str, IntArray]:
    """By part, positions of all samples that may be gone from the data, because somebody asked to forget them.

    Whoever withdraws a class may delete all of it, the samples too that no model was trained on.

    Args:
        state: Of the ledger.
        census: All samples.
    """
    entries = [one.entry for one in state.requests.values()]
    unseen = census.unseen_with_pixels([digest for entry in entries for digest in entry.unseen])
    withdrawn = census.unseen_of_classes(name for entry in entries for name in entry.classes)
    others = {role: _union(rows[role] for rows in (unseen, withdrawn) if role in rows) for role in unseen | withdrawn}
    return {"train": _union(census.rows(entry.samples) for entry in entries), **others}


def values(chain: Iterable[ForgetSet], after: Forget | None = None) -> tuple[Forget, ...]:
    """Forget sets as lineages tell of them.

    Args:
        chain: Each after the one before.
        after: What comes before the first; None if nothing does.
    """
    found = []
    for one in chain:
        after = Forget(request=parse_forget(one.request), positions=one.digest, after=after)
        found.append(after)
    return tuple(found)


def _labels(entry: Requested, census: Census) -> tuple[int, ...]:
    """Labels of the classes that a request names."""
    return tuple(sorted(census.class_names.index(name) for name in entry.classes))


def _text(rows: IntArray, classes: tuple[int, ...]) -> str:
    """A request for these samples, or for these classes by number."""
    return f"class:{','.join(f'#{label}' for label in classes)}" if classes else f"indices:{positions_digest(rows)}"


def _union(parts: Iterable[IntArray]) -> IntArray:
    """All positions of several parts, sorted."""
    return np.unique(np.concatenate([NOTHING, *parts]))
