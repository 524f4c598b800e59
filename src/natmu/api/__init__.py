"""The Python interface: unlearning and auditing models of the user's own in memory, and training in shards."""

from natmu.api.auditing import audit
from natmu.api.sharding import ShardedModel, train_shards
from natmu.api.unlearning import unlearn
from natmu.audits.in_memory import ShadowModels
from natmu.results import AuditResult, UnlearnResult

__all__ = ["AuditResult", "ShadowModels", "ShardedModel", "UnlearnResult", "audit", "train_shards", "unlearn"]
