"""Numbers with as many digits as their spread supports."""

from __future__ import annotations

from decimal import Decimal

MOST_DECIMALS = 2


def rounded(mean: float, std: float | None, most: int = MOST_DECIMALS) -> tuple[str, str]:
    """Write a mean and its spread with the digits that the spread supports.

    Both are rounded to the place of the standard deviation's first significant digit, be it that of tens, with at most
    ``most`` decimals. One digit of it is all there is: over three seeds a standard deviation is itself only known
    within a factor of about two either way. The mean of three is more certain than one value by √3 only, so it has no
    more digits. Where the seeds agree to the last digit, or nearly so, ``most`` is the limit.

    Without a known spread a value has one decimal, none from 1000, and below 1 two significant digits with ``most`` as
    the limit: what is known of such scores is that seeds change percentages by some tenths.

    Args:
        mean: The mean, or the only value.
        std: The sample standard deviation in the same unit, or None for a single value.
        most: Decimals at most.

    Returns:
        The mean and the spread as text; the spread is empty where it is not known.

    Examples:
        >>> rounded(93.3417, 0.24)
        ('93.3', '0.2')
        >>> rounded(93.3417, 28.6)
        ('90', '30')
        >>> rounded(93.3417, None)
        ('93.3', '')
    """
    if std is None:
        return fixed(mean, _alone(abs(mean), most)), ""
    decimals = min(most, -first_place(std)) if std else most
    return fixed(mean, decimals), fixed(std, decimals)


def fixed(value: float, decimals: int) -> str:
    """Write a number with so many decimals; -1 rounds to tens. There is no negative zero."""
    return f"{round(value, decimals) + 0.0:.{max(0, decimals)}f}"


def first_place(value: float) -> int:
    """Power of ten of a positive number's first significant digit: 1 for 28.6, -2 for 0.096."""
    return Decimal(value).adjusted()  # exact, where a logarithm may round up to the next power


def _alone(size: float, most: int) -> int:
    """Decimals of a value whose spread is not known."""
    if size >= 1:
        return 1 if size < 1000 else 0
    return max(MOST_DECIMALS, min(most, 1 - first_place(size))) if size else MOST_DECIMALS
