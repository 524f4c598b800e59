"""The audit of a run: every score with what may be said of it, the table of samples, pictures of the exposed ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal, get_args

from pydantic import Field

from natmu.errors import RunError, UsageError
from natmu.machine import cannot_write, raise_passing
from natmu.records.digests import Digest
from natmu.records.disk import sweep
from natmu.records.files import File, Value, file_digest, is_there, write_atomically
from natmu.records.forgetting import Request
from natmu.records.recipe import Level
from natmu.records.run import RunFolder
from natmu.records.samples import Exposed, Sample, read_samples, samples_text
from natmu.records.settings import Training
from natmu.types import Scenario

AUDIT_FOLDER, AUDIT, SAMPLES, EXPOSED = "audit", "audit.json", "samples.csv", "exposed.npz"
"""Of a run folder, where its audit is, and the names of the files there."""


class AuditedForget(Value):
    """The forget set of an audited run.

    Attributes:
        request: What was asked for; None of samples that a program listed.
        scenario: Which kind of request it is.
        count: How many samples.
        digest: Of their positions.
    """

    request: Request | None
    scenario: Scenario
    count: int = Field(ge=1)
    digest: Digest


class ScoreVerdict(Value):
    """What one score allows to be said, next to the same score of retrained models.

    Attributes:
        score: Name of the score.
        value: That of the audited model.
        interval: 95 % interval of the value over samples; None where it is not known.
        baseline_low: Lowest value that one more retrained model would have; None if nothing can be concluded.
        baseline_high: The highest.
        original: The original's value; None where it is not known.
        detectable: Smallest difference from retrained models that is seen with the stated power.
        distinguishable: Whether the value lies outside, on a side that counts.
        sentence: All this in one sentence.
        p_value: Probability that one more retrained model lies as far out, before any correction.
        references: Number of retrained models.
        sees_original: Whether the original is distinguishable; None where that is not known.
    """

    score: str
    value: float
    interval: tuple[float, float] | None = None
    baseline_low: float | None = None
    baseline_high: float | None = None
    original: float | None = None
    detectable: float | None = None
    distinguishable: bool
    sentence: str
    p_value: float | None = None
    references: int = 0
    sees_original: bool | None = None


class Answer(Value):
    """One part of the verdict.

    Attributes:
        outcome: In a word. Of what should be forgotten: ``no``, ``too much``, ``unlike retraining``, ``not
            distinguishable`` or ``cannot be said``. Of what should be kept: ``yes``, ``no``, ``not shown`` or ``cannot
            be said``.
        sentence: With the most telling number beside those of the original and of retrained models.
    """

    outcome: Literal["yes", "no", "too much", "unlike retraining", "not distinguishable", "not shown", "cannot be said"]
    sentence: str


class AuditedScore(Value):
    """One score of an audit.

    Attributes:
        value: That of the audited model.
        retrained: That of each retrained model, or of each random division; None where there is none.
        original: That of the original; None where it is not known.
        verdict: What may be said; None where the score cannot be compared.
        leak: Of areas below a ROC curve, their distance from 0.5; None of other scores.
    """

    value: float
    retrained: tuple[float, ...] | None = None
    original: float | None = None
    verdict: ScoreVerdict | None = None
    leak: float | None = None


class ShadowModels(Value):
    """The shadow models of an audit of level full.

    Attributes:
        trained: Digest of the run of each.
        unlearned: Digest of the run of each after unlearning.
        split: Of each trained shadow model, the rows of the pool that it was trained on.
        non_members: The unseen samples of the pool, as rows of those that attacks compare the forget set with.
    """

    trained: tuple[Digest, ...]
    unlearned: tuple[Digest, ...]
    split: tuple[tuple[int, ...], ...]
    non_members: tuple[int, ...]


class ComparedModels(Value):
    """The runs that an audit compares, by their digests.

    Attributes:
        retrained: Models retrained without the forget set.
        original: Further originals.
        unlearned: The method on further originals.
        again: The method on the same original with further seeds.
        initial: An untrained model.
        shadows: Shadow models; None below the level full.
    """

    retrained: tuple[Digest, ...] = ()
    original: tuple[Digest, ...] = ()
    unlearned: tuple[Digest, ...] = ()
    again: tuple[Digest, ...] = ()
    initial: tuple[Digest, ...] = ()
    shadows: ShadowModels | None = None


class Audit(File):
    """The audit of a run (``audit/audit.json``).

    Attributes:
        run: Digest of the audited run; None of a model in memory, which belongs to no run.
        level: How much was asked for.
        references: How many retrained models were asked for.
        method: Name of the method of the audited run; None of a model in memory.
        forget: What it forgot.
        forgotten: Whether the forget set is forgotten, as far as the scores can see.
        kept: Whether the model is still right on the retain set, the test set and the holdout.
        decisions: What was decided for the user, a sentence each.
        scores: By name, in the order of the catalogue.
        missing: By name of the score, why it is not there.
        mia_efficacy_samples: How many samples of each side the attack of ``mia_efficacy`` learns from.
        seed: Of subsamples, bootstrap draws and random divisions.
        training: How references were trained, where that was said for the audit; the original's own recipe if None.
        models: The runs that were compared.
        files: Digest of each other file of the audit, by its name; ``write_audit`` fills it in.
    """

    remedy: ClassVar[str] = "audit the run again"

    format: Literal[3] = 3
    run: Digest | None
    level: Level
    references: int = Field(ge=0)
    method: str | None
    forget: AuditedForget
    forgotten: Answer
    kept: Answer
    decisions: tuple[str, ...] = ()
    scores: dict[str, AuditedScore]
    missing: dict[str, str]
    mia_efficacy_samples: int | None = None
    seed: int
    training: Training | None = None
    models: ComparedModels
    files: dict[str, Digest] = Field(default_factory=dict)


@dataclass(frozen=True)
class AuditFolder:
    """The audit of a run. What is read is what this run's audit wrote.

    Attributes:
        run: The audited run.
    """

    run: RunFolder

    @property
    def path(self) -> Path:
        """The folder."""
        return self.run.path / AUDIT_FOLDER

    @cached_property
    def audit(self) -> Audit:
        """Scores and verdict.

        Raises:
            RunError: They cannot be read, or are of another run.
        """
        audit = Audit.read(self.path / AUDIT)
        if audit.run != self.run.record.digest:
            raise RunError(f"{self.path / AUDIT} is the audit of another run, {audit.run}; audit the run again.")
        return audit

    @cached_property
    def samples(self) -> tuple[Sample, ...]:
        """The table of samples: forget samples, the most exposed first, then retain samples.

        Raises:
            RunError: It cannot be read, or is of another audit.
        """
        path = self._verified(SAMPLES)
        return () if path is None else read_samples(path)

    @cached_property
    def exposed(self) -> Exposed | None:
        """Pictures of the most exposed forget samples; None where no data was at hand.

        Raises:
            RunError: They cannot be read, or are of another audit.
        """
        path = self._verified(EXPOSED)
        return None if path is None else Exposed.read(path)

    def _verified(self, name: str) -> Path | None:
        """The path of one of its files; None if the audit wrote none."""
        expected, path = self.audit.files.get(name), self.path / name
        if expected is None:
            return None
        if file_digest(path, Audit.remedy) != expected:
            raise RunError(
                f"{path} is not what this audit wrote (damaged, edited or of another audit); {Audit.remedy}."
            )
        return path


def audit_of(run: RunFolder) -> AuditFolder | None:
    """The audit of a run; None where it was not audited."""
    return AuditFolder(run) if is_there(run.path / AUDIT_FOLDER / AUDIT) else None


def refuse_lesser(run: RunFolder, level: Level, references: int, *, force: bool) -> None:
    """Refuse to replace the audit of a run by one that says less; a damaged audit says nothing.

    Args:
        run: The run.
        level: Of the new audit.
        references: How many retrained models it compares with.
        force: Whether to replace it all the same.

    Raises:
        UsageError: The audit there has a higher level, or compared with more retrained models.
    """
    there = audit_of(run)
    if there is None or force:
        return
    try:
        known = there.audit
    except RunError as error:
        raise_passing(error)  # it may be whole, and is not replaced
        return
    levels, count = get_args(Level), len(known.models.retrained)
    if levels.index(known.level) > levels.index(level) or count > references:
        raise UsageError(
            f"{there.path} holds an audit of the level {known.level} with {count} retrained models, and this one would "
            f"have the level {level} and {references}; give --force to replace it."
        )


def write_audit(folder: Path, audit: Audit, samples: Sequence[Sample], exposed: Exposed | None = None) -> Audit:
    """Write the files of an audit, ``audit.json`` last.

    Args:
        folder: The folder of the audited run; ``audit/`` is made in it.
        audit: The audit; its ``files`` are filled in here.
        samples: The table of samples.
        exposed: Pictures of the most exposed ones; those of an earlier audit stay if there are none now.

    Returns:
        The audit as it was written.

    Raises:
        RunError: A file cannot be written.
    """
    path = folder / AUDIT_FOLDER
    try:
        path.mkdir(exist_ok=True)
        sweep(path)
    except OSError as error:
        raise cannot_write(path, error) from error
    write_atomically(path / SAMPLES, samples_text(samples).encode())
    if exposed is not None:
        exposed.write(path / EXPOSED)
    files = {name: file_digest(path / name) for name in (SAMPLES, EXPOSED) if (path / name).exists()}
    written = audit.model_copy(update={"files": files})
    written.write(path / AUDIT)
    return written
