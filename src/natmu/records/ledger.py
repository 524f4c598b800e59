"""Entries of the ledger of a service: what was asked, done, measured and decided, each chained to the one before.

No file name, no pixel and no exposure of a single sample stands here. Samples are named by keyed digests: HMACs whose
key only the service has, because plain hashes of photographs can be guessed and are personal data still.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator

from natmu.records.digests import Digest
from natmu.records.files import File, Value
from natmu.records.guarantees import Guarantee, HeadFacts
from natmu.records.measurement import GuardrailResult, Measurement, Remeasured
from natmu.records.policy import Policy
from natmu.records.run import Hardware

KeyedDigest = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
"""Hexadecimal HMAC-SHA256 of a sample's pixels or of a file's bytes, cut to 16 bytes."""

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
"""Hexadecimal SHA-256, or HMAC-SHA256 where it is a seal."""

Asked = Literal["files", "where", "indices", "class"]
"""How a request names its samples: by a list of files, by a value in a table, by positions, or by class."""


class DeployedModel(Value):
    """A model of the service, by its run in the folder ``models``.

    Attributes:
        run: Digest of its lineage, which names the folder.
        weights: Digest of its file of weights.
    """

    run: Digest
    weights: Digest


class Opening(Value):
    """The first entry: the original and its data.

    Attributes:
        original: The original.
        architecture: Name of its network.
        training: How it was trained, in a few words.
        trained_here: Whether natmu trained it, so that what it learnt from is known.
        accuracies: Of the original in percent: ``train_acc``, ``test_acc``, and ``holdout_acc`` where there is one.
        samples: Training samples.
        census: Digest of the service's list of samples.
        retraining_seconds: What training took; None where nobody knows.
        policy: The policy.
        versions: Package name to version.
    """

    kind: Literal["open"] = "open"
    original: DeployedModel
    architecture: str
    training: str
    trained_here: bool = False
    accuracies: dict[str, float]
    samples: int = Field(ge=1)
    census: Digest
    retraining_seconds: float | None = None
    policy: Policy
    versions: dict[str, str]


class PolicyChanged(Value):
    """The policy was edited; what is processed from here on follows this one.

    Attributes:
        policy: The new policy.
        before: Digest of the one before.
    """

    kind: Literal["policy"] = "policy"
    policy: Policy
    before: Digest


class Requested(Value):
    """A request came in.

    Attributes:
        request: Its number, from 1 on.
        ticket: The caller's own name for it; no other request has the same.
        asked: How it names its samples.
        classes: Names of the classes, of a request for whole classes.
        samples: Keyed digests of the pixels of its training samples, byte-identical copies included.
        files: Keyed digests of the bytes of their files, in the same order; empty where samples are no files.
        copies: How many of the samples are there as copies of others alone.
        unseen: Keyed digests of the pixels of samples that it names in parts that are never trained on.
        unseen_files: Keyed digests of the bytes of their files.
        received: When it came in, UTC, ISO 8601.
        due: When it must be answered, likewise.
    """

    kind: Literal["request"] = "request"
    request: int = Field(ge=1)
    ticket: str = Field(min_length=1, max_length=200)
    asked: Asked
    classes: tuple[str, ...] = ()
    samples: tuple[KeyedDigest, ...] = Field(min_length=1)
    files: tuple[KeyedDigest, ...] = ()
    copies: int = Field(0, ge=0)
    unseen: tuple[KeyedDigest, ...] = ()
    unseen_files: tuple[KeyedDigest, ...] = ()
    received: str
    due: str

    @field_validator("received", "due")
    @classmethod
    def _is_a_time(cls, text: str) -> str:
        datetime.fromisoformat(text)
        return text


class ProcessStarted(Value):
    """Work on pending requests began; what is tried, and by which thresholds, is fixed from here on.

    Attributes:
        process: Its number, from 1 on.
        requests: Numbers of the requests that it answers.
        source: The model that it starts from.
        forgotten_before: How many samples are left out already.
        seed: Of everything random.
        references: Retrained models that candidates are compared with.
        policy: Digest of the policy.
    """

    kind: Literal["process"] = "process"
    process: int = Field(ge=1)
    requests: tuple[int, ...] = Field(min_length=1)
    source: DeployedModel
    forgotten_before: int = Field(ge=0)
    seed: int
    references: int = Field(ge=0)
    policy: Digest


class Tried(Value):
    """A model that was made for a process, with all that was found out about it.

    Attributes:
        process: Number of the process; None of a retraining that was asked for.
        requests: Requests that it answers.
        method: Name of the method.
        settings: All settings of the method.
        guarantee: What the method promises of this model, in a word.
        promise: The same in a sentence.
        assumptions: Under which assumptions, a sentence each.
        seed: Of everything random in it; None where it is a secret, as that of the noise of a logistic head.
        source: What it was made from; None of retraining.
        result: The model.
        seconds: Wall time of the work itself.
        retraining_seconds: What retraining takes, measured or estimated; None where nobody knows.
        audit_seconds: Wall time of references and measurements.
        forgotten: How many samples the model has forgotten by now.
        measured: What the audit says of the requests.
        earlier: What it says of all earlier requests together; None where there are none left to measure.
        remeasured: Each earlier request.
        guardrails: What each guardrail says.
        head: The head on features that the model is; None of any other model.
        decisions: What was decided while it was made, such as that a head was fitted again, a sentence each.
        versions: Package name to version.
        hardware: What it ran on.
    """

    process: int | None
    requests: tuple[int, ...]
    method: str
    settings: dict[str, Any]
    guarantee: Guarantee
    promise: str
    assumptions: tuple[str, ...] = ()
    seed: int | None
    source: DeployedModel | None
    result: DeployedModel
    seconds: float = Field(ge=0)
    retraining_seconds: float | None = None
    audit_seconds: float = Field(0.0, ge=0)
    forgotten: int = Field(ge=1)
    measured: Measurement | None
    earlier: Measurement | None = None
    remeasured: tuple[Remeasured, ...] = ()
    guardrails: tuple[GuardrailResult, ...] = ()
    head: HeadFacts | None = None
    decisions: tuple[str, ...] = ()
    versions: dict[str, str]
    hardware: Hardware


class Released(Tried):
    """A candidate was deployed.

    Attributes:
        release: Its number; 0 is the original.
    """

    kind: Literal["release"] = "release"
    release: int = Field(ge=1)


class Retrained(Tried):
    """A retrained model was deployed because that was asked for; it answers all pending requests.

    Attributes:
        release: Its number.
    """

    kind: Literal["retrain"] = "retrain"
    release: int = Field(ge=1)


class Rejected(Tried):
    """A candidate was refused.

    Attributes:
        reasons: Why, a sentence each.
        final: Whether it was the last one, so that the requests are pending again.
    """

    kind: Literal["reject"] = "reject"
    reasons: tuple[str, ...] = Field(min_length=1)
    final: bool


class NotMade(Value):
    """A candidate could not be made.

    Attributes:
        process: Number of the process.
        requests: Requests that it was to answer.
        method: Name of the method.
        reasons: Why, a sentence each.
        final: Whether it was the last one, so that the requests are pending again.
    """

    kind: Literal["not made"] = "not made"
    process: int
    requests: tuple[int, ...]
    method: str
    reasons: tuple[str, ...] = Field(min_length=1)
    final: bool


class RolledBack(Value):
    """An earlier model was deployed again.

    Attributes:
        release: Number of the release that is current from here on; 0 is the original.
        result: Its model.
        reopened: Requests that it does not honour, which are pending again.
    """

    kind: Literal["rollback"] = "rollback"
    release: int = Field(ge=0)
    result: DeployedModel
    reopened: tuple[int, ...]


class Purged(Value):
    """The samples of a request are gone from the data.

    Attributes:
        request: Its number.
        files: How many files were looked through.
        caches: How many files with decoded copies were removed.
        features: How many rows of stored features were erased.
        census: Digest of the list of samples, from which their names were taken.
        weights: Runs whose weights were deleted because they knew the samples, stages of shards among them.
        heads: Runs of logistic heads whose weights stay, and whose state was deleted: weights of a fit on samples that
            were taken out since.
    """

    kind: Literal["purge"] = "purge"
    request: int = Field(ge=1)
    files: int = Field(ge=0)
    caches: int = Field(0, ge=0)
    features: int = Field(0, ge=0)
    census: Digest
    weights: tuple[Digest, ...] = ()
    heads: tuple[Digest, ...] = ()


class Verified(Value):
    """The service was verified, and everything held.

    Attributes:
        entries: How many entries the chain had.
        models: How many models have the weights that were deployed.
        files: How many files of the data are what they were.
        evidence: How many signatures hold.
    """

    kind: Literal["verify"] = "verify"
    entries: int
    models: int
    files: int
    evidence: int


Body = Annotated[
    Opening
    | PolicyChanged
    | Requested
    | ProcessStarted
    | Released
    | Rejected
    | NotMade
    | Retrained
    | RolledBack
    | Purged
    | Verified,
    Field(discriminator="kind"),
]


class Entry(Value):
    """An entry of the ledger.

    Attributes:
        number: From 1 on, without gaps.
        time: When it was made, UTC, ISO 8601.
        body: What happened.
        previous: Hash of the entry before; 64 zeros of the first.
        hash: SHA-256 of number, time, body and ``previous``.
        seal: HMAC of the hash by the service's key: nobody without it can make an entry.
    """

    number: int = Field(ge=1)
    time: str
    body: Body
    previous: Hash
    hash: Hash
    seal: Hash


class Head(File):
    """The end of the ledger (``ledger.head``), by which it is noticed that entries were cut off.

    It may be behind the ledger by the entries of processes that were killed, and never ahead.

    Attributes:
        number: Of the last entry.
        hash: Of the last entry.
        seal: HMAC of both by the service's key.
    """

    remedy: ClassVar[str] = "restore the service from a backup"

    format: Literal[1] = 1
    number: int = Field(ge=1)
    hash: Hash
    seal: Hash


FIRST = "0" * 64
"""What stands for the hash before the first entry."""


def entry_hash(number: int, time: str, body: str, previous: str) -> str:
    """The hash of an entry.

    Args:
        number: Of the entry.
        time: When it was made.
        body: Its canonical text, as ``body_text`` gives it.
        previous: Hash of the entry before.

    Returns:
        64 hexadecimal digits.
    """
    text = json.dumps([number, time, body, previous], separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def body_text(body: Value) -> str:
    """The canonical text of a body, as the ledger keeps it."""
    return json.dumps(body.plain(), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
