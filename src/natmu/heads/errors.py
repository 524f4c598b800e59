"""Why a head refuses to take samples out or in."""

from __future__ import annotations

from natmu.errors import UsageError


class RefitNeeded(UsageError):  # noqa: N818 (it says what to do)
    """What the head promises can no longer be vouched for; a fit on the samples that are left can."""


class BudgetSpent(RefitNeeded):
    """The removal would go beyond the budget that the noise of this fit allows."""
