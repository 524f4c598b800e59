"""The policy of a service of deletion requests: how it unlearns, what it accepts, and when it retrains."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, JsonValue

from natmu.records.digests import digest_of
from natmu.types import Settings

RETRAIN = "retrain"
"""The method that is exact: training without what is forgotten."""

Guarantee = Literal["exact", "certified", "approximate"]

GUARANTEES: dict[str, Guarantee] = {RETRAIN: "exact"}
"""What methods promise; all others are approximate."""


class Candidate(Settings):
    """A way to unlearn."""

    method: str = Field(description="name of an unlearning method; natmu methods lists them")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="settings that differ from its defaults")
    batch_size: int | None = Field(None, ge=1, description="samples per step; the original's if not given")

    @property
    def guarantee(self) -> Guarantee:
        """What the method promises."""
        return GUARANTEES.get(self.method, "approximate")


class AuditPolicy(Settings):
    """How a candidate is measured before it is released."""

    level: Literal["quick", "standard"] = Field("quick", description="scores of an audit: quick or standard")
    references: int = Field(1, ge=0, le=64, description="retrained models to compare with; each costs one retraining")
    every: int = Field(1, ge=1, description="train references for every n-th process; the others go without")


class Guardrails(Settings):
    """What a candidate may not do; accuracies in percentage points, beside the untouched original."""

    retain_loss: float = Field(2.0, ge=0, le=100, description="largest loss of retain accuracy, in points")
    holdout_loss: float = Field(
        2.0, ge=0, le=100, description="largest loss of holdout accuracy, of test accuracy without a holdout, in points"
    )
    over_forgetting: float = Field(
        10.0, ge=0, le=100, description="how far below the retraining baseline forget accuracy may fall, in points"
    )
    batch_norm_drift: float = Field(
        1.0, gt=0, description="largest mean shift of a batch normalisation's mean, in its standard deviations"
    )
    no_op: float = Field(
        1e-4, ge=0, le=1, description="a change of no forget sample's probability by more than this counts as none"
    )
    forgotten: bool = Field(True, description="refuse a candidate of which the audit says that it has not forgotten")
    earlier: bool = Field(True, description="refuse a candidate that brings an earlier request back")


class RetrainingDue(Settings):
    """When the service advises to retrain; whatever comes first."""

    samples: int | None = Field(None, ge=1, description="samples forgotten since the last training")
    share: float | None = Field(0.05, gt=0, le=1, description="share of the training data forgotten since then")
    requests: int | None = Field(None, ge=1, description="requests since then")
    drift: float | None = Field(1.0, gt=0, le=100, description="retain or holdout accuracy lost since then, in points")


class Policy(Settings):
    """The policy of a service, as ``policy.yaml`` has it."""

    method: str = Field("natmu", description="name of the unlearning method")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="its settings")
    batch_size: int | None = Field(None, ge=1, description="samples per step; the original's if not given")
    guarantee: Guarantee = Field("approximate", description="the weakest guarantee that a released model may have")
    fallbacks: tuple[Candidate, ...] = Field((), description="what is tried in turn where a candidate is refused")
    audit: AuditPolicy = Field(default_factory=AuditPolicy, description="how candidates are measured")
    guardrails: Guardrails = Field(default_factory=Guardrails, description="what a candidate may not do")
    retraining: RetrainingDue = Field(default_factory=RetrainingDue, description="when retraining is advised")
    deadline_days: int = Field(30, ge=1, le=365, description="days from receipt until a request must be answered")
    copies: bool = Field(True, description="whether byte-identical copies of requested samples are forgotten too")

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is tried, in order."""
        first = Candidate(method=self.method, settings=self.settings, batch_size=self.batch_size)
        return (first, *self.fallbacks)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this policy."""
        return digest_of(self.model_dump(mode="json"))
