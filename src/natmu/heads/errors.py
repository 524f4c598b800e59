"""Why a head refuses to take samples out or in."""

from __future__ import annotations

from natmu.errors import UsageError


class RefitNeeded(UsageError):  # noqa: N818 (it says what to do)
    """What the head promises can no longer be vouched for; a fit on the samples that are left can.

    Examples:
        >>> issubclass(BudgetSpent, RefitNeeded)
        True
    """


class BudgetSpent(RefitNeeded):
    """The removal would go beyond the budget that the noise of this fit allows.

    Examples:
        >>> import numpy as np
        >>> rows, labels = np.tile(0.9 * np.eye(4), (50, 1)), np.tile([0, 1, 0, 1], 50)
        >>> settings = {"num_classes": 2, "l2": 10.0, "epsilon": 1.0, "delta": 1e-5, "noise": 1.0}
        >>> head = LogisticHead.fit(rows, labels, **settings, seed=20)
        >>> try:
        ...     head.remove(rows[:100], labels[:100])
        ... except BudgetSpent as error:
        ...     print("fit again without them")
        fit again without them
    """
