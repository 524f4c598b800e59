"""When a service should retrain, and what its requests have cost so far."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from natmu.records.files import Value
from natmu.records.guarantees import RETRAIN
from natmu.records.ledger import Entry, Opening, Rejected, Tried
from natmu.records.measurement import Measurement

if TYPE_CHECKING:
    from natmu.requests.state import ReleaseState, State

RETAIN, HOLDOUT, TEST = "retain_acc", "holdout_acc", "test_acc"
"""Names of the accuracies that tell how far a model has drifted."""

PARTS = {RETAIN: "retain accuracy", HOLDOUT: "holdout accuracy", TEST: "test accuracy"}
"""What they are called in sentences."""

ROUNDING = 1e-9
"""What sums of floating-point numbers may miss a limit by."""


class Advice(Value):
    """Whether to retrain, and when.

    Attributes:
        due: Whether a limit of the policy is reached.
        in_requests: After how many further requests the first limit is reached if all goes on as since the last
            training; 0 where retraining is due, None where nothing grows towards a limit.
        reasons: A sentence for each limit, with both numbers; limits that are reached stand first.
    """

    due: bool
    in_requests: float | None
    reasons: tuple[str, ...]


class Costs(Value):
    """What a service has cost so far, in seconds of wall time.

    Attributes:
        unlearning_seconds: Of making all candidates that are no retrained models, refused ones included.
        training_seconds: Of making all candidates that are retrained models, refused ones included.
        audit_seconds: Of references and measurements, those of refused candidates included.
        refused: How many candidates were made and refused.
        answered: How often requests were answered with a new model.
        retraining_seconds: What one retraining takes, as last measured or estimated; None where nobody knows.
        retraining_each_seconds: What it would have taken to retrain each time; None where nobody knows.
    """

    unlearning_seconds: float
    training_seconds: float
    audit_seconds: float
    refused: int
    answered: int
    retraining_seconds: float | None
    retraining_each_seconds: float | None


@dataclass(frozen=True)
class Grown:
    """One quantity since the last training, beside its limit.

    Attributes:
        limit: The limit.
        requests: Of each release since the last training, itself included, how many more requests it honours, ``(K,)``.
        values: The quantity of each, ``(K,)``; 0 at the last training.
        of: How to write value and limit in a sentence, such as ``"312 of 312 samples"``.
    """

    limit: float
    requests: Sequence[float]
    values: Sequence[float]
    of: str

    @property
    def reached(self) -> bool:
        """Whether the last release has reached the limit."""
        return self.values[-1] >= self.limit - ROUNDING

    @property
    def left(self) -> float | None:
        """How many requests are left until the limit is reached; None where the quantity does not grow."""
        if self.reached:
            return 0.0
        slope = slope_of(self.requests, self.values)
        return (self.limit - self.values[-1]) / slope if slope > ROUNDING else None

    @property
    def sentence(self) -> str:
        """Value and limit, and when the limit is reached."""
        if self.reached:
            return f"Retraining is due: {self.of} since the last training."
        if self.left is None:
            return f"{self.of} since the last training, and no growth towards that limit."
        count = math.ceil(self.left - ROUNDING)
        return f"{self.of} since the last training; the limit is reached in about {_counted(count, 'request')}."


def slope_of(x: Sequence[float], y: Sequence[float]) -> float:
    """The slope of the line that fits points best by least squares; 0 where all ``x`` are the same.

    Args:
        x: ``(K,)``.
        y: ``(K,)``.

    >>> slope_of([0, 1, 2], [0, 2, 4])
    2.0
    """
    centre_x, centre_y = math.fsum(x) / len(x), math.fsum(y) / len(y)
    spread = math.fsum((one - centre_x) ** 2 for one in x)
    together = math.fsum((one - centre_x) * (other - centre_y) for one, other in zip(x, y, strict=True))
    return together / spread if spread else 0.0


def retraining_advice(state: State) -> Advice:
    """Whether the policy asks to retrain, and when it will.

    Each quantity that the policy limits is followed through the releases since the last training, and extrapolated by
    the slope of the line that fits these points best by least squares. The last training is the point at 0.

    Args:
        state: What the ledger says.
    """
    limits = state.policy.retraining
    releases = since_training(state)
    requests = [float(len({*one.honours} - {*releases[0].honours})) for one in releases]
    samples = [float(forgotten_by(one) - forgotten_by(releases[0])) for one in releases]
    total = state.opening.samples
    grown = []
    if limits.samples is not None:
        grown.append(Grown(limits.samples, requests, samples, f"{samples[-1]:.0f} of {limits.samples} samples"))
    if limits.fraction is not None:
        percent = f"{100 * samples[-1] / total:.3g} % of the training data ({samples[-1]:.0f} of {total} samples)"
        text = f"{percent} of at most {100 * limits.fraction:.3g} %"
        grown.append(Grown(limits.fraction, requests, [one / total for one in samples], text))
    if limits.requests is not None:
        grown.append(Grown(limits.requests, requests, requests, f"{requests[-1]:.0f} of {limits.requests} requests"))
    drifts = [] if limits.drift is None else _drifts(releases, requests, limits.drift)
    grown += drifts
    left = [one.left for one in grown if one.left is not None]
    grown.sort(key=lambda one: math.inf if one.left is None else one.left)
    reasons = [one.sentence for one in grown]
    if limits.drift is not None and not drifts:
        reasons.append("No accuracy was measured since the last training, so nothing is known of drift.")
    return Advice(
        due=any(one.reached for one in grown),
        in_requests=min(left, default=None),
        reasons=tuple(reasons) or ("The policy sets no limit, so retraining is never advised.",),
    )


def costs_of(entries: Iterable[Entry], opening: Opening) -> Costs:
    """What a service has cost.

    Args:
        entries: All entries of its ledger.
        opening: The first of them.
    """
    tried = [entry.body for entry in entries if isinstance(entry.body, Tried)]
    refused = [one for one in tried if isinstance(one, Rejected)]
    answers = [one for one in tried if one.requests and not isinstance(one, Rejected)]
    known = [one.retraining_seconds for one in tried if one.retraining_seconds is not None]
    last = known[-1] if known else opening.retraining_seconds
    each = [last if one.retraining_seconds is None else one.retraining_seconds for one in answers]
    return Costs(
        unlearning_seconds=math.fsum(one.seconds for one in tried if one.method != RETRAIN),
        training_seconds=math.fsum(one.seconds for one in tried if one.method == RETRAIN),
        audit_seconds=math.fsum(one.audit_seconds for one in tried),
        refused=len(refused),
        answered=len(answers),
        retraining_seconds=last,
        retraining_each_seconds=None if last is None else math.fsum(one for one in each if one is not None),
    )


def since_training(state: State) -> list[ReleaseState]:
    """The releases from the last training to the current one, each made from the one before."""
    by_model: dict[str, list[ReleaseState]] = {}
    for release in sorted(state.releases.values(), key=lambda one: one.release):
        by_model.setdefault(release.model.run, []).append(release)
    chain = [state.releases[state.current]]
    while chain[-1].release != chain[-1].trained:
        now = chain[-1]
        source = None if now.tried is None else now.tried.source
        before = [one for one in by_model.get("" if source is None else source.run, []) if one.release < now.release]
        chain.append(before[-1] if before else state.releases[now.trained])
    return chain[::-1]


def forgotten_by(release: ReleaseState) -> int:
    """How many samples the model of a release has forgotten, or never saw."""
    return 0 if release.tried is None else release.tried.forgotten


def measurement_of(release: ReleaseState) -> Measurement | None:
    """What the audit of a release says; None of the original and where none was made."""
    return None if release.tried is None else release.tried.measured


def _drifts(releases: Sequence[ReleaseState], requests: Sequence[float], limit: float) -> list[Grown]:
    """Accuracy that was lost since the last training: on the retain set, and on the holdout or else the test set."""
    measured = [measurement_of(one) for one in releases]
    scores: Mapping[str, object] = next((one.scores for one in reversed(measured) if one is not None), {})
    grown = []
    for name in (RETAIN, HOLDOUT if HOLDOUT in scores else TEST):
        points = _losses(name, measured, requests)
        if len(points) > 1:
            lost = points[-1][1]
            text = f"{max(lost, 0.0):.2f} of {limit:g} points of {PARTS[name]} lost"
            grown.append(Grown(limit, [one for one, _ in points], [one for _, one in points], text))
    return grown


def _losses(name: str, measured: Sequence[Measurement | None], requests: Sequence[float]) -> list[tuple[float, float]]:
    """Number of requests and points lost since the last training, of each release that was measured.

    A training that was not measured itself, as the original never is, stands at what the original has.
    """
    start = None if measured[0] is None or name not in measured[0].scores else measured[0].scores[name].value
    points = [(requests[0], 0.0)]
    for one, count in zip(measured[1:], requests[1:], strict=True):
        score = None if one is None else one.scores.get(name)
        before = start if start is not None or score is None else score.original
        if score is not None and before is not None:
            points.append((count, before - score.value))
    return points


def _counted(count: int, word: str) -> str:
    """A number and its noun."""
    return f"{count} {word}{'' if count == 1 else 's'}"
