"""The jobs of a study as plain values; each leaves its result in the store, where the others find it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from natmu.data import resolve_forget
from natmu.engine.store import Run, digest_of
from natmu.errors import ForgetSetError, RunError
from natmu.methods import Method, method_named
from natmu.scores import Level
from natmu.study.auditing import Audit, write_audit
from natmu.study.jobs import Bench, Original, original_spec, train_original, unlearn_from, unlearned_spec
from natmu.study.shadows import Shadowing, ShadowPlan
from natmu.study.table import Replicate
from natmu.types import ForgetSet

SHADOW, UNLEARNED_SHADOW = "shadow", "unlearned shadow"

STARTS: dict[str, str | None] = {"unlearned": "original", "again": None, UNLEARNED_SHADOW: SHADOW}
"""Parts of an audit that are played by models of the method under audit, and the part of the model that each starts
from; models of other parts serve the audits of all methods."""


class Job(Protocol):
    """One piece of work of a study: plain values, so that it can be sent to another machine."""

    @property
    def name(self) -> str:
        """What tells it from all other jobs of the study."""

    @property
    def needs(self) -> tuple[Job, ...]:
        """The jobs whose results it starts from; it cannot be done where one of them has failed."""

    @property
    def after(self) -> tuple[Job, ...]:
        """The jobs that come first, whatever becomes of them."""

    def digest(self, bench: Bench) -> str | None:
        """Digest of the run that it makes; None as long as that hangs on a model that there is not yet."""

    def run(self, bench: Bench) -> Run:
        """Do it, or find that it has been done."""


@dataclass(frozen=True)
class TrainJob:
    """Train the original model of a training seed."""

    seed: int

    @property
    def name(self) -> str:
        """What tells it from all other jobs of the study."""
        return f"original, seed {self.seed}"

    needs: ClassVar[tuple[Job, ...]] = ()
    after: ClassVar[tuple[Job, ...]] = ()

    def digest(self, bench: Bench) -> str:
        """Digest of the run that it makes."""
        return digest_of(original_spec(bench, self.seed))

    def original(self, bench: Bench) -> Original:
        """The original: found in the store, or trained."""
        return train_original(bench, self.seed)

    def run(self, bench: Bench) -> Run:
        """Train it, or find that it has been trained."""
        return self.original(bench).run


@dataclass(frozen=True)
class UnlearnJob:
    """Make one model from an original by one method; retraining is one of the methods.

    Attributes:
        original: Where it starts.
        scenario: Forget spec.
        label: The row of the table that it belongs to.
        method: Name of the method.
        settings: Of the method.
        replicate: The seeds of the replicate; its split seed draws a random forget set.
        seed: Of the method.
        batch_size: Samples per step; the original's if None.
    """

    original: TrainJob
    scenario: str
    label: str
    method: str
    settings: dict[str, Any]
    replicate: Replicate
    seed: int
    batch_size: int | None = None

    @property
    def name(self) -> str:
        """What tells it from all other jobs of the study."""
        split, training, unlearning = self.replicate
        seeds = f"{split}, {training}" + ("" if unlearning is None else f", {unlearning}")
        source = "" if training == self.original.seed else f" (original {self.original.seed})"
        return f"{self.label}, {self.scenario}, seeds {seeds}{source}"

    after: ClassVar[tuple[Job, ...]] = ()

    @property
    def needs(self) -> tuple[Job, ...]:
        """The original."""
        return (self.original,)

    def forget(self, original: Original) -> ForgetSet:
        """The forget set."""
        train = original.bench.splits.train
        return resolve_forget(self.scenario, train, seed=self.replicate.split, hardness=original.hardness())

    def made(self) -> Method:
        """The method with its settings."""
        return method_named(self.method)(**self.settings)

    def digest(self, bench: Bench) -> str | None:
        """Digest of the run that it makes; None where there is no original yet."""
        run = bench.store.find(self.original.digest(bench))
        if run is None:
            return None
        original = Original(bench, run, self.original.seed)
        size = self.batch_size or bench.training.batch_size
        return digest_of(unlearned_spec(original, self.forget(original), self.made(), self.seed, size))

    def run(self, bench: Bench) -> Run:
        """Unlearn, or find that it has been done."""
        original = self.original.original(bench)
        forget = self.forget(original)
        return unlearn_from(original, forget, self.made(), seed=self.seed, batch_size=self.batch_size)


@dataclass(frozen=True)
class Subject:
    """What an audit is of: of the replicates of a method on a forget set, the first that succeeded.

    Attributes:
        replicates: The jobs of all replicates.
        level: Of the audit.
        references: Number of retrained models.
    """

    replicates: tuple[UnlearnJob, ...]
    level: Level
    references: int

    @property
    def scenario(self) -> str:
        """Forget spec."""
        return self.replicates[0].scenario

    @property
    def label(self) -> str:
        """The row of the table that it belongs to."""
        return self.replicates[0].label

    @property
    def method(self) -> str:
        """Name of the method."""
        return self.replicates[0].method

    def audit(self, bench: Bench) -> Audit | None:
        """The audit of the first replicate that is in the store; None where none is there."""
        for job in self.replicates:
            run = found(job, bench)
            if run is not None:
                return Audit(run, bench.store, self.level, self.references)
        return None

    def require_audit(self, bench: Bench) -> Audit:
        """The audit of the first replicate that is in the store.

        Raises:
            RunError: None is there.
        """
        audit = self.audit(bench)
        if audit is None:
            raise RunError(f"There is no model of {self.label}, {self.scenario} to audit; all its replicates failed.")
        return audit


@dataclass(frozen=True)
class AuditModelJob:
    """Make one of the models that an audit compares with.

    Attributes:
        subject: What is audited; of models that all audits share, the retrained model.
        part: The part that the model plays.
        number: Which of those that play the part.
        after: The replicates that may be audited, and the model that this one starts from.
    """

    needs: ClassVar[tuple[Job, ...]] = ()

    subject: Subject
    part: str
    number: int
    after: tuple[Job, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """What tells it from all other jobs of the study."""
        if self.part in ("initial", "original"):  # which know of no forget set
            return f"{self.part} model {self.number} for all audits"
        whose = self.subject.label if self.part in STARTS else "all methods"
        return f"{self.part} model {self.number} for the audit of {whose}, {self.subject.scenario}"

    def digest(self, bench: Bench) -> str | None:
        """Digest of the run that it makes; None without a model to audit yet, or without anything to make of it."""
        audit = self.subject.audit(bench)
        if audit is None:
            return None
        if self.part not in (SHADOW, UNLEARNED_SHADOW):
            return digest_of(audit.cast.role(self.part, self.number).spec)
        plan = audit.shadows
        if plan is None:
            return None
        return digest_of(plan.trained(self.number) if self.part == SHADOW else plan.unlearned(self.number))

    def run(self, bench: Bench) -> Run:
        """Make it, or find that it has been made."""
        audit = self.subject.require_audit(bench)
        original = train_original(bench, audit.cast.seed)
        if self.part not in (SHADOW, UNLEARNED_SHADOW):
            return audit.cast.role(self.part, self.number).make(original)
        shadows = Shadowing(self._shadows(audit), original)
        return shadows.trained(self.number) if self.part == SHADOW else shadows.unlearned(self.number)

    def _shadows(self, audit: Audit) -> ShadowPlan:
        if audit.shadows is None:
            raise ForgetSetError(
                f"{self.subject.scenario} leaves no unseen samples for shadow models; audit at a lower level."
            )
        return audit.shadows


@dataclass(frozen=True)
class AuditJob:
    """Audit one model; what is missing of the models that this needs is made.

    Attributes:
        subject: What is audited.
        after: The replicates that may be audited, and the models that they are compared with.
    """

    needs: ClassVar[tuple[Job, ...]] = ()

    subject: Subject
    after: tuple[Job, ...] = field(repr=False)

    @property
    def name(self) -> str:
        """What tells it from all other jobs of the study."""
        return f"audit of {self.subject.label}, {self.subject.scenario}"

    def digest(self, bench: Bench) -> None:
        """Nothing: what is written stands beside the run under audit, and is written anew each time."""

    def run(self, bench: Bench) -> Run:
        """Write the audit into the folder of the run under audit."""
        audit = self.subject.require_audit(bench)
        audit.train(train_original(bench, audit.cast.seed))
        write_audit(audit, bench.splits.train)
        return audit.run


def found(job: Job, bench: Bench) -> Run | None:
    """The run that a job makes, if it has been made."""
    digest = job.digest(bench)
    return None if digest is None else bench.store.find(digest)
