"""How fast a model learns again what it was made to forget."""

from __future__ import annotations

import math
from collections.abc import Sequence

from natmu.errors import UsageError

WITHIN = 0.05
"""Share by which the loss may exceed the original's and still count as back."""

FLOOR = 1e-3
"""Nats. A loss at or below it, a mean probability of about 99.9 %, counts as back whatever the original's: below it, a
relative distance only compares how large the logits are."""


def relearn_time(losses: Sequence[float], original_loss: float, within: float = WITHIN) -> int | None:
    """Steps of fine-tuning on the forget set until its loss is back within 5 % of the original model's.

    Back means at most ``max((1 + within) * original_loss, FLOOR)``, for the first time.

    Args:
        losses: Mean forget loss in nats before any step and after each one.
        original_loss: Mean forget loss in nats of the original model.
        within: Share by which the loss may exceed the original's.

    Returns:
        The number of steps, 0 if nothing had been forgotten by this measure; None if the loss is not back by the end.

    Raises:
        UsageError: If there is no loss, or the original's loss or ``within`` is negative or not finite.

    References:
        Mixed-Privacy Forgetting in Deep Networks (Golatkar et al., 2021), https://arxiv.org/abs/2012.13431
        Fast Yet Effective Machine Unlearning (Tarun et al., 2023), https://arxiv.org/abs/2111.08947

    Examples:
        >>> relearn_time([2.0, 1.2, 1.04], original_loss=1.0)
        2
    """
    if not len(losses):
        raise UsageError("The time to relearn needs at least the loss before any step; give it first.")
    if not (0 <= original_loss < math.inf and 0 <= within < math.inf):
        raise UsageError("The original's loss and the share allowed above it must be finite and not negative.")
    target = max((1 + within) * original_loss, FLOOR)
    return next((step for step, value in enumerate(losses) if value <= target), None)
