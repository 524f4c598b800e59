"""The policy of a service of deletion requests: how it unlearns, what it accepts, and when it retrains.

A policy that comes from a user is checked for contradictions (``Policy.read``, ``Policy.from_values``). One that
stands in a ledger is not: it held when it was written, whatever later versions refuse or no longer have.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import ConfigDict, Field, JsonValue

from natmu.bounds import LARGEST_COUNT
from natmu.errors import SettingError
from natmu.records.digests import digest_of
from natmu.records.guarantees import STRONGEST, Guarantee, is_at_least
from natmu.records.policy_rules import contradictions, misspelt, remarks, unknown_methods
from natmu.records.yaml_text import read_mapping
from natmu.types import Settings


class PolicySettings(Settings):
    """Settings of exactly these types: ``no`` is no number, and ``"2"`` neither."""

    model_config = ConfigDict(strict=True)


class Candidate(PolicySettings):
    """A way to unlearn."""

    method: str = Field(description="name of an unlearning method; natmu methods lists them")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="settings that differ from its defaults")
    batch_size: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="samples per step; the original's if not given"
    )

    @property
    def guarantee(self) -> Guarantee:
        """The strongest guarantee that the method can give; what it gives of a model, ``promise_of`` says."""
        return STRONGEST.get(self.method, "approximate")

    def may_give(self, guarantee: Guarantee) -> bool:
        """Whether the method can give a guarantee, or a stronger one, of some model."""
        return is_at_least(self.guarantee, guarantee)


class AuditPolicy(PolicySettings):
    """How a candidate is measured before it is released."""

    level: Literal["quick", "standard"] = Field("quick", description="scores of an audit: quick or standard")
    references: int = Field(1, ge=0, le=64, description="retrained models to compare with; each costs one retraining")
    every: int = Field(
        1, ge=1, le=LARGEST_COUNT, description="train references for every n-th release; the others go without"
    )


class Guardrails(PolicySettings):
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
    forgotten: bool = Field(
        True, description="refuse a candidate that knows the samples better than retrained models do"
    )
    earlier: bool = Field(True, description="refuse a candidate that brings an earlier request back")


class RetrainingDue(PolicySettings):
    """When the service advises to retrain; whatever comes first."""

    samples: int | None = Field(None, ge=1, le=LARGEST_COUNT, description="samples forgotten since the last training")
    fraction: float | None = Field(0.05, gt=0, le=1, description="fraction of the training data forgotten since then")
    requests: int | None = Field(None, ge=1, le=LARGEST_COUNT, description="requests since then")
    drift: float | None = Field(1.0, gt=0, le=100, description="retain or holdout accuracy lost since then, in points")


class Policy(PolicySettings):
    """The policy of a service, as ``policy.yaml`` has it."""

    method: str = Field("natmu", description="name of the unlearning method")
    settings: dict[str, JsonValue] = Field(default_factory=dict, description="its settings")
    batch_size: int | None = Field(
        None, ge=1, le=LARGEST_COUNT, description="samples per step; the original's if not given"
    )
    guarantee: Guarantee = Field("approximate", description="the weakest guarantee that a released model may have")
    fallbacks: tuple[Candidate, ...] = Field(
        (), strict=False, description="what is tried in turn where a candidate is refused"
    )
    audit: AuditPolicy = Field(default_factory=AuditPolicy, description="how candidates are measured")
    guardrails: Guardrails = Field(default_factory=Guardrails, description="what a candidate may not do")
    retraining: RetrainingDue = Field(default_factory=RetrainingDue, description="when retraining is advised")
    deadline_days: int = Field(30, ge=1, le=365, description="days from receipt until a request must be answered")

    @classmethod
    def read(cls, path: Path) -> Self:
        """The policy in a YAML file; an empty file is the default policy.

        Args:
            path: The file.

        Raises:
            SettingError: The file is missing or is not YAML, a key is wrong, or two of them contradict each other.
        """
        return cls.from_values(read_mapping(path, "policy"), where=str(path))

    @classmethod
    def from_values(cls, values: Mapping[str, Any], where: str = "policy") -> Self:
        """The policy that plain values make; those that are not given have their defaults.

        Which settings a method has is not looked at, because that takes PyTorch.

        Args:
            values: Plain values by name.
            where: Where they come from, named in errors.

        Raises:
            SettingError: A key is wrong, or two of them contradict each other.
        """
        _refuse(misspelt(values, cls), where)
        policy = cls.parse(values, where)
        _refuse(unknown_methods(policy) or contradictions(policy), where)
        return policy

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a user should know of this policy, such as guardrails that can refuse nothing; a sentence each."""
        return tuple(remarks(self))

    @property
    def candidates(self) -> tuple[Candidate, ...]:
        """What is tried, in order."""
        first = Candidate(method=self.method, settings=self.settings, batch_size=self.batch_size)
        return (first, *self.fallbacks)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that name this policy."""
        return digest_of(self.model_dump(mode="json"))


def _refuse(clauses: list[str], where: str) -> None:
    """Refuse values of which something is wrong."""
    if clauses:
        raise SettingError(f"{where}: {'; '.join(clauses)}.")
