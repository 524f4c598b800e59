"""Numbers with as many digits as their spread supports."""

from __future__ import annotations

import math

MOST_DECIMALS = 2


def rounded(mean: float, std: float | None, most: int = MOST_DECIMALS) -> tuple[str, str]:
    """Write a mean and its spread with the digits that the spread supports.

    Both are rounded to the place of the standard deviation's first significant digit, with at most ``most`` decimals.
    Without a known spread a value has one decimal, two below 1 and none from 1000.

    Args:
        mean: The mean, or the only value.
        std: The sample standard deviation in the same unit, or None for a single value.
        most: Decimals at most.

    Returns:
        The mean and the spread as text; the spread is empty where it is not known.

    Examples:
        >>> rounded(93.3417, 0.24)
        ('93.3', '0.2')
        >>> rounded(93.3417, None)
        ('93.3', '')
    """
    if std is None:
        decimals = 2 if abs(mean) < 1 else 1 if abs(mean) < 1000 else 0
        return f"{mean:.{decimals}f}", ""
    decimals = most if std == 0 else min(most, max(0, -math.floor(math.log10(std))))
    return f"{mean:.{decimals}f}", f"{std:.{decimals}f}"
