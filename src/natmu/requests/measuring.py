"""What is measured of a candidate: the requests that it answers, all earlier ones, and everything else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, reduce

import numpy as np

from natmu.engine.store import Run
from natmu.records.audit import Answer
from natmu.records.measurement import MeasuredScore, Measurement, Remeasured
from natmu.requests.batch import Batch
from natmu.requests.exact_test import which_came_back
from natmu.scores import accuracy, examine
from natmu.scores.panel import Level, Panel
from natmu.scores.signals import confidence
from natmu.scores.verdict import Verdict
from natmu.types import BoolArray, ForgetSet, IntArray, Outputs, Part, Predictions


@dataclass(frozen=True)
class Compared:
    """A candidate beside other models, by their stored predictions on the samples that all of them have.

    Attributes:
        candidate: Its run.
        source: The run that it was made from.
        original: The untouched original.
        retrained: Models that never saw anything that is left out.
        batch: What is forgotten.
        level: Which scores are asked for.
    """

    candidate: Run
    source: Run
    original: Run
    retrained: Sequence[Run]
    batch: Batch
    level: Level

    @cached_property
    def outputs(self) -> dict[str, Outputs]:
        """Predictions by digest of the run, of the same samples in the same order."""
        runs = {run.record.digest: run for run in (self.candidate, self.source, self.original, *self.retrained)}
        read = {digest: run.outputs() for digest, run in runs.items()}
        train, test, holdout = _common(list(read.values()))
        return {digest: one.at(train, test, holdout) for digest, one in read.items()}

    @property
    def there(self) -> IntArray:
        """Positions of the training samples that all models have predictions of."""
        return self.outputs[self.candidate.record.digest].positions

    def predictions(self, run: Run) -> Predictions:
        """A model's predictions, with the requests of the batch as the forget set."""
        return self.outputs[run.record.digest].split(self.batch.view(self.batch.requests, self.there))

    def forget_part(self, run: Run, requests: Sequence[int]) -> Part:
        """A model's predictions on the samples of requests."""
        return self.outputs[run.record.digest].split(self.batch.view(requests, self.there)).forget

    def measured(self, requests: Sequence[int]) -> Measurement | None:
        """The audit of some requests; None where none of their samples is left."""
        view = self.batch.view(requests, self.there)
        if not len(view):
            return None
        found = examine(self._panel(view), self.level, 0)
        scores = {
            name: MeasuredScore(
                value=value,
                interval=None if name not in found.verdicts else found.verdicts[name].interval,
                original=found.original.get(name),
                retrained=tuple(found.retrained.get(name, ())),
                distinguishable=_distinguishable(found.verdicts.get(name)),
                detectable=None if name not in found.verdicts else found.verdicts[name].detectable,
            )
            for name, value in found.scores.items()
        }
        return Measurement(
            samples=len(view),
            level=self.level,  # type: ignore[arg-type]
            references=len(self.retrained),
            scores=scores,
            forgotten=Answer(**asdict(found.forgotten)),
            kept=Answer(**asdict(found.kept)),
            missing=found.missing,
        )

    def remeasured(self, requests: Sequence[int]) -> tuple[Remeasured, ...]:
        """Earlier requests, each measured again."""
        right = {number: self.right_on([number]) for number in requests}
        back = dict(zip(right, which_came_back([*right.values()]), strict=True))
        return tuple(self._remeasured(number, back[number]) for number in requests)

    def right_on(self, requests: Sequence[int]) -> tuple[BoolArray, BoolArray]:
        """On which samples of requests the candidate is right, bool ``(F,)``, and each retrained model, ``(R, F)``."""
        own = right(self.forget_part(self.candidate, requests))
        others = [right(self.forget_part(run, requests)) for run in self.retrained]
        return own, np.array(others, bool).reshape(len(others), len(own))

    def _remeasured(self, request: int, came_back: bool | None) -> Remeasured:
        """A request, measured again."""
        own, original, *retrained = (
            self.forget_part(run, [request]) for run in (self.candidate, self.original, *self.retrained)
        )
        if not len(own):
            return Remeasured(request=request, samples=0)
        return Remeasured(
            request=request,
            samples=len(own),
            accuracy=accuracy(own),
            original=accuracy(original),
            retrained=float(np.mean([accuracy(part) for part in retrained])) if retrained else None,
            confidence=_mean_confidence(own),
            original_confidence=_mean_confidence(original),
            retrained_confidence=float(np.mean([_mean_confidence(part) for part in retrained])) if retrained else None,
            came_back=came_back,
        )

    def _panel(self, view: ForgetSet) -> Panel:
        """The models on one forget set."""
        predictions = {digest: one.split(view) for digest, one in self.outputs.items()}
        original = predictions[self.original.record.digest]
        return Panel(
            model=predictions[self.candidate.record.digest],
            retrained=[predictions[run.record.digest] for run in self.retrained],
            original=original,
            originals=[original],
        )


def _common(read: Sequence[Outputs]) -> tuple[IntArray, IntArray, IntArray | None]:
    """Positions of the samples that all predictions are of, by part."""
    train = reduce(np.intersect1d, [one.rows_of("train") for one in read])
    test = reduce(np.intersect1d, [one.rows_of("test") for one in read])
    holdout = None
    if all(one.holdout is not None for one in read):
        holdout = reduce(np.intersect1d, [one.rows_of("holdout") for one in read])
    return train, test, holdout


def _distinguishable(verdict: Verdict | None) -> bool | None:
    """Whether a score lies outside the retraining baseline; None where there is no baseline to speak of."""
    return None if verdict is None or verdict.baseline_low is None else verdict.distinguishable


def right(part: Part) -> BoolArray:
    """On which samples a model is right, bool ``(S,)``."""
    return np.asarray(part.logits.argmax(axis=1) == part.labels)


def _mean_confidence(part: Part) -> float:
    """Mean probability of the true class."""
    return float(confidence(part).mean())
