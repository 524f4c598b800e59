"""Linear heads on features, which samples can be taken out of without the others being read again."""

from __future__ import annotations

from natmu.heads.errors import BudgetSpent, RefitNeeded
from natmu.heads.loading import load_head
from natmu.heads.logistic import LogisticHead
from natmu.heads.ridge import RidgeHead
from natmu.heads.rows import rows_of

__all__ = ["BudgetSpent", "LogisticHead", "RefitNeeded", "RidgeHead", "load_head", "rows_of"]
