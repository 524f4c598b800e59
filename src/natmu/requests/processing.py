"""Processing requests: candidates are made in turn, measured and judged, and the first that passes is deployed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np

from natmu.audits.obtaining import make_models
from natmu.engine.store import Run
from natmu.errors import ForgetSetError, TrainingError, UsageError
from natmu.lineage import Workspace, obtain, outcome_of, problem_of
from natmu.lineage.own_training import require_trainer
from natmu.machine import raise_passing
from natmu.methods import Method, Retrain, method_named
from natmu.methods.exact import Downdate
from natmu.methods.rate_trial import with_suitable_rate
from natmu.progress import decide, deciding, say
from natmu.records.derived import retrained, root_of
from natmu.records.guarantees import RETRAIN, promise_of
from natmu.records.ledger import DeployedModel, NotMade, ProcessStarted, Rejected, Released, Retrained, Tried
from natmu.records.lineage import Forget, Imported, Referenced, Trained, Unlearned
from natmu.records.policy import Candidate, Policy
from natmu.records.run import WEIGHTS
from natmu.records.service import ServiceRecord
from natmu.records.settings import LogisticTraining, TrainSettings
from natmu.requests.batch import Batch, values
from natmu.requests.batch_norms import BatchNorm, batch_norms_of
from natmu.requests.guardrails import Facts, judge_candidate
from natmu.requests.heads import head_facts, why_refit
from natmu.requests.ledger import Ledger
from natmu.requests.measuring import Compared
from natmu.requests.state import State, fold
from natmu.scores import accuracy
from natmu.scores.signals import confidence
from natmu.types import ForgetSet

Noted = TypeVar("Noted", Released, Rejected, NotMade, Retrained)


@dataclass(frozen=True)
class Processing:
    """Everything that making and judging candidates needs.

    Attributes:
        record: The service.
        ledger: Where everything is noted.
        workspace: The data that is left, and the store of models.
        batch: What is forgotten.
        source: The run that candidates are made from.
        honoured: Requests that the source honours.
        policy: What is tried, and what is accepted.
        seed: Of everything random.
    """

    record: ServiceRecord
    ledger: Ledger
    workspace: Workspace
    batch: Batch
    source: Run
    honoured: tuple[int, ...]
    policy: Policy
    seed: int

    def process(self, started: ProcessStarted, references: int, refused: int) -> Released | Rejected | NotMade:
        """Try the candidates in turn until one is deployed; each is noted as soon as it is judged.

        Args:
            started: The entry that began the process.
            references: How many retrained models candidates are compared with.
            refused: How many candidates were refused before an interruption.
        """
        candidates = self.policy.candidates
        outcome: Released | Rejected | NotMade | None = None
        for number, candidate in enumerate(candidates[refused:], refused + 1):
            say(f"candidate {number} of {len(candidates)}: {candidate.method}")
            outcome = self._tried(candidate, started, references, final=number == len(candidates))
            if isinstance(outcome, Released):
                return outcome
            say(f"{candidate.method} is refused: {' '.join(outcome.reasons)}")
        assert outcome is not None, "a process that tried all candidates is finished"
        return outcome

    def retrain(self, current: str) -> Retrained:
        """Retrain without all that is left out, and deploy that model.

        Args:
            current: Digest of the run that is deployed.

        Raises:
            UsageError: It is that model already, or nobody says how the original was trained.
        """
        candidate = Candidate(method=RETRAIN)
        if self._retrained(0).digest == current:
            raise UsageError("The deployed model was retrained without all that was asked to be forgotten already.")
        run, start = self._made(candidate), time.perf_counter()
        tried = self._noted(run, candidate, self._compared(run, 0), None)
        told = vars(tried) | {"audit_seconds": _since(start)}
        return self._append(lambda state: Retrained(**told, release=max(state.releases) + 1))

    def _tried(
        self, candidate: Candidate, started: ProcessStarted, references: int, *, final: bool
    ) -> Released | Rejected | NotMade:
        """Make one candidate, measure it, judge it, and note what came of it."""
        try:
            with deciding():  # runs keep what is decided, such as that a head was fitted again
                run = self._made(candidate)
        except (UsageError, TrainingError) as error:
            raise_passing(error)  # it does not speak against the candidate
            refusal = NotMade(
                process=started.process,
                requests=started.requests,
                method=candidate.method,
                reasons=(str(error),),
                final=final,
            )
            return self._append(lambda _: refusal)
        start = time.perf_counter()
        compared = self._compared(run, references)
        tried = self._noted(run, candidate, compared, started)
        results = judge_candidate(self.policy.guardrails, self._facts(candidate, compared, tried))
        known = vars(tried) | {"guardrails": results, "audit_seconds": _since(start)}
        reasons = tuple(result.sentence for result in results if not result.passed)
        if reasons:
            return self._append(lambda _: Rejected(**known, reasons=reasons, final=final))
        return self._append(lambda state: Released(**known, release=max(state.releases) + 1))

    def _append(self, decide: Callable[[State], Noted]) -> Noted:
        """Note something in the ledger."""
        noted: list[Noted] = []

        def body(state: State) -> Noted:
            noted[:] = [decide(state)]
            return noted[0]

        self.ledger.append(body)
        return noted[0]

    def _made(self, candidate: Candidate) -> Run:
        """The model of a candidate.

        Raises:
            UsageError: The method cannot serve, or samples are missing that it needs.
            TrainingError: Its loss is no longer finite.
        """
        method = method_named(candidate.method)(**candidate.settings)
        if isinstance(method, Retrain):
            return obtain(self._retrained(0), self.workspace)
        if method.reads_forget:
            self._require_samples(candidate)
        model: Trained | Imported | Unlearned | Referenced = self._start
        first = self._first(method)
        for forget in self._values(self.batch.groups(self.honoured)):
            model = self._unlearned(first, candidate, model, forget)
            obtain(model, self.workspace)
            first = method
        return self.workspace.require(model)

    def _first(self, method: Method) -> Method:
        """A method as it begins at the deployed model: a head is fitted again where nothing can be taken out of it."""
        if not isinstance(method, Downdate) or method.config.refit:
            return method
        why = why_refit(self.source, fold(self.ledger.entries()))
        if why is not None:
            decide(f"The head is fitted again on what is left. {why}")
        return method if why is None else Downdate(refit=True)

    def _unlearned(
        self, method: Method, candidate: Candidate, source: Trained | Imported | Unlearned | Referenced, forget: Forget
    ) -> Unlearned:
        """What a method makes of a model, at a rate that suits it."""

        def made_by(method: Method) -> Unlearned:
            result = outcome_of(
                method, source, forget, seed=self.seed, batch_size=candidate.batch_size, at=self.workspace.arithmetic
            )
            assert isinstance(result, Unlearned), "retraining was taken care of"
            return result

        if method.needs_shards or method.needs_head:  # which have no rate
            return made_by(method)
        recipe = self.record.recipe
        told = recipe if isinstance(recipe, TrainSettings) else None
        result = made_by(method)
        suited, _ = with_suitable_rate(method, problem_of(result, self.workspace), told, candidate.settings)
        return made_by(suited)

    def _require_samples(self, candidate: Candidate) -> None:
        """Refuse a method where samples are gone that it is to forget."""
        remaining = self.workspace.remaining
        assert remaining is not None, "a service knows what is left"
        needed = np.setdiff1d(self.batch.own, self.batch.of(self.honoured))
        gone = np.setdiff1d(needed, remaining.train)
        if len(gone):
            raise ForgetSetError(
                f"{candidate.method} needs the samples that it is to forget, and {len(gone)} of {len(needed)} are gone "
                "from the data. Put them back until the requests are processed, or retrain."
            )

    def _retrained(self, number: int) -> Trained:
        """A model that never saw what is left out; number 0 is the one that may be deployed, the others are references.

        Raises:
            UsageError: Nobody says how the original was trained.
        """
        recipe, root = self.record.recipe, root_of(self._original_lineage)
        if recipe is None:
            raise UsageError(
                "Nobody says how the original was trained, so nothing can be retrained; begin the service anew with "
                "--training FILE or --trainer."
            )
        require_trainer(recipe, self.workspace)
        forget = self._values(self.batch.all_left_out())[-1]
        seed = self.seed + number + (root.seed if isinstance(root, Trained) else 0)
        return retrained(root, forget, self.workspace.arithmetic, seed, fresh=True, recipe=recipe)

    def _values(self, chain: Sequence[ForgetSet]) -> tuple[Forget, ...]:
        """Forget sets as lineages tell of them, which the workspace then knows."""
        before, after = chain[0].before, None
        if len(before):
            others = [number for number in self.batch.rows if number not in self.batch.requests]
            after = self._values(self.batch.left_out(before, others))[-1]
        found = values(chain, after)
        for value, forget in zip(found, chain, strict=True):
            self.workspace.remember(value, forget)
        return found

    @cached_property
    def _original(self) -> Run:
        run = self.workspace.store.find(self.record.original)
        assert run is not None, "the service was opened"
        return run

    @cached_property
    def _original_lineage(self) -> Trained | Imported:
        lineage = self._original.record.lineage
        assert isinstance(lineage, Trained | Imported), "a service begins with an original"
        return lineage

    @cached_property
    def _start(self) -> Trained | Imported | Referenced:
        """The model that candidates are made from."""
        lineage = self.source.record.lineage
        if isinstance(lineage, Trained | Imported):
            return lineage
        assert isinstance(lineage, Unlearned), "a service deploys nothing else"
        known = self.batch.of(self.honoured)
        forgotten = self._values(self.batch.left_out(known, self.honoured))[-1]
        return Referenced(root=root_of(lineage), run=lineage.digest, arithmetic=lineage.arithmetic, forgotten=forgotten)

    def _compared(self, run: Run, references: int) -> Compared:
        """A model beside the original and beside retrained models, which are made if they are missing."""
        models = [self._retrained(number) for number in range(1, references + 1)]
        if models:
            make_models(((models, True),), self.workspace, "retrained models to compare with")
        runs = [self.workspace.require(model) for model in models]
        return Compared(run, self.source, self._original, runs, self.batch, self.policy.audit.level)

    def _noted(self, run: Run, candidate: Candidate, compared: Compared, started: ProcessStarted | None) -> Tried:
        """What is noted of a model, but for what the guardrails say."""
        record, lineage = run.record, run.record.lineage
        promise, recipe = promise_of(candidate.method, self.record.recipe), self.record.recipe
        seed = lineage.seed if isinstance(lineage, Trained | Unlearned) else self.seed
        return Tried(
            process=None if started is None else started.process,
            requests=self.batch.requests,
            method=candidate.method,
            settings=lineage.settings if isinstance(lineage, Unlearned) else {},
            guarantee=promise.guarantee,
            promise=promise.promise,
            assumptions=promise.assumptions,
            seed=None if isinstance(recipe, LogisticTraining) else seed,
            source=None if candidate.method == RETRAIN else deployed(self.source),
            result=deployed(run),
            seconds=record.seconds,
            retraining_seconds=self._retraining_seconds(compared.retrained),
            forgotten=len(self.batch.of((*self.honoured, *self.batch.requests))),
            measured=compared.measured(self.batch.requests),
            earlier=compared.measured(self.honoured),
            remeasured=compared.remeasured(self.honoured),
            head=head_facts(self._original_lineage, run),
            decisions=record.decisions,
            versions=record.versions,
            hardware=record.hardware,
        )

    def _retraining_seconds(self, retrained: Sequence[Run]) -> float | None:
        """What retraining takes: measured just now, or when the original was trained here."""
        seconds = [run.record.seconds for run in retrained] or [self._original.record.seconds]
        return sum(seconds) / len(seconds) or None

    def _facts(self, candidate: Candidate, compared: Compared, tried: Tried) -> Facts:
        """What guardrails judge."""
        requests = self.batch.requests
        own, original = compared.predictions(compared.candidate), compared.predictions(compared.original)
        part: Literal["holdout", "test"] = "test" if own.holdout is None else "holdout"
        unseen = (original.holdout or original.test, own.holdout or own.test)
        correct, retrained_correct = compared.right_on(requests)
        before, after = (compared.forget_part(run, requests) for run in (self.source, compared.candidate))
        return Facts(
            method=candidate.method,
            guarantee=tried.guarantee,
            retain=(accuracy(original.retain), accuracy(own.retain)),
            unseen=(accuracy(unseen[0]), accuracy(unseen[1])),
            unseen_part=part,
            correct=correct,
            retrained_correct=retrained_correct,
            before=confidence(before),
            after=confidence(after),
            batch_norms_before=_batch_norms(self.source),
            batch_norms_after=_batch_norms(compared.candidate),
            measured=tried.measured,
            earlier=tried.earlier,
            remeasured=tried.remeasured,
        )


def deployed(run: Run) -> DeployedModel:
    """A run as the ledger names it."""
    return DeployedModel(run=run.record.digest, weights=run.record.files[WEIGHTS])


def _since(start: float) -> float:
    """Seconds since a reading of the clock."""
    return round(time.perf_counter() - start, 3)


def _batch_norms(run: Run) -> dict[str, BatchNorm]:
    """The running statistics of a run's model."""
    return batch_norms_of({name: value.float().numpy() for name, value in run.weights().items()})
