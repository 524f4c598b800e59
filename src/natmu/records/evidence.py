"""Evidence of a deletion request: what was asked, done, measured and deployed, and what that does not show.

It is handed to people outside, so no file name, no pixel and no exposure of a single sample stands in it, unless
``samples`` were asked for.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from natmu.records.digests import Digest
from natmu.records.files import File, Value
from natmu.records.guarantees import Guarantee, HeadFacts
from natmu.records.ledger import Asked, DeployedModel, Entry, Hash, Released, Retrained
from natmu.records.measurement import GuardrailResult, Measurement, Remeasured
from natmu.records.policy import Guardrails
from natmu.records.run import Hardware


class EvidenceService(Value):
    """The service that the request was made to.

    Attributes:
        architecture: Name of the network.
        training: How the original was trained, in a few words.
        trained_here: Whether natmu trained it.
        samples: Training samples of the original.
        original: The original.
        accuracies: Of the original in percent.
        began: When the service began, UTC, ISO 8601.
    """

    architecture: str
    training: str
    trained_here: bool
    samples: int = Field(ge=1)
    original: DeployedModel
    accuracies: dict[str, float]
    began: str


class EvidenceRequest(Value):
    """What was asked, and what has become of it.

    Attributes:
        request: Its number.
        ticket: The caller's own name for it.
        asked: How it names its samples.
        classes: Names of the classes, of a request for whole classes.
        samples: How many training samples it names, byte-identical copies included.
        copies: How many of these are there as copies of others alone.
        unseen: How many samples it names in parts that are never trained on.
        received: When it came in, UTC, ISO 8601.
        due: When it must be answered, likewise.
        status: ``pending``, ``in process``, or ``honoured`` by the deployed model.
        answered: When a model was first deployed that honours it; None if there was none.
        in_time: Whether that was in time; None of a request that is neither answered nor overdue.
        release: Number of the release that answered it, of those that the deployed model rests on; None if it is not
            honoured.
        since: Since when it is honoured; None if it is not.
    """

    request: int = Field(ge=1)
    ticket: str
    asked: Asked
    classes: tuple[str, ...] = ()
    samples: int = Field(ge=1)
    copies: int = Field(ge=0)
    unseen: int = Field(ge=0)
    received: str
    due: str
    status: Literal["pending", "in process", "honoured"]
    answered: str | None
    in_time: bool | None
    release: int | None
    since: str | None


class Thresholds(Value):
    """What was fixed before a process began.

    Attributes:
        entry: Number of the entry that began the process.
        time: Its time.
        policy: Digest of the policy.
        policy_entry: Number of the entry that holds the policy.
        guarantee: The weakest guarantee that was allowed.
        level: Which scores were asked for.
        references: Retrained models to compare with.
        guardrails: What a candidate may not do.
    """

    entry: int = Field(ge=1)
    time: str
    policy: Digest
    policy_entry: int = Field(ge=1)
    guarantee: Guarantee
    level: Literal["quick", "standard"]
    references: int = Field(ge=0)
    guardrails: Guardrails


class Made(Value):
    """How a model was made.

    Attributes:
        settings: All settings of the method.
        guarantee: What the method promises of this model, in a word.
        promise: The same in a sentence.
        assumptions: Under which assumptions, a sentence each.
        seed: Of everything random in it; None where it is a secret.
        source: What it was made from; None of retraining.
        result: The model.
        seconds: Wall time of the work itself.
        retraining_seconds: What retraining takes, measured or estimated; None where nobody knows.
        retrain_fraction: Fraction of retraining's time; None where that is not known, or so short that starting up
            decides it.
        audit_seconds: Wall time of retrained models to compare with, and of measurements.
        forgotten: How many samples the model has forgotten by now.
        measured: What the audit says of all requests that it answers; None where no sample was left to measure.
        guardrails: What each guardrail says.
        head: The head on features that the model is; None of any other model.
        decisions: What was decided while it was made, a sentence each.
        versions: Package name to version.
        hardware: What it ran on.
    """

    settings: dict[str, Any]
    guarantee: Guarantee
    promise: str
    assumptions: tuple[str, ...]
    seed: int | None
    source: DeployedModel | None
    result: DeployedModel
    seconds: float
    retraining_seconds: float | None
    retrain_fraction: float | None
    audit_seconds: float
    forgotten: int
    measured: Measurement | None
    guardrails: tuple[GuardrailResult, ...]
    head: HeadFacts | None
    decisions: tuple[str, ...]
    versions: dict[str, str]
    hardware: Hardware


class Attempt(Value):
    """A model that was to answer the request: deployed, refused, or not made at all.

    Attributes:
        entry: Number of its entry in the ledger.
        time: Of that entry.
        outcome: What became of it.
        release: Its number, if it was deployed.
        process: Number of the process; None of a retraining that was asked for.
        requests: All requests that it was to answer.
        method: Name of the method.
        reasons: Why it was refused or could not be made, a sentence each.
        made: How it was made; None if it could not be.
        thresholds: What was fixed beforehand; None of a retraining outside of a process.
    """

    entry: int = Field(ge=1)
    time: str
    outcome: Literal["deployed", "refused", "not made"]
    release: int | None
    process: int | None
    requests: tuple[int, ...]
    method: str
    reasons: tuple[str, ...]
    made: Made | None
    thresholds: Thresholds | None


class LaterRelease(Value):
    """A release after the one that answered the request, which honours it too.

    Attributes:
        entry: Number of its entry in the ledger.
        time: Of that entry.
        release: Its number.
        method: Name of the method that made it.
        guarantee: What that method promises those whom it answers.
        measured: The request, measured again on it; None where it was not.
    """

    entry: int = Field(ge=1)
    time: str
    release: int = Field(ge=1)
    method: str
    guarantee: Guarantee
    measured: Remeasured | None


class Rollback(Value):
    """An earlier model was deployed again after the request came in.

    Attributes:
        entry: Number of its entry in the ledger.
        time: Of that entry.
        release: Number of the release that was deployed.
        reopened: Whether the request was pending again after it.
    """

    entry: int = Field(ge=1)
    time: str
    release: int = Field(ge=0)
    reopened: bool


class DeployedNow(Value):
    """What is deployed after the last entry.

    Attributes:
        release: Its number; 0 is the original.
        model: The model.
        method: The method that made it; ``original`` of release 0.
        guarantee: What that method promises those whom it answers; None of the original, which honours nobody.
        since: When it was deployed, by a rollback perhaps.
        honours: Whether it honours the request.
        trained_without: Number of the release that it is or rests on, which is exactly, or certified, a model that
            was trained without the samples of the request; None if there is none.
    """

    release: int = Field(ge=0)
    model: DeployedModel
    method: str
    guarantee: Guarantee | None
    since: str
    honours: bool
    trained_without: int | None


class PurgeNoted(Value):
    """The samples were found to be gone from the data.

    Attributes:
        entry: Number of its entry in the ledger.
        time: Of that entry.
        files: How many files were looked through.
        caches: How many files with decoded copies were removed.
        features: How many rows of stored features were erased.
        weights: How many earlier models that knew the samples had their weights deleted.
        heads: How many logistic heads had their state deleted, weights of a fit on samples that were taken out since.
    """

    entry: int = Field(ge=1)
    time: str
    files: int
    caches: int
    features: int
    weights: int
    heads: int


class EvidenceSample(Value):
    """A sample of the request, by its name. This is personal data, and is there only if it was asked for.

    Attributes:
        name: As the data names it.
        label: Its class.
        before: Probability of that class by the original, 0 to 1; None where it is not known.
        after: The same of the deployed model.
    """

    name: str
    label: str
    before: float | None = Field(ge=0, le=1)
    after: float | None = Field(ge=0, le=1)


class Evidence(File):
    """Evidence of a request (``evidence.json``), as of the last entry of the ledger.

    Attributes:
        as_of: Time of the last entry.
        service: The service.
        request: What was asked.
        attempts: Models that were to answer the request, in order.
        later: Releases after the first answer, with the request measured again.
        rollbacks: Earlier models that were deployed again since the request came in.
        deployed: What is deployed now.
        purges: Every time that its samples were found to be gone.
        shown: What the evidence shows, a sentence each.
        not_shown: What it does not show.
        signed_by: Short name of the key that signs it; None if it is not signed.
        samples: The samples, if they were asked for.
        entries: All entries of the ledger that this rests on, word for word.
        head_number: Number of the last entry of the ledger.
        head_hash: Its hash.
    """

    remedy: ClassVar[str] = "ask its sender for evidence.json as it was written"

    format: Literal[1] = 1
    as_of: str
    service: EvidenceService
    request: EvidenceRequest
    attempts: tuple[Attempt, ...]
    later: tuple[LaterRelease, ...]
    rollbacks: tuple[Rollback, ...]
    deployed: DeployedNow
    purges: tuple[PurgeNoted, ...]
    shown: tuple[str, ...]
    not_shown: tuple[str, ...]
    signed_by: str | None = None
    samples: tuple[EvidenceSample, ...] | None = None
    entries: tuple[Entry, ...] = Field(min_length=1)
    head_number: int = Field(ge=1)
    head_hash: Hash

    @property
    def answer(self) -> Attempt | None:
        """The model that answers the request, or the last one that did; None if there was none."""
        answers = [one for one in self.attempts if one.outcome == "deployed"]
        holding = [one for one in answers if one.release == self.request.release]
        candidates = holding or answers
        return candidates[-1] if candidates else None

    @property
    def promised(self) -> Released | Retrained | None:
        """The release with a promise that the deployed model rests on; None where nothing is promised."""
        release, bodies = self.deployed.trained_without, (entry.body for entry in self.entries)
        return next((one for one in bodies if isinstance(one, Released | Retrained) and one.release == release), None)
